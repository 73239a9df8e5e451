"""What changes of the nodes at run time, in the database and in the cluster alike, at this instance or at
another one."""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from liveman.cluster.cluster import Cluster
from liveman.cluster.drain import Drain, Drains, drain_row
from liveman.cluster.node import Node
from liveman.cluster.store import Store
from liveman.database import Leadership
from liveman.errors import Conflict, NotFound
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["Registry"]

log = get_logger("liveman.cluster")


class Registry:
    """The changes. `load` comes before the cluster is entered, the registry's own context inside that one's:
    there it follows what is changed at other instances.

    All raise DatabaseError, and then have changed nothing; a node that is not there is NotFound.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._changing = asyncio.Lock()
        self._tasks = TaskOwner()
        self._told: set[str] = set()
        """What was warned of already."""
        self._kept_drains: dict[str, Drain] = {}
        """What the database says, by alias: also of nodes that are not there now."""
        self._store: Store | None = None
        self._drains = Drains(cluster, Leadership())

    async def load(self, store: Store) -> None:
        """Take over what was kept."""
        self._store = store
        self._drains = Drains(self._cluster, store.leadership)
        self._match_nodes(await store.nodes())

    async def __aenter__(self) -> Self:
        await self._drains.__aenter__()
        await self._tasks.__aenter__()
        try:
            await self._catch_up()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self._tasks.start("follow other instances", self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)
        await self._drains.__aexit__(kind, error, trace)

    async def add(self, node: Node) -> None:
        """Raises Conflict for an alias that is taken, or that session ids could not tell from another's."""
        async with self._changing:
            await self._catch_up()
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
            await self._catch_up()
            node = self._known(alias)
            if node.kind != "api":
                raise Conflict(_NOT_OURS[node.kind].format(alias))
            await self._kept.remove_node(alias)
            self._drains.end(alias)
            self._cluster.remove(alias)
        log.info("node was removed", node=alias)

    def appear(self, node: Node) -> None:
        """A node was discovered. Raises Conflict for an alias that is taken."""
        self._cluster.add(node)
        if drain := self._kept_drains.get(node.alias):
            self._drains.start(drain)
        log.info("node was discovered", node=node.alias, url=node.url)

    def vanish(self, alias: str) -> None:
        """A node that was discovered has gone; its drain is for when it comes back."""
        self._drains.end(alias)
        self._cluster.remove(alias)
        log.info("node has left", node=alias)

    async def drain(self, alias: str, *, seconds: float | None, close: bool) -> dict[str, Any]:
        """Begin to drain a node, in the place of an older drain; ``seconds`` from now is its deadline."""
        async with self._changing:
            await self._catch_up()
            self._known(alias)
            now = round(time.time(), 3)
            drain = Drain(alias, now, None if seconds is None else now + seconds, close)
            await self._kept.put_drain(drain)
            self._kept_drains[alias] = drain
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
            await self._catch_up()
            row = self.draining(alias)
            await self._kept.remove_drain(alias)
            self._kept_drains.pop(alias, None)
            self._drains.end(alias)
        return row

    async def _follow(self) -> None:
        async def read() -> None:
            async with self._changing:
                await self._catch_up()

        with self._kept.changes() as changes:
            await changes.follow(read)

    async def _catch_up(self) -> None:
        """Make the cluster what the database says."""
        nodes = await self._kept.nodes()
        drains = self._kept_drains = {drain.alias: drain for drain in await self._kept.drains()}
        self._match_nodes(nodes)
        for drain in self._drains.all():
            if drain.alias not in drains:
                self._drains.end(drain.alias)
        for alias, drain in drains.items():
            if self._cluster.node(alias) is None:
                self._warn("a node that is being drained is not there", alias)
            elif self._drains.get(alias) != drain:
                self._drains.start(drain)

    def _match_nodes(self, nodes: Sequence[Node]) -> None:
        kept = {node.alias: node for node in nodes}
        for known in self._cluster.nodes():
            node = known.node
            if node.kind == "api" and kept.get(node.alias) != node:
                self._drains.end(node.alias)
                self._cluster.remove(node.alias)
                log.info("node is gone from the database", node=node.alias)
        for alias, node in kept.items():
            if self._cluster.node(alias) == node:
                continue
            try:
                self._cluster.add(node)
                log.info("node was found in the database", node=alias, url=node.url)
            except Conflict as error:
                self._warn(
                    "a node in the database gives way to one that is declared", alias, reason=error.detail
                )

    def _warn(self, event: str, alias: str, **values: str) -> None:
        """Once for each node."""
        if event + alias not in self._told:
            self._told.add(event + alias)
            log.warning(event, node=alias, **values)

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
