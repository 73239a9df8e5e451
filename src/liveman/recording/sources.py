"""Where the bytes of an answer come from: a file, memory, or another server. None holds more than a piece."""

import hashlib
from typing import Protocol

from liveman.errors import StorageError
from liveman.inbound import Inbound
from liveman.recording.fetch import Fetcher, pieces
from liveman.recording.folder import Folder, Opened
from liveman.recording.outlet import Outlet
from liveman.recording.playback import Held
from liveman.recording.ranges import Span

__all__ = ["Bytes", "File", "Remote", "Source"]

#: What is copied at once where the kernel cannot send.
_PIECE = 256 * 1024


class Source(Protocol):
    """One object as it was when the request came."""

    @property
    def held(self) -> Held: ...

    async def send(self, inbound: Inbound, span: Span) -> None:
        """Send a part as the next of an answer's body that has begun.

        Raises StorageError when it cannot be had whole, ConnectionError when the client has left.
        """


class File:
    """A file that is open, until `close`. What is added to it meanwhile is not sent."""

    def __init__(self, opened: Opened, folder: Folder) -> None:
        entry = opened.entry
        self.held = Held(entry.size, entry.tag, entry.modified)
        self._file = opened.file
        self._folder = folder
        self._outlet: Outlet | None = None

    async def send(self, inbound: Inbound, span: Span) -> None:
        if self._outlet is None:
            self._outlet = Outlet.of(inbound, self._file, self._folder.submit)
        try:
            sent = await self._send(inbound, span)
        except (ConnectionError, StorageError):
            raise
        except OSError as error:
            raise StorageError(f"The disk fails in the middle of an object: {error.strerror}.") from None
        if sent < span.size:
            raise StorageError("An object became shorter while it was sent.")

    def close(self) -> None:
        if self._outlet is not None:
            self._outlet.close()
        else:
            self._file.close()

    async def _send(self, inbound: Inbound, span: Span) -> int:
        if self._outlet is not None:
            return await self._outlet.send(span.first, span.size)
        sent = 0
        while sent < span.size:
            piece = await self._folder.read_piece(
                self._file, span.first + sent, min(span.size - sent, _PIECE)
            )
            if not piece:
                break
            await inbound.write(piece)
            sent += len(piece)
        return sent


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
        headers = {"Range": f"bytes={span.first}-{span.last}"}
        if self.held.tag.startswith('"'):
            headers["If-Match"] = self.held.tag
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
