"""A built-in node by itself: media, who is listed when, tokens, hostile input, and how it starts and ends."""

import asyncio
import importlib.util
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from liveman.config import Secret
from liveman.demo import routes
from liveman.demo.client import SignallingFailed, publish, subscribe
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture, Quadrants, Tone, quadrant_colours
from liveman.errors import LivemanError
from support.nodes import alike, until

SDP_TYPE = {"Content-Type": "application/sdp"}


@pytest.fixture
async def node() -> AsyncIterator[str]:
    async with buildin_nodes(1) as nodes:
        yield nodes[0].url


@pytest.fixture
async def api(node: str) -> AsyncIterator[ClientSession]:
    async with ClientSession(node) as client:
        yield client


async def stream_of(api: ClientSession, name: str) -> dict[str, Any]:
    async with api.get(f"/api/streams/{name}") as response:
        assert response.status == 200
        return await response.json()


async def test_a_picture_and_a_tone_reach_a_viewer(node: str) -> None:
    async with (
        await publish(f"{node}/whip/cam", [Quadrants(), Tone()]),
        await subscribe(f"{node}/whep/cam") as viewer,
    ):
        await viewer.wait_for_picture(lambda frame: alike(quadrant_colours(frame)), timeout=20)
        await viewer.wait_for_audio(10)


async def test_two_viewers_of_one_stream_both_see_it(node: str) -> None:
    async with await publish(f"{node}/whip/cam", [Quadrants()]):
        for _ in range(2):
            viewer = await subscribe(f"{node}/whep/cam", kinds=["video"])
            await viewer.wait_for_picture(lambda frame: alike(quadrant_colours(frame)), timeout=20)
            await viewer.close()


async def test_a_viewer_may_come_before_the_publisher(node: str) -> None:
    async with await subscribe(f"{node}/whep/cam", kinds=["video"]) as viewer:
        async with await publish(f"{node}/whip/cam", [Quadrants()]):
            await viewer.wait_for_picture(lambda frame: alike(quadrant_colours(frame)), timeout=20)


async def test_a_muted_viewer_gets_no_pictures_until_it_is_unmuted(node: str, api: ClientSession) -> None:
    async with (
        await publish(f"{node}/whip/cam", [MovingPicture(), Tone()]),
        await subscribe(f"{node}/whep/cam") as viewer,
    ):
        await viewer.wait_for_frames(5, timeout=20)
        async with api.post(viewer.session_url, json={"kind": "video", "enabled": False}) as response:
            assert (response.status, await response.text()) == (200, "{}")
        heard = viewer.audio_frames
        await viewer.wait_for_audio(heard + 25)
        seen = viewer.frames
        await viewer.wait_for_audio(heard + 75)
        assert viewer.frames - seen <= 1
        async with api.post(viewer.session_url, json={"kind": "video", "enabled": True}) as response:
            assert response.status == 200
        await viewer.wait_for_frames(viewer.frames + 5, timeout=20)


async def test_who_has_left_stays_listed_and_says_when(node: str, api: ClientSession) -> None:
    async with await publish(f"{node}/whip/cam", [MovingPicture()]):
        viewer = await subscribe(f"{node}/whep/cam", kinds=["video"])
        await viewer.wait_for_frames(1, timeout=20)
        await viewer.close()
        stream = await stream_of(api, "cam")
        (left,) = stream["subscribe"]["sessions"]
        assert left["state"] == "closed"
        assert left["leaveAt"] > 0
        assert stream["subscribe"]["leaveAt"] > 0


async def test_a_publisher_who_leaves_takes_the_stream_along(node: str, api: ClientSession) -> None:
    """The viewer's session is gone too, and a second DELETE finds nothing."""
    publisher = await publish(f"{node}/whip/cam", [MovingPicture()])
    viewer = await subscribe(f"{node}/whep/cam", kinds=["video"])
    assert await publisher.close() == 204
    async with api.get("/api/streams/") as response:
        assert await response.json() == []
    assert await viewer.close() == 404


async def test_a_stream_that_nobody_joins_is_reaped(api: ClientSession) -> None:
    async with api.post("/api/streams/empty") as response:
        assert response.status == 204
    stream = await stream_of(api, "empty")
    assert stream["subscribe"]["leaveAt"] == stream["createdAt"]

    async def gone() -> bool:
        async with api.get("/api/streams/empty") as response:
            return response.status == 404

    await until(gone, within=15)


async def test_a_token_is_wanted_everywhere_but_where_a_node_is_open() -> None:
    async with buildin_nodes(1, token=Secret("node-token")) as nodes, ClientSession(nodes[0].url) as api:
        for method, path, status in (
            ("GET", "/api/info", 200),
            ("GET", "/metrics", 200),
            ("OPTIONS", "/whip/cam", 200),
            ("GET", "/api/streams/", 401),
            ("GET", "/api/sse/streams", 401),
            ("POST", "/whip/cam", 401),
            ("DELETE", "/session/cam/x", 401),
        ):
            async with api.request(method, path) as response:
                assert (response.status, method, path) == (status, method, path)
                assert "WWW-Authenticate" not in response.headers
        with pytest.raises(SignallingFailed):
            await publish(f"{nodes[0].url}/whip/cam", [MovingPicture()], token="wrong")
        async with await publish(
            f"{nodes[0].url}/whip/cam", [MovingPicture()], token="node-token"
        ) as publisher:
            assert await publisher.trickle() == 204


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/whip/cam", SDP_TYPE, b"x" * (2 * 1024 * 1024 + 1), 413),
        ("POST", "/whip/cam", SDP_TYPE, b"\xff\xfe\x00", 400),
        ("POST", "/whip/cam", SDP_TYPE, b"v=0\r\n" * 1000, 500),
        ("POST", "/whip/cam", SDP_TYPE, b"v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 500),
        ("POST", "/whep/cam", SDP_TYPE, b"", 500),
        ("GET", "/nowhere", {}, None, 404),
        ("PUT", "/whip/cam", {}, None, 405),
        ("POST", "/session/cam/x", {"Content-Type": "application/json"}, b"{", 400),
    ],
)
async def test_bad_input_is_refused_and_leaves_no_stream(
    node: str, api: ClientSession, method, path, headers, body, status
) -> None:
    async with api.request(method, path, headers=headers, data=body) as response:
        assert response.status == status
    async with api.get("/api/streams/") as response:
        assert await response.json() == []


async def test_an_idle_event_stream_is_kept_alive_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "SSE_IDLE", 0.1)
    server = TestServer(routes.create_node_app(routes.NodeSettings()))
    await server.start_server()
    try:
        async with ClientSession(server.make_url("")) as api, api.get("/api/sse/streams") as response:
            text = b""
            async with asyncio.timeout(10):
                while text.count(b":\n\n") < 2:
                    text += await response.content.readany()
            assert text.startswith(b"data: []\n\n:\n\n")
    finally:
        await server.close()


async def test_events_tell_of_each_change(node: str, api: ClientSession) -> None:
    async with api.get("/api/sse/streams") as events:
        text = ""

        async def says(pattern: str) -> None:
            nonlocal text
            async with asyncio.timeout(10):
                while not re.search(pattern, text):
                    text += (await events.content.readany()).decode()

        await says(r"^data: \[\]\n\n")
        async with await publish(f"{node}/whip/cam", [MovingPicture()]):
            await says(r'data: .*"id":"cam".*"state":"connected"')
            text = ""
        await says(r"data: \[\]\n\n")
        for line in text.splitlines():
            if line.startswith("data: "):
                json.loads(line.removeprefix("data: "))


async def test_nodes_take_ports_in_a_row_when_told_the_first() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    async with buildin_nodes(1, address=f"127.0.0.1:{free}") as nodes:
        assert nodes[0].url == f"http://127.0.0.1:{free}"
        with pytest.raises(LivemanError, match=f"buildin-0 did not start on 127.0.0.1:{free}"):
            async with buildin_nodes(1, address=f"127.0.0.1:{free}"):
                pass


async def test_without_aiortc_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LivemanError, match=r"pip install 'liveman\[demo\]'"):
        async with buildin_nodes(1):
            pass


async def test_a_client_that_is_refused_leaves_nothing_running(node: str) -> None:
    before = len(asyncio.all_tasks())
    with pytest.raises(SignallingFailed) as caught:
        await subscribe(f"{node}/nowhere/cam")
    assert caught.value.answer_status == 404

    async def settled() -> bool:
        return len(asyncio.all_tasks()) <= before

    await until(settled)
