"""What the pages are made of: the same facades that the JSON routes have."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from attrs import field, frozen

from liveman.auth.gate import Gate
from liveman.cluster import Cluster, Relays
from liveman.cluster.registry import Registry
from liveman.config import Config
from liveman.dashboard.history import SECONDS, History, sample
from liveman.dashboard.live import Live
from liveman.ice.broker import Broker
from liveman.recording.objects import Objects
from liveman.recording.recordings import Recordings
from liveman.tasks import TaskOwner

__all__ = ["Dashboard"]

P = ParamSpec("P")
T = TypeVar("T")


@frozen
class Dashboard:
    """An async context: inside it the history is kept, and pages are told of changes."""

    cluster: Cluster
    registry: Registry
    relays: Relays
    gate: Gate
    broker: Broker
    recordings: Recordings
    objects: Objects
    config: Config
    database_problem: Callable[[], Awaitable[str]]
    """What is wrong with the database; "": it answers."""
    mqtt_problem: Callable[[], str]
    """What is wrong with the MQTT broker; "": nothing, or none is used."""
    history: History = field(factory=History, init=False)
    _tasks: TaskOwner = field(factory=TaskOwner, init=False)
    _aside: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    live: Live = field(init=False)

    @live.default
    def _live(self) -> Live:
        return Live(self.cluster.changes, self._tasks.start, self.gate.good)

    async def __aenter__(self) -> Self:
        self._tasks.start("keep the history", self._keep_history())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    async def aside(self, make: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Make something in a thread, as what takes longer than others can wait: long tables. One after
        another, since only one thread computes at a time, and the loop's waits for all of them."""
        async with self._aside:
            return await asyncio.to_thread(make, *args, **more)

    def end_streams(self) -> None:
        """End all event streams, so that shutting down waits for none."""
        self.live.end()

    async def _keep_history(self) -> None:
        while True:
            self.history.add(sample(self.cluster.state.nodes.values(), time.time()))
            await asyncio.sleep(SECONDS)
