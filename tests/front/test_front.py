"""The short way of plain signalling: what it serves itself, and what it hands to aiohttp."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock

import pytest
from attrs import define, field

from liveman import connection
from liveman import front as module
from liveman.access import ANYONE, OPEN
from liveman.front import Front
from liveman.guard import Guard
from liveman.inbound import Answer, Inbound
from liveman.middleware import Endpoint, Signal, Signposts

GET = b"GET /whip/%b HTTP/1.1\r\nHost: h\r\n\r\n"


@define(slots=False)
class Aiohttp(asyncio.Protocol):
    """What stands for aiohttp: it says what it got."""

    got: bytes = b""
    calls: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.calls += 1
        self.transport.write(b"aiohttp got %d bytes." % len(self.got))


@define
class Served:
    """A front on a port, and all that its handler does and sees."""

    port: int = 0
    front: Front | None = None
    handed: list[Aiohttp] = field(factory=list)
    started: list[str] = field(factory=list)
    cancelled: list[str] = field(factory=list)
    go_on: asyncio.Event = field(factory=asyncio.Event)
    changed: asyncio.Condition = field(factory=asyncio.Condition)

    async def handler(self, inbound: Inbound) -> Answer:
        await self._note(self.started, inbound.stream)
        if inbound.stream == "fails":
            raise RuntimeError("on purpose")
        if inbound.stream == "waits":
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                await self._note(self.cancelled, inbound.stream)
                raise
        if inbound.stream == "long":
            return Answer(200, body=b"x" * 200_000)
        return Answer(200, ((b"X-Stream", inbound.stream.encode()),), inbound.whole or b"")

    async def _note(self, where: list[str], what: str) -> None:
        async with self.changed:
            where.append(what)
            self.changed.notify_all()

    async def wait_for(self, where: list[str], what: str) -> None:
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(lambda: what in where)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    it = Served()
    guard = Guard(identify=AsyncMock(return_value=ANYONE))
    signposts = Signposts()
    for path in ("/whip/{stream}", "/session/{stream}/{session}/{rest}"):
        routes = [Signal(method, path, it.handler, OPEN) for method in ("GET", "POST")]
        signposts.add(path, Endpoint(guard, path, routes))

    def fallback() -> Aiohttp:
        it.handed.append(Aiohttp())
        return it.handed[-1]

    it.front = Front(signposts, fallback)
    server = await asyncio.get_running_loop().create_server(it.front, "127.0.0.1", 0)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()
        await it.front.end(1.0)
        for each in it.handed:
            each.transport.close()


async def opened(it: Served, count: int) -> list[Any]:
    """The front's connections, as soon as there are so many."""
    async with asyncio.timeout(5):
        while len(it.front.connections) < count:
            await asyncio.sleep(0)
    return list(it.front.connections)


async def answers(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    """So many answers, each with its body."""
    found = []
    async with asyncio.timeout(5):
        for _ in range(count):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            found.append(head + await reader.readexactly(length))
    return found


async def test_plain_signalling_is_served_without_aiohttp() -> None:
    async with served() as it:
        reader, writer = await it.open()
        for _ in range(3):
            writer.write(b"POST /whip/cam HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nv=0")
            (said,) = await answers(reader, 1)
            assert said.startswith(b"HTTP/1.1 200 OK\r\nX-Stream: cam\r\nDate: ")
            assert said.endswith(b"\r\n\r\nv=0")
        assert not it.handed
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /api/streams/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /whip/a/b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /whip/a/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /session/a/b/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /session/a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /whip/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01 this is TLS\r\n\r\n",
    ],
)
async def test_anything_else_goes_to_aiohttp_with_all_its_bytes(data: bytes) -> None:
    """And so does all that follows on the same connection, plain or not."""
    async with served() as it:
        reader, writer = await it.open()
        writer.write(data)
        async with asyncio.timeout(5):
            assert await reader.readuntil(b".") == b"aiohttp got %d bytes." % len(data)
        writer.write(GET % b"cam")
        async with asyncio.timeout(5):
            await reader.readuntil(b".")
        assert it.handed[0].got == data + GET % b"cam"
        assert not it.started
        writer.close()


async def test_a_request_in_pieces_is_served_when_it_is_whole() -> None:
    async with served() as it:
        reader, writer = await it.open()
        for piece in (b"POST /whip/cam HTTP/1.1\r\nHost: h\r\nConte", b"nt-Length: 3\r\n\r", b"\nv=", b"0"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        assert (await answers(reader, 1))[0].endswith(b"v=0")
        assert not it.handed
        writer.close()


async def test_a_request_that_stays_incomplete_is_aiohttp_s_to_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WHOLE_SECONDS", 0.05)
    async with served() as it:
        reader, writer = await it.open()
        writer.write(GET % b"first" + b"POST /whip/cam HTTP/1.1\r\nHo")
        await answers(reader, 1)
        async with asyncio.timeout(5):
            assert await reader.readuntil(b".") == b"aiohttp got 27 bytes."
        writer.close()


async def test_requests_sent_at_once_are_answered_in_their_order() -> None:
    """The last of them by aiohttp."""
    async with served() as it:
        reader, writer = await it.open()
        last = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
        writer.write(b"".join(GET % name for name in (b"a", b"b", b"c")) + last)
        found = await answers(reader, 3)
        assert [each.partition(b"X-Stream: ")[2][:1] for each in found] == [b"a", b"b", b"c"]
        async with asyncio.timeout(5):
            await reader.readuntil(b".")
        assert it.handed[0].got == last
        writer.close()


async def test_a_client_that_sends_ahead_is_held_back() -> None:
    """What waits behind a request under way does not grow without end."""
    async with served() as it:
        reader, writer = await it.open()
        writer.write(GET % b"waits")
        await it.wait_for(it.started, "waits")
        writer.write((GET % b"next") * 400_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await writer.drain()
        (connection,) = it.front.connections
        assert len(connection._held) < 512 * 1024
        it.go_on.set()
        assert len(await answers(reader, 50)) == 50
        writer.transport.abort()


async def test_who_sends_far_ahead_and_shows_no_life_is_cut_off() -> None:
    """A connection that is held back cannot tell that its client has left."""
    async with served() as it:
        _, writer = await it.open()
        writer.write(GET % b"waits" + (GET % b"next") * 20_000)
        await it.wait_for(it.started, "waits")
        (connection,) = it.front.connections
        async with asyncio.timeout(5):
            while not connection.paused:
                await asyncio.sleep(0)
        it.front.close_idle(60.0)
        assert not connection.closing
        it.front.close_idle(60.0)
        await it.wait_for(it.cancelled, "waits")
        writer.transport.abort()


async def test_who_never_takes_the_last_answer_is_cut_off() -> None:
    async with served() as it:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", it.port))
            (connection,) = await opened(it, 1)
            connection.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, 4096
            )
            client.sendall((GET % b"long").replace(b"Host", b"Connection: close\r\nHost"))
            async with asyncio.timeout(5):
                while not connection.closing:
                    await asyncio.sleep(0)
            it.front.close_idle(60.0)
            assert connection in it.front.connections
            it.front.close_idle(60.0)
            async with asyncio.timeout(5):
                while it.front.connections:
                    await asyncio.sleep(0)


async def test_what_waits_longest_behind_a_long_queue_is_handed_over_whole() -> None:
    """Requests that were held back come to aiohttp, however far ahead they were sent."""
    async with served() as it:
        reader, writer = await it.open()
        rest = b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n" + b"x" * 300_000
        writer.write(GET % b"waits" + rest)
        await it.wait_for(it.started, "waits")
        (connection,) = it.front.connections
        async with asyncio.timeout(5):
            while not connection.paused:
                await asyncio.sleep(0)
            it.go_on.set()
            while not it.handed or len(it.handed[0].got) < len(rest):
                await asyncio.sleep(0.01)
        assert it.handed[0].got == rest
        assert reader is not None
        writer.transport.abort()


async def test_one_client_s_queue_does_not_keep_the_others_waiting() -> None:
    async with served() as it:
        _, many = await it.open()
        few_reader, few = await it.open()
        many.write((GET % b"many") * 2000)
        await it.wait_for(it.started, "many")
        few.write(GET % b"few")
        await answers(few_reader, 1)
        assert it.started.count("many") < 2000
        many.transport.abort()
        few.close()


async def test_the_handler_is_cancelled_when_the_client_leaves() -> None:
    async with served() as it:
        _, writer = await it.open()
        writer.write(GET % b"waits")
        await it.wait_for(it.started, "waits")
        writer.close()
        await it.wait_for(it.cancelled, "waits")


@pytest.mark.parametrize("reason", [b"Connection: close\r\n", b""])
async def test_a_connection_ends_when_either_side_says_so(reason: bytes) -> None:
    async with served() as it:
        reader, writer = await it.open()
        writer.write(b"GET /whip/a HTTP/1.1\r\nHost: h\r\n%b\r\n" % reason)
        (said,) = await answers(reader, 1)
        assert (b"\r\nConnection: close\r\n" in said) is bool(reason)
        if not reason:
            it.front.close_idle(0.0)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


async def test_a_handler_that_fails_is_a_500_and_the_connection_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as it:
        reader, writer = await it.open()
        writer.write(GET % b"fails" + GET % b"works")
        failed, worked = await answers(reader, 2)
        assert failed.startswith(b"HTTP/1.1 500 ")
        assert b"on purpose" not in failed
        assert worked.startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_the_end_waits_for_a_request_under_way_and_for_nobody_else() -> None:
    async with served() as it:
        busy_reader, busy = await it.open()
        idle_reader, idle = await it.open()
        slow_reader, slow = await it.open()
        slow.write(b"GET /whip/a")
        busy.write(GET % b"waits" + GET % b"never served")
        await it.wait_for(it.started, "waits")
        end = asyncio.create_task(it.front.end(5.0))
        async with asyncio.timeout(5):
            assert await idle_reader.read() == b""
            assert await slow_reader.read() == b""
        assert not end.done()
        it.go_on.set()
        assert len(await answers(busy_reader, 1)) == 1
        async with asyncio.timeout(5):
            await end
            assert await busy_reader.read() == b""
        assert it.started == ["waits"]
        for writer in (busy, idle, slow):
            writer.close()


async def test_the_end_does_not_wait_for_ever() -> None:
    async with served() as it:
        reader, writer = await it.open()
        writer.write(GET % b"waits")
        await it.wait_for(it.started, "waits")
        async with asyncio.timeout(5):
            await it.front.end(0.05)
            assert it.cancelled == ["waits"]
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
        writer.close()


async def test_a_long_request_is_handed_over_however_fast_it_comes() -> None:
    """What the front cannot serve is never gathered there."""
    async with served() as it:
        reader, writer = await it.open()
        head = b"POST /whip/cam HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n"
        writer.write(head + b"x" * 20_000_000)
        async with asyncio.timeout(10):
            while len(it.handed[0].got if it.handed else b"") < len(head) + 20_000_000:
                await reader.read(4096)
        assert it.handed[0].calls > 10
        writer.transport.abort()


async def test_a_client_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.2)
    async with served() as it:
        reader, writer = await it.open()
        writer.transport.pause_reading()
        body = b"x" * 60_000
        post = b"POST /whip/cam HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + body
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            async with asyncio.timeout(20):
                while True:
                    writer.write(post)
                    await writer.drain()
        assert not it.front.connections
        assert reader is not None
