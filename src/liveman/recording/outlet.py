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

#: The most of one client before the next one's turn.
_SLICE = 1024 * 1024

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
        self._last: Future[int] | None = None
        """The call in a thread that may still use both descriptors."""

    async def send(self, at: int, count: int) -> int:
        """Send so many bytes from there, or fewer when the file ends; how many.

        Raises OSError, which is ConnectionError when the client has left or takes nothing for too long.
        """
        await self._flush()
        done = 0
        while done < count:
            if self._inbound.left:
                raise ConnectionResetError("the client has left")
            asked = min(count - done, _SLICE)
            try:
                sent = await self._slice(at + done, asked)
            except BlockingIOError:
                await self._writable()
                continue
            if not sent:
                break
            done += sent
            # Less than a slice: the client has enough for now.
            await (asyncio.sleep(0) if sent == asked else self._writable())
        return done

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

    async def _slice(self, at: int, count: int) -> int:
        if self._in_memory(at, count):
            return os.sendfile(self._out, self._file.fileno(), at, count)
        self._last = self._submit(lambda: os.sendfile(self._out, self._file.fileno(), at, count))
        return await asyncio.wrap_future(self._last)

    def _in_memory(self, at: int, count: int) -> bool:
        """Whether the kernel need not wait for the disk: judged by both ends, as it reads ahead."""
        byte = [bytearray(1)]
        try:
            for place in (at, at + count - 1):
                os.preadv(self._file.fileno(), byte, place, os.RWF_NOWAIT)
        except OSError:
            return False  # Not there, or not all file systems can tell.
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

    async def _writable(self) -> None:
        woken = asyncio.Event()
        self._loop.add_writer(self._out, woken.set)
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await woken.wait()
        except TimeoutError:
            self._stalled()
        finally:
            self._loop.remove_writer(self._out)

    def _stalled(self) -> None:
        self._inbound.abort()
        raise ConnectionResetError("the client takes nothing")
