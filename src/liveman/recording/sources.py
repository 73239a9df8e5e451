"""Where the bytes of an answer come from: a file, memory, or another server. None holds more than a piece."""

import asyncio
import hashlib
from typing import Protocol

from liveman.connection import STALLED_SECONDS
from liveman.errors import StorageError
from liveman.hosted import Hosted
from liveman.inbound import Inbound
from liveman.recording.fetch import Fetcher, pieces
from liveman.recording.folder import Folder, Opened
from liveman.recording.playback import Held
from liveman.recording.ranges import Span

__all__ = ["Bytes", "File", "Remote", "Source"]

#: What a client must take within STALLED_SECONDS.
_SLICE = 1024 * 1024
#: What is copied at once where there is no sendfile.
_PIECE = 512 * 1024


class Source(Protocol):
    """One object as it was when the request came."""

    @property
    def held(self) -> Held: ...

    async def send(self, inbound: Inbound, span: Span) -> None:
        """Send a part as the next of an answer's body that has begun.

        Raises StorageError when it cannot be had whole, ConnectionError when the client has left.
        """


class File:
    """A file that is open. What is added to it meanwhile is not sent."""

    def __init__(self, opened: Opened, folder: Folder) -> None:
        entry = opened.entry
        self.held = Held(entry.size, entry.tag, entry.modified)
        self._file = opened.file
        self._folder = folder
        self._copies = False

    async def send(self, inbound: Inbound, span: Span) -> None:
        at = span.first
        while at <= span.last:
            count = min(span.last + 1 - at, _SLICE)
            try:
                sent = await self._send(inbound, at, count)
            except (ConnectionError, StorageError):
                raise
            except OSError as error:
                raise StorageError(f"The disk fails in the middle of an object: {error.strerror}.") from None
            if not sent:
                raise StorageError("An object became shorter while it was sent.")
            at += sent

    async def _send(self, inbound: Inbound, at: int, count: int) -> int:
        if not self._copies:
            try:
                return await self._sendfile(inbound, at, count)
            except NotImplementedError:
                self._copies = True  # uvloop
        piece = await self._folder.pread(self._file, min(count, _PIECE), at)
        await inbound.write(piece)
        return len(piece)

    async def _sendfile(self, inbound: Inbound, at: int, count: int) -> int:
        assert isinstance(inbound, Hosted)
        transport = inbound.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                return await asyncio.get_running_loop().sendfile(transport, self._file, at, count)
        except TimeoutError:
            inbound.abort()
            raise ConnectionResetError("the client takes nothing") from None


class Bytes:
    """A small object that was read whole. Its tag follows from what it says."""

    def __init__(self, data: bytes, modified: float) -> None:
        self.held = Held(len(data), f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"', modified)
        self._data = data

    async def send(self, inbound: Inbound, span: Span) -> None:
        await inbound.write(self._data[span.first : span.last + 1])


class Remote:
    """An object of a bucket; each part is a request, which wants it unchanged."""

    def __init__(self, held: Held, fetcher: Fetcher, path: str) -> None:
        self.held = held
        self._fetcher = fetcher
        self._path = path

    async def send(self, inbound: Inbound, span: Span) -> None:
        headers = {"Range": f"bytes={span.first}-{span.last}", "If-Match": self.held.tag}
        wanted = f"bytes {span.first}-{span.last}/{self.held.size}"
        async with self._fetcher.get(self._path, headers) as response:
            if response.status != 206 or response.headers.get("Content-Range") != wanted:
                raise StorageError("An object changed while it was sent.")
            sent = 0
            async for piece in pieces(response):
                sent += len(piece)
                await inbound.write(piece)
        if sent != span.size:
            raise StorageError("The storage sent another length than it said.")
