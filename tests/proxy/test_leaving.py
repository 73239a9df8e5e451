"""Clients that hang up: nothing goes on for them, and no session is left behind."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import ClientSession, web

from liveman import connection, create_app
from liveman import hosted as hosted_module
from liveman.front import _Direct
from liveman.hosted import Hosted
from support.liveman import OFFER, config_for, liveman, request_bytes
from support.raw_node import SDP, RawNode, Received, answer, raw_node

SDP_TYPE = "Content-Type: application/sdp"
#: With any field twice a request goes to aiohttp.
WAYS = pytest.mark.parametrize("way", [(), ("X: 1", "X: 1")], ids=["its own protocol", "aiohttp"])


@asynccontextmanager
async def hosted(node: RawNode, *, cancels: bool) -> AsyncIterator[str]:
    """Liveman in an application of someone else's, whose server cancels the handlers of clients who leave or
    does not."""
    runner = web.AppRunner(create_app(config_for(node)), handler_cancellation=cancels)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("how", ["alone", "alone, by aiohttp", "in a host", "in a host that cancels"])
async def test_an_offer_is_finished_and_its_session_deleted(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The node may have made a session by then, so its answer is waited for."""
    answer_now = asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "POST":
            await answer_now.wait()
            writer.write(answer("201 Created", "Location: /session/cam/d6b4", body=SDP))
        else:
            writer.write(answer("204 No Content"))

    lines = [SDP_TYPE, *(["X: 1", "X: 1"] if "aiohttp" in how else [])]
    async with raw_node(slow) as node:
        way = liveman(node) if how.startswith("alone") else hosted(node, cancels="cancels" in how)
        async with way as url:
            client = await connect(url)
            client.write(request_bytes("POST", "/whip/cam", *lines, body=OFFER))
            await node.wait_for(lambda n: n.targets("POST") == ["/whip/cam"])
            client.transport.abort()
            answer_now.set()
            await node.wait_for(lambda n: n.targets("DELETE") == ["/session/cam/d6b4"])
            async with ClientSession() as session, session.get(f"{url}/api/streams/") as response:
                assert await response.json() == []
    assert not [record for record in caplog.records if record.exc_info]


@WAYS
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_any_other_request_ends_with_its_client(way: tuple[str, ...], method: str) -> None:
    """The node sees its connection closed, and need not work for nobody. A session is ended all the same."""

    async def silent(_: Received, writer: asyncio.StreamWriter) -> None:
        if len(node.received) > 1:
            writer.write(answer("204 No Content"))

    async with raw_node(silent) as node:
        node.streams = b'[{"id":"cam","createdAt":0,"publish":{"sessions":[{"id":"1"}]},"subscribe":{}}]'
        async with liveman(node) as url:
            client = await connect(url)
            client.write(request_bytes(method, "/session/cam/1", *way))
            await node.wait_for(lambda n: n.targets(method) == ["/session/cam/1"])
            client.transport.abort()
            await node.wait_for(lambda n: n.received[0].connection in n.closed)
            if method == "DELETE":
                await node.wait_for(lambda n: n.targets(method) == ["/session/cam/1"] * 2)


@WAYS
async def test_an_event_stream_ends_with_its_client(way: tuple[str, ...]) -> None:
    events = answer("200 OK", "Content-Type: text/event-stream", length=False) + b"data: 1\n\n"
    async with raw_node(events) as node:
        node.streams = b'[{"id":"cam","createdAt":0,"publish":{"sessions":[{"id":"1"}]},"subscribe":{}}]'
        async with liveman(node) as url:
            reader, client = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
            client.write(request_bytes("GET", "/session/cam/1/events", *way))
            async with asyncio.timeout(3):
                await reader.readuntil(b"data: 1\n\n")
            client.transport.abort()
            await node.wait_for(lambda n: n.received[0].connection in n.closed, timeout=3.0)


@WAYS
async def test_a_stream_that_its_client_does_not_take_ends(
    monkeypatch: pytest.MonkeyPatch, way: tuple[str, ...]
) -> None:
    for module in (connection, hosted_module):
        monkeypatch.setattr(module, "STALLED_SECONDS", 0.2)

    async def flood(_received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", "Content-Type: text/event-stream", length=False))
        with suppress(ConnectionError):
            while True:
                writer.write(b"data: " + b"x" * 60_000 + b"\n\n")
                await writer.drain()

    async with raw_node(flood) as node:
        node.streams = b'[{"id":"cam","createdAt":0,"publish":{"sessions":[{"id":"1"}]},"subscribe":{}}]'
        async with liveman(node) as url:
            reader, client = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
            client.write(request_bytes("GET", "/session/cam/1/events", *way))
            client.transport.pause_reading()
            await node.wait_for(lambda n: n.received and n.received[0].connection in n.closed)
            assert reader is not None
            client.transport.abort()


@WAYS
async def test_a_reset_that_only_the_answer_itself_meets_leaves_no_session(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: tuple[str, ...]
) -> None:
    """It comes after Liveman has looked for it, and before the event loop tells of it."""
    kind = Hosted if way else _Direct
    look = kind.left.fget

    def left(inbound: _Direct | Hosted) -> bool:
        seen = look(inbound)
        client.close()
        return seen

    monkeypatch.setattr(kind, "left", property(left))
    async with raw_node() as node, liveman(node) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.send(request_bytes("POST", "/whip/cam", SDP_TYPE, *way, body=OFFER))
            await node.wait_for(lambda n: n.targets("DELETE") == ["/session/cam/session-0"])
    assert not [record for record in caplog.records if record.exc_info]


async def connect(url: str) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    return writer
