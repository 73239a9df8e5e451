"""Who may have what, and what nodes ask of the storage."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from yarl import URL

from liveman import config
from liveman.access import ANYONE, MANAGE, PUBLISH, SUBSCRIBE, Identity
from liveman.config import FsStorage, Recorder
from liveman.errors import NotAllowed, NotFound
from liveman.guard import Guard
from liveman.inbound import Answer, Inbound
from liveman.middleware import mount
from liveman.recording.folder import Folder
from liveman.recording.object_routes import object_routes, permit_viewers
from liveman.recording.objects import Objects
from recording.buckets import new_bucket
from support.liveman import liveman


@pytest.fixture
async def bucket(moto: str) -> AsyncIterator[ClientSession]:
    async with liveman(recorder=Recorder(storage=new_bucket(moto))) as url, ClientSession(url) as client:
        yield client


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[ClientSession]:
    storage = FsStorage(root=str(tmp_path / "root"))
    async with liveman(recorder=Recorder(storage=storage)) as url, ClientSession(url) as client:
        yield client


async def test_a_node_uploads_and_everybody_plays(bucket: ClientSession) -> None:
    asked = {"method": "PUT", "path": "cam/1/v_init.m4s", "ttl_seconds": 300}
    async with bucket.post("/api/storage/presign", json=asked) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        signed = await answer.json()
    assert set(signed) == {"url", "headers"}
    async with bucket.put(
        URL(signed["url"], encoded=True), data=b"recorded", headers=signed["headers"]
    ) as put:
        assert put.status == 200
    async with bucket.get("/api/record/object/cam/1/v_init.m4s") as answer:
        assert await answer.read() == b"recorded"
    asked = {"method": "GET", "path": "cam/1/v_init.m4s"}
    async with bucket.post("/api/storage/presign", json=asked) as answer:
        signed = await answer.json()
    async with bucket.get(URL(signed["url"], encoded=True)) as got:
        assert await got.read() == b"recorded"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"method": "DELETE", "path": "x", "ttl_seconds": 1}, "method"),
        ({"method": "PUT", "ttl_seconds": 1}, "path"),
        ({"method": "PUT", "path": "../x"}, "path"),
        ({"method": "PUT", "path": "/x"}, "path"),
        ({"method": "PUT", "path": "a\\b"}, "path"),
        ({"method": "PUT", "path": ""}, "path"),
        ({"method": "PUT", "path": "a\u0000"}, "path"),
        ({"method": "PUT", "path": 5}, "path"),
        ({"method": "PUT", "path": "x", "ttl_seconds": 0}, "ttl_seconds"),
        ({"method": "PUT", "path": "x", "ttl_seconds": 604_801}, "ttl_seconds"),
        ({"method": "PUT", "path": "x", "ttl_seconds": "5"}, "ttl_seconds"),
    ],
)
async def test_what_cannot_be_signed_is_said(bucket: ClientSession, body: object, where: str) -> None:
    async with bucket.post("/api/storage/presign", json=body) as answer:
        assert answer.status == 422
        assert [fault["path"] for fault in (await answer.json())["faults"]] == [where]


async def test_a_folder_signs_nothing(folder: ClientSession) -> None:
    async with folder.post("/api/storage/presign", json={"method": "PUT", "path": "x"}) as answer:
        assert answer.status == 501
        assert "folder" in (await answer.json())["detail"]


async def test_the_storage_is_pinged(folder: ClientSession, bucket: ClientSession) -> None:
    for client in (folder, bucket):
        async with client.get("/api/storage/ping") as answer:
            assert (answer.status, await answer.text()) == (200, "ok")


async def test_a_storage_that_does_not_work_is_503(folder: ClientSession, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("no folder")
    async with folder.get("/api/storage/ping") as answer:
        assert answer.status == 503
        assert answer.content_type == "application/problem+json"


async def test_a_malformed_path_is_nowhere_here_alone(folder: ClientSession) -> None:
    """Elsewhere it is a bad request."""
    for path, status in (("/api/record/object/a%00", 404), ("/whip/a%00", 400), ("/api/streams/%zz", 400)):
        async with folder.get(URL(str(folder._base_url).rstrip("/") + path, encoded=True)) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    ("identity", "stream", "allowed"),
    [
        (ANYONE, None, True),
        (Identity("x", "*", SUBSCRIBE), None, True),
        (Identity("x", "*", MANAGE | PUBLISH), None, False),
        (Identity("x", "cam", SUBSCRIBE), "cam", True),
        (Identity("x", "cam", SUBSCRIBE), "other", False),
        (Identity("x", "cam", SUBSCRIBE), None, False),
        (Identity("x", "cam", MANAGE | PUBLISH), "cam", False),
    ],
)
def test_who_may_watch_a_stream_may_have_its_objects(
    identity: Identity, stream: str | None, allowed: bool
) -> None:
    inbound = cast(Inbound, SimpleNamespace(identity=identity))
    if allowed:
        permit_viewers(inbound, stream)
    else:
        with pytest.raises(NotAllowed):
            permit_viewers(inbound, stream)


@pytest.mark.parametrize(
    ("identity", "path", "raised"),
    [
        (Identity("x", "cam", SUBSCRIBE), "cam/1/x.m4s", None),
        (Identity("x", "cam", SUBSCRIBE), "cam%2F1/x.m4s", None),
        (Identity("x", "cam", SUBSCRIBE), "other/1/x.m4s", NotAllowed),
        (Identity("x", "cam", SUBSCRIBE), "cam/unknown", NotAllowed),
        (Identity("x", "cam", SUBSCRIBE), "cam/1/..%2f..%2fother/x", NotFound),
        (ANYONE, "cam/unknown", None),
    ],
)
async def test_the_stream_of_an_object_is_found_by_its_path(
    identity: Identity, path: str, raised: type[Exception] | None
) -> None:
    """Its decoded path; and only where it makes a difference who asks."""
    served, looked = [], []

    class Given:
        async def serve(self, inbound: Inbound, path: str) -> Answer | None:
            served.append(path)
            return None

    async def stream_of(path: str) -> str | None:
        looked.append(path)
        return {"cam/1/x.m4s": "cam", "other/1/x.m4s": "other"}.get(path)

    handler = cast(
        Callable[[Any], Any], object_routes(cast(Objects, Given()), stream_of=stream_of)[0].handler
    )
    segments = ("api", "record", "object", *path.split("/"))
    inbound = SimpleNamespace(identity=identity, segments=segments)
    if raised is None:
        await handler(inbound)
        assert served == [path.replace("%2F", "/")]
    else:
        with pytest.raises(raised):
            await handler(inbound)
        assert served == []
    assert bool(looked) == (identity is not ANYONE and raised is not NotFound)


@pytest.mark.parametrize(
    ("identity", "statuses", "cached"),
    [
        (ANYONE, (200, 501, 200), "max-age=31536000, immutable"),
        (Identity("x", "*", SUBSCRIBE), (200, 403, 403), "private, max-age=31536000, immutable"),
        (Identity("x", "*", MANAGE), (403, 501, 200), None),
        (Identity("x", "cam", SUBSCRIBE), (200, 403, 403), "private, max-age=31536000, immutable"),
        (Identity("x", "other", SUBSCRIBE), (403, 403, 403), None),
        (Identity("x", "cam", MANAGE), (403, 403, 403), None),
    ],
)
async def test_each_route_has_its_rule(
    tmp_path: Path, identity: Identity, statuses: tuple[int, ...], cached: str | None
) -> None:
    """What is not everybody's stays out of caches that are shared."""
    (tmp_path / "x.m4s").touch()
    objects = Objects(Folder(str(tmp_path)), config.Playback())
    app = web.Application()
    guard = Guard(identify=AsyncMock(return_value=identity))
    mount(app, guard, object_routes(objects, stream_of=AsyncMock(return_value="cam")))
    async with objects, TestServer(app) as server, ClientSession(server.make_url("/")) as client:
        async with client.get("/api/record/object/x.m4s") as got:
            assert got.status == statuses[0]
            assert cached is None or got.headers["Cache-Control"] == cached
        body = {"method": "PUT", "path": "x"}
        async with client.post("/api/storage/presign", json=body) as answer:
            assert answer.status == statuses[1]
        async with client.get("/api/storage/ping") as answer:
            assert answer.status == statuses[2]
