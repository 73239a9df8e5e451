"""Liveman's connections to the nodes for its clients' signalling: HTTP/1.1, byte for byte.

A dialer makes the transport (TCP, TLS, later a tunnel); nothing here knows which. A request is sent once: a
POST or PATCH never again, whatever happens; others once more when a kept connection turned out to be dead.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from functools import lru_cache
from urllib.parse import urlsplit

from attrs import frozen

from liveman.errors import NodeError, NodeTimeout, NodeUnreachable
from liveman.proxy.headers import Fields
from liveman.proxy.http1 import LAST_CHUNK, AnswerReader, build_chunk, build_head
from liveman.tasks import TaskOwner

__all__ = ["Dial", "Exchange", "Request", "Upstream", "dial_tcp"]

#: Makes a transport to the node with this URL: ``await dial(url, protocol_factory)``.
Dial = Callable[[str, Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.BaseTransport, asyncio.Protocol]]]

CONNECT_SECONDS = 2.0
BODY_IDLE_SECONDS = 60.0
BUFFERED = 256 * 1024
IDLE_SECONDS = 30.0
#: A POST must not meet a connection that the node is about to close.
FRESH_SECONDS = 5.0
IDLE_CONNECTIONS = 64


@frozen
class Request:
    """One request to a node."""

    method: str
    target: str
    """The raw path and query, below the node's URL."""
    fields: Fields
    body: bytes | AsyncIterable[bytes] = b""
    length: int | None = 0
    """Of a body that comes in pieces; None: unknown."""


class Upstream:
    """The pools of connections, one for each node's URL; an async context that closes them."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._idle: dict[str, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._tasks = TaskOwner()
        self._sweep: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "Upstream":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.abort()
        await self._tasks.__aexit__(None, None, None)

    async def send(self, url: str, request: Request, *, fresh: bool = False) -> "Exchange":
        """Begin a request at the node with this URL; ``fresh``: on a new connection.

        Raises NodeUnreachable when nothing was sent.
        """
        host, base = _origin(url)
        body = request.body
        length = len(body) if isinstance(body, bytes) else request.length
        head = build_head(request.method, base + request.target, host, request.fields, length)
        connection = None if fresh else self._pooled(url, FRESH_SECONDS if request.method == "POST" else IDLE_SECONDS)
        reused = connection is not None
        if connection is None:
            connection = await self._connect(url)
        exchange = Exchange(self, connection, request.method, reused)
        connection.exchange = exchange
        if isinstance(body, bytes):
            connection.write(head + body)
            exchange.sent = True
        else:
            connection.write(head)
            exchange.pump = self._tasks.start("request body", exchange.send_body(body, chunked=length is None))
        return exchange

    def release(self, connection: "_Connection") -> None:
        """Keep a connection whose exchange has ended well."""
        idle = self._idle.setdefault(connection.url, [])
        if len(idle) >= IDLE_CONNECTIONS:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_SECONDS / 2, self._close_idle)

    def forget(self, connection: "_Connection") -> None:
        """The connection is closed."""
        self._open.discard(connection)
        idle = self._idle.get(connection.url)
        if idle and connection in idle:
            idle.remove(connection)

    def _pooled(self, url: str, seconds: float) -> "_Connection | None":
        idle = self._idle.get(url)
        # Last in, first out: what lies below is older still.
        if idle and asyncio.get_running_loop().time() - idle[-1].idle_since <= seconds:
            connection = idle.pop()
            if not connection.closing:
                return connection
        return None

    async def _connect(self, url: str) -> "_Connection":
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, protocol = await self._dial(url, lambda: _Connection(self, url))
        except TimeoutError:
            raise NodeUnreachable("The node did not accept a connection within 2 s.") from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise NodeUnreachable(f"The node cannot be reached ({reason}).") from error
        assert isinstance(protocol, _Connection)
        if protocol.closing:
            raise NodeUnreachable("The node closed the connection at once.")
        self._open.add(protocol)
        return protocol

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [c for idle in self._idle.values() for c in idle if now - c.idle_since > IDLE_SECONDS]:
            connection.abort()
        self._idle = {url: idle for url, idle in self._idle.items() if idle}
        self._sweep = loop.call_later(IDLE_SECONDS / 2, self._close_idle) if self._idle else None


class Exchange:
    """One request under way, and its answer. `close` it in the end; an answer read whole closes itself."""

    def __init__(self, upstream: Upstream, connection: "_Connection", method: str, reused: bool) -> None:
        self.reused = reused
        """Whether the connection had carried a request before."""
        self.sent = False
        """Whether the request is written whole."""
        self.pump: asyncio.Task[None] | None = None
        self._upstream = upstream
        self._connection: _Connection | None = connection
        self._reader = AnswerReader(method)
        self._error: NodeError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._buffered = 0
        self._head_given = False

    @property
    def begun(self) -> bool:
        """Whether any byte of an answer came."""
        return self._reader.head_done or self._reader._head_size > 0

    @property
    def status(self) -> int:
        return self._reader.status

    @property
    def reason(self) -> str:
        return self._reader.reason.decode("latin-1")

    @property
    def fields(self) -> Fields:
        return self._reader.fields

    @property
    def length(self) -> int | None:
        """Of the body, as declared."""
        return self._reader.length

    @property
    def whole(self) -> bool:
        """Whether the answer is there to its last byte, so that `take` gives all of the body that is left."""
        return self._reader.done

    async def head(self, seconds: float) -> None:
        """Wait for the answer's head. Raises NodeError, NodeTimeout."""
        while not self._reader.head_done:
            await self._wait(seconds, "The node did not answer in time.")
        self._head_given = True
        if self._error is not None and not self._reader.done:
            raise self._error

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        data = self._reader.take_body()
        self._buffered = 0
        if self._connection is not None:
            self._connection.resume()
        return data

    async def pieces(self, idle: float | None = BODY_IDLE_SECONDS) -> AsyncIterator[bytes]:
        """The body as it comes, with at most ``idle`` seconds between two pieces. Raises NodeError."""
        while True:
            if data := self.take():
                yield data
            elif self._reader.done:
                return
            else:
                await self._wait(idle, "The node fell silent in the middle of its answer.")

    def close(self) -> None:
        """Give up; a connection in the middle of an answer cannot be used again."""
        self._fail(NodeError("The exchange was given up."))

    async def send_body(self, body: AsyncIterable[bytes], *, chunked: bool) -> None:
        """Write a body that comes in pieces, at the pace at which the node takes it."""
        try:
            async for piece in body:
                connection = self._connection
                if connection is None:
                    return
                connection.write(build_chunk(piece) if chunked else piece)
                await connection.drained()
            if self._connection is not None:
                if chunked:
                    self._connection.write(LAST_CHUNK)
                self.sent = True
        except Exception as error:
            # The client broke off: the node must not take what came for the whole.
            self._fail(NodeError("The request's body broke off."))
            if not isinstance(error, ConnectionError):
                raise

    # What the connection says.

    def feed(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except NodeError as error:
            self._fail(error)
            return
        if self._reader.done:
            self._finish()
        else:
            self._buffered += len(data)
            if self._head_given and self._buffered > BUFFERED and self._connection is not None:
                self._connection.pause()
        self._wake()

    def lost(self) -> None:
        try:
            self._reader.eof()
        except NodeError as error:
            self._fail(error)
        else:
            self._connection = None
            self._wake()

    def _finish(self) -> None:
        """The answer is whole: the connection is free, unless the request was not read to its end."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.exchange = None
        if self._reader.reusable and self.sent and not connection.closing:
            connection.resume()
            self._upstream.release(connection)
        else:
            connection.abort()
            if self.pump is not None:
                self.pump.cancel()

    def _fail(self, error: NodeError) -> None:
        if not self._reader.done and self._error is None:
            self._error = error
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.exchange = None
            connection.abort()
        if self.pump is not None and self.pump is not asyncio.current_task():
            self.pump.cancel()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, seconds: float | None, slow: str) -> None:
        """Until something new was fed. Raises what went wrong."""
        if self._error is not None:
            raise self._error
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._fail, NodeTimeout(slow))
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        if self._error is not None:
            raise self._error


class _Connection(asyncio.Protocol):
    """The edge: one transport, which carries one exchange after another."""

    def __init__(self, upstream: Upstream, url: str) -> None:
        self.url = url
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def drained(self) -> None:
        await self._writable.wait()

    def pause(self) -> None:
        if self._reading and not self.closing and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._reading and not self.closing and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=BUFFERED)

    def data_received(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.feed(data)
        else:
            self.abort()  # Bytes that nobody asked for.

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        self._upstream.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.lost()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()


async def dial_tcp(
    url: str, factory: Callable[[], asyncio.Protocol]
) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
    """TCP with happy eyeballs (RFC 8305), and TLS with verification for https."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return await asyncio.get_running_loop().create_connection(
        factory, parts.hostname, parts.port or (443 if tls else 80), ssl=tls or None, happy_eyeballs_delay=0.25
    )


@lru_cache(maxsize=4096)
def _origin(url: str) -> tuple[bytes, str]:
    """The Host of a node's URL, and its base path without the last slash."""
    parts = urlsplit(url)
    return parts.netloc.encode("ascii"), parts.path.rstrip("/")


