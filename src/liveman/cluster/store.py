"""What must outlive Liveman of the cluster: the nodes that were added at run time, and the drains.

Every change is announced to the other instances."""

from contextlib import AbstractContextManager
from typing import Any

from liveman.cluster.drain import Drain
from liveman.cluster.node import Node
from liveman.config import NodeConfig
from liveman.database import Database, Leadership, Subscription
from liveman.logs import get_logger
from liveman.strict import structure_strictly

__all__ = ["Store"]

log = get_logger("liveman.cluster")

_NODES = "SELECT alias, url, token, mode, pub_max, sub_max FROM cluster_nodes ORDER BY alias"
_PUT_NODE = """
INSERT INTO cluster_nodes (alias, url, token, mode, pub_max, sub_max) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (alias) DO UPDATE SET url = excluded.url, token = excluded.token, mode = excluded.mode,
    pub_max = excluded.pub_max, sub_max = excluded.sub_max
"""
_REMOVE_NODE = "DELETE FROM cluster_nodes WHERE alias = $1"
_DRAINS = "SELECT alias, since, deadline, close_subscribers FROM cluster_drains ORDER BY alias"
_PUT_DRAIN = """
INSERT INTO cluster_drains (alias, since, deadline, close_subscribers) VALUES ($1, $2, $3, $4)
ON CONFLICT (alias) DO UPDATE SET since = excluded.since, deadline = excluded.deadline,
    close_subscribers = excluded.close_subscribers
"""
_CHANNEL = "cluster"
_REMOVE_DRAIN = "DELETE FROM cluster_drains WHERE alias = $1"


class Store:
    """The rows, as values. Every method raises DatabaseError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unusable: set[str] = set()
        """The nodes whose rows were complained of."""

    @property
    def leadership(self) -> Leadership:
        return self._database.leadership

    def changes(self) -> AbstractContextManager[Subscription]:
        """Notices that something was changed, here or at another instance."""
        return self._database.subscribe(_CHANNEL)

    async def nodes(self) -> list[Node]:
        """By alias; a row that cannot be a node is logged and passed over."""
        nodes = []
        for row in await self._database.fetch_all(_NODES):
            node, faults = structure_strictly(dict(row), NodeConfig)
            if node is None:
                if row["alias"] not in self._unusable:
                    problems = "; ".join(map(str, faults))
                    log.error("a node in the database cannot be used", node=row["alias"], problems=problems)
                self._unusable.add(row["alias"])
            else:
                nodes.append(Node.from_config(node, "api"))
        return nodes

    async def put_node(self, node: Node) -> None:
        """Keep a node, which is in service, whatever was known of another one of its name."""
        row: list[Any] = [node.alias, node.url, node.token.reveal(), node.mode, node.pub_max, node.sub_max]
        async with self._database.transaction() as transaction:
            await transaction.execute(_REMOVE_DRAIN, [node.alias])
            await transaction.execute(_PUT_NODE, row)
            await transaction.announce(_CHANNEL)

    async def remove_node(self, alias: str) -> None:
        """Forget a node, and that it is being drained."""
        async with self._database.transaction() as transaction:
            await transaction.execute(_REMOVE_DRAIN, [alias])
            await transaction.execute(_REMOVE_NODE, [alias])
            await transaction.announce(_CHANNEL)

    async def drains(self) -> list[Drain]:
        """By alias."""
        return [
            Drain(row["alias"], row["since"], row["deadline"], bool(row["close_subscribers"]))
            for row in await self._database.fetch_all(_DRAINS)
        ]

    async def put_drain(self, drain: Drain) -> None:
        """Keep a drain, in the place of an older one of that node."""
        row = [drain.alias, drain.since, drain.deadline, int(drain.close)]
        async with self._database.transaction() as transaction:
            await transaction.execute(_PUT_DRAIN, row)
            await transaction.announce(_CHANNEL)

    async def remove_drain(self, alias: str) -> None:
        async with self._database.transaction() as transaction:
            await transaction.execute(_REMOVE_DRAIN, [alias])
            await transaction.announce(_CHANNEL)
