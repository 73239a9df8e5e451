"""Emptying nodes: which sessions are closed when, and the task per node that closes them.

A draining node takes no new sessions. The instance that leads closes those that it has: its subscribers one
by one, where that is asked for, as far as their streams have free places elsewhere; at the deadline all that
is left, relays too.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from attrs import frozen

from liveman.cluster.cluster import Cluster
from liveman.cluster.state import PENDING_SECONDS, State
from liveman.database import Leadership
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["Drain", "Drains", "drain_row", "next_to_close"]

log = get_logger("liveman.cluster")

#: How many sessions are closed at the same time once the deadline is over.
_AT_ONCE = 16

Session = tuple[str, str]
"""A stream's name, and the node's own id of a session."""


@frozen
class Drain:
    """A node that is being emptied."""

    alias: str
    since: float
    """Unix time, seconds; so is the deadline."""
    deadline: float | None = None
    """When all that is left is closed; None: never."""
    close: bool = False
    """Whether subscribers are closed that can come back to other nodes."""


def drain_row(drain: Drain, state: State) -> dict[str, Any]:
    """How far it is. A node that was not heard of since Liveman's start may have sessions."""
    node = state.nodes[drain.alias]
    left = node.publishers + node.subscribers + node.relays
    return {
        "alias": drain.alias,
        "since": drain.since,
        "deadline": drain.deadline,
        "publishers": node.publishers,
        "subscribers": node.subscribers,
        "relays": node.relays,
        "done": not left and (node.heard or node.health.status == "down"),
    }


def next_to_close(
    state: State, alias: str, *, returning: Mapping[str, int], failed: Collection[Session]
) -> Session | None:
    """The subscriber on this node to be closed next; None: no other node has a place for one of them now.

    ``returning`` counts by stream those who were closed lately and may be on their way to such a place;
    ``failed`` names the sessions that could not be closed.
    """
    for stream, entry in state.nodes[alias].streams.items():
        if entry.subscribers and _places_elsewhere(state, stream) > returning.get(stream, 0):
            for session, role in state.sessions(alias, stream):
                if role == "subscribe" and (stream, session) not in failed:
                    return stream, session
    return None


def _places_elsewhere(state: State, stream: str) -> int:
    """The free places for subscribers of the stream on nodes that stay in service and play it."""
    free = 0
    for alias, entry in state.streams[stream].items():
        node = state.nodes[alias]
        if entry.connected and not node.draining:
            free += max(0, node.sub_max - entry.subscribers)
    return free


class Drains:
    """The drains under way. An async context, inside the cluster's, that owns their tasks."""

    def __init__(self, cluster: Cluster, leadership: Leadership, *, pause: float = 0.2) -> None:
        """Sessions are closed where it leads. ``pause``: between two of them, seconds."""
        self._cluster = cluster
        self._leadership = leadership
        self._pause = pause
        self._drains: dict[str, Drain] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks = TaskOwner()
        self._closed: deque[tuple[float, str]] = deque()
        """When a subscriber was closed (monotonic seconds), and of which stream; of all nodes, since all
        compete for the same places."""

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    def get(self, alias: str) -> Drain | None:
        return self._drains.get(alias)

    def all(self) -> list[Drain]:
        return list(self._drains.values())

    def start(self, drain: Drain) -> None:
        """Drain a node, in the place of an older drain."""
        self.end(drain.alias)
        self._drains[drain.alias] = drain
        self._cluster.drain(drain.alias, True)
        log.info("node is draining", node=drain.alias, deadline=drain.deadline, close=drain.close)
        emptying = self._leadership.while_leading(partial(self._empty, drain))
        self._running[drain.alias] = self._tasks.start(f"drain {drain.alias}", emptying)

    def end(self, alias: str) -> None:
        """Stop emptying a node; nothing, where it is not."""
        if self._drains.pop(alias, None) is not None:
            self._running.pop(alias).cancel()
            self._cluster.drain(alias, False)

    async def _empty(self, drain: Drain) -> None:
        left = None if drain.deadline is None else max(0.0, drain.deadline - time.time())
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                if drain.close:
                    await self._ease_out(drain.alias)
                await asyncio.Event().wait()
        await self._close_all(drain.alias)

    async def _ease_out(self, alias: str) -> None:
        """Close the subscribers that can go elsewhere, one by one, for as long as there may be any."""
        failed: set[Session] = set()
        while True:
            seen = self._cluster.changes.count
            found = next_to_close(self._cluster.state, alias, returning=self._returning(), failed=failed)
            if found is not None:
                if await self._close(alias, found):
                    self._closed.append((time.monotonic(), found[0]))
                else:
                    failed.add(found)
                await asyncio.sleep(self._pause)
            else:
                await self._another_look(seen)

    async def _close_all(self, alias: str) -> None:
        """Close whatever is there, and what comes by a direct route from now on."""
        log.info("the deadline of a drain is over; what is left is closed", node=alias)
        while True:
            seen = self._cluster.changes.count
            state = self._cluster.state
            streams = state.nodes[alias].streams
            there = [(stream, id) for stream in streams for id, _ in state.sessions(alias, stream)]
            for start in range(0, len(there), _AT_ONCE):
                await asyncio.gather(*(self._close(alias, each) for each in there[start : start + _AT_ONCE]))
            await self._another_look(seen)

    async def _another_look(self, seen: int) -> None:
        """Wait for a change; for so long at the most as those who were closed are expected elsewhere, and
        until what failed is tried again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PENDING_SECONDS):
                await self._cluster.changes.after(seen)
        await asyncio.sleep(self._pause)

    async def _close(self, alias: str, session: Session) -> bool:
        stream, id = session
        node = self._cluster.node(alias)
        assert node is not None
        # A node may list names that no path here could hold.
        gone = await self._cluster.client.delete_session(node, quote(stream, safe=""), id)
        if gone:
            self._cluster.session_deleted(alias, stream, id)
        return gone

    def _returning(self) -> Counter[str]:
        while self._closed and self._closed[0][0] < time.monotonic() - PENDING_SECONDS:
            self._closed.popleft()
        return Counter(stream for _, stream in self._closed)
