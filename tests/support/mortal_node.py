"""A node that ends its connections at the moment that an offer's stream names, and that can restart."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field

from support.raw_node import SDP, RawNode, Received, answer

__all__ = ["MortalNode", "mortal_nodes"]


@define
class MortalNode(RawNode):
    """Ends a connection as the stream's name says, ``<way>-<moment>.<number>``; below sessions, as the query."""

    posts: Counter[str] = field(factory=Counter)
    """Whose heads have arrived, by stream."""
    made: dict[str, str] = field(factory=dict)
    """The path of the session that was made of a stream's offer."""
    doom: str = ""
    """How every connection ends as soon as it is accepted."""
    slow: float = 0.0
    """How long an offer takes, seconds."""
    _idle: set[asyncio.StreamWriter] = field(factory=set)
    _busy: set[asyncio.StreamWriter] = field(factory=set)
    _leaving: set[asyncio.StreamWriter] = field(factory=set)
    """Of the process before the restart; they end with what is under way."""
    _tasks: set[asyncio.Task] = field(factory=set)
    _port: socket.socket = field(factory=socket.socket)
    """Bound, so that the port stays free for the restart."""
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        if not self.url:
            self.reply = self._script
            self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._port.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{self._port.getsockname()[1]}"
        self._server = await asyncio.start_server(self.serve, *self._port.getsockname(), limit=1 << 24)

    def stop(self, way: str) -> None:
        """As a process ends: it accepts no more, drops what is idle, and finishes what it has begun."""
        self._server.close()
        self.drop_idle(way)
        self._leaving |= self._busy

    def drop_idle(self, way: str) -> None:
        for writer in list(self._idle):
            kill(writer, way)

    async def end(self) -> None:
        self._server.close()
        self._port.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.malformed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self._idle.add(writer)
        try:
            if self.doom:
                kill(writer, self.doom)
            else:
                await super().serve(reader, writer)
        finally:
            self._tasks.discard(task)
            for each in (self._idle, self._busy, self._leaving):
                each.discard(writer)

    async def begun(
        self, method: str, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._idle.discard(writer)
        self._busy.add(writer)
        if method == "POST":
            stream = target.rpartition("/")[2]
            self.posts[stream] += 1
            if "in-the-request" in stream:
                await reader.readexactly(10_000)
                kill(writer, stream.partition("-")[0])
                raise ConnectionResetError

    async def _answer(self, received: Received, writer: asyncio.StreamWriter) -> None:
        await super()._answer(received, writer)
        self._busy.discard(writer)
        if writer in self._leaving:
            writer.close()
        else:
            self._idle.add(writer)

    async def _script(self, received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "POST":
            await asyncio.sleep(self.slow)
            self._make(received.target.rpartition("/")[2], writer)
            return
        way = received.target.partition("?")[2]
        # Once only, so that a request which is repeated has success.
        if way and self.targets(received.method).count(received.target) == 1:
            kill(writer, way)
        else:
            writer.write(answer("204 No Content"))

    def _make(self, stream: str, writer: asyncio.StreamWriter) -> None:
        way, _, moment = stream.partition(".")[0].partition("-")
        path = self.made[stream] = f"/session/{stream}/s{len(self.made)}"
        lines = [
            "Content-Type: application/sdp",
            f"Location: {path}",
            *(["Connection: close"] if writer in self._leaving else []),
        ]
        whole = answer("201 Created", *lines, body=SDP)
        open_end = answer("201 Created", *lines, length=False)
        chunked = answer("201 Created", *lines, "Transfer-Encoding: chunked", length=False)
        chunks = chunked + b"%x\r\n%b\r\n" % (len(SDP), SDP)
        said = {
            "before-the-answer": b"",
            "in-the-status-line": whole[:10],
            "in-the-head": whole[:60],
            "after-the-head": whole.removesuffix(SDP),
            "in-the-body": whole[:-5],
            "in-a-chunk": chunks[:-10],
            "before-the-last-chunk": chunks,
            "in-the-last-chunk": chunks + b"0\r\n",
            "in-a-long-body": answer("201 Created", *lines, body=bytes(200_000))[:-50_000],
            "between-long-chunks": chunks + b"20000\r\n" + bytes(0x20000) + b"\r\n",
            "behind-a-body-without-length": open_end + SDP,
        }
        writer.write(said.get(moment, whole))
        if moment not in ("", "when-idle"):
            kill(writer, way)


def kill(writer: asyncio.StreamWriter, way: str) -> None:
    """Send what was written, and end the connection; a reset says nothing of an end."""
    if way == "resets":
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.close()


@asynccontextmanager
async def mortal_nodes(number: int) -> AsyncIterator[list[MortalNode]]:
    nodes = [MortalNode() for _ in range(number)]
    for node in nodes:
        await node.start()
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.end()
