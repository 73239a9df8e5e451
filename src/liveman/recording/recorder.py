"""Recordings begun, ended and rotated, at the node where a stream is published."""

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from attrs import define, field

from liveman.cluster import Cluster, Node
from liveman.config import AutoRecord
from liveman.database.leadership import Leadership
from liveman.errors import LivemanError, NodeError, NoPlace, NotFound, NotSupported
from liveman.logs import get_logger
from liveman.recording.schedule import Origin, Running, Step, base_dir, matches, plan
from liveman.recording.wire import parse_recorded, parse_recording, parse_started
from liveman.tasks import TaskOwner

__all__ = ["LACKING", "Recorder"]

log = get_logger("liveman.recording")

#: A node that has not begun by then is not waited for.
START_SECONDS = 10.0
#: Status codes of a node that has no recorder.
LACKING = (404, 501)
#: After so long a node that could not record a stream is asked again; and one without a recorder, seconds.
AGAIN_SECONDS = 30.0
LACKING_SECONDS = 3600.0
#: So long a stream without a publisher is still wanted, seconds.
WANTED_SECONDS = 600.0
#: So many of a node's recordings are looked through for the one that runs.
_LISTED = 1000
#: The least time between two looks at what is published, seconds.
LOOK_SECONDS = 1.0


@define
class Recorder:
    """An async context: within it recordings follow their streams, and where this instance leads streams are
    recorded without being asked."""

    cluster: Cluster
    options: AutoRecord
    leadership: Leadership
    gaps_ms: dict[str, float] = field(factory=dict, init=False)
    """By stream that is recorded: how long nothing was while its last rotation went on."""
    _running: dict[str, Running] = field(factory=dict, init=False)
    _wanted: dict[str, float] = field(factory=dict, init=False)
    """What somebody asked to be recorded, and when it was published last, monotonic."""
    _not_before: dict[tuple[str, str], float] = field(factory=dict, init=False)
    """Streams at nodes that are not to be recorded, and until when, monotonic."""
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(factory=WeakValueDictionary, init=False)
    _tasks: TaskOwner = field(factory=TaskOwner, init=False)

    async def __aenter__(self) -> Self:
        self._tasks.start("recordings", self._keep_recording())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Recordings go on at their nodes."""
        await self._tasks.__aexit__(kind, error, trace)

    async def start(self, stream: str, alias: str | None = None) -> Running:
        """Record a stream where it is published; where it is recorded already, what runs.

        ``alias``: the only node that will do. Raises NotFound, NoPlace, NotSupported and NodeError.
        """
        async with self._lock(stream):
            running = await self._start(stream, self._origin_to_record(stream, alias))
            self._wanted[stream] = time.monotonic()
            return running

    async def stop(self, stream: str) -> bool:
        """End the recording of a stream; whether there was one. Raises NotFound, NodeError."""
        async with self._lock(stream):
            if not self.cluster.state.streams.get(stream) and stream not in self._running:
                raise NotFound(f"No node has the stream {stream!r}.")
            self._wanted.pop(stream, None)
            known = self._running.pop(stream, None)
            origins = list(self._origins_of(stream))
            if known is not None and known.origin.alias not in {origin.alias for origin in origins}:
                origins.append(known.origin)
            stopped = False
            for origin in origins:
                # Until somebody asks for it, or it is published elsewhere.
                self._not_before[stream, origin.alias] = math.inf
                node = self.cluster.node(origin.alias)
                if node is not None and await self._is_recording(node, stream):
                    await self._stop(node, stream)
                    stopped = True
            return stopped

    @property
    def running(self) -> Mapping[str, Running]:
        """What this instance has begun or looks after, by stream; nobody is asked."""
        return self._running

    async def status(self, stream: str) -> Running | None:
        """The recording of a stream that runs now, if there is one. Raises NodeError."""
        for origin in self._origins_of(stream):
            node = self.cluster.node(origin.alias)
            if node is None or not await self._is_recording(node, stream):
                continue
            known = self._running.get(stream)
            if known is not None and known.origin == origin:
                return known
            return await self._found(node, stream, origin)
        return None

    # What follows by itself.

    async def _keep_recording(self) -> None:
        seen = self.cluster.changes.count
        while True:
            await self._step()
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with asyncio.timeout(self.options.tick_ms / 1000):
                    seen = await self.cluster.changes.after(seen)
            except TimeoutError:
                pass

    async def _step(self) -> None:
        now = time.monotonic()
        globs = self.options.auto_streams if self.options.enabled and self.leadership.leads else ()
        streams = self.cluster.state.streams if globs else {*self._wanted, *self._running}
        origins = {stream: origin for stream in streams for origin in self._origins_of(stream)}
        self._wanted = {
            stream: now if stream in origins else at
            for stream, at in self._wanted.items()
            if stream in origins or now - at < WANTED_SECONDS
        }
        self._not_before = {
            (stream, alias): until
            for (stream, alias), until in self._not_before.items()
            if now < until and stream in origins and origins[stream].alias == alias
        }
        for stream in [
            each for each in self._running if each not in self._wanted and not matches(each, globs)
        ]:
            # Another instance looks after it now.
            del self._running[stream]
        self.gaps_ms = {stream: gap for stream, gap in self.gaps_ms.items() if stream in self._running}
        steps = plan(
            origins,
            self._running,
            wanted=self._wanted,
            globs=globs,
            now=time.time(),
            longest=self.options.max_recording_seconds if globs else 0,
            tried=self._not_before,
        )
        if steps:
            async with TaskOwner() as owner:
                await asyncio.wait([owner.start(f"record {step.stream}", self._do(step)) for step in steps])

    async def _do(self, step: Step) -> None:
        stream, alias = step.stream, step.origin.alias
        async with self._lock(stream):
            try:
                if step.action == "start":
                    await self._start(stream, step.origin)
                elif step.action == "rotate":
                    await self._rotate(stream, step.origin)
                else:
                    await self._leave(stream, step.origin)
            except LivemanError as error:
                wait = LACKING_SECONDS if isinstance(error, NotSupported) else AGAIN_SECONDS
                self._running.pop(stream, None)
                self._not_before[stream, alias] = time.monotonic() + wait
                log.warning(
                    "a recording is not as it should be",
                    stream=stream,
                    node=alias,
                    wanted=step.action,
                    reason=error.detail,
                )

    async def _rotate(self, stream: str, origin: Origin) -> None:
        """A node records a stream at most once, so one recording ends before the next begins."""
        begin = time.monotonic()
        node = self.cluster.node(origin.alias)
        if node is not None:
            await self._stop(node, stream)
        running = await self._start(stream, origin)
        gap = self.gaps_ms[stream] = round((time.monotonic() - begin) * 1000, 1)
        log.info("a recording was rotated", stream=stream, node=origin.alias, to=running.mpd_path, gap_ms=gap)

    # At the nodes.

    async def _start(self, stream: str, origin: Origin) -> Running:
        node = self.cluster.node(origin.alias)
        if node is None:
            raise NotFound(f"There is no node named {origin.alias!r}.")
        known = self._running.get(stream)
        if known is not None and known.origin.alias != node.alias:
            await self._leave(stream, known.origin)
        at = int(time.time())
        where = base_dir(self.options.base_prefix, stream, time.strftime("%Y/%m/%d", time.gmtime(at)), at)
        try:
            async with asyncio.timeout(START_SECONDS):
                status, body = await self.cluster.client.start_recording(node, stream, where)
        except TimeoutError:
            raise NodeError(f"Node {node.alias} does not begin to record {stream!r}.") from None
        if status in LACKING:
            raise NotSupported(f"Node {node.alias} has no recorder.")
        if status != 200:
            raise NodeError(f"Node {node.alias} does not record {stream!r}: it answered {status}.")
        started = parse_started(body)
        running = Running(origin, int(started.record) if started.record else at, started.mpd_path)
        if self._running.get(stream) != running:
            log.info("a stream is recorded", stream=stream, node=node.alias, to=running.mpd_path)
        self._running[stream] = running
        self._not_before.pop((stream, node.alias), None)
        return running

    async def _leave(self, stream: str, origin: Origin) -> None:
        """Its publisher is at another node now, so it must not be recorded at this one."""
        self._running.pop(stream, None)
        node = self.cluster.node(origin.alias)
        if node is not None and not self.cluster.is_down(node.alias):
            await self._stop(node, stream)

    async def _found(self, node: Node, stream: str, origin: Origin) -> Running:
        """What runs at a node that another instance, or an earlier one, began."""
        status, body = await self.cluster.client.recordings(node, _LISTED)
        rows = parse_recorded(body)[0] if status == 200 else []
        for row in rows:
            if row.stream == stream and row.status == "Active":
                return Running(origin, row.start // 1_000_000, row.mpd_path)
        raise NodeError(f"Node {node.alias} records {stream!r}, and does not tell since when.")

    async def _stop(self, node: Node, stream: str) -> None:
        status, _ = await self.cluster.client.stop_recording(node, stream)
        if not (200 <= status < 300 or status == 404):
            raise NodeError(f"Node {node.alias} does not stop recording {stream!r}: it answered {status}.")
        log.info("a recording has ended", stream=stream, node=node.alias)

    async def _is_recording(self, node: Node, stream: str) -> bool:
        if self.cluster.is_down(node.alias):
            return False
        status, body = await self.cluster.client.recording(node, stream)
        return status == 200 and parse_recording(body)

    # Which node.

    def _origin_to_record(self, stream: str, alias: str | None) -> Origin:
        there = self.cluster.state.streams.get(stream, {})
        if not there or (alias is not None and alias not in there):
            where = f"Node {alias} has not" if alias else "No node has"
            raise NotFound(f"{where} the stream {stream!r}.")
        for origin in self._origins_of(stream):
            if alias in (None, origin.alias):
                return origin
        raise NoPlace(f"Nobody publishes {stream!r} there now, so there is nothing to record.")

    def _origins_of(self, stream: str) -> Iterator[Origin]:
        """Where its publisher is, and no relay: one, but for moments. One that has not begun to send yet is
        none: its node would not answer."""
        known = self._running.get(stream)
        for alias, entry in sorted(self.cluster.state.streams.get(stream, {}).items()):
            if not entry.publishers or entry.publishing is None:
                continue
            origin = Origin(alias, entry.publishing)
            # One that is recorded may lose its connection, and connect anew.
            if entry.begun or (known is not None and known.origin == origin):
                yield origin

    def _lock(self, stream: str) -> asyncio.Lock:
        lock = self._locks.get(stream)
        if lock is None:
            lock = self._locks[stream] = asyncio.Lock()
        return lock
