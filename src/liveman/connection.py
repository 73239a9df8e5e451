"""What Liveman's own protocols towards clients and nodes share: reading, and the pace of both sides."""

import asyncio
from abc import abstractmethod
from typing import cast

__all__ = ["BUFFERED", "STALLED_SECONDS", "Connection", "reading_buffer"]

#: The most that is held in each direction before the faster side must wait.
BUFFERED = 256 * 1024
#: How long the slower side may take to make room.
STALLED_SECONDS = 60.0


def reading_buffer() -> memoryview:
    """Memory for what arrives next. All connections of one loop share it, as each copies at once what came.

    asyncio would take 256 KiB anew for each read, which costs more than the reading.
    """
    return memoryview(bytearray(64 * 1024))


class Connection(asyncio.BufferedProtocol):
    """One transport. Subclasses get what arrives by `data_received`."""

    transport: asyncio.Transport

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._reading = True
        self.writable = True
        """Whether the other side takes what is written."""
        self._drained = asyncio.Event()

    @abstractmethod
    def data_received(self, data: bytes) -> None: ...

    @property
    def closing(self) -> bool:
        return self.transport.is_closing()

    @property
    def paused(self) -> bool:
        """Whether what the other side sends is left waiting."""
        return not self._reading

    async def drained(self) -> None:
        """Wait until the other side has taken most of what was written, or the connection is lost.

        Raises TimeoutError when it takes nothing for too long.
        """
        if not self.writable:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._drained.wait()

    def pause(self) -> None:
        if self._reading and not self.closing:
            self._reading = False
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self._reading and not self.closing:
            self._reading = True
            self.transport.resume_reading()

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class.
        self.transport.set_write_buffer_limits(high=BUFFERED)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._buffer[:nbytes]))

    def connection_lost(self, error: Exception | None) -> None:
        self.resume_writing()

    def pause_writing(self) -> None:
        self.writable = False
        self._drained.clear()

    def resume_writing(self) -> None:
        self.writable = True
        self._drained.set()
