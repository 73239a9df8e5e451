"""A list as a document: encoded once per change, and compressed once, however many ask.

Both is done in threads, one encoding at a time, so that the event loop goes on meanwhile.
"""

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, field

from liveman.cluster.negotiation import accepts_gzip, has_already
from liveman.inbound import Answer, Inbound
from liveman.logs import get_logger

__all__ = ["PIECE", "Document", "Start", "View", "answer"]

log = get_logger("liveman.cluster")

#: Runs a named coroutine as a task that somebody owns.
Start = Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]]

#: A list is sent in pieces, so that a slow client holds no copy of it.
PIECE = 128 * 1024
#: How long a client may take nothing of a list.
STALLED_SECONDS = 60.0
#: Smaller lists are not compressed.
_SMALL = 1024


@define(eq=False)
class Document:
    """A list, encoded."""

    body: bytes = field(repr=False)
    tag: str
    """Its entity tag with the quotes. It follows from the body, so all instances give the same."""
    number: int
    """Later ones of the same list have higher ones."""
    _start: Start = field(repr=False)
    _gzipped: asyncio.Task[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def gzip_tag(self) -> str:
        """The entity tag of the compressed form."""
        return f'{self.tag[:-1]}-gzip"'

    async def gzipped(self) -> bytes:
        if self._gzipped is None:
            self._gzipped = self._start("compress a list", asyncio.to_thread(_gzip, self.body))
        return await asyncio.shield(self._gzipped)


class View:
    """One list, of which there is always a document that is up to date."""

    def __init__(
        self,
        *,
        version: Callable[[], object],
        take: Callable[[], Callable[[], bytes]],
        lock: asyncio.Lock,
        start: Start,
    ) -> None:
        """``version`` is another one after each change of the list. ``take`` takes what the list is made of,
        and gives what makes it of that, in a thread; the lock is held meanwhile."""
        self._version = version
        self._take = take
        self._lock = lock
        self._start = start
        self._document: Document | None = None
        self._made_of: object = None
        """The version that the document is of."""
        self._begun = 0
        self._finished = 0
        """The last encoding that is done; they are numbered as they begin."""
        self._encoding: asyncio.Task[None] | None = None

    async def document(self) -> Document:
        """The list as it is at the time of this call, or later."""
        wanted, begun = self._version(), self._begun
        while self._document is None or (self._made_of != wanted and self._finished <= begun):
            if self._encoding is None:
                self._encoding = self._start("encode a list", self._encode())
            # Shielded, as all who wait share it.
            await asyncio.shield(self._encoding)
        return self._document

    async def _encode(self) -> None:
        try:
            async with self._lock:
                self._begun += 1
                number, version = self._begun, self._version()
                body, tag = await asyncio.to_thread(_tagged, self._take())
            self._made_of, self._finished = version, number
            if self._document is None or self._document.tag != tag:
                self._document = Document(body, tag, number, self._start)
        finally:
            self._encoding = None


async def answer(inbound: Inbound, document: Document) -> Answer | None:
    """Answer a GET or HEAD with a document. What it returns is still to be sent."""
    zipped = len(document.body) >= _SMALL and accepts_gzip(inbound.header(b"accept-encoding"))
    tag = document.gzip_tag if zipped else document.tag
    fields = [
        (b"ETag", tag.encode()),
        (b"Cache-Control", b"no-cache"),
        (b"Vary", b"Accept-Encoding"),
    ]
    if has_already(inbound.header(b"if-none-match"), tag):
        return Answer(304, fields)
    fields.append((b"Content-Type", b"application/json"))
    body = document.body
    if zipped:
        body = await document.gzipped()
        fields.append((b"Content-Encoding", b"gzip"))
    if inbound.method == "HEAD":
        return Answer(200, fields, length=len(body))
    if len(body) <= PIECE:
        return Answer(200, fields, body)
    await inbound.begin(Answer(200, fields, length=len(body)))
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(None) as limit:
            for at in range(0, len(body), PIECE):
                limit.reschedule(clock() + STALLED_SECONDS)
                await inbound.write(body[at : at + PIECE])
            await inbound.end()
    except TimeoutError:
        log.info("a client who took nothing of a list was cut off", client=inbound.remote)
        inbound.abort()
    return None


def _tagged(encode: Callable[[], bytes]) -> tuple[bytes, str]:
    body = encode()
    return body, f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, 6, mtime=0)
