"""Databases of the original Liveman, which kept one table: recognised, and taken over without losing a row.

That table is renamed, not dropped; all happens in one transaction. Two generations of it exist: one row for
each day of a stream, and one for each recording. Either way every row becomes a recording session.
"""

import calendar
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Literal
from uuid import UUID

from liveman.database.migrate import RECORDS, Migration, recorded, run
from liveman.database.port import Database, Queries, Row
from liveman.logs import get_logger

__all__ = ["Generation", "recognise", "take_over"]

log = get_logger("liveman.database")

Generation = Literal["days", "records"]

_MIGRATION = "m20250810_000001_create_recordings_index_table"
_COLUMNS: dict[tuple[str, ...], Generation] = {
    ("id", "stream", "year", "month", "day", "mpd_path", "created_at", "updated_at"): "days",
    ("id", "stream", "record", "mpd_path", "created_at", "updated_at"): "records",
}
_KEYS: dict[Generation, tuple[str, ...]] = {"days": ("year", "month", "day"), "records": ("record",)}
_PAGE = 1000

_PUT_SESSION = """
INSERT INTO recording_sessions (node, stream, record, start_us, folder, mpd_path, status)
VALUES ('', $1, $2, $3, $4, $5, 'Completed')
"""
_PUT_DAY = "INSERT INTO recordings VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"


async def recognise(database: Database) -> Generation | None:
    """Which table of the original the database holds; None: none that is still to be taken over."""
    tables = await database.tables()
    if RECORDS in tables or not {"seaql_migrations", "recordings"} <= tables:
        return None
    versions = await database.fetch_all("SELECT version FROM seaql_migrations")
    if _MIGRATION not in [row["version"] for row in versions]:
        return None
    return _COLUMNS.get(tuple(await database.columns("recordings")))


async def take_over(database: Database, generation: Generation, migrations: Sequence[Migration]) -> None:
    """Apply these migrations, and fill what they make with what was there; nothing, when another instance has
    done so meanwhile."""
    keys = ("stream", *_KEYS[generation], "id")
    async with database.transaction() as transaction:
        if await recorded(transaction):
            return
        await transaction.execute("ALTER TABLE recordings RENAME TO recordings_original")
        # Its name is the original's, its columns are ours: what is copied is read in this order.
        await transaction.execute("DROP INDEX IF EXISTS idx_recordings_stream_date")
        await transaction.execute(
            f"CREATE UNIQUE INDEX idx_recordings_original ON recordings_original ({', '.join(keys)})"
        )
        for migration in migrations:
            await run(transaction, migration)
        copied = await _copy(transaction, generation, keys)
    log.info("a database of the original was taken over", database=database.where, recordings=copied)


async def _copy(transaction: Queries, generation: Generation, keys: Sequence[str]) -> int:
    copied = 0
    stream = None
    records: set[str] = set()
    newest: dict[tuple[int, int, int], tuple[int, Row]] = {}
    async for page in _pages(transaction, keys):
        sessions = []
        for row in page:
            if row["stream"] != stream:
                await transaction.execute_many(_PUT_DAY, _days(newest))
                stream = row["stream"]
                records.clear()
                newest.clear()
            record, start = next(each for each in _moments(row, generation) if each[0] not in records)
            records.add(record)
            folder = row["mpd_path"].rpartition("/")[0]
            sessions.append((stream, record, start, folder, row["mpd_path"]))
            day = (row["year"], row["month"], row["day"]) if generation == "days" else _date(start)
            if day not in newest or newest[day][0] <= start:
                newest[day] = start, row
        await transaction.execute_many(_PUT_SESSION, sessions)
        copied += len(page)
    await transaction.execute_many(_PUT_DAY, _days(newest))
    return copied


async def _pages(transaction: Queries, keys: Sequence[str]) -> AsyncIterator[list[Row]]:
    columns = ", ".join(keys)
    places = ", ".join(f"${number}" for number in range(1, len(keys) + 1))
    end = f"ORDER BY {columns} LIMIT {_PAGE}"
    page = await transaction.fetch_all(f"SELECT * FROM recordings_original {end}")
    while page:
        yield page
        last = [page[-1][key] for key in keys]
        page = await transaction.fetch_all(
            f"SELECT * FROM recordings_original WHERE ({columns}) > ({places}) {end}", last
        )


def _moments(row: Row, generation: Generation) -> Iterator[tuple[str, int]]:
    """The record that a row stands for and its start, microseconds; then others, should that one be taken.

    Where the original kept days alone, it is the time that names the manifest's folder, else midnight."""
    if generation == "records":
        record = str(row["record"])
        start = _seconds(record) or _folder_time(row) or _timestamp(row["created_at"])
        yield record, start * 1_000_000
    else:
        if found := _folder_time(row):
            yield str(found), found * 1_000_000
        start = calendar.timegm((row["year"], row["month"], row["day"], 0, 0, 0))
        record = str(start)
        yield record, start * 1_000_000
    for number in count(2):
        yield f"{record}-{number}", start * 1_000_000


def _folder_time(row: Row) -> int | None:
    return _seconds(row["mpd_path"].rpartition("/")[0].rpartition("/")[2])


def _seconds(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{10}", text) else None


def _timestamp(text: str) -> int:
    try:
        return int(datetime.fromisoformat(_iso(text)).timestamp())
    except ValueError:
        return 0


def _days(newest: Mapping[tuple[int, int, int], tuple[int, Row]]) -> list[tuple[object, ...]]:
    return [
        (
            _uuid(row["id"]),
            row["stream"],
            *day,
            row["mpd_path"],
            _iso(row["created_at"]),
            _iso(row["updated_at"]),
        )
        for day, (_, row) in newest.items()
    ]


def _date(start: int) -> tuple[int, int, int]:
    date = time.gmtime(start // 1_000_000)
    return date.tm_year, date.tm_mon, date.tm_mday


def _uuid(value: str | bytes) -> str:
    """SQLite has them as text or as 16 bytes."""
    return str(UUID(bytes=value)) if isinstance(value, bytes) and len(value) == 16 else str(value)


def _iso(text: str) -> str:
    """``2026-11-21 02:14:56.123456 +00:00``, as the original's driver writes it to SQLite, as ISO 8601."""
    try:
        return datetime.fromisoformat(text.replace(" +", "+")).astimezone(UTC).isoformat()
    except ValueError:
        return text
