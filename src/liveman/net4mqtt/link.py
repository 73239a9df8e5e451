"""One connection to the broker, from its acceptance to its loss, whichever library carries it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

__all__ = ["HIGH", "KEEPALIVE_SECONDS", "LOW", "Link", "LinkError", "Session", "Sink"]

#: Bytes that may wait to be sent; then senders pause until there are so few.
HIGH = 256 * 1024
LOW = 64 * 1024
#: A broker that is silent for about twice as long is lost.
KEEPALIVE_SECONDS = 10


class LinkError(ConnectionError):
    """The broker cannot be reached, or refuses; the text says why and holds no secret."""


class Sink(Protocol):
    """Who gets what a link has to say."""

    def received(self, topic: str, payload: bytes, retained: bool) -> None: ...

    def resumed(self) -> None:
        """The link is writable again."""


@frozen
class Session:
    """What is said to the broker at the beginning of each link."""

    subscriptions: tuple[str, ...]
    """The last is a wish: without it one gets on, too."""
    will: tuple[str, bytes] | None = None
    """Topic and payload that the broker publishes, retained, when the link is lost."""


class Link(ABC):
    """It is made by being connected, with its subscriptions granted; nothing is sent on it after its loss."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done with the reason when it is lost."""
        self.writable = True
        """Whether more may be published; who goes on nevertheless only fills memory."""
        self.wish = False
        """Whether the last subscription is granted, too."""

    @abstractmethod
    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message with QoS 0. Messages keep their order."""

    @abstractmethod
    async def close(self) -> None:
        """Send what is published and disconnect, in two seconds at most."""

    def _check(self, granted: Sequence[int]) -> None:
        """Raises LinkError when what is needed of the subscriptions is not granted."""
        if any(code >= 128 for code in granted[:-1]):
            raise LinkError("it does not grant the subscriptions")
        self.wish = granted[-1] < 128

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    def _pause(self) -> None:
        self.writable = False

    def _resume(self) -> None:
        self.writable = True
        self._sink.resumed()
