"""Recorded objects over HTTP, whichever storage they lie in."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import ClientSession
from attrs import frozen

from liveman.config import FsStorage, Http, OssStorage, Playback, Recorder, S3Storage
from liveman.recording.storage import storage_for
from recording.buckets import new_bucket
from recording.test_playback import HOSTILE
from support.liveman import exchange, liveman, request_bytes

SEGMENT = "cam/1700000000/v_seg_0001.m4s"
MANIFEST = "cam/1700000000/manifest.mpd"
DATA = bytes(range(256)) * 40
MPD = b'<?xml version="1.0"?><MPD type="static"></MPD>'


@frozen
class Scene:
    """Liveman in front of a storage that holds a recording."""

    client: ClientSession
    options: FsStorage | S3Storage

    async def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"/api/record/object/{path}"
        async with self.client.request(method, url, headers=named, allow_redirects=False) as answer:
            return answer.status, answer.headers, await answer.read()


@asynccontextmanager
async def scene_of(options: FsStorage | S3Storage | OssStorage, **playback: object) -> AsyncIterator[Scene]:
    sections = {"recorder": Recorder(storage=options), "playback": Playback(**playback)}  # type: ignore[arg-type]
    async with liveman(**sections) as url, ClientSession(url, auto_decompress=False) as client:
        yield Scene(client, options)  # type: ignore[arg-type]


@pytest.fixture(params=["fs", "s3"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    options = (
        FsStorage(root=str(tmp_path / "root"))
        if request.param == "fs"
        else new_bucket(request.getfixturevalue("moto"), root="pre")
    )
    async with storage_for(options) as storage:
        await storage.write(SEGMENT, DATA)
        await storage.write(MANIFEST, MPD)
        await storage.write("cam/1700000000/a_init.m4s", b"")
        await storage.write("cam 2/ü?#%41+.mp4", b"named")
    async with scene_of(options) as scene:
        yield scene


async def test_an_object_is_served_whole(scene: Scene) -> None:
    status, headers, body = await scene.get(SEGMENT)
    assert (status, body) == (200, DATA)
    assert headers["Content-Length"] == str(len(DATA))
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Cache-Control"] == "max-age=31536000, immutable"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r'"[^"]+"', headers["ETag"])
    assert headers["Last-Modified"].endswith(" GMT")
    assert not [name for name in headers if name.lower().startswith("x-amz")]


async def test_a_manifest_is_asked_about_each_time(scene: Scene) -> None:
    status, headers, body = await scene.get(MANIFEST)
    assert (status, body) == (200, MPD)
    assert headers["Content-Type"] == "application/dash+xml"
    assert headers["Cache-Control"] == "no-cache"
    assert (await scene.get(MANIFEST, if_none_match=headers["ETag"]))[0] == 304
    assert (await scene.get(MANIFEST, range="bytes=0-4"))[2] == MPD[:5]


async def test_names_are_taken_as_they_are(scene: Scene) -> None:
    assert (await scene.get("cam%202/%C3%BC%3F%23%2541+.mp4"))[2] == b"named"
    assert (await scene.get("cam%202%2F%C3%BC%3F%23%2541+.mp4"))[2] == b"named"


async def test_an_empty_object_is_served(scene: Scene) -> None:
    path = "cam/1700000000/a_init.m4s"
    status, headers, body = await scene.get(path)
    assert (status, headers["Content-Length"], headers["Content-Type"], body) == (200, "0", "audio/mp4", b"")
    status, headers, _ = await scene.get(path, range="bytes=0-")
    assert (status, headers.get("Content-Range")) in [(416, "bytes */0"), (200, None)]


async def test_head_tells_what_get_would(scene: Scene) -> None:
    """But of a range, which is for GET alone."""
    for path in (SEGMENT, MANIFEST):
        _, got, _ = await scene.get(path)
        status, headers, body = await scene.get(path, "HEAD", range="bytes=0-4")
        assert (status, body) == (200, b"")
        for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Cache-Control"):
            assert headers[name] == got[name]
    assert (await scene.get("cam/nothing", "HEAD"))[0] == 404
    assert (await scene.get(SEGMENT, "HEAD", if_none_match=got["ETag"] + ", *"))[0] in (200, 304)


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=10000-", 10000, 10239),
        ("bytes=-40", 10200, 10239),
        ("bytes=10000-99999999", 10000, 10239),
        ("bytes=-99999999", 0, 10239),
        ("bytes=0-9,5-20", 0, 20),
    ],
)
async def test_a_range_is_206(scene: Scene, header: str, first: int, last: int) -> None:
    status, headers, body = await scene.get(SEGMENT, range=header)
    assert status == 206
    assert headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Type"] == "video/mp4"
    assert body == DATA[first : last + 1]


async def test_several_ranges_come_as_parts(scene: Scene) -> None:
    status, headers, body = await scene.get(SEGMENT, range="bytes=5000-5009, 0-9, -5")
    assert status == 206
    assert "Content-Range" not in headers
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", headers["Content-Type"])
    assert boundary
    parts = body.split(f"--{boundary[1]}".encode())
    assert parts[0].strip() == b"" and parts[-1] == b"--\r\n"
    spans = [(5000, 5009), (0, 9), (10235, 10239)]
    for part, (first, last) in zip(parts[1:-1], spans, strict=True):
        head, _, data = part.removesuffix(b"\r\n").partition(b"\r\n\r\n")
        assert f"Content-Range: bytes {first}-{last}/10240".encode() in head
        assert b"Content-Type: video/mp4" in head
        assert data == DATA[first : last + 1]
    assert headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("header", ["items=0-4", "bytes", "bytes 0-4"])
async def test_a_range_of_another_kind_is_ignored(scene: Scene, header: str) -> None:
    status, _, body = await scene.get(SEGMENT, range=header)
    assert (status, body) == (200, DATA)


@pytest.mark.parametrize("header", ["bytes=10240-", "bytes=9-0", "bytes=x", "bytes=-0", "bytes=0-1,2"])
async def test_a_bad_range_is_416(scene: Scene, header: str) -> None:
    """With the size, and as a problem."""
    status, headers, body = await scene.get(SEGMENT, range=header)
    assert (status, headers["Content-Range"]) == (416, "bytes */10240")
    assert headers["Content-Type"] == "application/problem+json"
    assert b'"status":416' in body


async def test_a_part_of_another_version_is_not_mixed_in(scene: Scene) -> None:
    """If-Range by entity tag and by date."""
    _, headers, _ = await scene.get(SEGMENT)
    for value in (headers["ETag"], headers["Last-Modified"]):
        assert (await scene.get(SEGMENT, range="bytes=0-4", if_range=value))[0] == 206
    for value in ('"old"', f"W/{headers['ETag']}", formatdate(0, usegmt=True), "nonsense"):
        status, _, body = await scene.get(SEGMENT, range="bytes=0-4", if_range=value)
        assert (status, body) == (200, DATA)


async def test_conditions_are_kept(scene: Scene) -> None:
    _, headers, _ = await scene.get(SEGMENT)
    tag, modified = headers["ETag"], headers["Last-Modified"]
    old = formatdate(0, usegmt=True)
    for name, value, expected in [
        ("if_none_match", tag, 304),
        ("if_none_match", '"old"', 200),
        ("if_modified_since", modified, 304),
        ("if_modified_since", old, 200),
        ("if_match", tag, 200),
        ("if_match", '"old"', 412),
        ("if_unmodified_since", modified, 200),
        ("if_unmodified_since", old, 412),
    ]:
        status, headers, body = await scene.get(SEGMENT, **{name: value})
        assert (name, value, status) == (name, value, expected)
        if status == 304:
            assert body == b""
            assert headers["ETag"] == tag
            assert headers["Cache-Control"] == "max-age=31536000, immutable"
            assert "Content-Type" not in headers


async def test_what_is_not_there_is_404(scene: Scene) -> None:
    for path in ("cam/1700000000/v_seg_0002.m4s", "cam", "cam/1700000000", f"{SEGMENT}/x", "nobody/x"):
        status, headers, _ = await scene.get(path)
        assert (status, headers["Content-Type"]) == (404, "application/problem+json")
        assert headers["Cache-Control"] == "no-store"


async def test_hostile_paths_are_404(scene: Scene, tmp_path: Path) -> None:
    """And give nothing of what is beside the storage."""
    (tmp_path / "secret").write_text("the secret")
    url = str(scene.client._base_url)
    for path in [
        *HOSTILE,
        "../secret",
        "cam/../../secret",
        "..%2f..%2fsecret",
        "%2e%2e/secret",
        "%2e%2e%2fsecret",
    ]:
        if not path or not path.isascii() or not path.isprintable():
            continue
        answer = await exchange(url, request_bytes("GET", f"/api/record/object/{path}", "Connection: close"))
        assert answer.startswith(b"HTTP/1.1 404 "), path
        assert b"the secret" not in answer


async def test_a_connection_serves_one_object_after_another(scene: Scene) -> None:
    """Asked for before the first was taken, too; each answer ends where it says."""
    url = str(scene.client._base_url)
    one = request_bytes("GET", f"/api/record/object/{SEGMENT}")
    part = request_bytes("GET", f"/api/record/object/{SEGMENT}", "Range: bytes=0-9,5000-5009")
    last = request_bytes("GET", f"/api/record/object/{MANIFEST}", "Connection: close")
    answer = await exchange(url, one + part + one + last)
    assert answer.count(DATA) == 2
    assert answer.count(b"HTTP/1.1 ") == 4
    assert answer.endswith(MPD)


async def test_pages_of_elsewhere_may_play_where_cors_is_on(tmp_path: Path) -> None:
    (tmp_path / "x.m4s").write_bytes(DATA)
    sections = {"recorder": Recorder(storage=FsStorage(root=str(tmp_path)))}
    async with liveman(http=Http(cors=True), **sections) as url, ClientSession(url) as client:
        headers = {"Origin": "https://player.example", "Range": "bytes=0-4"}
        async with client.get("/api/record/object/x.m4s", headers=headers) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            exposed = answer.headers["Access-Control-Expose-Headers"]
            assert {"Content-Range", "Accept-Ranges", "ETag"} <= set(exposed.split(", "))
        headers = {"Origin": "https://player.example", "Access-Control-Request-Method": "GET"}
        async with client.options("/api/record/object/x.m4s", headers=headers) as answer:
            assert "range" in answer.headers["Access-Control-Allow-Headers"].split(", ")


async def test_many_at_once_get_each_its_own(scene: Scene) -> None:
    async def one(number: int) -> None:
        _, _, body = await scene.get(SEGMENT, range=f"bytes={number}-{number + 999}")
        assert body == DATA[number : number + 1000]

    await asyncio.gather(*[one(number * 100) for number in range(60)])
