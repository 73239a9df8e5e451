"""Carries relays out: makes them while viewers wait, ends those that nobody needs, mends those that broke.

However many viewers wait, each relay is asked for once: the first of them starts its flight, the others join.
"""

import asyncio
import time
from collections.abc import Collection, Coroutine, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from attrs import define, field

from liveman import config
from liveman.cluster import cascade, wire
from liveman.cluster.cluster import Cluster
from liveman.cluster.decision import Decision
from liveman.cluster.journal import Entry
from liveman.cluster.node import Node
from liveman.cluster.state import Kind
from liveman.database import Leadership
from liveman.errors import LivemanError, NodeError, NodeUnreachable, NoPlace
from liveman.logs import get_logger
from liveman.secret import Kind as SessionKind
from liveman.secret import build_relay_token
from liveman.tasks import TaskOwner

__all__ = ["Relays"]

log = get_logger("liveman.cluster")

#: How often a destination is asked for the stream that does not tell of itself, seconds.
ASK_SECONDS = 0.25
#: How long a relay may look as if its other end were gone: the two nodes' snapshots are not of the same age.
#: At least twice as long as nodes are left unasked.
LOST_SECONDS = 5.0
_LATE = "The relay to another node was not ready in time."
#: How soon after a refusal a viewer may try again, seconds.
RETRY_SECONDS = 2


_Session = tuple[str, str, str]
"""A stream, the alias of the node where a relay ends, and the session there."""


@define(eq=False)
class _Flight:
    """A relay that is being made."""

    stream: str
    destination: Node
    task: "asyncio.Task[None] | None" = None
    waiting: int = 0
    """How many viewers wait for it."""
    failure: str = "The relay was given up."
    """Why it came to nothing; "" when it did not."""
    blamed: str = ""
    """The alias of the node that it failed at."""


@define(eq=False)
class Relays:
    """An async context, inside the cluster's: there relays are looked after, where this instance leads."""

    cluster: Cluster
    options: config.Cascade
    public: str = ""
    """Liveman's own URL, as the nodes reach it."""
    secret: bytes = field(default=b"", repr=False)
    """The cluster's."""
    leadership: Leadership = field(factory=Leadership, repr=False)
    """The database's."""
    _flights: dict[tuple[str, str], _Flight] = field(factory=dict, init=False, repr=False)
    """By stream and destination."""
    _ending: set[tuple[str, str]] = field(factory=set, init=False, repr=False)
    """Streams and nodes where a relay is being ended."""
    _since: dict[str, dict[_Session, float]] = field(factory=dict, init=False, repr=False)
    """When a relay was first seen idle or lost, on the monotonic clock."""
    _tasks: TaskOwner = field(factory=TaskOwner, init=False, repr=False)
    _ended: bool = field(default=False, init=False)

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.start("look after relays", self.leadership.while_leading(self._look_after))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        await self._tasks.__aexit__(kind, error, trace)

    # For a viewer who waits.

    async def extend(self, stream: str, *, nodes: Sequence[str], deadline: float) -> None:
        """Wait until a stream that is full everywhere was relayed to another node, until the loop's clock
        shows ``deadline`` at the latest. Raises NoPlace (503)."""
        tried: set[str] = set()
        failure = ""
        while asyncio.get_running_loop().time() < deadline:
            flight = self._to_join(stream, nodes) or self._start(stream, nodes, tried, failure)
            await self._wait(flight, deadline)
            failure = flight.failure
            if not failure:
                return
            tried.add(flight.blamed or flight.destination.alias)
        raise NoPlace(failure or _LATE, retry_after=RETRY_SECONDS)

    def _to_join(self, stream: str, nodes: Collection[str]) -> _Flight | None:
        """A flight to a node that will have a place for one more."""
        for flight in self._flights.values():
            alias = flight.destination.alias
            known = self.cluster.state.nodes.get(alias)
            if flight.stream == stream and known and (not nodes or alias in nodes):
                entry = known.streams.get(stream)
                if flight.waiting < known.sub_max - (entry.subscribers if entry else 0):
                    return flight
        return None

    def _start(self, stream: str, nodes: Sequence[str], tried: Collection[str], failure: str) -> _Flight:
        busy = {alias for name, alias in (*self._flights, *self._ending) if name == stream}
        decision = self.cluster.plan_relay(stream, nodes=nodes, exclude={*tried, *busy})
        if decision.target is None or self._ended:
            if not failure:
                self.cluster.journal.record("subscribe", stream, decision).outcome = "refused"
            raise NoPlace(failure or decision.reason, retry_after=RETRY_SECONDS)
        return self._fly(stream, decision)

    async def _wait(self, flight: _Flight, deadline: float) -> None:
        assert flight.task is not None
        flight.waiting += 1
        left = deadline - asyncio.get_running_loop().time()
        try:
            # Not cancelled with a viewer who leaves: others may wait for it too.
            done, _ = await asyncio.wait({flight.task}, timeout=max(left, 0.0))
        finally:
            flight.waiting -= 1
        if not done:
            raise NoPlace(_LATE, retry_after=RETRY_SECONDS)

    # Making one.

    def _fly(self, stream: str, decision: Decision) -> _Flight:
        assert decision.target is not None
        flight = _Flight(stream, decision.target)
        key = stream, flight.destination.alias
        self._flights[key] = flight
        entry = self.cluster.journal.record("subscribe", stream, decision)

        async def fly() -> None:
            try:
                await self._make(flight, decision, entry)
            finally:
                del self._flights[key]

        flight.task = self._tasks.start(f"relay to {key[1]}", fly())
        return flight

    async def _make(self, flight: _Flight, decision: Decision, entry: Entry) -> None:
        stream, source, destination = flight.stream, decision.source, flight.destination
        assert source is not None
        asked, told = self._request(stream, source, destination)
        start = time.monotonic()
        try:
            async with asyncio.timeout(self.options.check_attempts):
                await self._ask(stream, asked, told)
                await self._connected(stream, destination)
            flight.failure = ""
        except TimeoutError:
            flight.failure = f"The relay to node {destination.alias} was not ready in time."
        except LivemanError as error:
            flight.blamed = asked.alias
            flight.failure = f"The relay to node {destination.alias} failed: {error.detail}"
        if flight.failure:
            entry.outcome = flight.failure
            log.warning("a relay failed", stream=stream, source=source.alias, reason=flight.failure)
            self._end_soon(stream, destination.alias, self._remove_half(stream, source, destination, told))
        else:
            entry.outcome = f"connected after {time.monotonic() - start:.1f} s"
            if self.options.close_other_sub and self.options.mode == "push":
                self._tasks.start("close other subscribers", self._close_others(stream, source.alias))

    def _request(self, stream: str, source: Node, destination: Node) -> tuple[Node, dict[str, str]]:
        """Which node is the relaying one, and what it is told."""
        path = quote(stream, safe="")
        if self.options.mode == "push":
            url = f"{self.public}/api/whip/{quote(destination.alias, safe='')}/{path}"
            return source, {"token": self._token(destination, "p", stream), "targetUrl": url}
        known = self.cluster.state.nodes.get(source.alias)
        if known is not None and known.way is not None:  # Nobody but Liveman reaches it.
            url = f"{self.public}/api/whep/{quote(source.alias, safe='')}/{path}"
            return destination, {"token": self._token(source, "s", stream), "sourceUrl": url}
        token = f"Bearer {source.token.reveal()}" if source.token else ""
        return destination, {"token": token, "sourceUrl": f"{source.url}/whep/{path}"}

    async def _ask(self, stream: str, asked: Node, told: dict[str, str]) -> None:
        """Tell the relaying node. Raises NodeError."""
        try:
            reply = await self.cluster.client.cascade(asked, stream, told)
        except NodeUnreachable as error:
            self.cluster.node_failed(asked.alias, error.detail)
            raise
        # 409: another instance of Liveman was faster; it will do for all.
        if not reply.done and reply.status != 409:
            raise NodeError(f"node {asked.alias} answered with {reply.status} {reply.text}".rstrip())

    def _token(self, node: Node, kind: SessionKind, stream: str) -> str:
        issued = int(time.time())
        return "Bearer " + build_relay_token(
            self.secret, alias=node.alias, kind=kind, stream=stream, issued=issued
        )

    async def _connected(self, stream: str, destination: Node) -> None:
        """Wait until the relay is connected at its destination."""
        alias = destination.alias
        changes = self.cluster.changes
        while True:
            seen = changes.count
            entry = self.cluster.state.streams.get(stream, {}).get(alias)
            if entry is not None and entry.connected:
                return
            if self.cluster.is_listening(alias):
                await changes.after(seen)
            else:
                for session in await self._listed(stream, destination, "publish"):
                    if session.state in ("connected", ""):
                        self.cluster.relay_connected(alias, stream, session.id)
                        return
                with suppress(TimeoutError):
                    async with asyncio.timeout(ASK_SECONDS):
                        await changes.after(seen)

    async def _listed(self, stream: str, node: Node, kind: Kind) -> list[wire.Session]:
        """Who publishes or subscribes there, by the node's own words of this moment."""
        try:
            body = await self.cluster.client.stream(node, stream)
            found = wire.parse_stream(body) if body is not None else None
        except NodeError as error:
            log.debug("a node could not be asked for a relay", node=node.alias, reason=error.detail)
            return []
        if found is None:
            return []
        group = found.publish if kind == "publish" else found.subscribe
        return [each for each in group.sessions if not each.leaveAt]

    async def _remove_half(self, stream: str, source: Node, destination: Node, told: dict[str, str]) -> None:
        """Remove what there is of a relay that did not become one in time."""
        arrived = await self._listed(stream, destination, "publish")
        if any(each.state in ("connected", "") for each in arrived):
            return  # It did, after all, and is of use to who comes next.
        pushed = "targetUrl" in told
        near, far = (source, destination) if pushed else (destination, source)
        listed = await self._listed(stream, source, "subscribe") if pushed else arrived
        url = told["targetUrl" if pushed else "sourceUrl"]
        ours = [
            (each.id, wire.session_of(each.cascade.session))
            for each in listed
            if each.cascade and url in (each.cascade.target, each.cascade.source)
        ]
        ends = [(near.alias, id) for id, _ in ours]
        ends += [(far.alias, end[1]) for _, end in ours if end is not None]
        await self._delete(stream, ends)

    async def _close_others(self, stream: str, source: str) -> None:
        """Close the source's other subscribers, who then come back to nodes with more room."""
        state = self.cluster.state
        if stream in state.streams and source in state.streams[stream]:
            others = [(source, id) for id, role in state.sessions(source, stream) if role == "subscribe"]
            await self._delete(stream, others)

    # Those that are there.

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        tick = self.options.check_tick_time / 1000
        self._since.clear()
        due = loop.time() + tick
        while True:
            seen = self.cluster.changes.count
            self._mend_lost()
            ready = self._idle()
            if loop.time() >= due:
                for each in ready:
                    log.info("an idle relay ends", stream=each.stream, node=each.destination)
                    self._end(each)
                due = loop.time() + tick
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(due, loop.time() + LOST_SECONDS)):
                    await self.cluster.changes.after(seen)
            await asyncio.sleep(min(tick, 1.0))

    def _idle(self) -> list[cascade.Relay]:
        """The relays that have been idle for long enough; asked often, as those who watched one in between
        begin its time anew."""
        state = self.cluster.state
        found = {(each.stream, each.destination, each.at_destination): each for each in cascade.idle(state)}
        return [found[key] for key in self._lasting("idle", found, self.options.maximum_idle_time / 1000)]

    def _end(self, relay: cascade.Relay) -> None:
        # From now on nobody is sent there.
        self.cluster.session_deleted(relay.destination, relay.stream, relay.at_destination)
        self._end_soon(relay.stream, relay.destination, self._delete(relay.stream, relay.ends))

    def _mend_lost(self) -> None:
        state = self.cluster.state
        patience = max(LOST_SECONDS, 2 * self.cluster.poll_seconds)
        for stream, alias, session in self._lasting("lost", cascade.lost(state), patience):
            log.warning("a relay has lost its source", stream=stream, node=alias)
            self._build_anew(stream, alias, session)
        # One that another instance makes looks like this until it is connected.
        making = max(patience, self.options.check_attempts)
        for stream, alias, session in self._lasting("loose", cascade.loose(state), making):
            if any(name == stream for name, _ in self._flights):
                continue  # It may feed the one that is being made.
            log.warning("a relay has lost its destination", stream=stream, node=alias)
            self._end_soon(stream, alias, self._delete(stream, [(alias, session)]))

    def _lasting(self, what: str, found: Collection[_Session], seconds: float) -> list[_Session]:
        """Those that are so for long enough, and that nothing is done about already."""
        now = time.monotonic()
        before = self._since.get(what, {})
        since = self._since[what] = {each: before.get(each, now) for each in found}
        return [
            each
            for each, then in since.items()
            if now - then >= seconds and each[:2] not in self._flights and each[:2] not in self._ending
        ]

    def _build_anew(self, stream: str, alias: str, session: str) -> None:
        """End what a relay has left; if the stream has viewers at its destination, relay it again."""
        state = self.cluster.state
        entry = state.streams[stream][alias]
        needed = entry.subscribers or entry.relays > 1
        hop = cascade.relays(state, stream).get(alias)
        ends = hop.ends if hop is not None else ((alias, session),)
        self.cluster.session_deleted(alias, stream, session)

        async def rebuild() -> None:
            await self._delete(stream, ends)
            if needed:
                decision = self.cluster.relay_again(stream, alias)
                if decision.target is not None:
                    self._fly(stream, decision)

        self._end_soon(stream, alias, rebuild())

    def _end_soon(self, stream: str, alias: str, ending: Coroutine[Any, Any, None]) -> None:
        key = stream, alias
        self._ending.add(key)
        task = self._tasks.start(f"end a relay to {alias}", ending)
        task.add_done_callback(lambda _: self._ending.discard(key))

    async def _delete(self, stream: str, sessions: Iterable[tuple[str, str]]) -> None:
        for alias, session in sessions:
            await self.cluster.delete_session(alias, quote(stream, safe=""), session)
