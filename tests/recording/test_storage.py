"""What is promised of every storage, in a folder and in a bucket; and what each does when it fails."""

import asyncio
import errno
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from liveman.config import FsStorage, OssStorage, S3Storage, Secret
from liveman.errors import (
    ConfigError,
    LivemanError,
    NotFound,
    NotSupported,
    StorageError,
    StorageRefusal,
    StorageTimeout,
)
from liveman.recording import bucket, folder
from liveman.recording.bucket import Bucket
from liveman.recording.folder import Folder
from liveman.recording.storage import storage_for
from liveman.recording.store import Storage
from recording.buckets import KEY, KEY_ID, bucket_at, faulty, new_bucket
from recording.signatures import oss_v1, sigv4


@pytest.fixture(params=["fs", "s3", "s3 below a prefix"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    if request.param == "fs":
        options: FsStorage | S3Storage = FsStorage(root=str(tmp_path / "root"))
    else:
        root = "some/prefix" if "prefix" in request.param else ""
        options = new_bucket(request.getfixturevalue("moto"), root=root)
    async with storage_for(options) as storage:
        yield storage


async def paths(storage: Storage, below: str = "") -> list[str]:
    return sorted([entry.path async for entry in storage.entries(below)])


# What all do.


async def test_what_is_written_is_there_until_it_is_deleted(storage: Storage) -> None:
    for path in ("cam/1/manifest.mpd", "cam/1/v_init.m4s", "cam 2/ü?x#y%41.m4s"):
        await storage.write(path, b"12345")
        entry = await storage.stat(path)
        assert (entry.path, entry.size) == (path, 5)
        assert abs(entry.modified - time.time()) < 60
        assert entry.tag.startswith('"') and entry.tag.endswith('"')
    assert await paths(storage) == ["cam 2/ü?x#y%41.m4s", "cam/1/manifest.mpd", "cam/1/v_init.m4s"]
    await storage.delete("cam/1/manifest.mpd")
    assert await paths(storage) == ["cam 2/ü?x#y%41.m4s", "cam/1/v_init.m4s"]
    with pytest.raises(NotFound):
        await storage.stat("cam/1/manifest.mpd")


async def test_what_is_written_anew_has_another_tag(storage: Storage) -> None:
    await storage.write("cam/x", b"one")
    before = await storage.stat("cam/x")
    await storage.write("cam/x", b"three")
    after = await storage.stat("cam/x")
    assert after.size == 5
    assert before.tag != after.tag


async def test_a_listing_is_of_all_below_a_folder(storage: Storage) -> None:
    """And of nothing beside it; with the sizes."""
    for path in ("cam/1/a", "cam/2/b/c", "camera/d", "e"):
        await storage.write(path, path.encode())
    assert await paths(storage, "cam") == ["cam/1/a", "cam/2/b/c"]
    assert await paths(storage, "cam/2") == ["cam/2/b/c"]
    assert await paths(storage, "nobody") == []
    assert [entry.size async for entry in storage.entries("camera")] == [len("camera/d")]


async def test_a_long_listing_is_whole(storage: Storage) -> None:
    """More than is fetched at once."""
    wanted = [f"{number:04}" for number in range(1100)]
    for at in range(0, len(wanted), 50):
        await asyncio.gather(*[storage.write(name, b"") for name in wanted[at : at + 50]])
    assert await paths(storage) == wanted


async def test_what_is_not_there_can_be_deleted(storage: Storage) -> None:
    """So that whoever was interrupted can begin again."""
    await storage.delete("cam/1/manifest.mpd")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "a\\b", "a\0b", "a\nb"]
)
async def test_what_is_no_path_is_nowhere(storage: Storage, path: str) -> None:
    for call in (
        storage.stat(path),
        storage.write(path, b"x"),
        anext(aiter(storage.entries(path or "."))),
    ):
        with pytest.raises((NotFound, StopAsyncIteration)):
            await call
    await storage.delete(path)
    assert await paths(storage) == []


async def test_a_storage_that_works_says_so(storage: Storage) -> None:
    await storage.ping()


# A folder.


@pytest.fixture
async def root(tmp_path: Path) -> AsyncIterator[Path]:
    (tmp_path / "root/cam").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/x").write_text("secret")
    yield tmp_path / "root"


async def test_links_are_not_followed(root: Path) -> None:
    """Neither to a file nor to a folder, neither to read nor to list, write or delete what is outside."""
    (root / "link").symlink_to("../secret")
    (root / "cam/x").symlink_to("../../secret/x")
    (root / "absolute").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    async with Folder(str(root)) as storage:
        for path in ("link/x", "cam/x", "absolute/passwd", "loop", "loop/x"):
            for call in (storage.open, storage.stat):
                with pytest.raises(NotFound):
                    await call(path)
            if "/" in path and path != "cam/x":
                with pytest.raises(LivemanError):
                    await storage.write(path, b"mine")
                await storage.delete(path)
        assert await paths(storage) == []
        assert await paths(storage, "link") == []
    assert (root.parent / "secret/x").read_text() == "secret"


async def test_the_root_itself_may_be_a_link(root: Path) -> None:
    """It is resolved once."""
    (root.parent / "elsewhere").symlink_to(root)
    (root / "cam/y").write_text("y")
    async with Folder(str(root.parent / "elsewhere")) as storage:
        (root.parent / "elsewhere").unlink()
        assert await paths(storage) == ["cam/y"]


async def test_only_files_are_objects(root: Path) -> None:
    """A pipe does not hold up who asks for it."""
    os.mkfifo(root / "pipe")
    async with Folder(str(root)) as storage:
        for path in ("cam", "pipe", "cam/nothing", "pipe/x"):
            with pytest.raises(NotFound):
                await storage.open(path)
        assert await paths(storage) == []


async def test_names_that_cannot_be_asked_for_are_not_listed(root: Path) -> None:
    for name in (b"a\nb", b"a\\b", b"\xff\xfe", b"fine"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).touch()
    async with Folder(str(root)) as storage:
        assert await paths(storage) == ["fine"]


async def test_a_folder_that_is_left_empty_goes_too(root: Path) -> None:
    """But not the root, nor one that still has something."""
    async with Folder(str(root)) as storage:
        await storage.write("a/b/c/x", b"")
        await storage.write("a/y", b"")
        await storage.delete("a/b/c/x")
        assert (root / "a").is_dir()
        assert not (root / "a/b").exists()
        await storage.delete("a/y")
    assert sorted(each.name for each in root.iterdir()) == ["cam"]


async def test_a_full_disk_leaves_nothing_half_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FileIO):
        def write(self, data: object) -> int:
            super().write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (root / "cam/x").write_text("old")
    async with Folder(str(root)) as storage:
        monkeypatch.setattr(folder, "FileIO", Full)
        with pytest.raises(StorageError, match="No space left") as caught:
            await storage.write("cam/x", b"new" * 1000)
    assert caught.value.status == 503
    assert [each.name for each in (root / "cam").iterdir()] == ["x"]
    assert (root / "cam/x").read_text() == "old"


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE, errno.ESTALE])
async def test_a_disk_that_fails_is_no_missing_object(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is 503, and says what is wrong."""
    real = os.open

    def fail(path: object, *arguments: object, **named: object) -> int:
        if path == "x":
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", fail)
    async with Folder(str(root)) as storage:
        with pytest.raises(StorageError) as caught:
            await storage.open("cam/x")
    assert caught.value.status == 503
    assert os.strerror(number) in caught.value.detail


async def test_a_root_that_is_no_folder_does_not_work(tmp_path: Path) -> None:
    """A missing one is made, as nobody may have recorded yet."""
    (tmp_path / "file").touch()
    async with Folder(str(tmp_path / "file")) as storage:
        with pytest.raises(StorageError):
            await storage.ping()
    async with Folder(str(tmp_path / "new/folder")) as storage:
        assert await paths(storage) == []
        await storage.ping()
    assert (tmp_path / "new/folder").is_dir()


async def test_a_folder_signs_nothing(root: Path) -> None:
    async with Folder(str(root)) as storage:
        with pytest.raises(NotSupported) as caught:
            await storage.presign("GET", "cam/x", 60)
    assert caught.value.status == 501


# Signatures.

PATH = "cam 1/ü+&=?#%41/v_seg_0001.m4s"
ENCODED = "cam%201/%C3%BC%2B%26%3D%3F%23%2541/v_seg_0001.m4s"


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_amazon_would_take_the_signature(method: str) -> None:
    """For this method, object, time and key, and for nothing else."""
    async with Bucket(bucket_at("http://s3.example:9000", root="/pre/fix")) as storage:
        signed = await storage.presign(method, PATH, 60)  # type: ignore[arg-type]
    assert signed.headers == {}
    assert signed.url.startswith(f"http://s3.example:9000/recordings/pre/fix/{ENCODED}?")
    assert KEY not in signed.url

    def judge(url: str = signed.url, method: str = method, key: str = KEY, after: float = 0) -> str:
        return sigv4(method, url, key=key, region="eu-west-1", now=time.time() + after)

    assert judge() == ""
    assert judge(after=55) == ""
    assert judge(after=62) == "expired"
    assert judge(key="another") == "signature"
    assert judge(method="DELETE") == "signature"
    assert judge(signed.url.replace("seg_0001", "seg_0002")) == "signature"
    assert judge(signed.url.replace("s3.example", "evil.example")) == "signature"
    assert judge(signed.url.replace("Expires=60", "Expires=61")) == "signature"


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_alibaba_would_take_the_signature(method: str) -> None:
    """OSS's PUT would have an empty body if it had its way."""
    options = OssStorage(
        bucket="recordings",
        endpoint="https://oss-cn-hangzhou.aliyuncs.com",
        root="pre/fix",
        access_key_id=Secret(KEY_ID),
        access_key_secret=Secret(KEY),
    )
    async with Bucket(options) as storage:
        signed = await storage.presign(method, PATH, 60)  # type: ignore[arg-type]
    assert signed.headers == {}
    assert signed.url.startswith(f"https://recordings.oss-cn-hangzhou.aliyuncs.com/pre/fix/{ENCODED}?")
    assert KEY not in signed.url
    assert oss_v1(method, signed.url, key=KEY, bucket="recordings") == ""
    assert oss_v1(method, signed.url, key=KEY, bucket="recordings", now=time.time() + 62) == "expired"
    assert oss_v1(method, signed.url, key="another", bucket="recordings") == "signature"
    assert oss_v1("DELETE", signed.url, key=KEY, bucket="recordings") == "signature"


async def test_what_was_signed_is_what_the_server_does(moto: str) -> None:
    async with storage_for(new_bucket(moto)) as storage:
        put = await storage.presign("PUT", PATH, 60)
        got = await storage.presign("GET", PATH, 60)
    async with ClientSession(raise_for_status=True) as client:
        url = URL(put.url, encoded=True)
        async with client.put(url, data=b"recorded", headers=put.headers):
            pass
        async with client.get(URL(got.url, encoded=True)) as answer:
            assert await answer.read() == b"recorded"


# Options: opendal would ignore a wrong name without a word.


async def url_of(options: S3Storage | OssStorage) -> str:
    async with Bucket(options) as storage:
        return (await storage.presign("GET", "cam/x", 60)).url


async def test_every_option_of_s3_has_its_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FROMENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    url = await url_of(bucket_at("http://s3.example:9000"))
    assert url.startswith("http://s3.example:9000/recordings/cam/x?")
    assert f"X-Amz-Credential={KEY_ID}%2F" in url
    assert "%2Feu-west-1%2Fs3" in url
    assert sigv4("GET", url, key=KEY, region="eu-west-1") == ""
    assert "Security-Token" not in url
    url = await url_of(bucket_at("https://s3.example", enable_virtual_host_style=True))
    assert url.startswith("https://recordings.s3.example/cam/x?")
    url = await url_of(bucket_at("https://s3.example", root="a/b", session_token=Secret("temporary")))
    assert url.startswith("https://s3.example/recordings/a/b/cam/x?")
    assert "X-Amz-Security-Token=temporary" in url
    url = await url_of(S3Storage(bucket="b", region="eu-west-1"))
    assert "amazonaws.com/" in url
    assert "X-Amz-Credential=FROMENVIRONMENT%2F" in url
    url = await url_of(S3Storage(bucket="b"))
    assert "%2Fus-west-2%2Fs3" in url


async def test_the_environment_is_left_unread_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there are no keys, and it is said where to give them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FROMENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = S3Storage(bucket="b", region="r", endpoint="http://127.0.0.1:9", disable_config_load=True)
    with pytest.raises(StorageRefusal, match=r"recorder\.storage"):
        await url_of(options)


async def test_every_option_of_oss_has_its_effect() -> None:
    options = OssStorage(
        bucket="recordings",
        endpoint="https://oss.example",
        root="a",
        access_key_id=Secret(KEY_ID),
        access_key_secret=Secret(KEY),
        security_token=Secret("temporary"),
    )
    url = await url_of(options)
    assert url.startswith("https://recordings.oss.example/a/cam/x?")
    assert f"OSSAccessKeyId={KEY_ID}" in url
    assert "security-token=temporary" in url
    assert oss_v1("GET", url, key=KEY, bucket="recordings") == ""


def test_a_bucket_without_region_is_a_fault_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"recorder\.storage\.region"):
        storage_for(S3Storage(bucket="b"))
    with pytest.raises(ConfigError, match=r"recorder\.storage"):
        storage_for(OssStorage(bucket="b", endpoint="no such thing"))


# A bucket that fails.


def said(status: str, code: str = "") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>key {KEY_ID}</Message></Error>".encode() if code else b""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@asynccontextmanager
async def failing(reply: bytes) -> AsyncIterator[tuple[Storage, list[str]]]:
    async with faulty(reply) as server, Bucket(bucket_at(server.url)) as storage:
        yield storage, server.heads


CALLS: dict[str, Callable[[Storage], object]] = {
    "stat": lambda storage: storage.stat("cam/x"),
    "entries": lambda storage: paths(storage, "cam"),
    "write": lambda storage: storage.write("cam/x", b"x"),
    "delete": lambda storage: storage.delete("cam/x"),
    "ping": lambda storage: storage.ping(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("reply", "kind", "tries"),
    [
        (said("503 Slow Down", "SlowDown"), StorageError, 3),
        (said("500 Internal Server Error", "InternalError"), StorageError, 3),
        (said("403 Forbidden", "SignatureDoesNotMatch"), StorageRefusal, 1),
        (b"", StorageError, 3),
    ],
    ids=["503", "500", "403", "cut off"],
)
async def test_failures_have_their_kind_and_are_tried_again_where_that_may_help(
    call: str, reply: bytes, kind: type[StorageError], tries: int
) -> None:
    """None of them tells a secret."""
    async with failing(reply) as (storage, heads):
        with pytest.raises(StorageError) as caught:
            await CALLS[call](storage)  # type: ignore[misc]
        assert len(heads) == tries
    assert type(caught.value) is kind
    text = f"{caught.value!r} {caught.value.detail}"
    assert KEY not in text and KEY_ID not in text and "Signature=" not in text


async def test_a_bucket_that_is_not_there_is_not_a_missing_object() -> None:
    async with failing(said("404 Not Found", "NoSuchBucket")) as (storage, _):
        with pytest.raises(StorageRefusal, match="NoSuchBucket"):
            await paths(storage)


async def test_a_server_that_is_gone_is_503() -> None:
    async with faulty(b"") as server:
        pass
    async with Bucket(bucket_at(server.url)) as storage:
        with pytest.raises(StorageError) as caught:
            await storage.stat("cam/x")
    assert type(caught.value) is StorageError


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_hangs_is_waited_for_no_longer_than_allowed(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "CALL_SECONDS", 0.3)

    async def hang(head: str, writer: object) -> None:
        await asyncio.sleep(5)

    async with faulty(hang) as server, Bucket(bucket_at(server.url)) as storage:
        with pytest.raises(StorageTimeout) as caught:
            await CALLS[call](storage)  # type: ignore[misc]
    assert caught.value.status == 504


def test_the_process_ends_well_right_after_a_call(moto: str) -> None:
    """The library aborts one in seven of those that do not wait for it."""
    options = new_bucket(moto)
    script = f"""
        import asyncio
        from liveman.config import S3Storage, Secret
        from liveman.recording.bucket import Bucket
        async def main():
            options = S3Storage("{options.bucket}", region="r", endpoint="{moto}",
                                access_key_id=Secret("k"), secret_access_key=Secret("s"))
            async with Bucket(options) as storage:
                assert [entry async for entry in storage.entries()] == []
                await storage.presign("GET", "cam/x", 60)
        asyncio.run(main())
    """
    argv = [sys.executable, "-c", textwrap.dedent(script)]
    for _ in range(8):
        running = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        for each in running:
            assert (each.communicate(timeout=60)[1], each.returncode) == ("", 0)
