"""What changes of the nodes at run time, in the database and in the cluster alike."""

import asyncio
import time
from types import TracebackType
from typing import Any, Self

from liveman.cluster.cluster import Cluster
from liveman.cluster.drain import Drain, Drains, drain_row
from liveman.cluster.state import Node
from liveman.cluster.store import Store
from liveman.errors import Conflict, NotFound
from liveman.logs import get_logger

__all__ = ["Registry"]

log = get_logger("liveman.cluster")


class Registry:
    """The changes. `load` comes before the cluster is entered, the registry's own context inside that one's.

    All raise DatabaseError, and then have changed nothing; a node that is not there is NotFound.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._drains = Drains(cluster)
        self._found: list[Drain] = []
        self._changing = asyncio.Lock()
        self._store: Store | None = None

    async def load(self, store: Store) -> None:
        """Take over what was kept."""
        self._store = store
        for node in await store.nodes():
            try:
                self._cluster.add(node)
            except Conflict as error:
                log.warning(
                    "a node in the database gives way to one that is declared",
                    node=node.alias,
                    reason=error.detail,
                )
        for drain in await store.drains():
            if self._cluster.node(drain.alias) is None:
                log.warning("a node that is being drained is not there", node=drain.alias)
            else:
                self._found.append(drain)

    async def __aenter__(self) -> Self:
        await self._drains.__aenter__()
        for drain in self._found:
            self._drains.start(drain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._drains.__aexit__(kind, error, trace)

    async def add(self, node: Node) -> None:
        """Raises Conflict for an alias that is taken, or that session ids could not tell from another's."""
        async with self._changing:
            self._cluster.add(node)
            try:
                await self._kept.put_node(node)
            except BaseException:
                self._cluster.remove(node.alias)
                raise
        log.info("node was added", node=node.alias, url=node.url)

    async def remove(self, alias: str) -> None:
        """Raises Conflict for a node that was not added at run time."""
        async with self._changing:
            node = self._known(alias)
            if node.kind != "api":
                raise Conflict(_NOT_OURS[node.kind].format(alias))
            await self._kept.remove_node(alias)
            self._drains.end(alias)
            self._cluster.remove(alias)
        log.info("node was removed", node=alias)

    async def drain(self, alias: str, *, seconds: float | None, close: bool) -> dict[str, Any]:
        """Begin to drain a node, in the place of an older drain; ``seconds`` from now is its deadline."""
        async with self._changing:
            self._known(alias)
            now = round(time.time(), 3)
            drain = Drain(alias, now, None if seconds is None else now + seconds, close)
            await self._kept.put_drain(drain)
            self._drains.start(drain)
        return drain_row(drain, self._cluster.state)

    def draining(self, alias: str) -> dict[str, Any]:
        """How far it is."""
        self._known(alias)
        drain = self._drains.get(alias)
        if drain is None:
            raise NotFound(f"Node {alias} is not being drained.")
        return drain_row(drain, self._cluster.state)

    async def end_drain(self, alias: str) -> dict[str, Any]:
        """Put a node back into service; how far its drain was."""
        async with self._changing:
            row = self.draining(alias)
            await self._kept.remove_drain(alias)
            self._drains.end(alias)
        return row

    @property
    def _kept(self) -> Store:
        assert self._store is not None, "the registry was not loaded"
        return self._store

    def _known(self, alias: str) -> Node:
        node = self._cluster.node(alias)
        if node is None:
            raise NotFound(f"There is no node named {alias!r}.")
        return node


_NOT_OURS = {
    "config": "Node {} is declared in the configuration; remove it there, or drain it.",
    "demo": "Node {} is Liveman's own, by the section [liveion] of the configuration.",
    "net4mqtt": "Node {} was discovered, and goes when it leaves the MQTT broker.",
}
