"""Relays between built-in nodes, with real media: pushed, pulled, one behind the other, and how they end."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiortc.codecs import get_capabilities

from liveman.config import Secret
from liveman.demo.client import Publisher, publish, subscribe
from liveman.demo.nodes import buildin_nodes
from liveman.demo.peers import new_peer
from liveman.demo.pictures import MovingPicture, Quadrants, Tone, quadrant_colours
from support.nodes import alike, stream_of, until

#: For three hops on a busy machine.
PATIENCE = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def nodes() -> AsyncIterator[list[str]]:
    """Three nodes for all tests here, each with a stream name of its own."""
    async with buildin_nodes(3) as started:
        yield [node.url for node in started]


async def post(url: str, body: object, token: str = "") -> tuple[int, str]:
    headers = {"Authorization": token} if token else {}
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as response:
        return response.status, await response.text()


async def push(source: str, target: str, stream: str, token: str = "") -> dict[str, Any]:
    """Push, and wait until it is connected; the session at the source."""
    body = {"token": token, "targetUrl": f"{target}/whip/{stream}"}
    assert await post(f"{source}/api/cascade/{stream}", body) == (200, "")
    await until(lambda: relays(target, stream, "publish", "connected"), PATIENCE)
    return (await until(lambda: relays(source, stream, "subscribe", "connected"), PATIENCE))[-1]


async def pull(target: str, source: str, stream: str, name: str = "") -> dict[str, Any]:
    """Pull, and wait until it is connected; the session at the destination."""
    body = {"token": "", "sourceUrl": f"{source}/whep/{stream}"}
    assert await post(f"{target}/api/cascade/{name or stream}", body) == (200, "")
    return (await until(lambda: relays(target, name or stream, "publish", "connected"), PATIENCE))[-1]


async def relays(node: str, stream: str, side: str, state: str) -> list[dict[str, Any]]:
    """The sessions of that state on a side of a stream."""
    listed = await stream_of(node, stream)
    return [each for each in listed[side]["sessions"] if each["state"] == state] if listed else []


async def here(node: str, stream: str) -> int:
    """How many sessions a stream has; -1: no such stream."""
    listed = await stream_of(node, stream)
    if listed is None:
        return -1
    sessions = listed["publish"]["sessions"] + listed["subscribe"]["sessions"]
    return sum(each["leaveAt"] == 0 for each in sessions)


async def settles(node: str, stream: str, wanted: int) -> None:
    """Wait until so many are here; 0 is also fulfilled by a stream that has gone since."""

    async def settled() -> bool:
        found = await here(node, stream)
        return found == wanted or (wanted == 0 and found == -1)

    await until(settled, PATIENCE)


async def sees_the_picture(node: str, stream: str) -> None:
    """A viewer who comes now gets pictures and sound."""
    async with await subscribe(f"{node}/whep/{stream}") as viewer:
        await viewer.wait_for_picture(lambda frame: alike(quadrant_colours(frame)), timeout=PATIENCE)
        await viewer.wait_for_audio(5, timeout=PATIENCE)


async def delete(url: str) -> None:
    async with aiohttp.ClientSession() as http, http.delete(url) as response:
        assert response.status == 204


async def test_a_push_carries_the_picture(nodes: list[str]) -> None:
    """The source says where it pushes to; at the destination the session looks as anyone's."""
    a, b, _ = nodes
    async with await publish(f"{a}/whip/pushed", [Quadrants(), Tone()]):
        relay = await push(a, b, "pushed")
        (received,) = (await stream_of(b, "pushed"))["publish"]["sessions"]
        assert relay["cascade"] == {
            "targetUrl": f"{b}/whip/pushed",
            "sessionUrl": f"{b}/session/pushed/{received['id']}",
        }
        assert "cascade" not in received
        await sees_the_picture(b, "pushed")


async def test_a_pull_carries_the_picture_under_another_name(nodes: list[str]) -> None:
    """The destination says where it pulls from; at the source the session looks as anyone's."""
    a, b, _ = nodes
    async with await publish(f"{a}/whip/pulled", [Quadrants(), Tone()]):
        relay = await pull(b, a, "pulled", "mine")
        (sent,) = (await stream_of(a, "pulled"))["subscribe"]["sessions"]
        assert relay["cascade"] == {
            "sourceUrl": f"{a}/whep/pulled",
            "sessionUrl": f"{a}/session/pulled/{sent['id']}",
        }
        assert "cascade" not in sent
        await sees_the_picture(b, "mine")


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_late_viewer_behind_two_relays_sees_it_move(nodes: list[str], codec: str) -> None:
    """What goes from node to node is the same codec, and what he sees is no still."""
    a, b, c = nodes
    stream = f"far-{codec}"
    async with await publisher_of(f"{a}/whip/{stream}", codec):
        await push(a, b, stream)
        await pull(c, b, stream)
        async with await subscribe(f"{c}/whep/{stream}", kinds=["video"]) as early:
            await early.wait_for_frames(5, PATIENCE)
        async with await subscribe(f"{c}/whep/{stream}", kinds=["video"]) as late:
            await late.wait_for_frames(1, PATIENCE)
            first = bytes(late.last_frame.planes[0])
            await late.wait_for_picture(lambda frame: bytes(frame.planes[0]) != first, PATIENCE)
        listed = [(await stream_of(node, stream))["codecs"] for node in nodes]
        for codecs in listed:
            assert [each for each in codecs if each["kind"] == "video"] == listed[0]
        assert listed[0][0]["codec"] == codec.lower()
    for node in nodes:
        await settles(node, stream, -1 if node != c else 0)


async def test_a_wish_for_a_whole_picture_reaches_the_publisher(nodes: list[str]) -> None:
    """Two nodes away; by himself he makes one every few seconds, which would be a long wait."""
    a, b, c = nodes
    async with await publish(f"{a}/whip/wish", [MovingPicture()]) as publisher:
        (sender,) = publisher.peer.getSenders()
        wished: list[None] = []
        make_one = sender._send_keyframe
        sender._send_keyframe = lambda: (wished.append(None), make_one())
        await push(a, b, "wish")
        await pull(c, b, "wish")
        async with await subscribe(f"{c}/whep/wish", kinds=["video"]) as early:
            await early.wait_for_frames(1, PATIENCE)

        async def heard() -> bool:
            """Not when one of his own pictures comes first: then another viewer has to come."""
            before = len(wished)
            async with await subscribe(f"{c}/whep/wish", kinds=["video"]) as late:
                await late.wait_for_frames(1, PATIENCE)
            return len(wished) > before

        await until(heard, PATIENCE)


async def publisher_of(url: str, codec: str) -> Publisher:
    """Moving pictures in a codec."""
    peer = new_peer()
    transceiver = peer.addTransceiver(MovingPicture(), "sendonly")
    wanted = [each for each in get_capabilities("video").codecs if each.name == codec]
    transceiver.setCodecPreferences(wanted[:1])
    await peer.setLocalDescription()
    publisher = Publisher(url, peer, None)
    await publisher.start()
    return publisher


@pytest.mark.parametrize(
    ("mode", "side", "source_keeps", "destination_keeps"),
    [
        ("push", "source", 1, -1),
        ("push", "destination", 1, -1),
        ("pull", "source", 1, 0),
        ("pull", "destination", 1, -1),
    ],
)
async def test_a_relay_that_is_ended_at_one_side_ends_at_the_other(
    nodes: list[str], mode: str, side: str, source_keeps: int, destination_keeps: int
) -> None:
    """The source keeps its publisher; at the destination a publisher who is DELETEd takes the stream along.

    Where the destination has merely lost the source, it treats that as a publisher who left.
    """
    a, b, _ = nodes
    stream = f"{mode}-{side}"
    async with await publish(f"{a}/whip/{stream}", [Quadrants()]):
        await (push(a, b, stream) if mode == "push" else pull(b, a, stream))
        (sent,) = await relays(a, stream, "subscribe", "connected")
        (received,) = await relays(b, stream, "publish", "connected")
        node, session = (a, sent) if side == "source" else (b, received)
        await delete(f"{node}/session/{stream}/{session['id']}")
        await settles(b, stream, destination_keeps)
        await settles(a, stream, source_keeps)
    await settles(a, stream, -1)


async def test_a_deleted_stream_takes_its_relays_along(nodes: list[str]) -> None:
    """At the destination of a pull as at the source of a push; what lies behind it goes too."""
    a, b, c = nodes
    async with await publish(f"{a}/whip/chain", [Quadrants()]):
        await pull(b, a, "chain")
        await push(b, c, "chain")
        await delete(f"{b}/api/streams/chain")
        for node, wanted in ((c, -1), (a, 1), (b, -1)):
            await settles(node, "chain", wanted)


async def test_a_publisher_who_hangs_up_ends_the_push(nodes: list[str]) -> None:
    """The source waits for his return with its viewers; the destination is told at once."""
    a, b, _ = nodes
    publisher = await publish(f"{a}/whip/hangs-up", [Quadrants()])
    async with await subscribe(f"{a}/whep/hangs-up"):
        await push(a, b, "hangs-up")
        # A destination that was not told would wait for his return as well, with this viewer.
        async with await subscribe(f"{b}/whep/hangs-up", kinds=["video"]) as viewer:
            await viewer.wait_for_frames(1, PATIENCE)
            await publisher.disconnect()
            await settles(b, "hangs-up", -1)
        await settles(a, "hangs-up", 1)
        async with await publish(f"{a}/whip/hangs-up", [Quadrants(), Tone()]):
            await push(a, b, "hangs-up")
            await sees_the_picture(b, "hangs-up")


async def test_a_publisher_who_hangs_up_does_not_end_a_pull(nodes: list[str]) -> None:
    """The source does not know that a viewer is a relay: it gets the picture of the next publisher."""
    a, b, _ = nodes
    publisher = await publish(f"{a}/whip/back", [Quadrants()])
    await pull(b, a, "back")
    await publisher.disconnect()
    await settles(a, "back", 1)
    async with await publish(f"{a}/whip/back", [Quadrants(), Tone()]):
        await sees_the_picture(b, "back")


async def test_a_token_opens_a_node_at_the_begin_and_at_the_end() -> None:
    """A wrong one leaves nothing; the right one is sent again with the DELETE."""
    async with buildin_nodes(1) as one, buildin_nodes(1, token=Secret("node-token")) as other:
        a, b = one[0].url, other[0].url
        authorised = {"Authorization": "Bearer node-token"}

        async def listed() -> list[Any]:
            async with aiohttp.ClientSession(headers=authorised) as http:
                async with http.get(f"{b}/api/streams/") as response:
                    return await response.json()

        async def connected() -> bool:
            return any(await relays(a, "cam", "subscribe", "connected"))

        async def empty() -> bool:
            return await listed() == []

        async with await publish(f"{a}/whip/cam", [Quadrants()]):
            for token in ("", "node-token", "Bearer wrong"):
                body = {"token": token, "targetUrl": f"{b}/whip/cam"}
                assert await post(f"{a}/api/cascade/cam", body) == (200, "")
            body = {"token": "Bearer node-token", "targetUrl": f"{b}/whip/cam"}
            assert await post(f"{a}/api/cascade/cam", body) == (200, "")
            await until(connected, PATIENCE)
            (stream,) = await listed()
            assert len(stream["publish"]["sessions"]) == 1
            assert await here(a, "cam") == 2
            assert (await post(f"{b}/api/cascade/cam", {}))[0] == 401
            assert (await post(f"{b}/api/cascade/cam", {}, "Bearer node-token"))[0] == 500
        await until(empty, PATIENCE)


async def test_a_node_that_ends_tells_its_peers() -> None:
    """The destination of a push loses the stream, the source of a pull loses a viewer."""
    async with contextlib.AsyncExitStack() as stack:
        a = (await stack.enter_async_context(buildin_nodes(1)))[0].url
        async with buildin_nodes(1) as others:
            b = others[0].url
            await stack.enter_async_context(await publish(f"{a}/whip/cam", [Quadrants()]))
            await pull(b, a, "cam")
            publisher = await publish(f"{b}/whip/own", [Quadrants()])
            await push(b, a, "own")
        await publisher.disconnect()
        await settles(a, "own", -1)
        await settles(a, "cam", 1)
