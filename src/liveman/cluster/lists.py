"""The lists of nodes and streams, to be asked for and to be listened to."""

import asyncio
from collections.abc import Callable, Iterable
from weakref import WeakValueDictionary

from liveman.cluster import listing
from liveman.cluster.changes import Changes
from liveman.cluster.documents import Start, View
from liveman.cluster.feed import Feed
from liveman.cluster.state import State

__all__ = ["Lists"]


class Lists:
    """What each is made of, and when it has changed."""

    def __init__(self, state: Callable[[], State], changes: Changes, start: Start) -> None:
        self._state = state
        self._changes = changes
        self._start = start
        self._lock = asyncio.Lock()
        self._all_streams = self._streams_of(None)
        self._narrowed: WeakValueDictionary[frozenset[str], View] = WeakValueDictionary()
        """Those that somebody waits for now."""
        self.nodes = View(version=self._nodes_version, take=self._take_nodes, lock=self._lock, start=start)
        self.nodes_feed = Feed(self.nodes, changes, start)
        self.streams_feed = Feed(self._all_streams, changes, start)

    def streams(self, nodes: Iterable[str] = ()) -> View:
        """The list of streams; ``nodes`` narrows it to what these have said (empty: all)."""
        asked = frozenset(nodes)
        if not asked:
            return self._all_streams
        known = asked.intersection(self._state().nodes)
        view = self._narrowed.get(known)
        if view is None:
            view = self._narrowed[known] = self._streams_of(known)
        return view

    def end_feeds(self) -> None:
        """End all event streams at once, so that shutting down waits for none."""
        self.nodes_feed.end()
        self.streams_feed.end()

    def _streams_of(self, nodes: frozenset[str] | None) -> View:
        rows = listing.StreamRows()

        def take() -> Callable[[], bytes]:
            streams = listing.take_streams(self._state(), nodes)
            return lambda: rows.encode(streams)

        return View(
            version=lambda: self._state().version,
            take=take,
            lock=self._lock,
            start=self._start,
        )

    def _nodes_version(self) -> object:
        # Nobody is told of the sessions that come and go between two snapshots, but they are counted.
        nodes = self._state().nodes.values()
        return self._changes.count, [(node.publishers, node.subscribers) for node in nodes]

    def _take_nodes(self) -> Callable[[], bytes]:
        rows = listing.node_rows(self._state())
        return lambda: listing.encode_nodes(rows)
