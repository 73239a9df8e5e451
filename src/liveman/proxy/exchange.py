"""One request and its answer on one connection to a node: asyncio's side of `http1`."""

import asyncio
import select
from collections.abc import AsyncIterable
from typing import Protocol

from liveman.connection import BUFFERED, Connection
from liveman.errors import BadRequest, BodyBroken, LivemanError, NodeError, NodeTimeout
from liveman.proxy.http1 import LAST_CHUNK, AnswerReader, build_chunk

__all__ = ["Exchange", "NodeConnection"]


class Pool(Protocol):
    """Who keeps the connections."""

    def release(self, connection: "NodeConnection") -> None:
        """The connection's exchange has ended well; it may carry another."""

    def forget(self, connection: "NodeConnection") -> None:
        """The connection is closed."""

    waiting: set["Exchange"]
    """Those that have a deadline; the pool wakes them soon after it."""

    def watch(self, exchange: "Exchange") -> None:
        """The exchange waits, until its deadline at the latest."""


class Exchange:
    """One request under way, and its answer. `close` it in the end; an answer read whole closes itself."""

    def __init__(
        self,
        pool: Pool,
        connection: "NodeConnection",
        method: str,
        reused: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.reused = reused
        """Whether the connection had carried a request before."""
        self.sent = False
        """Whether the request is written whole."""
        self.answer = AnswerReader(method)
        self.pump: asyncio.Task[None] | None = None
        self.deadline = 0.0
        """When it has waited long enough, on the loop's clock."""
        self._loop = loop
        self._pool = pool
        self._connection: NodeConnection | None = connection
        self._error: LivemanError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._buffered = 0
        self._head_given = False

    async def head(self, seconds: float) -> None:
        """Wait for the answer's head, for so long after the request was sent whole.

        Raises NodeError, NodeTimeout (then it may be called again), and what the request's body raised.
        """
        while not self.answer.head_done and not self.sent:
            await self._wait(None, "")
        deadline = self._loop.time() + seconds
        while not self.answer.head_done:
            await self._wait(deadline, "The node did not answer in time.")
        # What broke behind the head is for `more` to raise: the head may name a session that is to be ended.
        self._head_given = True

    async def collect(self, most: int, seconds: float) -> None:
        """Wait until the answer is whole, or about so many bytes of it are there, or the time is up.

        Raises NodeError, and NodeTimeout when nothing more came for so long.
        """
        now = self._loop.time()
        enough = now + seconds
        while not self.answer.done and self._buffered <= most and now < enough:
            await self._wait(now + seconds, "The node fell silent in the middle of its answer.")
            now = self._loop.time()

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        data = self.answer.take_body()
        self._buffered = 0
        if self._connection is not None:
            self._connection.resume()
        return data

    async def more(self, seconds: float) -> bytes:
        """The next piece of the body, b"" after the last.

        Raises NodeError, and NodeTimeout when none came in time; then it may be called again.
        """
        deadline = self._loop.time() + seconds
        while not (data := self.take()) and not self.answer.done:
            await self._wait(deadline, "The node fell silent in the middle of its answer.")
        return data

    def close(self) -> None:
        """Give up; a connection in the middle of an answer cannot be used again."""
        if self._connection is not None or self.pump is not None:
            self._fail(NodeError("The exchange was given up."))

    async def closed(self) -> None:
        """Close, and wait until nothing reads the request's body any more."""
        self.close()
        if self.pump is not None and not self.pump.done():
            await asyncio.wait({self.pump})

    async def send_body(self, body: AsyncIterable[bytes], length: int | None) -> None:
        """Write a body that comes in pieces, at the pace at which the node takes it; None: in chunks."""
        left = length
        try:
            async for piece in body:
                connection = self._connection
                if connection is None:
                    return
                if left is not None:
                    left -= len(piece)
                    if left < 0:
                        raise BadRequest("The body is longer than its Content-Length.")
                connection.transport.write(build_chunk(piece) if left is None else piece)
                await connection.drained()
            if left:
                raise BodyBroken
            if self._connection is not None:
                if left is None:
                    self._connection.transport.write(LAST_CHUNK)
                self.sent = True
                self.wake()
        except TimeoutError:
            self._fail(NodeTimeout("The node does not take the request's body."))
        except (LivemanError, ConnectionError) as error:
            # The node must not take what came for the whole.
            self._fail(error if isinstance(error, LivemanError) else BodyBroken())
        except BaseException:
            self._fail(BodyBroken())
            raise

    # What the connection says.

    def feed(self, data: bytes) -> None:
        try:
            self.answer.feed(data)
        except NodeError as error:
            self._fail(error)
            return
        if self.answer.done:
            self._finish()
        else:
            self._buffered += len(data)
            if self._head_given and self._buffered > BUFFERED and self._connection is not None:
                self._connection.pause()
        self.wake()

    def lost(self, reset: Exception | None) -> None:
        try:
            if reset is not None:
                raise NodeError("The node reset the connection in the middle of an exchange.")
            self.answer.eof()
        except NodeError as error:
            self._fail(error)
        else:
            self._connection = None
            self.wake()

    def _finish(self) -> None:
        """The answer is whole: the connection is free, unless the request was not read to its end."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.exchange = None
        if self.answer.reusable and self.sent and not connection.closing:
            connection.resume()
            self._pool.release(connection)
        else:
            connection.transport.abort()
            if self.pump is not None:
                self.pump.cancel()

    def _fail(self, error: LivemanError) -> None:
        if not self.answer.done and self._error is None:
            self._error = error
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.exchange = None
            connection.transport.abort()
        if self.pump is not None and self.pump is not asyncio.current_task():
            self.pump.cancel()
        self.wake()

    def wake(self) -> None:
        """Look again whether there is something new, or it has taken too long."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, deadline: float | None, slow: str) -> None:
        """Until something new was fed, or went wrong. Raises what had gone wrong before."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        if deadline is not None:
            self.deadline = deadline
            self._pool.watch(self)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._pool.waiting.discard(self)
        if self._error is None and deadline is not None and self._loop.time() >= deadline:
            raise NodeTimeout(slow)


class NodeConnection(Connection):
    """Carries one exchange after another."""

    def __init__(self, pool: Pool, url: str, buffer: memoryview) -> None:
        super().__init__(buffer)
        self.url = url
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self._pool = pool
        self._poll: select.poll | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)

    def is_silent(self) -> bool:
        """Whether nothing has come that the loop has not told of yet, such as the connection's end."""
        return self._poll is None or not self._poll.poll(0)

    def data_received(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.feed(data)
        else:
            self.transport.abort()  # Bytes that nobody asked for.

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._pool.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.lost(error)
