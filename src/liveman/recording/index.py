"""The index of recordings: what nodes have made, kept in the database, and what is asked of it."""

import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from attrs import frozen

from liveman.database import Database, Row, load_queries
from liveman.recording.wire import Recorded, Status

__all__ = ["Index", "Place", "Recording", "day_of"]

#: The first and the last moment that there can be, microseconds.
BEGINNING, END = 0, 2**62
_DAY_US = 86_400_000_000

Place = tuple[int, str, str]
"""Where a page ends: start, node and record of its last row."""


@frozen
class Recording:
    """One recording. Times are microseconds since 1970."""

    node: str
    stream: str
    record: str
    """The node's own id of it."""
    start: int
    end: int | None
    duration_ms: int | None
    mpd_path: str
    status: Status
    bytes: int | None
    """Of all its objects; None: nobody has looked."""

    @property
    def place(self) -> Place:
        return self.start, self.node, self.record

    @property
    def folder(self) -> str:
        return self.mpd_path.rpartition("/")[0]


class Index:
    """All methods raise DatabaseError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queries = load_queries("liveman.recording")

    async def put(self, node: str, rows: Sequence[Recorded]) -> None:
        """What a node tells, all of it or nothing; it is committed when this returns.

        ``node``: "" for what was found in the storage, of which the node is not known.
        """
        now = datetime.now(UTC).isoformat()
        sessions = [
            (
                node,
                row.stream,
                row.id,
                row.start,
                row.end,
                row.duration_ms,
                row.mpd_path.rpartition("/")[0],
                row.mpd_path,
                row.status,
            )
            for row in rows
        ]
        days = {(row.stream, row.start // _DAY_US) for row in rows}
        async with self._database.transaction() as queries:
            if node:
                found = [(row.mpd_path.rpartition("/")[0], row.mpd_path) for row in rows]
                await queries.execute_many(self._queries["drop_found"], found)
            await queries.execute_many(self._queries["put_session"], sessions)
            await queries.execute_many(
                self._queries["put_day"],
                [(*_day(stream, day), str(uuid.uuid4()), now) for stream, day in sorted(days)],
            )

    async def streams(self) -> list[str]:
        """The streams that have recordings, by name."""
        return [str(row["stream"]) for row in await self._ask("streams")]

    async def days(self, stream: str) -> list[tuple[int, int, int]]:
        """Year, month and day of each day (UTC) on which a recording of a stream began, in order."""
        return [(row["year"], row["month"], row["day"]) for row in await self._ask("days", stream)]

    async def page(
        self,
        stream: str,
        *,
        first: int = BEGINNING,
        last: int = END,
        after: Place | None = None,
        limit: int | None = None,
    ) -> list[Recording]:
        """A stream's recordings, the newest first, that began from ``first`` to ``last`` (microseconds)."""
        place = after or (END, "", "")
        rows = await self._ask("page", stream, first, last, *place, 2**31 - 1 if limit is None else limit)
        return [_entry(row) for row in rows]

    async def stream_of(self, path: str) -> str | None:
        """The stream whose recording an object belongs to; None when none is known, or several."""
        rows = await self._ask("streams_of_folder", path.rpartition("/")[0])
        return str(rows[0]["stream"]) if len(rows) == 1 else None

    async def oldest(self, before: int, *, after: Place | None, limit: int) -> list[Recording]:
        """Recordings that have ended and began before this moment, the oldest first."""
        rows = await self._ask("oldest", before, *(after or (-1, "", "")), limit)
        return [_entry(row) for row in rows]

    async def put_bytes(self, recording: Recording, count: int) -> None:
        """How large a recording is."""
        await self._database.execute(
            self._queries["put_bytes"], (recording.node, recording.stream, recording.record, count)
        )

    async def is_alone(self, recording: Recording) -> bool:
        """Whether no other recording lies in its folder, as those of older nodes may."""
        key = recording.folder, recording.node, recording.stream, recording.record
        return not await self._ask("others_in_folder", *key)

    async def has(self, mpd_path: str) -> bool:
        """Whether a manifest is that of a recording."""
        return bool(await self._ask("has_manifest", mpd_path.rpartition("/")[0], mpd_path))

    async def drop(self, entries: Iterable[Recording]) -> None:
        """Forget recordings whose objects are gone."""
        now = datetime.now(UTC).isoformat()
        entries = list(entries)
        days = sorted({(entry.stream, entry.start // _DAY_US) for entry in entries})
        async with self._database.transaction() as queries:
            await queries.execute_many(
                self._queries["drop_session"], [(each.node, each.stream, each.record) for each in entries]
            )
            for stream, day in days:
                _, *date, first, last = _day(stream, day)
                if await queries.fetch_one(self._queries["has_day"], (stream, first, last)):
                    await queries.execute_many(
                        self._queries["put_day"], [(*_day(stream, day), str(uuid.uuid4()), now)]
                    )
                else:
                    await queries.execute(self._queries["drop_day"], (stream, *date))

    async def _ask(self, name: str, *params: object) -> list[Row]:
        return await self._database.fetch_all(self._queries[name], params)


def day_of(start: int) -> tuple[int, int, int]:
    """Year, month and day of a moment, in UTC."""
    date = time.gmtime(start // 1_000_000)
    return date.tm_year, date.tm_mon, date.tm_mday


def _day(stream: str, day: int) -> tuple[object, ...]:
    first = day * _DAY_US
    return (stream, *day_of(first), first, first + _DAY_US - 1)


def _entry(row: Row) -> Recording:
    return Recording(
        node=row["node"],
        stream=row["stream"],
        record=row["record"],
        start=row["start_us"],
        end=row["end_us"],
        duration_ms=row["duration_ms"],
        mpd_path=row["mpd_path"],
        status=row["status"],
        bytes=row["bytes"],
    )
