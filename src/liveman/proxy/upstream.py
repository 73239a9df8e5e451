"""Liveman's connections to the nodes for its clients' signalling: HTTP/1.1, byte for byte.

A dialer makes the transport (TCP, TLS, a tunnel); nothing here knows which. A request is sent once: a
POST or PATCH never again, whatever happens; others once more when a kept connection turned out to be dead.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

import aiohappyeyeballs
from attrs import define

from liveman.connection import reading_buffer
from liveman.errors import NodeUnreachable
from liveman.inbound import Fields
from liveman.proxy.exchange import Exchange, NodeConnection
from liveman.proxy.http1 import build_head
from liveman.tasks import TaskOwner

__all__ = ["Dial", "Request", "Upstream", "dial_tcp"]

#: Makes a transport to the node with this URL: ``await dial(url, protocol_factory)``.
Dial = Callable[
    [str, Callable[[], asyncio.BaseProtocol]], Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]
]

CONNECT_SECONDS = 2.0
IDLE_SECONDS = 30.0
#: What may be sent again when a kept connection turned out to be dead.
REPEATABLE = ("GET", "HEAD", "DELETE", "OPTIONS")
#: A POST must not meet a connection that the node is about to close.
FRESH_SECONDS = 5.0
IDLE_CONNECTIONS = 64
#: How much later than its limit an exchange may be given up.
TICK_SECONDS = 0.1


@define
class Request:
    """One request to a node."""

    method: str
    target: str
    """The raw path and query, below the node's URL."""
    fields: Fields
    body: bytes | AsyncIterable[bytes] | None = None
    """None: the request has no body at all."""
    length: int | None = None
    """Of a body that comes in pieces; None: unknown."""


class Upstream:
    """The pools of connections, one for each node's URL; an async context that closes them."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._idle: dict[str, list[NodeConnection]] = {}
        self._open: set[NodeConnection] = set()
        self._tasks = TaskOwner()
        self._buffer = reading_buffer()
        self._sweep: asyncio.TimerHandle | None = None
        self.waiting: set[Exchange] = set()
        self._clock: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "Upstream":
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        for timer in (self._sweep, self._clock):
            if timer is not None:
                timer.cancel()
        for connection in list(self._open):
            connection.transport.abort()
        await self._tasks.__aexit__(None, None, None)

    async def send(self, url: str, request: Request, *, fresh: bool = False) -> Exchange:
        """Begin a request at the node with this URL; ``fresh``: on a new connection.

        Raises NodeUnreachable when nothing was sent.
        """
        host, base = _origin(url)
        body = request.body
        framing = _framing(request)
        head = build_head(request.method, base + request.target, host, (*request.fields, *framing))
        connection = None if fresh else self._pooled(url, repeatable=request.method in REPEATABLE)
        reused = connection is not None
        if connection is None:
            connection = await self._connect(url)
        exchange = Exchange(self, connection, request.method, reused, self._loop)
        connection.exchange = exchange
        if body is None or isinstance(body, bytes):
            connection.transport.write(head + body if body else head)
            exchange.sent = True
        else:
            connection.transport.write(head)
            exchange.pump = self._tasks.start("request body", exchange.send_body(body, request.length))
        return exchange

    def release(self, connection: NodeConnection) -> None:
        """Keep a connection whose exchange has ended well."""
        idle = self._idle.setdefault(connection.url, [])
        # Through a tunnel there are only so many, and others may wait for one.
        if len(idle) >= IDLE_CONNECTIONS or connection.transport.get_extra_info("wanted"):
            connection.transport.abort()
            return
        connection.idle_since = self._loop.time()
        idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(IDLE_SECONDS / 2, self._close_idle)

    def forget(self, connection: NodeConnection) -> None:
        """The connection is closed."""
        self._open.discard(connection)
        idle = self._idle.get(connection.url)
        if idle and connection in idle:
            idle.remove(connection)

    def watch(self, exchange: Exchange) -> None:
        """Wake the exchange soon after its deadline, unless it has left ``waiting`` by then."""
        self.waiting.add(exchange)
        if self._clock is None:
            self._clock = self._loop.call_later(TICK_SECONDS, self._wake_late)

    def _wake_late(self) -> None:
        # One timer for all: one of its own for each request would cost more than the rest of its waiting.
        now = self._loop.time()
        for exchange in [each for each in self.waiting if each.deadline <= now]:
            exchange.wake()
        self._clock = self._loop.call_later(TICK_SECONDS, self._wake_late) if self.waiting else None

    def _pooled(self, url: str, *, repeatable: bool) -> NodeConnection | None:
        idle = self._idle.get(url)
        seconds = IDLE_SECONDS if repeatable else FRESH_SECONDS
        while idle:
            # Last in, first out: what lies below is older still.
            connection = idle.pop()
            fresh = self._loop.time() - connection.idle_since <= seconds
            if fresh and not connection.closing and (repeatable or connection.is_silent()):
                return connection
            # One that is made anew must not be one too many where there are only so many.
            connection.transport.abort()
        return None

    async def _connect(self, url: str) -> NodeConnection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, protocol = await self._dial(url, lambda: NodeConnection(self, url, self._buffer))
        except TimeoutError:
            raise NodeUnreachable("The node did not accept a connection within 2 s.") from None
        except UnicodeError:
            raise NodeUnreachable("The node's name is not one that a host can have.") from None
        except OSError as error:
            raise NodeUnreachable(f"The node cannot be reached: {_why(error)}.") from error
        assert isinstance(protocol, NodeConnection)
        if protocol.closing:
            raise NodeUnreachable("The node closed the connection at once.")
        self._open.add(protocol)
        return protocol

    def _close_idle(self) -> None:
        now = self._loop.time()
        for connection in [
            c for idle in self._idle.values() for c in idle if now - c.idle_since > IDLE_SECONDS
        ]:
            connection.transport.abort()
        self._idle = {url: idle for url, idle in self._idle.items() if idle}
        self._sweep = self._loop.call_later(IDLE_SECONDS / 2, self._close_idle) if self._idle else None


async def dial_tcp(
    url: str, factory: Callable[[], asyncio.BaseProtocol]
) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
    """TCP with happy eyeballs (RFC 8305), and TLS with verification for https."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    # Not the loop's own happy eyeballs: uvloop has none.
    addresses = await _resolve(host, parts.port or (443 if tls else 80))
    sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=0.25)
    try:
        return await asyncio.get_running_loop().create_connection(
            factory, sock=sock, ssl=tls or None, server_hostname=host if tls else None
        )
    except BaseException:
        sock.close()
        raise


async def _resolve(host: str, port: int) -> Sequence[aiohappyeyeballs.AddrInfoType]:
    try:
        # An address needs no thread to be looked up in.
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS as it should"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return os.strerror(error.errno) if error.errno else type(error).__name__


def _framing(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    """A known length goes as Content-Length, an unknown one in chunks, and no body with neither."""
    if request.body is None:
        return ()
    length = len(request.body) if isinstance(request.body, bytes) else request.length
    if length is None:
        return ((b"Transfer-Encoding", b"chunked"),)
    return ((b"Content-Length", b"%d" % length),)


@lru_cache(maxsize=4096)
def _origin(url: str) -> tuple[bytes, str]:
    """The Host of a node's URL, and its base path without the last slash."""
    parts = urlsplit(url)
    return parts.netloc.encode("ascii"), parts.path.rstrip("/")
