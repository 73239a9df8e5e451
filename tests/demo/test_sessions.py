"""Sessions that come, vanish and lapse at a built-in node."""

import asyncio
import itertools
import re
import socket
from urllib.parse import urljoin

import aiohttp
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from yarl import URL

from liveman.demo import routes, streams
from liveman.demo.client import publish, publishing_peer, subscribe, watching_peer
from liveman.demo.nodes import BuildinNode
from liveman.demo.pictures import QUADRANTS, MovingPicture, Quadrants, quadrant_colours
from support.nodes import get_json, local_node, local_runner, settled, stream_of, until

OFFER_TYPE = {"Content-Type": "application/sdp"}
OTHER_COLOURS = QUADRANTS[::-1]


def without_candidates(sdp: str) -> str:
    return re.sub(r"a=(candidate:.*|end-of-candidates)\r\n", "", sdp)


def shows(colours: tuple[tuple[int, int, int], ...]):
    def condition(frame) -> bool:
        found = quadrant_colours(frame)
        return all(
            abs(a - b) < 40 for f, c in zip(found, colours, strict=True) for a, b in zip(f, c, strict=True)
        )

    return condition


async def test_a_trickled_candidate_is_used(shared_node: BuildinNode) -> None:
    """A client that knows no address of the node is connected when it has trickled its own."""
    peer = await publishing_peer([MovingPicture()])
    offer = peer.localDescription.sdp
    async with aiohttp.ClientSession() as http:
        url = f"{shared_node.url}/whip/trickled"
        async with http.post(url, data=without_candidates(offer), headers=OFFER_TYPE) as response:
            session_url = urljoin(url, response.headers["Location"])
            answer = without_candidates(await response.text())
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        stream = await stream_of(shared_node.url, "trickled")
        assert stream["publish"]["sessions"][0]["state"] != "connected"
        lines = [line for line in offer.splitlines() if line.startswith(("m=", "a=mid:", "a=candidate:"))]
        headers = {"Content-Type": "application/trickle-ice-sdpfrag"}
        async with http.patch(session_url, data="\r\n".join(lines), headers=headers) as response:
            assert response.status == 204

        async def connected() -> bool:
            stream = await stream_of(shared_node.url, "trickled")
            return stream["publish"]["sessions"][0]["state"] == "connected"

        await until(connected)
        async with http.delete(session_url) as response:
            assert response.status == 204
    await peer.close()


async def test_a_publisher_who_vanishes_may_come_back_to_his_viewers(shared_node: BuildinNode) -> None:
    """The stream waits with its viewers; the next publisher's picture reaches them, though they never left."""
    whip, whep = f"{shared_node.url}/whip/back", f"{shared_node.url}/whep/back"
    publisher = await publish(whip, [Quadrants()])
    async with await subscribe(whep, kinds=["video"]) as viewer:
        await viewer.wait_for_picture(shows(QUADRANTS))
        await publisher.disconnect()

        async def has_left() -> bool:
            stream = await stream_of(shared_node.url, "back")
            (session,) = stream["publish"]["sessions"]
            return session["state"] == "closed" and stream["publish"]["leaveAt"] >= session["leaveAt"] > 0

        await until(has_left)
        assert (await stream_of(shared_node.url, "back"))["codecs"] == []
        async with await publish(whip, [Quadrants(OTHER_COLOURS)]) as again:
            stream = await stream_of(shared_node.url, "back")
            assert stream["publish"]["leaveAt"] == 0
            assert [s["id"] for s in stream["publish"]["sessions"]] == [again.session_url.rpartition("/")[2]]
            await viewer.wait_for_picture(shows(OTHER_COLOURS))


async def test_the_last_viewer_of_a_stream_without_publisher_takes_it_along(shared_node: BuildinNode) -> None:
    """With nobody left the stream goes at once, so a second DELETE is a 404."""
    viewer = await subscribe(f"{shared_node.url}/whep/alone")
    assert (await stream_of(shared_node.url, "alone"))["subscribe"]["leaveAt"] == 0
    assert await viewer.delete() == 204
    assert await stream_of(shared_node.url, "alone") is None
    assert await viewer.close() == 404


async def test_a_viewer_who_left_is_listed_for_a_while(
    shared_node: BuildinNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is gone from the list when the time is over; until then a second DELETE is a 204."""
    monkeypatch.setattr(streams, "TICK", 0.02)
    async with local_node() as url, aiohttp.ClientSession() as http:
        for _ in range(2):
            await post_offer(http, f"{url}/whep/cam", await watching_peer())
        first, second = (await stream_of(url, "cam"))["subscribe"]["sessions"]
        for _ in range(2):
            async with http.delete(f"{url}/session/cam/{first['id']}") as response:
                assert response.status == 204
        listed = (await stream_of(url, "cam"))["subscribe"]
        assert [(s["id"], s["leaveAt"] > 0) for s in listed["sessions"]] == [
            (second["id"], False),
            (first["id"], True),
        ]
        assert listed["leaveAt"] == 0
        monkeypatch.setattr(streams, "LEFT_LISTED", 0)

        async def forgotten() -> bool:
            listed = (await stream_of(url, "cam"))["subscribe"]["sessions"]
            return [s["id"] for s in listed] == [second["id"]]

        await until(forgotten)


async def test_a_client_that_never_connects_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A POST without media behind it does not hold a place, nor a task, for ever."""
    monkeypatch.setattr(streams, "TICK", 0.02)
    monkeypatch.setattr(streams, "CONNECT_WITHIN", 100)
    async with local_node() as url, aiohttp.ClientSession() as http:
        await post_offer(http, f"{url}/whip/cam", await publishing_peer([MovingPicture()]))

        async def dropped() -> bool:
            return (await stream_of(url, "cam"))["publish"]["leaveAt"] > 0

        await until(dropped)
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not any(name.startswith("forward") for name in names)
    assert await settled() == set()


async def test_a_publisher_is_alone_even_while_both_are_joining() -> None:
    """Of two offers at the same time one gets the stream, the other a 409; both are answered."""
    async with local_node() as url, aiohttp.ClientSession() as http:
        peers = [await publishing_peer([MovingPicture()]) for _ in range(2)]
        statuses = await asyncio.gather(*(post_offer(http, f"{url}/whip/cam", peer) for peer in peers))
        assert sorted(statuses) == [201, 409]
    assert await settled() == set()


async def test_a_refused_offer_leaves_neither_stream_nor_task() -> None:
    """Whatever line an offer is cut off at, the node answers; it keeps nothing of what it refused."""
    peer = await publishing_peer([MovingPicture()])
    lines = peer.localDescription.sdp.splitlines(keepends=True)
    await peer.close()
    async with local_node() as url, aiohttp.ClientSession() as http:
        refused = 0
        for count in range(len(lines)):
            text = "".join(lines[:count] + lines[count + 1 :])[: 40 * count]
            async with http.post(f"{url}/whip/s{count}", data=text, headers=OFFER_TYPE) as response:
                assert response.status in (201, 500), text
                refused += response.status == 500
                listed = await stream_of(url, f"s{count}")
                assert (listed is not None) == (response.status == 201)
        assert refused > 5
    assert await settled() == set()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/whip/a%0d%0aX-Evil:%201", 500),
        ("/whip/a%00", 500),
        ("/whip/%ff", 400),
        ("/whip/", 404),
        ("/whip/a/b", 404),
    ],
)
async def test_a_name_that_fits_no_header_is_refused(path: str, status: int) -> None:
    """No name of a stream ends up as a header of the answer."""
    async with local_node() as url, aiohttp.ClientSession() as http:
        target = URL(url + path, encoded=True)
        async with http.post(target, data="v=0", headers=OFFER_TYPE) as response:
            assert response.status == status
            assert "X-Evil" not in response.headers
        assert await get_json(f"{url}/api/streams/") == []


async def test_a_long_body_of_unknown_length_is_refused() -> None:
    """Chunks add up to the same limit of 2 MiB."""

    async def chunks():
        for _ in range(33):
            yield b"a=b\n" * 16_384

    async with local_node() as url, aiohttp.ClientSession() as http:
        async with http.post(f"{url}/whip/cam", data=chunks(), headers=OFFER_TYPE) as response:
            assert (response.status, await response.text()) == (413, "length limit exceeded")


async def test_events_of_named_streams_only() -> None:
    """`?streams=` narrows the event stream as it narrows the list."""
    async with local_node() as url, aiohttp.ClientSession() as http:
        async with http.get(f"{url}/api/sse/streams?streams=b&streams=c") as events:
            assert await events.content.readuntil(b"\n\n") == b"data: []\n\n"
            for name in "abc":
                async with http.post(f"{url}/api/streams/{name}") as response:
                    assert response.status == 204
            assert b'"id":"a"' not in (text := await events.content.readuntil(b"\n\n"))
            assert b'"id":"b"' in text


async def test_event_streams_end_when_the_node_does() -> None:
    """In order, so that nobody takes the end for a failure."""
    async with aiohttp.ClientSession() as http:
        async with local_node() as url:
            events = await http.get(f"{url}/api/sse/streams")
            await events.content.readuntil(b"\n\n")
        assert await asyncio.wait_for(events.read(), 5) == b""


async def test_a_listener_who_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """He holds one version at the most, and the others hear on."""
    monkeypatch.setattr(routes, "SSE_STALLED", 0.2)
    async with local_runner() as runner, aiohttp.ClientSession() as http:
        host, port = runner.addresses[0]
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((host, port))
            deaf.sendall(b"GET /api/sse/streams HTTP/1.1\r\nHost: node\r\n\r\n")
            names = (f"{'x' * 4000}{number}" for number in itertools.count())

            async def only_we_are_connected() -> bool:
                async with http.post(f"http://{host}:{port}/api/streams/{next(names)}") as response:
                    assert response.status == 204
                return len(runner.server.connections) == 1

            assert not await only_we_are_connected()
            await until(only_we_are_connected, within=20)
        async with http.get(f"http://{host}:{port}/api/sse/streams?streams=none") as events:
            assert await events.content.readuntil(b"\n\n") == b"data: []\n\n"


async def test_a_listener_who_leaves_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(routes, "SSE_IDLE", 0.05)
    async with local_runner() as runner, aiohttp.ClientSession() as http:
        host, port = runner.addresses[0]
        async with http.get(f"http://{host}:{port}/api/sse/streams") as events:
            await events.content.readuntil(b":\n\n")
            serving = len(asyncio.all_tasks())

        async def has_ended() -> bool:
            return len(asyncio.all_tasks()) < serving

        await until(has_ended)
    assert caplog.records == []


async def post_offer(http: aiohttp.ClientSession, url: str, peer: RTCPeerConnection) -> int:
    """POST a peer's offer and forget about the peer; the status."""
    async with http.post(url, data=peer.localDescription.sdp, headers=OFFER_TYPE) as response:
        await peer.close()
        return response.status
