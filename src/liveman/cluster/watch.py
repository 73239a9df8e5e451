"""One watcher per node: it asks, or listens, until it is cancelled; whatever the node does, it goes on.

A node with server-sent events is listened to, others are polled. What the watcher learns goes into the state.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import frozen

from liveman.cluster import snapshot, wire
from liveman.cluster.client import LARGE, Client, Listing, NoEvents, joined
from liveman.cluster.health import retry_after
from liveman.cluster.node import Node
from liveman.cluster.state import NodeState, State
from liveman.errors import NodeError
from liveman.logs import get_logger

__all__ = ["Timing", "Watcher"]

log = get_logger("liveman.cluster")

_T = TypeVar("_T")


@frozen
class Timing:
    """How long things take, seconds."""

    poll: float = 3.0
    """Between two polls, give or take a tenth."""
    connect: float = 2.0
    total: float = 10.0
    """The longest for one answer, or for the first message of an event stream."""
    silence: float = 45.0
    """The longest that an event stream may say nothing, not even a comment."""
    quick: tuple[float, float] = (0.2, 0.3)
    """The pauses after the first and the second failure."""
    backoff: tuple[float, float] = (1.0, 30.0)
    """The pause after the third failure; the longest."""
    first: float = 1.0
    """How long the start waits for the first answers."""
    look_up: float = 2.0
    """The longest that a session is looked for at the nodes."""
    retries: tuple[float, ...] = (0.2, 1.0, 3.0, 10.0, 30.0)
    """The pauses before the DELETE of a session is repeated."""


class Watcher:
    """Watches one node. `start` runs a named coroutine as a task that somebody owns.

    `turn` is shared by all watchers: who has it takes a snapshot in, so that a hundred that come together
    do not keep others waiting for all of them. `changed` is called after each change of the state.
    """

    def __init__(
        self,
        node: Node,
        *,
        state: State,
        client: Client,
        timing: Timing,
        turn: asyncio.Lock,
        start: Callable[[str, Coroutine[Any, Any, None]], object],
        changed: Callable[[], None],
    ) -> None:
        self.asked = asyncio.Event()
        """Set once the node was asked for all that one wants to know of it, with whatever success."""
        self._node = node
        self._state = state
        self._client = client
        self._timing = timing
        self._turn = turn
        self._start = start
        self._changed = changed
        self._wake = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._missed = 0
        """Failed attempts in a row, whatever clients' requests met meanwhile."""
        self._hurried = -math.inf
        """When the last attempt was due that a client's request has brought forward."""
        self._polls = node.mode == "poll"
        self._seen: Listing | None = None
        """What the last poll gave; None when it failed."""
        self._described = False
        self._describing = False
        self._told = ""
        """The status that was logged last."""
        self._report: bytes | None = None
        """What the node has told by itself, and was not taken in yet."""
        self._reports = 0
        """How often it did."""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                if not self._polls:
                    await self._listen()
                if self._polls:
                    await self._poll()
            except NodeError as error:
                self._missed_it(error.detail)
            except Exception as error:  # A mistake in here must not end the watching.
                log.error("watching a node went wrong", node=self._node.alias, exc_info=error)
                self._missed_it(f"unexpected {type(error).__name__}")
            await self._pause()

    def request_failed(self, reason: str) -> None:
        """A client's request did not reach the node. One makes it suspect, probes decide the rest."""
        if self._known.health.status == "up":
            self._failed(reason)
            self._kick()

    def request_answered(self) -> None:
        """The node, which was not up, has answered a client's request."""
        was_down = self._known.health.status == "down"
        self._state.happened(self._node.alias, "success")
        self._changed()
        if was_down:
            self._kick()

    def look_again(self) -> None:
        """The node may be back."""
        if self._known.health.status != "up":
            self._wake.set()

    def reported(self, body: bytes) -> None:
        """The node has told of its streams by itself. Its event stream, where it has one, says so too."""
        if len(body) > wire.MAX_BYTES:
            log.warning("node reports too much", node=self._node.alias, bytes=len(body))
            return
        self._reports += 1
        if self._known.health.status == "down":
            self._wake.set()  # Whether it answers is another question.
        elif not self.listening:
            waiting, self._report = self._report is not None, body
            if not waiting:
                self._start(f"report of {self._node.alias}", self._take_report())

    @property
    def listening(self) -> bool:
        """Whether the node has an event stream, and that is open."""
        return not self._polls and self._limit is not None and self._known.heard

    @property
    def _known(self) -> NodeState:
        return self._state.nodes[self._node.alias]

    async def _poll(self) -> None:
        start = time.perf_counter()
        # After a failure the node may be another one by now, with the same names for other states.
        seen, self._seen = self._seen, None
        reports = self._reports
        listing = await self._client.streams(self._node, seen)
        took = time.perf_counter() - start
        if reports == self._reports:
            await self._take(listing.body)
        else:
            self._succeeded()  # What was reported meanwhile is newer.
        self._seen = listing
        self._known.polled = took

    async def _listen(self) -> None:
        decoder = wire.EventDecoder()
        clock = asyncio.get_running_loop().time
        heard = False
        try:
            async with (
                asyncio.timeout(self._timing.total) as self._limit,
                self._client.events(self._node) as stream,
            ):
                async for chunk in stream.iter_any():
                    lines = decoder.lines
                    messages = decoder.feed(chunk)
                    heard = heard or bool(messages)
                    if heard and decoder.lines > lines:
                        self._limit.reschedule(clock() + self._timing.silence)
                    if messages:
                        await self._take(await joined(messages[-1]))
        except TimeoutError:
            if self._wake.is_set():
                return  # A client's request has failed meanwhile, which is counted already: connect anew.
            if not heard:
                raise NodeError(
                    f"the event stream sent no snapshot within {self._timing.total:g} s"
                ) from None
            raise NodeError(f"the event stream was silent for {self._timing.silence:g} s") from None
        except NoEvents:
            if self._node.mode == "sse":
                raise
            self._polls = True
            return
        finally:
            self._limit = None
        raise NodeError("the event stream ended")

    async def _pause(self) -> None:
        """Wait until the next attempt is due; what clients' requests tell brings it forward."""
        timing = self._timing
        clock = asyncio.get_running_loop().time
        due = clock() + self._delay()
        while True:
            if self._wake.is_set():
                self._wake.clear()
                # Not more often than this, however many requests fail while the probes succeed.
                due = min(due, max(clock() + timing.quick[0], self._hurried + timing.backoff[0]))
                self._hurried = due
            try:
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                return

    def _delay(self) -> float:
        timing = self._timing
        if not self._missed:
            return timing.poll * random.uniform(0.9, 1.1)
        return retry_after(self._missed, quick=timing.quick, backoff=timing.backoff, jitter=random.random())

    def _kick(self) -> None:
        self._wake.set()
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def _take(self, body: bytes, *, answered: bool = True) -> None:
        """Take in what the node said, after all that it said before; ``answered``: because it was asked."""
        alias = self._node.alias
        succeeded = self._succeeded if answered else self._changed
        if self._state.has(alias, body):
            succeeded()
            return
        async with self._turn:
            if len(body) > LARGE:
                found = await asyncio.to_thread(snapshot.read, body)
            else:
                found = snapshot.read(body)
            if not answered and self._known.health.status == "down":
                return
            self._state.expire(time.monotonic())
            self._state.replace(alias, found)
            succeeded()
            await asyncio.sleep(0)  # Others first, before the next one has its turn.

    async def _take_report(self) -> None:
        while self._report is not None:
            body, reports = self._report, self._reports
            try:
                await self._take(body, answered=False)
            except NodeError as error:
                log.warning("node reports badly", node=self._node.alias, reason=error.detail)
            if reports == self._reports:
                self._report = None

    def _succeeded(self) -> None:
        alias = self._node.alias
        if self._known.health.status != "up":
            self._state.happened(alias, "success")
        self._changed()
        if self._told != "up":
            log.info("node is up", node=alias)
        self._missed, self._told = 0, "up"
        if not self._described and not self._describing:
            self._describing = True
            self._start(f"describe {alias}", self._describe())

    def _missed_it(self, reason: str) -> None:
        self._missed += 1
        self._described = False
        self._failed(reason)
        self.asked.set()

    def _failed(self, reason: str) -> None:
        alias = self._node.alias
        self._state.happened(alias, "failure")
        self._changed()
        status = self._known.health.status
        if status == "down" and self._node.mode != "poll":
            self._polls = False  # It may come back as a newer one.
        if self._told != status and self._told != "down":
            self._told = status
            log.warning(f"node is {status}", node=alias, reason=reason)

    async def _describe(self) -> None:
        """Learn the node's strategy and version; it may lack both. What fails on its way is tried again."""
        try:
            strategy = await self._client.strategy(self._node)
            info = await self._client.info(self._node)
        except NodeError as error:
            log.debug("node does not describe itself", node=self._node.alias, reason=error.detail)
        else:
            self._described = True
            self._state.describe(
                self._node.alias, self._read(wire.parse_strategy, strategy), self._read(wire.parse_info, info)
            )
            self._changed()
        finally:
            self._describing = False
            self.asked.set()

    def _read(self, parse: Callable[[bytes], _T | None], body: bytes | None) -> _T | None:
        try:
            return parse(body) if body is not None else None
        except NodeError as error:
            log.warning("node describes itself badly", node=self._node.alias, reason=error.detail)
            return None
