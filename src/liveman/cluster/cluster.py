"""The facade of the room: what is known of the nodes, where sessions go, and the watching behind it."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from itertools import count
from random import random
from types import TracebackType
from typing import Self

from liveman import config
from liveman.access import stream_name
from liveman.cluster import cascade, placement, wire
from liveman.cluster.changes import Changes
from liveman.cluster.client import Client, Connector
from liveman.cluster.decision import Decision
from liveman.cluster.journal import Journal
from liveman.cluster.lists import Lists
from liveman.cluster.node import Node, Way
from liveman.cluster.state import Kind, NodeState, Role, State
from liveman.cluster.watch import Timing, Watcher
from liveman.errors import ConfigError, Conflict, Fault, NodeError
from liveman.logs import get_logger
from liveman.secret import alias_tag
from liveman.tasks import TaskOwner

__all__ = ["Cluster"]

log = get_logger("liveman.cluster")


def _below(n: int) -> int:
    """Any of the numbers below n; `randrange` takes ten times as long."""
    return int(random() * n)


class Cluster:
    """The nodes. An async context: inside it they are watched.

    Entering waits a moment until every node was asked once, so that a restarted Liveman knows its streams
    before it serves. Raises ConfigError for two nodes that session ids could not tell apart.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        options: config.Cluster,
        connector: Connector = lambda _: None,
        timing: Timing | None = None,
    ) -> None:
        """`connector` gives the way to a node that cannot be dialled; `timing` is for tests."""
        self._timing = timing or Timing(poll=options.poll_interval_ms / 1000)
        self._state = State()
        self.client = Client(
            connector=connector,
            connect=self._timing.connect,
            total=self._timing.total,
            retries=self._timing.retries,
        )
        """For Liveman's own requests to nodes."""
        self.changes = Changes()
        """Of what is known of the nodes: to wait for the next one."""
        self._tasks = TaskOwner()
        self._turn = asyncio.Lock()
        self.lists = Lists(lambda: self.state, self.changes, self._tasks.start)
        self._tags: dict[str, Node] = {}
        self._watchers: dict[str, Watcher] = {}
        self._owners: dict[str, TaskOwner] = {}
        """Of what the watchers start."""
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._running = False
        self._stack = AsyncExitStack()
        self.journal = Journal()
        """What was decided lately."""
        self._max_depth = options.max_depth
        self._reserved = count()
        faults = [fault for node in nodes if (fault := self._add(node))]
        if faults:
            raise ConfigError(*faults)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.client)
            await stack.enter_async_context(self._tasks)
            for alias in self._watchers:
                self._watch(alias)
            self._running = True
            try:
                async with asyncio.timeout(self._timing.first):
                    for watcher in list(self._watchers.values()):
                        await watcher.asked.wait()
            except TimeoutError:
                log.warning("serving before these nodes have answered", nodes=", ".join(self.unasked()))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        await self._stack.__aexit__(kind, error, trace)

    @property
    def state(self) -> State:
        """All that is known, up to date; read it, and do not keep it over an await."""
        self._state.expire(time.monotonic())
        return self._state

    def nodes(self) -> Sequence[NodeState]:
        """All nodes, by alias."""
        nodes = self.state.nodes
        return [nodes[alias] for alias in sorted(nodes)]

    def add(self, node: Node) -> None:
        """Add a node; inside the context it is asked at once. Raises Conflict for an alias that is taken, or
        that session ids could not tell from another one."""
        if node.alias in self._watchers:
            raise Conflict(f"There is a node named {node.alias!r} already.")
        if fault := self._add(node):
            raise Conflict(fault.problem)
        if self._running:
            self._watch(node.alias)
            # Readiness is about those of the start: nobody waits for this one.
            self._watchers[node.alias].asked.set()
        self.changes.mark()

    def remove(self, alias: str) -> None:
        """Forget a node, its streams and its sessions, which are left as they are there."""
        del self._watchers[alias], self._tags[alias_tag(alias)]
        self._state.remove(alias)
        # What runs for it must not take another step: all that it knows is gone.
        self._owners.pop(alias).cancel()
        if self._running:
            self._watching.pop(alias).cancel()
            self._tasks.start(f"forget {alias}", self.client.forget(alias))
        self.changes.mark()

    def drain(self, alias: str, draining: bool) -> None:
        """Take a node out of service for new sessions, or back."""
        self._state.drain(alias, draining)
        self.changes.mark()

    def unasked(self) -> list[str]:
        """The nodes that were not asked yet since the start, by alias."""
        return sorted(alias for alias, watcher in self._watchers.items() if not watcher.asked.is_set())

    def node(self, alias: str) -> Node | None:
        known = self._state.nodes.get(alias)
        return known.node if known else None

    def node_by_tag(self, tag: str) -> Node | None:
        """The node that a session id's alias tag stands for."""
        return self._tags.get(tag)

    def is_down(self, alias: str) -> bool:
        """Whether the node is down, or none of ours."""
        known = self._state.nodes.get(alias)
        return known is None or known.health.status == "down"

    def relay_again(self, stream: str, destination: str) -> Decision:
        """Decide from where a stream is relayed to a node whose relay of it was lost."""
        return cascade.again(self.state, stream, destination, max_depth=self._max_depth, at=time.time())

    @property
    def poll_seconds(self) -> float:
        """How old may be what is known of a node without an event stream."""
        return self._timing.poll

    def is_listening(self, alias: str) -> bool:
        """Whether the node tells of its streams' changes by itself."""
        watcher = self._watchers.get(alias)
        return watcher is not None and watcher.listening

    def place(
        self, kind: Kind, stream: str, *, nodes: Sequence[str] = (), exclude: Collection[str] = ()
    ) -> Decision:
        """Decide where a new session goes; `exclude` names the nodes that this request has tried already."""
        self._state.expire(time.monotonic())
        return placement.place(
            self._state, kind, stream, nodes=nodes, exclude=exclude, at=time.time(), random=_below
        )

    def plan_relay(
        self, stream: str, *, nodes: Collection[str] = (), exclude: Collection[str] = ()
    ) -> Decision:
        """Decide from where to where a stream that is full everywhere is relayed."""
        return cascade.plan(
            self.state,
            stream,
            max_depth=self._max_depth,
            nodes=nodes,
            exclude=exclude,
            at=time.time(),
            random=_below,
        )

    def preview(
        self,
        kind: Kind,
        stream: str,
        nodes: Sequence[str] = (),
        *,
        random: Callable[[int], int] = _below,
    ) -> Decision:
        """What would be decided for a session now, relays included. ``random`` chooses among equals."""
        state, at = self.state, time.time()
        decision = placement.place(state, kind, stream, nodes=nodes, at=at, random=random)
        if kind == "subscribe" and decision.refusal == "full":
            return cascade.plan(state, stream, max_depth=self._max_depth, nodes=nodes, at=at, random=random)
        return decision

    def reserve(self, alias: str, role: Role, stream: str) -> str:
        """Take the place of a session that a node is about to be asked for, so that two do not get it.

        Give it back by `session_deleted` with the name that this returns.
        """
        name = f"reserved {next(self._reserved)}"
        self._state.reserve(alias, role, stream, name)
        return name

    def session_created(
        self, alias: str, role: Role, stream: str, session: str, reserved: str | None = None
    ) -> None:
        """A node has made a session, by its own id; it counts from now on, in the place reserved for it."""
        self._state.session_created(alias, role, stream, session, time.monotonic(), reserved)

    def relay_connected(self, alias: str, stream: str, session: str) -> None:
        """The session by which a relay publishes at a node was seen connected."""
        self._state.relay_connected(alias, stream, session, time.monotonic())

    def session_deleted(self, alias: str, stream: str, session: str) -> None:
        """A node has ended a session."""
        self._state.session_deleted(alias, stream, session)

    def node_failed(self, alias: str, reason: str) -> None:
        """A request did not reach the node: it is suspect, and probed at once."""
        if watcher := self._watchers.get(alias):
            watcher.request_failed(reason)

    def node_may_be_back(self, alias: str) -> None:
        """Somebody says so: it is asked soon."""
        self._watchers[alias].look_again()

    def node_reported(self, alias: str, streams: bytes) -> None:
        """A node has told of its streams by itself, as it would answer when asked for them."""
        self._watchers[alias].reported(streams)

    def set_way(self, alias: str, way: Way) -> None:
        """How it stands with the way to a node."""
        self._state.nodes[alias].way = way
        self.changes.mark()

    def node_answered(self, alias: str) -> None:
        """A request reached the node, whatever the answer was."""
        known = self._state.nodes.get(alias)
        if known is not None and known.health.status != "up":
            self._watchers[alias].request_answered()

    def stream_deleted(self, alias: str, stream: str) -> None:
        """A node has deleted a stream, with its sessions."""
        self._state.stream_deleted(alias, stream)
        self.changes.mark()

    async def find_session(self, stream: str, session: str) -> Node | None:
        """The node that has this session, by the node's own id.

        Taken from the snapshots, else the nodes are asked, once and at the same time.
        """
        alias = self.state.find(stream, session)
        if alias is not None:
            return self.node(alias)
        async with TaskOwner() as owner:
            asked: list[asyncio.Task[Node | None]] = [
                owner.start(f"look up at {known.node.alias}", self._has_session(known.node, stream, session))
                for known in self.nodes()
                if known.health.status != "down"
            ]
            try:
                for answer in asyncio.as_completed(asked, timeout=self._timing.look_up):
                    if node := await answer:
                        return node
            except TimeoutError:
                log.warning("not all nodes answered in time where a session is", stream=stream)
        return None

    async def delete_session(self, alias: str, stream: str, session: str) -> None:
        """End a session that nobody knows of; `stream` is the raw path segment. Failures are logged."""
        node = self.node(alias)
        if node is not None and await self.client.delete_session(node, stream, session):
            self._state.session_deleted(alias, stream_name(stream), session)

    def _add(self, node: Node) -> Fault | None:
        tag = alias_tag(node.alias)
        other = self._tags.get(tag)
        if other is not None:
            return Fault(
                "nodes", f"{node.alias!r} and {other.alias!r} cannot be told apart; rename one of them"
            )
        self._tags[tag] = node
        self._state.add(node)
        owner = self._owners[node.alias] = TaskOwner()
        self._watchers[node.alias] = Watcher(
            node,
            state=self._state,
            client=self.client,
            timing=self._timing,
            turn=self._turn,
            start=owner.start,
            changed=self.changes.mark,
        )
        return None

    def _watch(self, alias: str) -> None:
        async def watch(owner: TaskOwner, watcher: Watcher) -> None:
            async with owner:
                await watcher.run()

        watching = watch(self._owners[alias], self._watchers[alias])
        self._watching[alias] = self._tasks.start(f"watch {alias}", watching)

    async def _has_session(self, node: Node, stream: str, session: str) -> Node | None:
        try:
            body = await self.client.stream(node, stream)
            found = wire.parse_stream(body) if body is not None else None
        except NodeError as error:
            log.debug("a node could not be asked for a session", node=node.alias, reason=error.detail)
            return None
        has = found is not None and any(
            each.id == session for group in (found.publish, found.subscribe) for each in group.sessions
        )
        return node if has else None
