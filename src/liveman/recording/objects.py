"""Recorded objects over HTTP: from a folder by sendfile, from a bucket as they stream."""

import asyncio
import secrets
import time
from contextlib import AsyncExitStack, closing
from types import TracebackType
from typing import Self

from liveman import config
from liveman.access import ANYONE
from liveman.errors import PreconditionFailed, RangeRefused
from liveman.inbound import Answer, Inbound
from liveman.recording import ranges
from liveman.recording.fetch import Fetcher, pieces
from liveman.recording.folder import Folder
from liveman.recording.playback import Held, cache_control, content_type, http_date, is_manifest, plan
from liveman.recording.ranges import Span
from liveman.recording.sources import Bytes, File, Remote, Source
from liveman.recording.store import Storage

__all__ = ["Objects"]

#: Longer ones are sent like any file.
_MANIFEST_BYTES = 16 * 1024 * 1024
#: A manifest that does not end as one is being written, if it was touched within so many seconds.
_FRESH_SECONDS = 2.0
_TRIES, _PAUSE_SECONDS = 50, 0.02

_CONDITIONS = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")

_Fields = list[tuple[bytes, bytes]]


class Objects:
    """Serves the objects of a storage, which it opens and closes, as an async context."""

    def __init__(self, storage: Storage, options: config.Playback) -> None:
        self.storage = storage
        self._options = options
        self._fetcher = Fetcher(storage)
        self._stack = AsyncExitStack()

    async def serve(self, inbound: Inbound, path: str) -> Answer | None:
        """Answer a GET or HEAD of an object. What it returns is still to be sent.

        Raises NotFound, PreconditionFailed, RangeRefused, StorageError; one that is raised when the answer
        has begun can only end it.
        """
        if isinstance(self.storage, Folder):
            return await self._from_folder(self.storage, inbound, path)
        return await self._from_bucket(inbound, path)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.storage)
        await self._stack.enter_async_context(self._fetcher)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _from_folder(self, folder: Folder, inbound: Inbound, path: str) -> Answer | None:
        with closing(File(await folder.open(path), folder)) as file:
            if is_manifest(path) and file.held.size <= _MANIFEST_BYTES:
                return await _answer(inbound, path, await _manifest(folder, path))
            return await _answer(inbound, path, file)

    async def _from_bucket(self, inbound: Inbound, path: str) -> Answer | None:
        if inbound.method == "GET":
            if self._options.signed_redirect and not is_manifest(path):
                return await self._redirect(path)
            asked = ranges.single(inbound.header(b"range"))
            # What else there is the storage may not know.
            if asked == "" or (asked and not inbound.header(b"if-range")):
                return await self._pass_on(inbound, path, asked)
        entry = await self.storage.stat(path)
        held = Held(entry.size, entry.tag, entry.modified)
        return await _answer(inbound, path, Remote(held, self._fetcher, path))

    async def _pass_on(self, inbound: Inbound, path: str, asked: str) -> Answer | None:
        """The storage's own answer to the same question; ``asked``: the range, "": all."""
        headers = {"Range": asked} if asked else {}
        headers |= {name.decode(): value for name in _CONDITIONS if (value := inbound.header(name))}
        async with self._fetcher.get(path, headers) as response:
            if response.status == 412:
                raise PreconditionFailed
            if response.status == 416:
                size = (await self.storage.stat(path)).size
                raise RangeRefused(f"The object has {size} bytes; the range is not among them.", size=size)
            given = response.headers
            fields = _fields(inbound, path, given.get("ETag", ""), given.get("Last-Modified", ""))
            if response.status == 304:
                return Answer(304, fields)
            _add_type(fields, content_type(path))
            for name in ("Content-Range", "Content-Encoding"):
                if name in given:
                    fields.append((name.encode(), given[name].encode("ascii", "replace")))
            await inbound.begin(Answer(response.status, fields, length=response.content_length))
            async for piece in pieces(response):
                await inbound.write(piece)
            await inbound.end()
        return None

    async def _redirect(self, path: str) -> Answer:
        """To the storage itself: 307, since nothing but the place changes. Who follows what a cache kept has
        half of the signature's time left to begin."""
        seconds = self._options.signed_ttl_seconds
        signed = await self.storage.presign("GET", path, seconds)
        age = f"private, max-age={seconds // 2}".encode()
        return Answer(307, [(b"Location", signed.url.encode()), (b"Cache-Control", age)])


async def _answer(inbound: Inbound, path: str, source: Source) -> Answer | None:
    """What a request gets of an object that is there."""
    held, kind = source.held, content_type(path)
    todo = plan(inbound.method, inbound.header, held)
    fields = _fields(inbound, path, held.tag, http_date(held.modified))
    if todo.status == 304:
        return Answer(304, fields)
    if len(todo.spans) > 1:
        await _answer_parts(inbound, source, todo.spans, kind, fields)
        return None
    span = Span(0, held.size - 1)
    if todo.spans:
        (span,) = todo.spans
        fields.append((b"Content-Range", f"bytes {span.first}-{span.last}/{held.size}".encode()))
    _add_type(fields, kind)
    head = Answer(todo.status, fields, length=span.size)
    if inbound.method == "HEAD":
        return head
    await inbound.begin(head)
    if span.size:
        await source.send(inbound, span)
    await inbound.end()
    return None


async def _answer_parts(
    inbound: Inbound, source: Source, spans: tuple[Span, ...], kind: str, fields: _Fields
) -> None:
    boundary = secrets.token_hex(16)
    heads, end, length = ranges.in_parts(spans, size=source.held.size, kind=kind, boundary=boundary)
    _add_type(fields, f"multipart/byteranges; boundary={boundary}")
    await inbound.begin(Answer(206, fields, length=length))
    for head, span in zip(heads, spans, strict=True):
        await inbound.write(head)
        await source.send(inbound, span)
    await inbound.write(end)
    await inbound.end()


def _fields(inbound: Inbound, path: str, tag: str, modified: str) -> _Fields:
    """What every answer about an object says, also 304."""
    control = cache_control(path, public=inbound.identity == ANYONE)
    named = {b"ETag": tag, b"Last-Modified": modified, b"Cache-Control": control}
    return [(name, value.encode("ascii", "replace")) for name, value in named.items() if value]


def _add_type(fields: _Fields, kind: str) -> None:
    # What nodes were made to store is no page of Liveman's.
    fields += [
        (b"Content-Type", kind.encode()),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Accept-Ranges", b"bytes"),
    ]


async def _manifest(folder: Folder, path: str) -> Bytes:
    """A manifest as it stands between two writes: a node may empty it before it writes it anew."""
    for _ in range(_TRIES):
        data, entry = await folder.read(path)
        # What was read while it was being written is read but once.
        again, _ = await folder.read(path)
        whole = data == again and data.rstrip().endswith(b"</MPD>")
        if whole or abs(time.time() - entry.modified) > _FRESH_SECONDS:
            break
        await asyncio.sleep(_PAUSE_SECONDS)
    return Bytes(data, entry.modified)
