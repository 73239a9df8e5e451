"""Connections through the broker as a state machine: what is written becomes messages, messages become bytes.

No I/O and no clock. The protocol has neither sequence numbers nor windows, so whoever moves the messages must
keep their order, and must fail all tunnels when one may be missing. A message with bytes carries them, an
empty one closes the connection in both directions at once.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["MAX_HELD", "MAX_HELD_IN_ALL", "MAX_PAYLOAD", "Overflow", "Tunnel", "Tunnels"]

#: Bytes of one message; existing peers drop the whole connection at a packet over 10 KiB.
MAX_PAYLOAD = 4096
#: Bytes that wait for a reader who has paused. Nothing can tell the other side to wait: one that needs more
#: fails, rather than the whole broker connection stand still, whose messages the broker would then drop.
MAX_HELD = 16 * 1024 * 1024
MAX_HELD_IN_ALL = 4 * MAX_HELD
#: What one message that is held takes beside its bytes.
_OVERHEAD = 64

K = TypeVar("K", bound=Hashable)


class Overflow(ConnectionError):
    """The reader is so much slower than the sender that the connection had to be given up."""


class Tunnels(Generic[K]):
    """All connections of one side, each by its key."""

    def __init__(self) -> None:
        self._tunnels: dict[K, Tunnel[K]] = {}
        self._ready: dict[K, Tunnel[K]] = {}
        self.held = 0
        """Bytes that wait for readers."""

    def __len__(self) -> int:
        return len(self._tunnels)

    def __iter__(self) -> Iterator["Tunnel[K]"]:
        return iter(list(self._tunnels.values()))

    def open(self, key: K, *, known: bool = False) -> "Tunnel[K]":
        """A new connection. ``known``: the other side has opened it; else the first message tells it."""
        assert key not in self._tunnels
        tunnel = self._tunnels[key] = Tunnel(key, self, known)
        return tunnel

    def get(self, key: K) -> "Tunnel[K] | None":
        """The connection of this key, if it is not closed."""
        return self._tunnels.get(key)

    def next_message(self, may_send: Callable[[K], bool] = lambda _: True) -> tuple[K, bytes] | None:
        """What is to be sent next, of those that may; None: nothing waits. The connections take turns."""
        tunnel = next((each for key, each in self._ready.items() if may_send(key)), None)
        if tunnel is None:
            return None
        del self._ready[tunnel.key]
        payload = tunnel.take()
        if tunnel.wants_to_send:
            self._ready[tunnel.key] = tunnel
        return tunnel.key, payload

    def _enqueue(self, tunnel: "Tunnel[K]") -> None:
        self._ready[tunnel.key] = tunnel

    def _forget(self, tunnel: "Tunnel[K]") -> None:
        if self._tunnels.get(tunnel.key) is tunnel:
            del self._tunnels[tunnel.key]


class Tunnel(Generic[K]):
    """One connection. It is open until its empty message is sent or has come, or it is dropped."""

    def __init__(self, key: K, owner: Tunnels[K], known: bool) -> None:
        self.key = key
        self.closed = False
        """Whether it can neither send nor receive any more; what is held can still be read."""
        self.finishing = False
        """Whether its empty message follows what is written."""
        self.known = known
        """Whether the other side has heard of it."""
        self._owner = owner
        self._written = bytearray()
        self._held: deque[bytes] = deque()
        self._held_bytes = 0

    # Towards the other side.

    @property
    def unsent(self) -> int:
        """Bytes that are written and not yet taken."""
        return len(self._written)

    @property
    def wants_to_send(self) -> bool:
        return not self.closed and bool(self._written or self.finishing)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Have bytes sent. Of no effect once it is finishing or closed."""
        if data and not self.closed and not self.finishing:
            self._written += data
            self._owner._enqueue(self)

    def finish(self) -> None:
        """Close it after what is written."""
        if not self.closed and not self.finishing:
            self.finishing = True
            self._written_or_nothing()

    def abort(self) -> None:
        """Close it next, without what is written and not yet taken, and without what is held."""
        if not self.closed:
            self._written.clear()
            self.finishing = True
            self._release()
            self._written_or_nothing()

    def take(self) -> bytes:
        """The payload of its next message; empty: this was the last."""
        payload = bytes(self._written[:MAX_PAYLOAD])
        del self._written[:MAX_PAYLOAD]
        self.known = True
        if not payload:
            self._close()
        return payload

    # From the other side.

    def receive(self, payload: bytes) -> None:
        """A message has come. Raises Overflow when too much is held, and then it is aborted."""
        if self.closed:
            return
        if not payload:
            self._close()
        elif not self.finishing:
            self._held.append(payload)
            self._count(len(payload) + _OVERHEAD)
            if self._held_bytes > MAX_HELD or self._owner.held > MAX_HELD_IN_ALL:
                held = self._held_bytes
                self.abort()
                raise Overflow(f"{held} bytes waited to be read")

    def read(self) -> bytes:
        """The oldest payload that is held; empty: none is."""
        if not self._held:
            return b""
        payload = self._held.popleft()
        self._count(-len(payload) - _OVERHEAD)
        return payload

    def drop(self) -> None:
        """Close it without a word to the other side."""
        self._release()
        self._close()

    def _written_or_nothing(self) -> None:
        if self._written or self.known:
            self._owner._enqueue(self)
        else:
            self._close()  # The other side has never heard of it.

    def _close(self) -> None:
        self.closed = True
        self._written.clear()
        self._owner._ready.pop(self.key, None)
        self._owner._forget(self)

    def _release(self) -> None:
        self._held.clear()
        self._count(-self._held_bytes)

    def _count(self, more: int) -> None:
        self._held_bytes += more
        self._owner.held += more
