"""Which node is tried after which failure, and that no session is left behind."""

import asyncio
import socket

from aiohttp import ClientSession

from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import SDP, Received, answer, raw_node

CLOSE = "Connection: close"
POST = request_bytes("POST", "/whip/cam", "Content-Type: application/sdp", CLOSE, body=OFFER)
BUSY = answer("503 Service Unavailable", "Retry-After: 7", "Content-Type: text/plain", body=b"busy")


def status(data: bytes) -> int:
    return int(data.split(b" ", 2)[1])


def closed_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


async def node_is(health: str, url: str) -> None:
    async with asyncio.timeout(10), ClientSession(url) as client:
        while True:
            async with client.get("/api/nodes/") as response:
                if {row["health"] for row in await response.json()} == {health}:
                    return
            await asyncio.sleep(0.02)


async def reset(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_a_node_that_answers_503_passes_its_offers_to_the_next() -> None:
    async with raw_node(BUSY) as busy, raw_node() as free, liveman(busy, free) as url:
        for i in range(4):
            assert status(await exchange(url, POST.replace(b"/cam", b"/cam%d" % i))) == 201
        assert len(free.targets("POST")) == 4


async def test_when_every_node_is_busy_the_node_s_own_503_is_the_answer() -> None:
    async with raw_node(BUSY) as one, raw_node(BUSY) as two, liveman(one, two) as url:
        raw = await exchange(url, POST)
        assert raw.startswith(b"HTTP/1.1 503 ")
        assert raw.endswith(b"busy")
        assert b"Retry-After: 7" in raw
        assert (len(one.received), len(two.received)) == (1, 1)


async def test_an_offer_is_not_sent_twice_once_a_byte_of_it_left() -> None:
    """The node may have made a session of what it got."""
    async with raw_node(reset) as bad, raw_node() as good, liveman(bad, good) as url:
        assert status(await exchange(url, POST.replace(b"cam", b"cam?nodes=n0&nodes=n1"))) == 502
        assert len(bad.received) == 1
        assert good.received == []


async def test_half_a_503_is_no_proof_that_nothing_was_made() -> None:
    async def half(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("503 Service Unavailable", "Content-Length: 100", body=b"bu", length=False))
        writer.close()

    async with raw_node(half) as bad, raw_node() as good, liveman(bad, good) as url:
        assert status(await exchange(url, POST)) == 502
        assert good.received == []


async def test_a_node_that_refuses_connections_costs_no_offer() -> None:
    async with raw_node() as good, liveman(closed_port(), good) as url:
        for i in range(3):
            assert status(await exchange(url, POST.replace(b"/cam", b"/cam%d" % i))) == 201


async def test_with_no_node_left_it_is_503_with_retry_after() -> None:
    async with liveman(closed_port()) as url:
        await node_is("down", url)
        raw = await exchange(url, POST)
        assert status(raw) == 503
        assert b"Retry-After: " in raw
        assert b"application/problem+json" in raw


async def test_a_viewer_of_an_unknown_stream_gets_404() -> None:
    async with raw_node() as node, liveman(node) as url:
        assert status(await exchange(url, POST.replace(b"/whip/", b"/whep/"))) == 404
        assert node.received == []


async def test_a_kept_connection_that_died_is_noticed_by_requests_that_are_safe_to_repeat() -> None:
    """The node closes after each answer without saying so; DELETEs still succeed, and nothing is doubled."""

    async def once(received: Received, writer: asyncio.StreamWriter) -> None:
        location = f"Location: /session/x/{len(node.received)}"
        writer.write(
            answer("201 Created", location, body=SDP) if received.method == "POST" else answer("204 No")
        )
        await writer.drain()
        writer.close()

    async with raw_node(once) as node, liveman(node) as url:
        for i in range(20):
            raw = await exchange(url, POST.replace(b"/cam", b"/cam%d" % i))
            assert status(raw) == 201
            path = raw.partition(b"Location: ")[2].partition(b"\r\n")[0].decode()
            assert status(await exchange(url, request_bytes("DELETE", path, CLOSE))) == 204
        assert len(node.targets("POST")) == 20
