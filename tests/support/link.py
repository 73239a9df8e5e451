"""A TCP link that can be cut with noise, or in silence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from liveman.tasks import TaskOwner

__all__ = ["Link"]


class Link:
    """Passes connections on to a port of this host."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._tasks = TaskOwner()
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, target: int) -> AsyncIterator["Link"]:
        link = cls(target)
        server = await asyncio.start_server(link._serve, "127.0.0.1", 0)
        link.port = server.sockets[0].getsockname()[1]
        async with link._tasks:
            try:
                yield link
            finally:
                server.close()
                link.cut()

    def silence(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._passing.clear()

    def restore(self) -> None:
        self._passing.set()

    def cut(self) -> None:
        """Reset the connections that there are."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}
        self._tasks.start("there", self._pass_on(reader, far_writer))
        self._tasks.start("back", self._pass_on(far_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        # A connection that is closed in the silence is not seen to be.
        await self._passing.wait()
        writer.close()
