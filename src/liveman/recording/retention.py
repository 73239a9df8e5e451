"""Recordings that are too old, or too many, are deleted: first their objects, then their rows in the index.

What is broken off goes on where it was: a recording stays in the index until all its objects are gone.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from attrs import define, evolve, field, frozen

from liveman.config import Retention
from liveman.database.leadership import Leadership
from liveman.errors import LivemanError
from liveman.logs import get_logger
from liveman.recording.index import END, Index, Recording
from liveman.recording.schedule import matches
from liveman.recording.store import Storage
from liveman.tasks import TaskOwner

__all__ = ["Keeper", "Pruned", "prune"]

log = get_logger("liveman.recording")

#: How often it is looked, seconds.
EVERY_SECONDS = 3600.0
_PAGE = 500
_DAY_US = 86_400_000_000


@frozen
class Pruned:
    """A recording that was deleted, or would be."""

    recording: Recording
    bytes: int
    why: str


async def prune(
    index: Index, storage: Storage, options: Retention, *, now: float, dry_run: bool = False
) -> AsyncIterator[Pruned]:
    """Delete what ``options`` says, the oldest first; each is told when it is gone. ``now``: Unix seconds.

    Raises DatabaseError, StorageError; then what was told is gone, and the rest is as it was.
    """
    oldest = int(now * 1_000_000) - options.max_age_days * _DAY_US if options.max_age_days else 0
    total = 0
    if options.max_bytes:
        async for recording in _ended(index, options, END):
            total += await _size(index, storage, recording)
    async for recording in _ended(index, options, END if options.max_bytes else oldest):
        too_old = recording.start < oldest
        if not too_old and not (options.max_bytes and total > options.max_bytes):
            return
        size = await _size(index, storage, recording)
        if not dry_run:
            await _delete(index, storage, recording)
        total -= size
        yield Pruned(recording, size, "age" if too_old else "size")


async def _ended(index: Index, options: Retention, before: int) -> AsyncIterator[Recording]:
    """Those that the options are about, the oldest first."""
    after = None
    while page := await index.oldest(before, after=after, limit=_PAGE):
        for recording in page:
            if matches(recording.stream, options.streams):
                yield recording
        after = page[-1].place


async def _size(index: Index, storage: Storage, recording: Recording) -> int:
    if recording.bytes is not None:
        return recording.bytes
    if not await index.is_alone(recording):
        return 0  # Its objects go with the last recording of the folder.
    size = 0
    async for entry in storage.entries(recording.folder):
        if entry.path.rpartition("/")[0] == recording.folder:
            size += entry.size
    await index.put_bytes(recording, size)
    return size


async def _delete(index: Index, storage: Storage, recording: Recording) -> None:
    """The manifest last: without it nobody finds what is left."""
    if await index.is_alone(recording):
        paths = [
            entry.path
            async for entry in storage.entries(recording.folder)
            # Other recordings may lie in folders below.
            if entry.path.rpartition("/")[0] == recording.folder
        ]
        for path in sorted(paths, key=lambda path: path == recording.mpd_path):
            await storage.delete(path)
    await index.drop([recording])


@define
class Keeper:
    """An async context: within it, where this instance leads, recordings are pruned every hour."""

    index: Index
    storage: Storage
    options: Retention
    leadership: Leadership
    _tasks: TaskOwner = field(factory=TaskOwner, init=False)

    async def __aenter__(self) -> Self:
        if self.options != evolve(self.options, max_age_days=0, max_bytes=0):
            self._tasks.start("retention", self.leadership.while_leading(self._keep_pruning))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    async def _keep_pruning(self) -> None:
        while True:
            try:
                async for each in prune(self.index, self.storage, self.options, now=time.time()):
                    recording = each.recording
                    log.info(
                        "a recording was deleted",
                        stream=recording.stream,
                        path=recording.mpd_path,
                        bytes=each.bytes,
                        why=each.why,
                    )
            except LivemanError as error:
                log.warning("recordings could not be pruned", reason=error.detail)
            await asyncio.sleep(EVERY_SECONDS)
