"""Objects in a folder while files change, disks fail and clients come, dawdle and go."""

import asyncio
import errno
import hashlib
import os
import ssl
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path

import pytest
import uvloop
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from liveman import create_app
from liveman.config import FsStorage, Recorder
from liveman.hosted import Hosted
from liveman.recording import outlet, sources
from liveman.recording.folder import Folder
from recording.serving import open_files, reading, until
from support.liveman import config_for, exchange, liveman, request_bytes

SIZE = 40 * 1024 * 1024
PATH = "/api/record/object/cam/v_seg_0001.m4s"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return os.urandom(1024 * 1024) * (SIZE // (1024 * 1024))


@pytest.fixture
def file(tmp_path: Path, big: bytes) -> Path:
    """An object that does not fit into what a connection buffers."""
    path = tmp_path / "cam/v_seg_0001.m4s"
    path.parent.mkdir()
    path.write_bytes(big)
    return path


def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(self: outlet.Outlet) -> bool:
        self._known = self._end
        return True

    monkeypatch.setattr(outlet.Outlet, "_in_memory", told)


def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet.Outlet, "_in_memory", lambda *_: False)


def copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.Outlet, "of", lambda *_: None)


@pytest.fixture(params=[in_memory, on_disk, copied])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the bytes come: by the kernel, at once or in a thread; or copied, where it cannot send."""
    request.param(monkeypatch)


@pytest.fixture
async def url(way: None, tmp_path: Path) -> AsyncIterator[str]:
    async with liveman(recorder=Recorder(storage=FsStorage(root=str(tmp_path)))) as url:
        yield url


async def test_a_large_object_arrives_whole(url: str, file: Path, big: bytes) -> None:
    async with reading(url, "cam/v_seg_0001.m4s") as reader:
        assert reader.length == SIZE
        assert hashlib.sha256(await reader.rest()).digest() == hashlib.sha256(big).digest()


async def test_large_parts_arrive_whole(url: str, file: Path, big: bytes) -> None:
    """Nothing of one part overtakes the head of the next."""
    third = SIZE // 3
    ranges = f"Range: bytes=0-{third - 1},{SIZE - third}-"
    async with reading(url, "cam/v_seg_0001.m4s", ranges) as reader:
        body = await reader.rest()
        assert len(body) == reader.length
    boundary = body.split(b"\r\n")[1]
    first, second = (part.partition(b"\r\n\r\n")[2] for part in body.split(boundary)[1:3])
    assert first.removesuffix(b"\r\n") == big[:third]
    assert second.removesuffix(b"\r\n") == big[-third:]


async def test_an_object_comes_after_the_answer_before_it(url: str, file: Path, big: bytes) -> None:
    """On one connection, to a client who has taken nothing yet."""
    asked = request_bytes("GET", PATH) + request_bytes("GET", PATH, "Connection: close")
    answer = await exchange(url, asked)
    head, _, first = answer.partition(b"\r\n\r\n")
    assert first[:SIZE] == big
    head, _, second = first[SIZE:].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second == big


async def test_nothing_overtakes_what_a_slow_client_has_not_taken(file: Path, big: bytes) -> None:
    """Such as the answer before, and the head."""
    before = os.urandom(8 * 1024 * 1024)

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(before) + SIZE
        await response.prepare(request)
        assert request.transport is not None
        request.transport.write(before)
        with ThreadPoolExecutor(1) as threads:
            out = outlet.Outlet.of(Hosted(request, 4), FileIO(file), threads.submit)
            assert out is not None
            with closing(out):
                assert await out.send(0, SIZE) == SIZE
        return response

    app = web.Application()
    app.router.add_get(PATH, handle)
    async with TestServer(app) as server:
        async with reading(str(server.make_url("/")), "cam/v_seg_0001.m4s", room=4096) as reader:
            assert await reader.rest() == before + big


async def test_a_file_that_shrinks_ends_its_answer(url: str, file: Path) -> None:
    """The connection is cut, so that nobody takes what came for the whole; the next answer is right again."""
    async with reading(url, "cam/v_seg_0001.m4s") as reader:
        os.truncate(file, 1024)
        assert len(await reader.rest()) < SIZE
    async with reading(url, "cam/v_seg_0001.m4s") as reader:
        assert (reader.length, len(await reader.rest())) == (1024, 1024)


async def test_a_file_that_grows_is_sent_as_it_was(url: str, file: Path, big: bytes) -> None:
    async with reading(url, "cam/v_seg_0001.m4s") as reader:
        with file.open("ab") as more:
            more.write(b"more" * 1000)
        assert await reader.rest() == big
    async with reading(url, "cam/v_seg_0001.m4s", "Range: bytes=-4") as reader:
        assert await reader.rest() == b"more"


async def test_a_file_that_is_deleted_is_sent_to_its_end(url: str, file: Path, big: bytes) -> None:
    async with reading(url, "cam/v_seg_0001.m4s") as reader:
        file.unlink()
        assert await reader.rest() == big
    async with reading(url, "cam/v_seg_0001.m4s") as reader:
        assert reader.status == 404


async def test_a_disk_that_fails_in_the_middle_cuts_the_answer(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No second head is written into the body."""

    def failing(real: Callable[..., object], count: int) -> Callable[..., object]:
        calls = iter(range(count))

        def call(*arguments: object) -> object:
            if next(calls, None) is None:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments)

        return call

    monkeypatch.setattr(os, "sendfile", failing(os.sendfile, 3))
    monkeypatch.setattr(os, "pread", failing(os.pread, 3))
    async with reading(url, "cam/v_seg_0001.m4s") as reader:
        assert reader.status == 200
        body = await reader.rest()
        assert len(body) < SIZE
        assert b"HTTP/1.1" not in body


async def test_a_client_that_takes_nothing_is_cut_off(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody else is held up meanwhile."""
    monkeypatch.setattr(outlet, "STALLED_SECONDS", 0.3)
    monkeypatch.setattr("liveman.hosted.STALLED_SECONDS", 0.3)
    before = open_files()
    async with reading(url, "cam/v_seg_0001.m4s") as stalled:
        async with reading(url, "cam/v_seg_0001.m4s") as other:
            assert len(await other.rest()) == SIZE
        await until(lambda: open_files() <= before + 1)  # The client's own end.
        assert len(await stalled.rest()) < SIZE
    await until(lambda: open_files() <= before)


async def test_a_client_that_leaves_takes_its_files_along(url: str, file: Path) -> None:
    async with reading(url, "cam/v_seg_0001.m4s"):
        pass
    before = open_files()
    for _ in range(20):
        async with reading(url, "cam/v_seg_0001.m4s") as reader:
            await reader.some(100_000)
    await until(lambda: open_files() <= before)


async def test_all_is_closed_when_liveman_ends(way: None, tmp_path: Path, file: Path) -> None:
    """While an object is on its way."""
    before = open_files()
    async with liveman(recorder=Recorder(storage=FsStorage(root=str(tmp_path)))) as url:
        async with reading(url, "cam/v_seg_0001.m4s") as reader:
            await reader.some(100_000)
            ended = asyncio.create_task(reader.rest())
    assert len(await ended) < SIZE
    await until(lambda: open_files() <= before)


def test_uvloop_sends_the_same(tmp_path: Path, file: Path, big: bytes) -> None:
    """Though it has no sendfile."""

    async def main() -> None:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        async with liveman(recorder=Recorder(storage=FsStorage(root=str(tmp_path)))) as url:
            async with reading(url, "cam/v_seg_0001.m4s") as reader:
                assert await reader.rest() == big
            async with reading(url, "cam/v_seg_0001.m4s", f"Range: bytes=0-{SIZE // 2},-5") as reader:
                body = await reader.rest()
                assert len(body) == reader.length
                assert big[: SIZE // 2 + 1] in body
            answer = await exchange(
                url, request_bytes("GET", PATH) + request_bytes("GET", PATH, "Connection: close")
            )
            assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
            assert answer.endswith(big)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A host's side, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "host.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    host = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    host.load_cert_chain(pem)
    return host, ssl.create_default_context(cafile=pem)


async def test_a_host_may_have_tls(
    tmp_path: Path, file: Path, big: bytes, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """The kernel would send the plain bytes."""
    app = web.Application()
    app.add_subapp("/live/", create_app(config_for(recorder=Recorder(storage=FsStorage(root=str(tmp_path))))))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls[0])
        await site.start()
        port = runner.addresses[0][1]
        async with ClientSession() as client:
            async with client.get(f"https://localhost:{port}/live{PATH}", ssl=tls[1]) as answer:
                assert await answer.read() == big
    finally:
        await runner.cleanup()


# Manifests.


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Path]:
    """A manifest that is emptied and written anew all the time, piece by piece."""
    path = tmp_path / "cam/manifest.mpd"
    path.parent.mkdir()
    path.write_text("<MPD></MPD>")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.002):
            number += 1
            with path.open("w") as file:
                file.write("<MPD>")
                for _ in range(number % 50):
                    file.write(f"<S n='{number}'/>" * 20)
                    file.flush()
                file.write("</MPD>\n")

    thread = threading.Thread(target=write)
    thread.start()
    yield path
    stop.set()
    thread.join()


async def test_a_manifest_that_grows_is_served_whole(growing: Path, tmp_path: Path) -> None:
    """Each is one that was written, with a tag of its own."""
    tags: dict[str, bytes] = {}
    async with liveman(recorder=Recorder(storage=FsStorage(root=str(tmp_path)))) as url:
        async with ClientSession(url) as client:
            for _ in range(150):
                async with client.get("/api/record/object/cam/manifest.mpd") as answer:
                    body = await answer.read()
                    assert answer.status == 200
                    assert body.startswith(b"<MPD>") and body.rstrip().endswith(b"</MPD>")
                    assert (
                        len(set(body.split(b"<S n='")[1:])) <= 2
                    )  # All of one writing, the last with the end.
                    assert tags.setdefault(answer.headers["ETag"], body) == body
    assert len(tags) > 10


async def test_a_manifest_that_is_none_is_served_as_it_is(tmp_path: Path) -> None:
    """After a moment, in which it might have become one."""
    (tmp_path / "x.mpd").write_bytes(b"half of a mani")
    async with liveman(recorder=Recorder(storage=FsStorage(root=str(tmp_path)))) as url:
        async with reading(url, "x.mpd") as reader:
            assert await reader.rest() == b"half of a mani"


async def test_an_enormous_manifest_is_not_read_into_memory(
    tmp_path: Path, big: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Folder, "read")
    (tmp_path / "x.mpd").write_bytes(big)
    async with liveman(recorder=Recorder(storage=FsStorage(root=str(tmp_path)))) as url:
        async with reading(url, "x.mpd") as reader:
            assert await reader.rest() == big


async def test_many_slow_clients_cost_no_memory(tmp_path: Path, file: Path) -> None:
    """What they have not taken stays in the file."""
    async with liveman(recorder=Recorder(storage=FsStorage(root=str(tmp_path)))) as url:
        async with reading(url, "cam/v_seg_0001.m4s") as reader:
            await reader.some(1000)
        tracemalloc.start()
        try:
            contexts = [reading(url, "cam/v_seg_0001.m4s", room=4096) for _ in range(50)]
            for each in contexts:
                await each.__aenter__()
            held, _ = tracemalloc.get_traced_memory()
            for each in contexts:
                await each.__aexit__(None, None, None)
        finally:
            tracemalloc.stop()
    assert held < 50 * 100_000
