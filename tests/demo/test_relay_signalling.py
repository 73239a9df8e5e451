"""What a relay says to its peer, what it makes of the answers, and that a failed one leaves nothing."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from yarl import URL

from liveman.demo import streams
from liveman.demo.client import publish, publishing_peer
from liveman.demo.peers import new_peer
from liveman.demo.pictures import Quadrants
from liveman.demo.relays import _resolved
from liveman.demo.routes import NodeSettings
from support.nodes import local_node, settled, stream_of, until

THERE = {"Location": "/session/x/1"}

Answer = Callable[[web.Request, str], Awaitable[web.Response]]


class Peer:
    """A WHIP and WHEP endpoint that answers as a test likes, and notes what came."""

    def __init__(self, answer: Answer) -> None:
        self.url = ""
        self.seen: list[tuple[str, str, str | None]] = []
        """Method, target, Authorization."""
        self.types: list[str | None] = []
        self._answer = answer

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, request.raw_path, request.headers.get("Authorization")))
        self.types.append(request.headers.get("Content-Type"))
        if request.method == "DELETE":
            return web.Response(status=204)
        return await self._answer(request, await request.text())


@asynccontextmanager
async def peer(answer: Answer) -> AsyncIterator[Peer]:
    found = Peer(answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()


@asynccontextmanager
async def willing(before: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[Peer]:
    """One that takes part, with a peer connection for each offer, when ``before`` has come to its end."""
    connections: list[RTCPeerConnection] = []

    async def answer(_request: web.Request, offer: str) -> web.Response:
        if before:
            await before()
        connections.append(connection := new_peer())
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        for transceiver in connection.getTransceivers():
            transceiver.direction = "sendrecv"  # the offer's half of it is what comes out
        await connection.setLocalDescription()
        text = connection.localDescription.sdp
        return web.Response(status=201, text=text, headers=THERE)

    async with peer(answer) as found:
        try:
            yield found
        finally:
            for connection in connections:
                await connection.close()


def saying(status: int, text: str = "", headers: dict[str, str] | None = None) -> Answer:
    async def answer(_request: web.Request, _offer: str) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return answer


async def cascade(node: str, stream: str, body: object, **more: Any) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{node}/api/cascade/{stream}", json=body, **more) as response:
            return response.status, await response.text()


async def has_relay(node: str, stream: str) -> dict[str, Any] | None:
    listed = await stream_of(node, stream)
    sessions = listed["publish"]["sessions"] + listed["subscribe"]["sessions"] if listed else []
    return next((each for each in sessions if "cascade" in each), None)


@pytest.mark.parametrize("token", ["", "Bearer a.b-c", "Basic dTpw", "  odd,  \u00fc "])
async def test_the_token_is_sent_word_for_word(token: str) -> None:
    """With the POST, and with the DELETE when the node ends; an empty one means no Authorization."""
    async with willing() as other:
        async with local_node() as node:
            body = {"token": token, "sourceUrl": f"{other.url}/whep/x"}
            assert await cascade(node, "cam", body) == (200, "")
            await until(lambda: has_relay(node, "cam"))
        sent = token.strip() or None  # as spaces around a value belong to no header (RFC 9110 section 5.5)
        assert other.seen == [("POST", "/whep/x", sent), ("DELETE", "/session/x/1", sent)]
        assert other.types[0] == "application/sdp"
    assert await settled() == set()


@pytest.mark.parametrize(
    ("location", "session"),
    [
        ("/session/cam/1", "http://a:1/session/cam/1?token=x"),
        ("session/cam/1", "http://a:1/session/cam/1?token=x"),
        ("/session/cam/1?lost=1#z", "http://a:1/session/cam/1?token=x"),
        ("//b/session/1", "http://a:1/b/session/1?token=x"),
        ("/session/a%20b/1", "http://a:1/session/a%20b/1?token=x"),
        ("/session/a b\u00fc/1", "http://a:1/session/a%20b%C3%BC/1?token=x"),
        ("https://b/s/1?kept=1", "https://b/s/1?kept=1"),
        ("HTTP://B/s/1", "http://b/s/1"),
    ],
)
def test_a_relative_location_replaces_the_path_alone(location: str, session: str) -> None:
    """As the client of a real node does it; an absolute one is taken as it is."""
    assert str(_resolved(URL("http://a:1/api/whip/b/cam?token=x"), location)) == session


async def test_of_several_codecs_in_an_answer_the_first_counts() -> None:
    """It is what a real node sends; the others it could."""
    async with willing() as other, local_node() as node:
        assert await cascade(node, "cam", {"sourceUrl": f"{other.url}/whep/x"}) == (200, "")
        await until(lambda: has_relay(node, "cam"))
        codecs = (await stream_of(node, "cam"))["codecs"]
        assert {each["kind"]: each["codec"] for each in codecs} == {"audio": "opus", "video": "vp8"}


async def declining(_request: web.Request, offer: str) -> web.Response:
    """An answer without media in any direction."""
    connection = new_peer()
    await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    for transceiver in connection.getTransceivers():
        transceiver.direction = "inactive"
    await connection.setLocalDescription()
    text = connection.localDescription.sdp
    await connection.close()
    return web.Response(status=201, text=text, headers=THERE)


BAD_SDP = "v=0\r\nm=audio 9 RTP 0\r\n"
NO_MEDIA = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"


@pytest.mark.parametrize(
    ("answer", "reason", "is_deleted"),
    [
        (saying(403, "Don't permission"), "answered with 403: Don't permission", False),
        (saying(409), "answered with 409", False),
        (saying(200, "fine"), "answered with 200: fine", False),
        (saying(307, headers={"Location": "/elsewhere"}), "answered with 307", False),
        (saying(201, NO_MEDIA), "without a Location", False),
        (saying(201, NO_MEDIA, {"Location": "http://"}), "absolute url", False),
        (saying(201, "", THERE), "not usable", True),
        (saying(201, "{}", THERE), "not usable: SdpInvalidSyntax", True),
        (saying(201, NO_MEDIA, THERE), "not usable", True),
        (saying(201, BAD_SDP, THERE), "not usable", True),
        (declining, "not usable: it takes neither audio nor video", True),
        (saying(201, "a=b\n" * 20_000, THERE), "more than 65536 bytes", True),
    ],
)
@pytest.mark.parametrize("mode", ["pull", "push"])
async def test_a_failed_relay_leaves_nothing_but_a_line_in_the_log(
    mode: str, answer: Answer, reason: str, is_deleted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """No session, no task, no stream that a pull made, and no session at the peer that it could name."""
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(peer(answer))
        node = await stack.enter_async_context(local_node())
        if mode == "push":
            await stack.enter_async_context(await publish(f"{node}/whip/cam", [Quadrants()]))
        url = f"{other.url}/w/x?token=hidden"
        body = {"token": "Bearer hidden", "sourceUrl" if mode == "pull" else "targetUrl": url}
        assert await cascade(node, "cam", body) == (200, "")
        await until(failed(caplog, reason))
        assert "hidden" not in caplog.text
        assert await has_relay(node, "cam") is None
        assert (await stream_of(node, "cam") is None) == (mode == "pull")

        async def told() -> bool:
            return [method for method, _, _ in other.seen] == ["POST", "DELETE"][: 1 + is_deleted]

        await until(told)
    assert await settled() == set()


async def test_a_peer_that_is_not_there_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A stream that was there before the pull stays."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/whep/x"
        async with local_node() as node, aiohttp.ClientSession() as http:
            async with http.post(f"{node}/api/streams/made") as response:
                assert response.status == 204
            for stream in ("made", "new"):
                caplog.clear()
                assert await cascade(node, stream, {"sourceUrl": url}) == (200, "")
                await until(failed(caplog, "ClientConnectorError"))
            assert await stream_of(node, "made")
            assert await stream_of(node, "new") is None
    assert await settled() == set()


def failed(caplog: pytest.LogCaptureFixture, reason: str) -> Callable[[], Awaitable[bool]]:
    async def logged() -> bool:
        lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        return any(line.startswith("a relay failed stream=") and reason in line for line in lines)

    return logged


@pytest.mark.parametrize(
    ("stream", "body", "status", "text"),
    [
        ("cam", {}, 500, "src and dst cannot be empty at the same time"),
        ("cam", {"token": "x", "sourceUrl": "", "targetUrl": None}, 500, "src and dst cannot be empty"),
        ("cam", {"sourceUrl": "http://a/b", "targetUrl": "http://a/b"}, 500, "src and dst cannot be empty"),
        ("none", {"targetUrl": "http://a/b"}, 404, "stream not exists"),
        ("cam", {"sourceUrl": "http://a/b"}, 409, "A connection has already been established"),
        ("none", {"sourceUrl": "/whep/cam"}, 500, "absolute url of http or https"),
        ("none", {"sourceUrl": "ftp://a/b"}, 500, "absolute url of http or https"),
        ("none", {"sourceUrl": "http://a:99999/b"}, 500, "absolute url of http or https"),
        ("cam", {"targetUrl": "http://[::1/b"}, 500, "absolute url of http or https"),
        ("none", {"sourceUrl": "http://a/b", "token": "x\r\nX-Evil: 1"}, 500, "header value"),
        ("a%0ab", {"sourceUrl": "http://a/b"}, 500, "header value"),
        ("none", {"sourceUrl": 7}, 422, "token, sourceUrl, targetUrl have to be strings"),
        ("none", [], 422, "Failed to deserialize the JSON body"),
    ],
)
async def test_what_is_no_relay_is_refused(stream: str, body: object, status: int, text: str) -> None:
    """At once, and nothing is made."""
    async with local_node() as node, await publish(f"{node}/whip/cam", [Quadrants()]):
        answer = await cascade(node, URL(stream, encoded=True), body)
        assert answer[0] == status
        assert text in answer[1]
        async with aiohttp.ClientSession() as http, http.get(f"{node}/api/streams/") as response:
            (listed,) = await response.json()
        assert (listed["id"], listed["subscribe"]["sessions"]) == ("cam", [])
    assert await settled() == set()


async def test_a_node_with_a_token_wants_it_for_relays() -> None:
    """As for all that manages it."""
    body = {"sourceUrl": "http://127.0.0.1:9/whep/x"}
    async with local_node(NodeSettings(token="node-token")) as node:
        assert await cascade(node, "cam", body) == (401, "")
        authorised = {"Authorization": "Bearer node-token"}
        assert (await cascade(node, "cam", {}, headers=authorised))[0] == 500


@pytest.mark.parametrize(("mode", "is_stream_deleted"), [("pull", True), ("push", True), ("push", False)])
async def test_what_ends_meanwhile_ends_what_the_peer_then_makes(mode: str, is_stream_deleted: bool) -> None:
    """The peer answers when the stream, or the publisher of a push, has gone: its session is DELETEd."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await go_on.wait()

    async with willing(wait) as other, local_node() as node, aiohttp.ClientSession() as http:
        publisher = await publish(f"{node}/whip/cam", [Quadrants()]) if mode == "push" else None
        body = {"sourceUrl" if mode == "pull" else "targetUrl": f"{other.url}/w/x"}
        assert await cascade(node, "cam", body) == (200, "")
        await asked.wait()
        if is_stream_deleted:
            async with http.delete(f"{node}/api/streams/cam") as response:
                assert response.status == 204
        elif publisher:
            await publisher.wait_connected()
            await publisher.disconnect()

            async def has_left() -> bool:
                return (await stream_of(node, "cam"))["publish"]["leaveAt"] > 0

            await until(has_left)
        go_on.set()

        async def deleted() -> bool:
            return ("DELETE", "/session/x/1", None) in other.seen

        await until(deleted)
        assert await has_relay(node, "cam") is None
        assert (await stream_of(node, "cam") is None) == is_stream_deleted
        if publisher:
            await publisher.disconnect()
    assert await settled() == set()


async def test_a_relay_that_never_connects_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does its publisher, whom nobody could hear either; the peer is told, and the node goes on."""
    monkeypatch.setattr(streams, "TICK", 0.02)
    monkeypatch.setattr(streams, "ORPHAN_GRACE", 0)
    silent = new_peer()

    async def answer(_request: web.Request, offer: str) -> web.Response:
        await silent.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await silent.setLocalDescription()
        text = silent.localDescription.sdp
        await silent.close()
        return web.Response(status=201, text=text, headers=THERE)

    async with peer(answer) as other, local_node() as node, aiohttp.ClientSession() as http:
        deaf = await publishing_peer([Quadrants()])
        headers = {"Content-Type": "application/sdp"}
        async with http.post(f"{node}/whip/cam", data=deaf.localDescription.sdp, headers=headers) as response:
            assert response.status == 201
        await deaf.close()
        assert await cascade(node, "cam", {"targetUrl": f"{other.url}/whip/x"}) == (200, "")
        await until(lambda: has_relay(node, "cam"))
        monkeypatch.setattr(streams, "CONNECT_WITHIN", 0)

        async def gone() -> bool:
            return await stream_of(node, "cam") is None and len(other.seen) == 2

        await until(gone)
        assert other.seen[1] == ("DELETE", "/session/x/1", None)
    assert await settled() == set()
