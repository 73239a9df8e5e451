"""The short way of signalling when Liveman serves alone: its own protocol towards the clients.

A connection begins here. As long as its requests are plain signalling, they are served without aiohttp; the
first that is anything else hands the connection to aiohttp for good, which serves signalling by the same
`Endpoint`s.
"""

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http.client import responses
from typing import Literal

from liveman.connection import BUFFERED, Connection, reading_buffer
from liveman.inbound import Answer, Inbound, build_lines
from liveman.middleware import Endpoint, Signposts
from liveman.paths import check_path
from liveman.plain import Plain, recognise

__all__ = ["Front"]

#: How long a request that is not there whole may take before it is aiohttp's to wait for, seconds.
WHOLE_SECONDS = 0.2

_LAST_CHUNK = b"0\r\n\r\n"


class Front:
    """Makes the protocol of each connection that is accepted, and ends them all."""

    def __init__(self, signposts: Signposts, fallback: Callable[[], asyncio.Protocol]) -> None:
        """``fallback`` makes aiohttp's protocol for a connection."""
        self.signposts = signposts
        self.fallback = fallback
        self.loop = asyncio.get_running_loop()
        self.buffer = reading_buffer()
        self.connections: set[_ClientConnection] = set()
        self.ending = False

    def __call__(self) -> asyncio.BaseProtocol:
        return _ClientConnection(self)

    def close_idle(self, seconds: float) -> None:
        """Close the connections that have asked nothing for so long; to be called now and then."""
        for connection in list(self.connections):
            stuck = connection.closing or connection.paused
            if stuck and connection.stuck:
                # It does not take the last answer, or sends far ahead; nobody can tell whether it is there.
                connection.transport.abort()
            connection.stuck = stuck
        oldest = self.loop.time() - seconds
        for connection in [each for each in self.connections if each.idle and each.idle_since <= oldest]:
            connection.transport.close()

    async def end(self, seconds: float) -> None:
        """Close all connections; those with a request under way get so long to answer it."""
        self.ending = True
        self.close_idle(0.0)
        tasks = {each.task for each in self.connections}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for connection in list(self.connections):
                connection.transport.abort()
            if late:
                await asyncio.wait(late)


class _ClientConnection(Connection):
    """A task serves its requests, one after another, and ends with it."""

    def __init__(self, front: Front) -> None:
        super().__init__(front.buffer)
        self.idle_since = front.loop.time()
        self.stuck = False
        """Whether it was closing or paused when that was looked at last."""
        self._front = front
        self._held = b""
        """What came and belongs to no request yet."""
        self._wanted: asyncio.Future[_Direct | None] | None = None
        """Set while no request is under way."""
        self._impatient: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return self._wanted is not None and not self._wanted.done()

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.remote = str(peer[0]) if peer else "unknown"
        self._front.connections.add(self)
        self.task = self._front.loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._held = self._held + data if self._held else data
        if self._wanted is not None and not self._wanted.done():
            if (found := self._take()) != "more":
                self._wanted.set_result(found)
        elif len(self._held) > BUFFERED:
            self.pause()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._front.connections.discard(self)
        self._be_patient()
        self.task.cancel()

    # One request after another.

    async def _serve(self) -> None:
        try:
            while (direct := await self._next()) is not None:
                answer = await direct.endpoint.serve(direct)
                if answer is not None:
                    direct.put(answer)
                if not self.writable:
                    await self.taken()
                if direct.last or self._front.ending or self.closing:
                    return
                self.idle_since = self._front.loop.time()
                if self._held:
                    await asyncio.sleep(0)  # The others' turn, however many requests are waiting here.
        finally:
            if self in self._front.connections:
                self.transport.close()

    async def _next(self) -> "_Direct | None":
        """The next request; None: the connection has become aiohttp's."""
        found = self._take() if self._held else "more"
        if found == "more":
            self.resume()
            self._wanted = self._front.loop.create_future()
            found = await self._wanted
            self._wanted = None
        return found

    def _take(self) -> "_Direct | Literal['more'] | None":
        """The next request; None: the connection has become aiohttp's; ``more``: it is not here whole."""
        found = recognise(self._held)
        if isinstance(found, Plain):
            segments = tuple(found.path[1:].split("/"))
            endpoint = self._front.signposts.find(segments)
            if endpoint is not None:
                self._be_patient()
                self._held = self._held[found.size :]
                return _Direct(self, endpoint, found, segments)
        elif found == "more":
            if self._impatient is None:
                self._impatient = self._front.loop.call_later(WHOLE_SECONDS, self._wait_no_more)
            return found
        self._hand_over()
        return None

    def _wait_no_more(self) -> None:
        self._hand_over()
        assert self._wanted is not None
        self._wanted.set_result(None)

    def _hand_over(self) -> None:
        """Give the connection to aiohttp, with all that came and was not served."""
        self._be_patient()
        self.resume()
        self._front.connections.discard(self)
        protocol = self._front.fallback()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(self._held)

    async def taken(self) -> None:
        """Wait until the client has taken most of what was written; one that takes nothing is cut off."""
        try:
            await self.drained()
        except TimeoutError:
            self.transport.abort()

    def _be_patient(self) -> None:
        if self._impatient is not None:
            self._impatient.cancel()
            self._impatient = None


class _Direct(Inbound):
    """A request that came on a connection of the front."""

    __slots__ = ("_chunked", "_connection", "_named", "endpoint", "last")

    def __init__(
        self, connection: _ClientConnection, endpoint: Endpoint, plain: Plain, segments: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.method = plain.method
        self.path = plain.path
        self.query = plain.query
        self.version = "1.1"
        self.fields = plain.fields
        self.remote = self.address = connection.remote
        self.scheme = "http"
        self.whole = body = plain.body
        self.length = None if body is None else len(body)
        self.pending = False
        self.prefix = ""
        self.segments = segments
        self.last = not plain.keeps
        """Whether the connection ends with this request."""
        self._connection = connection
        self.endpoint = endpoint
        self._named = plain.named
        self._chunked = False

    @property
    def left(self) -> bool:
        return self._connection.closing

    def header(self, name: bytes) -> str:
        return self._named.get(name, b"").decode()

    def check(self) -> None:
        check_path(self.path)

    async def read(self) -> bytes:
        return b""

    def put(self, answer: Answer) -> None:
        """Write a whole answer."""
        body = b"" if self.method == "HEAD" or answer.status in (204, 304) else answer.body
        self._connection.transport.write(self._head(answer, len(answer.body)) + body)

    async def deliver(self, answer: Answer) -> None:
        self.put(answer)
        self.status = answer.status
        if self.left:
            raise ConnectionResetError("the client has left")  # The write has met a reset.

    async def begin(self, answer: Answer) -> None:
        self._chunked = answer.length is None
        self._connection.transport.write(self._head(answer, 0))
        self.status = answer.status

    async def write(self, piece: bytes) -> None:
        self._connection.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        await self._connection.taken()
        if self.left:
            raise ConnectionResetError("the client has left")

    async def end(self) -> None:
        if self._chunked:
            self._connection.transport.write(_LAST_CHUNK)
        if self.left:
            raise ConnectionResetError("the client has left")

    def abort(self) -> None:
        self._connection.transport.abort()

    def _head(self, answer: Answer, length: int) -> bytes:
        """The head of an answer; ``length`` counts where the answer does not name one."""
        status = answer.status
        self.last = self.last or answer.ends
        guard = self.endpoint.guard
        fields = answer.fields
        if guard.cors is not False:
            fields = (*fields, *guard.cors_fields(self.header(b"origin")))
        head = build_lines(_status_line(status, answer.reason), fields)
        date = b"" if b"\r\ndate:" in head.lower() else _date()
        framing = b""
        if self._chunked:
            framing = b"Transfer-Encoding: chunked\r\n"
        elif status not in (204, 304) and (self.method != "HEAD" or length or answer.length is not None):
            framing = b"Content-Length: %d\r\n" % (answer.length or length)
        close = b"Connection: close\r\n" if self.last else b""
        return b"%b%b%b%b\r\n" % (head, date, framing, close)


@lru_cache(maxsize=256)
def _status_line(status: int, reason: str | None) -> bytes:
    return f"HTTP/1.1 {status} {responses.get(status, '') if reason is None else reason}".encode()


_now = (0, b"")


def _date() -> bytes:
    """The field that tells the time (RFC 9110 section 6.6.1), made once a second."""
    global _now
    second = int(time.time())
    if _now[0] != second:
        _now = second, f"Date: {formatdate(second, usegmt=True)}\r\n".encode()
    return _now[1]
