"""What instances tell each other in passing: a channel's name and a short text. Nothing of it is kept."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from liveman.errors import DatabaseError
from liveman.logs import get_logger

__all__ = ["Notices", "Subscription", "joined"]

log = get_logger("liveman.database")

#: The longest channel and payload together, bytes: PostgreSQL carries less than 8000.
_LONGEST = 7900
#: A listener who is further behind is told to read everything anew.
_WAITING = 1000
_AGAIN_SECONDS = 1.0


class Subscription:
    """The notices of one channel, in their order, as an async iterator that does not end by itself."""

    def __init__(self) -> None:
        self._payloads: deque[str | None] = deque([None])
        self._more = asyncio.Event()
        self._more.set()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> str | None:
        """The next payload; None: something may have been missed, so read everything anew. That is also the
        first one."""
        await self._more.wait()
        payload = self._payloads.popleft()
        if not self._payloads:
            self._more.clear()
        return payload

    async def follow(self, read: Callable[[], Awaitable[None]]) -> None:
        """Read what the notices are about at the beginning and at each of them, until cancelled. When the
        database is away, that is tried until it is back."""
        async for _ in self:
            while True:
                try:
                    await read()
                    break
                except DatabaseError as error:
                    log.debug("changes of other instances are not known yet", reason=error.detail)
                await asyncio.sleep(_AGAIN_SECONDS)

    def put(self, payload: str | None) -> None:
        if payload is None or len(self._payloads) >= _WAITING:
            self._payloads.clear()
            payload = None
        self._payloads.append(payload)
        self._more.set()


class Notices:
    """Who listens to what, in this process."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}

    @contextmanager
    def subscribe(self, channel: str) -> Iterator[Subscription]:
        subscription = Subscription()
        self._subscriptions.setdefault(channel, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions[channel].discard(subscription)

    def tell(self, channel: str, payload: str) -> None:
        for subscription in self._subscriptions.get(channel, ()):
            subscription.put(payload)

    def tell_missed(self) -> None:
        """Tell everyone that notices may have been missed."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.put(None)


def joined(channel: str, payload: str) -> str:
    """Both in one text. Raises ValueError when that is longer than can be carried."""
    text = f"{channel} {payload}"
    if len(text.encode()) > _LONGEST:
        raise ValueError(f"A notice has at most {_LONGEST} bytes; keep what is longer in a table.")
    return text
