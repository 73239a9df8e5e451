"""The lists as event streams."""

import asyncio
import gc
import json
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession
from attrs import evolve, frozen

from cluster.fake import FAST, FakeNode, body, fake_node, stream, until
from cluster.serving import message, served, told
from liveman import config
from liveman.cluster import Cluster, Node, feed, listing
from support.liveman import liveman, request_bytes


@frozen
class Scene:
    """One node, Liveman, and a client."""

    node: FakeNode
    cluster: Cluster
    client: ClientSession

    def say(self, *names: str, note: str = "") -> None:
        """The node has these streams now."""
        self.node.streams = body(*(stream(name, note=note) for name in names))
        self.node.say(b"data: " + self.node.streams + b"\n\n")


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(feed, "PAUSE_SECONDS", 0.1)
    timing = evolve(FAST, silence=60.0)
    async with fake_node(streams=body(stream("first")), sse=True) as node:
        async with (
            Cluster([Node("a", node.url)], options=config.Cluster(), timing=timing) as cluster,
            served(cluster) as client,
        ):
            yield Scene(node, cluster, client)


def ids(rows: list[dict[str, str]]) -> list[str]:
    return [row["id"] for row in rows]


async def test_the_list_comes_at_once_and_anew_on_change(scene: Scene) -> None:
    """The same array as the list's."""
    async with scene.client.get("/api/sse/streams") as events:
        assert events.status == 200
        assert events.content_type == "text/event-stream"
        assert events.headers["Cache-Control"] == "no-cache"
        async with scene.client.get("/api/streams/") as response:
            assert await told(events) == await response.json()
        for name in ("second", "third"):
            scene.say("first", name)
            assert ids(await told(events)) == ["first", name]


async def test_a_list_over_many_lines_is_one_line_of_data(scene: Scene) -> None:
    """However the node wrote it."""
    async with scene.client.get("/api/sse/streams") as events:
        await told(events)
        scene.node.say(b'data: [{"id":\ndata: "lines"}]\n\n')
        assert ids(await told(events)) == ["lines"]


async def test_a_change_of_a_node_is_told(scene: Scene) -> None:
    """Its health, and what Liveman itself has made there; never its token."""
    async with scene.client.get("/api/sse/nodes") as events:
        (row,) = await told(events)
        assert (row["alias"], row["health"], row["publishers"]) == ("a", "up", 0)
        scene.cluster.session_created("a", "publish", "new", "p")
        (row,) = await told(events)
        assert row["publishers"] == 1
        await scene.node.stop()
        while row["health"] != "down":
            (row,) = await told(events)
        assert row["status"] == "stopped"


async def test_a_comment_comes_while_nothing_changes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, and changes go on being told."""
    monkeypatch.setattr(feed, "COMMENT_SECONDS", 0.05)
    async with scene.client.get("/api/sse/streams") as events:
        await told(events)
        assert [await message(events) for _ in range(3)] == [b":"] * 3
        scene.say("second")
        assert ids(await told(events)) == ["second"]


async def test_the_stream_of_one_whose_token_is_good_no_more_ends(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when there is nothing to tell; and what there is, is not told."""
    monkeypatch.setattr(feed, "COMMENT_SECONDS", 0.05)
    stolen = False
    async with (
        served(scene.cluster, good=lambda _: not stolen) as client,
        client.get("/api/sse/streams") as events,
    ):
        assert ids(await told(events)) == ["first"]
        stolen = True
        scene.say("second")
        async with asyncio.timeout(5):
            assert b"second" not in await events.content.read()


async def test_what_makes_no_difference_is_not_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node says the same again, in other words: there are only comments."""
    monkeypatch.setattr(feed, "COMMENT_SECONDS", 0.3)
    async with scene.client.get("/api/sse/streams") as events:
        await told(events)
        version = scene.cluster.state.version
        scene.node.say(b"data:  " + scene.node.streams + b"\n\n")
        await until(lambda: scene.cluster.state.version > version)
        assert await message(events) == b":"


async def test_changes_within_the_pause_are_told_as_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest state, not one message for each."""
    monkeypatch.setattr(feed, "PAUSE_SECONDS", 0.4)
    async with scene.client.get("/api/sse/streams") as events:
        await told(events)
        for number in range(10):
            version = scene.cluster.state.version
            scene.say(f"change-{number}")
            await until(lambda before=version: scene.cluster.state.version > before)  # type: ignore[misc]
        messages = 1
        while ids(await told(events)) != ["change-9"]:
            messages += 1
        assert messages < 5


async def test_no_message_comes_before_the_pause_is_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for one who has joined a moment before a change that others are told of."""
    monkeypatch.setattr(feed, "PAUSE_SECONDS", 0.3)
    clock = asyncio.get_running_loop().time
    async with scene.client.get("/api/sse/streams") as first:
        await told(first)
        await asyncio.sleep(0.4)
        joined = clock()
        async with scene.client.get("/api/sse/streams") as events:
            await told(events)
            scene.say("second")
            assert ids(await told(events)) == ["second"]
            assert clock() - joined >= 0.3


async def test_one_who_has_taken_all_may_wait_for_long(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends with the message."""
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(feed, "COMMENT_SECONDS", 0.5)
    async with scene.client.get("/api/sse/streams") as events:
        await told(events)
        assert [await message(events) for _ in range(2)] == [b":"] * 2


async def test_one_encoding_serves_all_listeners(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty of them, at the first message and at each change; also those who come later."""
    encoded = []
    encode = listing.StreamRows.encode
    monkeypatch.setattr(
        listing.StreamRows, "encode", lambda rows, streams: (encoded.append(1), encode(rows, streams))[1]
    )
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(scene.client.get("/api/sse/streams")) for _ in range(50)]
        for each in streams:
            assert ids(await told(each)) == ["first"]
        assert len(encoded) == 1
        scene.say("second")
        for each in streams:
            assert ids(await told(each)) == ["second"]
        late = await stack.enter_async_context(scene.client.get("/api/sse/streams"))
        assert ids(await told(late)) == ["second"]
        assert len(encoded) == 2
        assert len(scene.cluster.lists.streams_feed) == 51


async def test_a_listener_who_leaves_leaves_nothing_behind(scene: Scene) -> None:
    """And the last one ends the looking for changes; the next one begins it anew."""
    streams = scene.cluster.lists.streams_feed
    for name in ("second", "third"):
        async with scene.client.get("/api/sse/streams") as events:
            await told(events)
            assert len(streams) == 1
            scene.say(name)
            assert ids(await told(events)) == [name]
        await until(lambda: len(streams) == 0)
        await until(lambda: streams._follower is not None and streams._follower.done())


async def test_a_slow_listener_is_cut_off_and_holds_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go on meanwhile."""
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", 0.5)
    streams = scene.cluster.lists.streams_feed
    version = scene.cluster.state.version
    scene.say("large", note="x" * 14_000_000)
    await until(lambda: scene.cluster.state.version > version)
    large = weakref.ref(await scene.cluster.lists.streams().document())
    url = scene.client._base_url
    assert url is not None
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, (url.host, url.port))
        await loop.sock_sendall(sock, b"GET /api/sse/streams HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: len(streams) == 1)
        scene.say("small")
        async with scene.client.get("/api/sse/streams") as events:
            while ids(await told(events)) != ["small"]:
                pass
            assert len(streams) == 2
            await until(lambda: len(streams) == 1)
            scene.say("smaller")
            assert ids(await told(events)) == ["smaller"]

            def forgotten() -> bool:
                gc.collect()
                return large() is None

            await until(forgotten)
            size = 0
            while piece := await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), 5):
                size += len(piece)
            assert size < 14_000_000


async def test_a_listener_who_lags_gets_the_newest(scene: Scene) -> None:
    """What was said while he took the last message is left out."""
    scene.say("large", note="x" * 14_000_000)
    url = scene.client._base_url
    assert url is not None and url.host is not None and url.port is not None
    await until(lambda: "large" in scene.cluster.state.streams)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /api/sse/streams HTTP/1.0\r\nHost: h\r\n\r\n")
    await until(lambda: len(scene.cluster.lists.streams_feed) == 1)
    async with scene.client.get("/api/sse/nodes") as nodes:
        await told(nodes)
        for number in range(8):
            name = f"change-{number}"
            scene.say(name)
            await until(lambda wanted=name: wanted in scene.cluster.state.streams)  # type: ignore[misc]
            document = await scene.cluster.lists.streams().document()
            await until(lambda at=document: scene.cluster.lists.streams_feed._newest is at)  # type: ignore[misc]
    text, found = b"", []
    while found[-1:] != [["change-7"]]:
        text += await asyncio.wait_for(reader.read(1 << 20), 5)
        found = [ids(json.loads(each.partition(b"data: ")[2])) for each in text.split(b"\n\n")[:-1]]
    assert found == [["large"], ["change-7"]]
    writer.close()


async def test_listeners_come_back_when_a_list_cannot_be_made(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their streams end, rather than being silent."""
    async with scene.client.get("/api/sse/streams") as events:
        await told(events)
        with monkeypatch.context() as broken:
            broken.setattr(listing.StreamRows, "encode", lambda rows, streams: 1 / 0)
            scene.say("second")
            assert await asyncio.wait_for(events.content.read(), 5) == b""
        await until(lambda: len(scene.cluster.lists.streams_feed) == 0)
    async with scene.client.get("/api/sse/streams") as events:
        assert ids(await told(events)) == ["second"]


@pytest.mark.parametrize("path", ["/api/sse/streams", "/api/sse/nodes"])
async def test_head_tells_what_it_would_be(scene: Scene, path: str) -> None:
    """And ends at once."""
    async with scene.client.head(path) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert "Content-Length" not in response.headers
    assert len(scene.cluster.lists.streams_feed) == 0


async def test_all_streams_end_when_liveman_does() -> None:
    """Whole, so that a client sees it at once and comes back to another instance; who takes nothing is cut off."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            fake_node(streams=body(stream("cam", note="x" * 14_000_000)), sse=True)
        )
        async with liveman(node.url) as url:
            parts = urlsplit(url)
            assert parts.port is not None

            async def listen(path: str) -> asyncio.StreamReader:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                stack.callback(writer.close)
                writer.write(request_bytes("GET", path))
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
                return reader

            listeners = [await listen("/api/sse/nodes") for _ in range(5)]
            for each in listeners:
                await asyncio.wait_for(each.readuntil(b"\n\n\r\n"), 5)
            slow = await listen("/api/sse/streams")
        for each in listeners:
            assert (await asyncio.wait_for(each.read(), 5)).endswith(b"0\r\n\r\n")
        size = 0
        while piece := await asyncio.wait_for(slow.read(1 << 20), 5):
            size += len(piece)
        assert size < 14_000_000
