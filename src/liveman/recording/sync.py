"""What nodes have recorded comes into the index: written, committed, acknowledged, forgotten, in this order.

A crash at any point loses nothing and repeats harmlessly: a node lists what was not acknowledged, from its
beginning, each time.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from attrs import define, field

from liveman.cluster import Cluster, Node
from liveman.config import RecordSync
from liveman.database.leadership import Leadership
from liveman.errors import DatabaseError, NodeError
from liveman.logs import get_logger
from liveman.recording.index import Index
from liveman.recording.recorder import LACKING, LACKING_SECONDS
from liveman.recording.wire import LONGEST_LIST, Recorded, parse_recorded
from liveman.tasks import TaskOwner

__all__ = ["Sync"]

log = get_logger("liveman.recording")

#: Nodes that are asked at once.
_AT_ONCE = 16
#: Of a page's rows that are refused, so many are named in the log.
_NAMED = 5
_ENDED = ("Completed", "Failed")


@define
class Sync:
    """An async context: within it, where this instance leads, all nodes are asked every now and then."""

    cluster: Cluster
    index: Index
    options: RecordSync
    leadership: Leadership
    _not_before: dict[str, float] = field(factory=dict, init=False)
    """By alias, monotonic: nodes without a recorder are asked rarely."""
    _told: dict[str, str] = field(factory=dict, init=False)
    """By alias: what was complained of last."""
    _tasks: TaskOwner = field(factory=TaskOwner, init=False)

    async def __aenter__(self) -> Self:
        if self.options.enabled:
            self._tasks.start("recordings of the nodes", self.leadership.while_leading(self._keep_asking))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    async def ask_all(self) -> None:
        """One pass over the nodes that are up."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def ask(node: Node) -> None:
            async with turns:
                await self._ask(node)

        now = time.monotonic()
        nodes = [known.node for known in self.cluster.nodes() if known.health.status != "down"]
        async with TaskOwner() as owner:
            tasks = [
                owner.start(f"recordings of {node.alias}", ask(node))
                for node in nodes
                if now >= self._not_before.get(node.alias, now)
            ]
            if tasks:
                await asyncio.wait(tasks)

    async def _keep_asking(self) -> None:
        while True:
            await self.ask_all()
            await asyncio.sleep(self.options.tick_ms / 1000)

    async def _ask(self, node: Node) -> None:
        try:
            await self._take_over(node)
        except (NodeError, DatabaseError) as error:
            if self._told.get(node.alias) != error.detail:
                log.warning("a node's recordings are not in the index", node=node.alias, reason=error.detail)
            self._told[node.alias] = error.detail
        else:
            self._told.pop(node.alias, None)

    async def _take_over(self, node: Node) -> None:
        """All that the node lists, page by page. Running recordings stay listed, so where they fill a page a
        longer one is asked for."""
        client, limit = self.cluster.client, self.options.limit
        while True:
            status, body = await client.recordings(node, limit)
            if status in LACKING:
                log.info("a node has no recorder", node=node.alias)
                self._not_before[node.alias] = time.monotonic() + LACKING_SECONDS
                return
            if status != 200:
                raise NodeError(f"its recordings were asked for, and it answered {status}")
            rows, refused = parse_recorded(body)
            if refused:
                self._complain(node, refused)
            if rows:
                await self.index.put(node.alias, rows)
            ended = [row for row in rows if row.status in _ENDED]
            if ended:
                await self._acknowledge(node, ended)
            if len(rows) + len(refused) < limit:
                return
            if not ended:
                if limit >= LONGEST_LIST:
                    raise NodeError(f"it lists more than {LONGEST_LIST} recordings that have not ended")
                limit = min(2 * limit, LONGEST_LIST)

    async def _acknowledge(self, node: Node, rows: Sequence[Recorded]) -> None:
        records: list[Mapping[str, str]] = [{"stream": row.stream, "record": row.id} for row in rows]
        client = self.cluster.client
        status, _ = await client.acknowledge_recordings(node, records)
        if not 200 <= status < 300:
            raise NodeError(f"its recordings were acknowledged, and it answered {status}")
        status, _ = await client.forget_recordings(node, records)
        if not 200 <= status < 300:
            log.debug("a node keeps acknowledged recordings", node=node.alias, status=status)

    def _complain(self, node: Node, refused: Sequence[str]) -> None:
        text = "; ".join(refused[:_NAMED])
        if self._told.get(f"{node.alias} rows") != text:
            log.warning(
                "a node lists recordings that make no sense", node=node.alias, count=len(refused), rows=text
            )
            self._told[f"{node.alias} rows"] = text
