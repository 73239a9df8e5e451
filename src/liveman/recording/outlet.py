"""The kernel's own way from a file to a client, on any event loop.

asyncio has sendfile, uvloop has not, and in the loop all clients would wait for the disk. Here the bytes go
through a second descriptor of the client's socket: in the loop when they are in memory, in a thread when they
must come from the disk.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future
from io import FileIO
from typing import Self

from liveman.connection import STALLED_SECONDS
from liveman.hosted import Hosted
from liveman.inbound import Inbound

__all__ = ["Outlet"]

#: The most of one client before the next one's turn, as nginx has it.
_SLICE = 2 * 1024 * 1024
#: Linux has it.
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)

Submit = Callable[[Callable[[], int]], Future[int]]


class Outlet:
    """The socket of one client, for the length of an answer."""

    @classmethod
    def of(cls, inbound: Inbound, file: FileIO, submit: Submit) -> Self | None:
        """None where the kernel cannot send, as with TLS. ``submit`` runs a call in a thread."""
        assert isinstance(inbound, Hosted)
        transport = inbound.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        sock = transport.get_extra_info("socket")
        if sock is None or transport.get_extra_info("sslcontext") is not None:
            return None
        return cls(inbound, transport, os.dup(sock.fileno()), file, submit)

    def __init__(
        self, inbound: Hosted, transport: asyncio.Transport, out: int, file: FileIO, submit: Submit
    ) -> None:
        self._inbound = inbound
        self._transport = transport
        self._out = out
        self._file = file
        self._submit = submit
        self._loop = asyncio.get_running_loop()
        self._at = self._end = 0
        """What is still to be sent."""
        self._known = 0
        """Up to there it was found to be in memory."""
        self._full = False
        """Whether the client must make room first."""
        self._last: Future[int] | None = None
        """The call in a thread that may still use both descriptors."""

    async def send(self, at: int, count: int) -> int:
        """Send so many bytes from there, or fewer when the file ends; how many.

        Raises OSError, which is ConnectionError when the client has left or takes nothing for too long.
        """
        await self._flush()
        self._at, self._end, self._known = at, at + count, at
        while self._at < self._end:
            await self._from_memory()
            if self._at < self._end:
                await self._from_disk()
        return self._at - at

    def close(self) -> None:
        """Close the socket's second descriptor and the file, once no thread uses them: their numbers are
        others' then."""
        if self._last is None:
            self._close()
        else:
            self._last.add_done_callback(lambda _: self._close())

    def _close(self) -> None:
        os.close(self._out)
        self._file.close()

    async def _from_memory(self) -> None:
        """Send until nothing is left, or the client waits for what is not in memory."""
        done: asyncio.Future[OSError | None] = self._loop.create_future()
        if not self._full:
            self._pump(done)
        if not done.done():
            await self._pumped(done)
        if (error := done.result()) is not None:
            raise error

    async def _pumped(self, done: asyncio.Future[OSError | None]) -> None:
        self._loop.add_writer(self._out, self._pump, done)
        try:
            while not done.done():
                before = self._at
                await asyncio.wait((done,), timeout=STALLED_SECONDS)
                if self._at == before and not done.done():
                    self._stalled()
        finally:
            self._loop.remove_writer(self._out)
        self._full = False

    def _pump(self, done: asyncio.Future[OSError | None]) -> None:
        """Send a slice: no more, as others wait. Called by the loop when the client has room."""
        if done.done():
            return
        try:
            if self._inbound.left:
                raise ConnectionResetError("the client has left")
            if self._at >= self._known and not self._in_memory():
                done.set_result(None)
                return
            self._sent(os.sendfile(self._out, self._file.fileno(), self._at, self._known - self._at))
        except BlockingIOError:
            return
        except OSError as error:
            done.set_result(error)
            return
        if self._at == self._end:
            done.set_result(None)

    async def _from_disk(self) -> None:
        at, count = self._at, min(self._end - self._at, _SLICE)
        self._last = self._submit(lambda: os.sendfile(self._out, self._file.fileno(), at, count))
        try:
            self._sent(await asyncio.wrap_future(self._last))
        except BlockingIOError:
            self._full = True

    def _sent(self, count: int) -> None:
        self._at += count
        if not count:
            self._end = self._at  # So does the file.

    def _in_memory(self) -> bool:
        """Whether the kernel need not wait for the disk for the next slice: judged by both its ends, as it
        reads ahead."""
        if _NOWAIT is None:
            return False
        until = min(self._at + _SLICE, self._end)
        byte = [bytearray(1)]
        try:
            for place in (self._at, until - 1):
                os.preadv(self._file.fileno(), byte, place, _NOWAIT)
        except OSError:
            return False  # Not there, or not all file systems can tell.
        self._known = until
        return True

    async def _flush(self) -> None:
        """Wait until all that was written before is out of the transport, which nothing may overtake."""
        low, high = self._transport.get_write_buffer_limits()
        self._transport.set_write_buffer_limits(0)
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._inbound.request.writer.drain()
        except TimeoutError:
            self._stalled()
        finally:
            self._transport.set_write_buffer_limits(high, low)

    def _stalled(self) -> None:
        self._inbound.abort()
        raise ConnectionResetError("the client takes nothing")
