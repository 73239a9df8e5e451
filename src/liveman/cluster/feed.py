"""A list as an event stream (WHATWG HTML, section 9.2): the whole list at once, and anew on change.

All listeners of a list get the same document. One who lags gets the newest when he is ready, and one who
does not take a message in time is cut off.
"""

import asyncio
from collections.abc import Callable

from liveman.access import Identity
from liveman.cluster.changes import Changes
from liveman.cluster.documents import PIECE, Document, Start, View
from liveman.inbound import Answer, Inbound
from liveman.logs import get_logger

__all__ = ["Feed"]

log = get_logger("liveman.cluster")

#: The least between two messages, seconds.
PAUSE_SECONDS = 1.0
#: Who is told nothing for so long gets a comment.
COMMENT_SECONDS = 15.0
#: How long a listener may need for one message. No more documents than that are ever held for the slow.
PATIENCE_SECONDS = 15.0

_FIELDS = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache"),
    # Else nginx in front of us would hold messages back until there are more.
    (b"X-Accel-Buffering", b"no"),
)
_COMMENT = b":\n\n"


class Feed:
    """The event stream of one list."""

    def __init__(self, view: View, changes: Changes, start: Start) -> None:
        """``changes`` tells when it is worth looking; what else changes the list is found within a pause."""
        self._view = view
        self._changes = changes
        self._start = start
        self._listeners: set[asyncio.Timeout] = set()
        self._follower: asyncio.Task[None] | None = None
        """Runs while somebody listens."""
        self._newest: Document | None = None
        self._news = Changes()
        self._ended = False

    def __len__(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def end(self) -> None:
        """End the stream of every listener at once, and of those who come later."""
        self._ended = True
        self._cut()

    async def listen(self, inbound: Inbound, good: Callable[[Identity], bool]) -> Answer | None:
        """Answer a GET or HEAD, for as long as the one who asks is ``good``. What it returns is still to be
        sent."""
        if inbound.method == "HEAD":
            return Answer(200, _FIELDS)
        document = await self._view.document()
        await inbound.begin(Answer(200, _FIELDS))
        clock = asyncio.get_running_loop().time
        between = True
        try:
            async with asyncio.timeout(None) as limit:
                self._listeners.add(limit)
                if self._follower is None or self._follower.done():
                    self._follower = self._start("follow a list", self._follow())
                message: Document | None = document
                while not self._ended:
                    between = False
                    limit.reschedule(clock() + PATIENCE_SECONDS)
                    await _write(inbound, message)
                    between = True
                    if self._ended:
                        break
                    limit.reschedule(None)
                    await asyncio.sleep(PAUSE_SECONDS)
                    message = await self._newer(document)
                    if not good(inbound.identity):
                        break
                    document = message or document
        except TimeoutError:
            if not between:
                if not self._ended:
                    log.info("a listener was too slow and was cut off", client=inbound.remote)
                inbound.abort()
                return None
        finally:
            self._listeners.discard(limit)
        await inbound.end()
        return None

    async def _newer(self, document: Document) -> Document | None:
        """Wait for one; None: it is time for a comment."""
        try:
            async with asyncio.timeout(COMMENT_SECONDS):
                while self._newest is None or self._newest.number <= document.number:
                    await self._news.after(self._news.count)
        except TimeoutError:
            return None
        return self._newest

    async def _follow(self) -> None:
        try:
            while self._listeners:
                seen = self._changes.count
                document = await self._view.document()
                if document is not self._newest:
                    self._newest = document
                    self._news.mark()
                await asyncio.sleep(PAUSE_SECONDS)
                try:
                    async with asyncio.timeout(PAUSE_SECONDS):
                        await self._changes.after(seen)
                except TimeoutError:
                    pass
        finally:
            self._newest = None
            self._cut()

    def _cut(self) -> None:
        now = asyncio.get_running_loop().time()
        for limit in self._listeners:
            if not limit.expired():
                limit.reschedule(now)


async def _write(inbound: Inbound, message: Document | None) -> None:
    if message is None:
        await inbound.write(_COMMENT)
        return
    body = message.body
    await inbound.write(b"data: " + body[:PIECE])
    for at in range(PIECE, len(body), PIECE):
        await inbound.write(body[at : at + PIECE])
    await inbound.write(b"\n\n")
