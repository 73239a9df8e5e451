"""A node that says exactly the bytes that a test wants, and remembers the bytes that arrived.

It parses what it gets strictly: anything but one well-formed request after another fails the test.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from attrs import define, field, frozen

__all__ = ["RawNode", "Received", "Script", "answer", "raw_node"]

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
_HEAD = re.compile(
    rb"([A-Z]+) (/[^ \r\n]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n\0]*\r\n)*)\r\n"
)


@frozen
class Received:
    """One request as it arrived."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    """Which connection carried it, counted from 0."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


#: Writes an answer: ``await script(received, writer)``; a connection stays open unless it closes it.
Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answer(status: str, *lines: str, body: bytes = b"", length: bool = True) -> bytes:
    """The bytes of an answer: ``answer("201 Created", "Location: /session/a/b", body=SDP)``."""
    head = [f"HTTP/1.1 {status}", *lines]
    if length and not status.startswith("204"):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


@define
class RawNode:
    """What the node knows; ``reply`` is what it says to signalling: bytes, or a script."""

    url: str = ""
    reply: bytes | Script | None = None
    """None: 201 with a new session to every POST, 204 to the rest."""
    streams: bytes = b"[]"
    received: list[Received] = field(factory=list)
    """Signalling alone; what Liveman asks for its own watching is answered aside."""
    malformed: list[bytes] = field(factory=list)
    closed: set[int] = field(factory=set)
    """The connections that Liveman has closed."""
    _connections: count = field(factory=count)
    _sessions: count = field(factory=count)
    _changed: asyncio.Condition = field(factory=asyncio.Condition)

    async def wait_for(self, condition: Callable[["RawNode"], bool], timeout: float = 5.0) -> None:
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(lambda: condition(self))

    def targets(self, method: str) -> list[str]:
        return [request.target for request in self.received if request.method == method]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._connections)
        try:
            while True:
                try:
                    received = await self._read(reader, writer, number)
                except (asyncio.IncompleteReadError, ConnectionError):
                    async with self._changed:
                        self.closed.add(number)
                        self._changed.notify_all()
                    return
                await self._answer(received, writer)
        finally:
            writer.close()

    async def begun(
        self, method: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """The head of a request is there. A subclass may end the connection by a ConnectionError."""

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> Received:
        raw = await reader.readuntil(b"\r\n\r\n")
        match = _HEAD.fullmatch(raw)
        if match is None:
            self.malformed.append(raw)
            raise ConnectionError
        await self.begun(match[1].decode(), match[2].decode("latin-1"), reader, writer)
        fields = tuple(
            (name, value)
            for line in match[3].decode("latin-1").split("\r\n")[:-1]
            for name, _, value in [line.partition(": ")]
        )
        framing = [value for name, value in fields if name.lower() in ("content-length", "transfer-encoding")]
        if framing == ["chunked"]:
            body = await self._read_chunks(reader)
        elif len(framing) < 2 and all(value.isdecimal() for value in framing):
            body = await reader.readexactly(int(framing[0]) if framing else 0)
        else:
            self.malformed.append(raw)
            raise ConnectionError
        return Received(match[1].decode(), match[2].decode("latin-1"), fields, body, number)

    async def _read_chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line, 16) if re.fullmatch(rb"[0-9a-fA-F]+\r\n", line) else -1
            data = await reader.readexactly(size + 2) if size >= 0 else b""
            if data[-2:] != b"\r\n":
                self.malformed.append(line + data)
                raise ConnectionError
            if not size:
                return body
            body += data[:-2]

    async def _answer(self, received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "GET" and received.target.startswith("/api/"):
            if received.target == "/api/streams/":
                writer.write(answer("200 OK", "Content-Type: application/json", body=self.streams))
            else:
                writer.write(answer("404 Not Found"))
            return
        async with self._changed:
            self.received.append(received)
            self._changed.notify_all()
        if callable(self.reply):
            await self.reply(received, writer)
        elif self.reply is not None:
            writer.write(self.reply)
        elif received.method == "POST":
            location = f"Location: /session/x/session-{next(self._sessions)}"
            writer.write(answer("201 Created", "Content-Type: application/sdp", location, body=SDP))
        else:
            writer.write(answer("204 No Content"))


@asynccontextmanager
async def raw_node(reply: bytes | Script | None = None) -> AsyncIterator[RawNode]:
    """A running node on a free port of the loopback."""
    node = RawNode(reply=reply)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await node.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # The node has ended; asyncio's streams would log it as an error.
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 24)
    node.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield node
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not node.malformed, f"Liveman sent something that is no request: {node.malformed!r}"
