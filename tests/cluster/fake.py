"""A node as a small real server whose every answer a test can bend, and shorthands for snapshots."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

from liveman.cluster.watch import Timing

DATA = Path(__file__).parent.parent / "data" / "cluster"

#: What takes seconds takes hundredths here, and who may be late may be so by a second: machines are busy.
FAST = Timing(
    poll=0.02,
    connect=1.0,
    total=1.0,
    silence=1.0,
    quick=(0.03, 0.03),
    backoff=(0.02, 0.05),
    first=1.0,
    look_up=1.0,
    retries=(0.01,),
)

#: Writes an answer to one request, and may hang, or close.
Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


def data(name: str) -> bytes:
    """What a real node said."""
    return (DATA / name).read_bytes()


def session(id: str, **members: Any) -> dict[str, Any]:
    return {"id": id, "leaveAt": 0, "state": "connected", **members}


def stream(id: str, publish: list[Any] = (), subscribe: list[Any] = (), **members: Any) -> dict[str, Any]:  # type: ignore[assignment]
    """A stream as a node lists it; sessions are ids, or whole objects."""
    sides = {
        side: {"leaveAt": 0, "sessions": [session(s) if isinstance(s, str) else s for s in sessions]}
        for side, sessions in (("publish", publish), ("subscribe", subscribe))
    }
    return {"id": id, "createdAt": 1000, **sides, **members}


def body(*streams: dict[str, Any]) -> bytes:
    """A snapshot."""
    return json.dumps(streams).encode()


def answer(status: str, *lines: str, body: bytes = b"") -> bytes:
    head = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def as_json(text: bytes) -> bytes:
    return answer("200 OK", "Content-Type: application/json", body=text)


EVENTS_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
NOT_FOUND = answer("404 Not Found", "Content-Type: text/plain", body=b"none")


@define(eq=False)
class FakeNode:
    """By default it has no streams, no event stream, and tells nothing of itself."""

    port: int = 0
    streams: bytes = b"[]"
    sse: bool = False
    """Whether it has an event stream that begins with `streams`; more is said by `say`."""
    answers: dict[str, bytes | Script] = field(factory=dict)
    """By ``GET /path``, or ``DELETE``; they go before everything else."""
    received: list[tuple[str, list[tuple[str, str]]]] = field(factory=list)
    """Each request's line without the version, and its fields."""
    listeners: list[asyncio.StreamWriter] = field(factory=list)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(factory=set)
    _tasks: set["asyncio.Task[None] | None"] = field(factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._writers)

    def asked(self, line: str) -> int:
        """How often a request began so."""
        return sum(1 for each, _ in self.received if each.startswith(line))

    def fields(self, line: str) -> dict[str, str]:
        """The fields of the last such request, by lower-case name."""
        return {name.lower(): value for name, value in [f for each, f in self.received if each == line][-1]}

    def say(self, message: bytes) -> None:
        """Write to those who listen to the event stream."""
        for writer in self.listeners:
            writer.write(message)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on, and cut those that are there."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            assert task is not None
            task.cancel()
        self.listeners.clear()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._tasks.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                line = head[0].removesuffix(" HTTP/1.1")
                fields = [(name, value) for name, _, value in (f.partition(": ") for f in head[1:-2])]
                self.received.append((line, fields))
                await self._answer(line, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # Ended by the other side, or by `stop`.
        finally:
            self._tasks.discard(asyncio.current_task())
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, line: str, writer: asyncio.StreamWriter) -> None:
        scripted = self.answers.get(line) or self.answers.get(line.partition(" ")[0])
        if callable(scripted):
            await scripted(writer)
        elif scripted is not None:
            writer.write(scripted)
        elif line == "GET /api/streams/":
            writer.write(as_json(self.streams))
        elif line == "GET /api/sse/streams" and self.sse:
            writer.write(EVENTS_HEAD + b"data: " + self.streams + b"\n\n")
            self.listeners.append(writer)
        elif line.startswith("DELETE "):
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            writer.write(NOT_FOUND)


@asynccontextmanager
async def fake_node(**members: Any) -> AsyncIterator[FakeNode]:
    node = FakeNode(**members)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def hang(writer: asyncio.StreamWriter) -> None:
    """Answer never."""
    await asyncio.Event().wait()


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something has become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
