"""Pages as event streams (WHATWG HTML, section 9.2): what a page shows is sent again when it has changed.

Each view is made once for all who look at the same, however many there are, and only while somebody does.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Self

from attrs import define, field, frozen

from liveman.access import Identity
from liveman.cluster.changes import Changes
from liveman.errors import LivemanError, Unavailable
from liveman.inbound import Answer, Inbound
from liveman.logs import get_logger

__all__ = ["Frame", "Live"]

log = get_logger("liveman.dashboard")

#: The least between two looks at a view, seconds.
PAUSE_SECONDS = 2.0
#: A view rests for so many times as long as the last look took, so that many of them leave time to others.
REST = 10.0
#: But no longer, seconds.
LONGEST_REST = 30.0
#: How long a look waits for a change of the nodes; what else changes is seen then.
WAIT_SECONDS = 3.0
#: Who is told nothing for so long gets a comment.
COMMENT_SECONDS = 15.0
#: At the same time. Each is made again and again, and each query asks for one of its own.
MOST_VIEWS = 1000

_FIELDS = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-store"),
    (b"Vary", b"Accept"),
    # Else nginx in front of us would hold messages back until there are more.
    (b"X-Accel-Buffering", b"no"),
)

#: They stand around the block ``live`` in ``base.html``; no text that is escaped holds them.
_BEGIN, _END = "<!--live-->", "<!--/live-->"

Render = Callable[[], Awaitable["Frame"]]
Start = Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]]


@frozen
class Frame:
    """What a page shows at one moment."""

    tag: str
    message: bytes = field(repr=False)
    """The event."""

    @classmethod
    def of(cls, page: str) -> Self:
        """Of a page that was made whole: it has all that its template imports."""
        title = page.partition("<title>")[2].partition("</title>")[0]
        html = page.partition(_BEGIN)[2].partition(_END)[0]
        data = json.dumps({"html": html, "title": title}, ensure_ascii=False, separators=(",", ":"))
        tag = hashlib.blake2b(data.encode(), digest_size=9).hexdigest()
        return cls(tag, f"id: {tag}\nevent: live\ndata: {data}\n\n".encode())


@define(eq=False)
class _View:
    """One that somebody looks at."""

    render: Render
    newest: Frame | None = None
    listeners: int = 0
    followed: bool = False
    ended: bool = False
    took: float = 0.0
    """How long the last rendering lasted, seconds."""
    news: Changes = field(factory=Changes)
    _turn: asyncio.Lock = field(factory=asyncio.Lock)
    _begun: int = 0
    _made: int = 0
    """The last rendering that is done; they are numbered as they begin."""

    async def renew(self) -> None:
        """Show what is true at the time of this call, or later; one rendering does for all who wait."""
        begun = self._begun
        async with self._turn:
            if self._made > begun:
                return
            self._begun = number = self._begun + 1
            start = time.monotonic()
            frame = await self.render()
            self.took = time.monotonic() - start
            self._made = number
            if self.newest is None or self.newest.tag != frame.tag:
                self.newest = frame
                self.news.mark()


class Live:
    """The event streams of all pages."""

    def __init__(self, changes: Changes, start: Start, good: Callable[[Identity], bool]) -> None:
        """``changes`` of the nodes tell when it is worth looking before the wait is over; ``good``: who may
        still look."""
        self._changes = changes
        self._start = start
        self._good = good
        self._views: dict[Hashable, _View] = {}
        self._ended = False

    def __len__(self) -> int:
        """How many listen."""
        return sum(view.listeners for view in self._views.values())

    def end(self) -> None:
        """End all streams at once, and those that come later."""
        self._ended = True
        for view in self._views.values():
            view.ended = True
            view.news.mark()

    async def listen(self, inbound: Inbound, key: Hashable, render: Render) -> None:
        """Answer with the event stream of a view, for as long as the one who asks may look. ``key`` is the
        same for all who see the same. Raises Unavailable, and what ``render`` does at first."""
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= MOST_VIEWS:
                raise Unavailable("Too many different pages are being kept up to date.", retry_after=10)
            view = self._views[key] = _View(render)
        view.listeners += 1
        try:
            # Who comes may have changed something, and must not be shown what was before.
            await view.renew()
            if not view.followed:
                view.followed = True
                self._start("follow a page", self._follow(key, view))
            await inbound.begin(Answer(200, _FIELDS))
            await self._tell(inbound, view)
        finally:
            view.listeners -= 1
            if not view.followed and not view.listeners:
                del self._views[key]
        await inbound.end()

    async def _tell(self, inbound: Inbound, view: _View) -> None:
        known = inbound.header(b"last-event-id")
        while not view.ended and self._good(inbound.identity):
            seen, frame = view.news.count, view.newest
            assert frame is not None
            await inbound.write(frame.message if frame.tag != known else b":\n\n")
            known = frame.tag
            try:
                async with asyncio.timeout(COMMENT_SECONDS):
                    await view.news.after(seen)
            except TimeoutError:
                pass

    async def _follow(self, key: Hashable, view: _View) -> None:
        try:
            while view.listeners and not self._ended:
                seen = self._changes.count
                await asyncio.sleep(max(PAUSE_SECONDS, min(LONGEST_REST, REST * view.took)))
                try:
                    async with asyncio.timeout(WAIT_SECONDS):
                        await self._changes.after(seen)
                except TimeoutError:
                    pass
                await view.renew()
        except LivemanError as error:
            # Who listens comes again and is told then.
            log.debug("a page cannot be made any more", reason=error.detail)
        finally:
            view.ended = True
            view.news.mark()
            del self._views[key]
