"""Databases of the original, of both generations, are taken over: no row is lost, whoever else starts then."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from liveman.database import Database, open_database
from liveman.errors import DatabaseError, ForeignDatabaseError
from support.databases import ask, connected, is_sqlite

MIGRATED = (
    "CREATE TABLE seaql_migrations (version text NOT NULL PRIMARY KEY, applied_at {bigint} NOT NULL)",
    "INSERT INTO seaql_migrations VALUES ('m20250810_000001_create_recordings_index_table', 1786000000)",
)
DAYS = (
    "CREATE TABLE recordings (id {uuid} NOT NULL PRIMARY KEY, stream varchar NOT NULL, year integer NOT NULL,"
    " month integer NOT NULL, day integer NOT NULL, mpd_path varchar NOT NULL, created_at {time} NOT NULL,"
    " updated_at {time} NOT NULL)",
    "CREATE UNIQUE INDEX idx_recordings_stream_date ON recordings (stream, year, month, day)",
)
RECORDS = (
    "CREATE TABLE recordings (id {uuid} NOT NULL PRIMARY KEY, stream varchar NOT NULL,"
    " record varchar NOT NULL, mpd_path varchar NOT NULL, created_at {time} NOT NULL,"
    " updated_at {time} NOT NULL)",
    "CREATE UNIQUE INDEX idx_recordings_stream_date ON recordings (stream, record)",
)
CREATED, UPDATED = "2026-11-21 02:14:56.123456 +00:00", "2026-11-21T03:00:00.5Z"
OTHERWISE = "2026-11-21 03:00:00.5 +00:00"
"""The same as the one before."""
#: 2026-11-21, 00:00 UTC, seconds.
MIDNIGHT = 1_795_219_200


async def make(url: str, schema: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A database as the original leaves it behind, with the types that its driver declares."""
    sqlite = is_sqlite(url)
    types = (
        {"uuid": "uuid_text", "time": "timestamp_with_timezone_text", "bigint": "integer"}
        if sqlite
        else {"uuid": "uuid", "time": "timestamptz", "bigint": "bigint"}
    )
    async with connected(url) as database:
        for statement in (*MIGRATED, *schema):
            await database.execute(statement.format(**types))
        rows = [[row[0] if sqlite else _uuid(row[0]), *row[1:]] for row in rows]
        if rows:
            places = ", ".join(f"${number}" for number in range(1, len(rows[0]) + 1))
            await database.execute_many(f"INSERT INTO recordings VALUES ({places})", rows)


def _uuid(id: object) -> str:
    return str(UUID(bytes=id)) if isinstance(id, bytes) else str(id)


def id_of(number: int) -> str | bytes:
    """In turn as each of the two forms in which the original's driver writes them to SQLite."""
    return str(UUID(int=number)) if number % 2 else UUID(int=number).bytes


async def sessions(url: str) -> list[tuple[Any, ...]]:
    return await ask(
        url,
        "SELECT node, stream, record, start_us, end_us, duration_ms, folder, mpd_path, status "
        "FROM recording_sessions ORDER BY stream, record",
    )


async def days(url: str) -> list[tuple[Any, ...]]:
    rows = await ask(url, "SELECT * FROM recordings ORDER BY stream, year, month, day")
    return [tuple(_same_time(value) for value in row) for row in rows]


def _same_time(value: Any) -> object:
    is_time = isinstance(value, str) and value.startswith("2026-11-21T")
    return datetime.fromisoformat(value) if is_time else value


async def start(url: str) -> None:
    async with open_database(url):
        pass


async def test_each_recording_of_the_newer_generation_is_one_again(database_url: str) -> None:
    """The newest of each day, in UTC, is the day's."""
    first, second, third = MIDNIGHT + 60, MIDNIGHT + 7200, MIDNIGHT + 86_400
    rows = [
        (id_of(1), "cam", str(first), f"rec/cam/2026/11/21/{first}/manifest.mpd", CREATED, CREATED),
        (id_of(2), "cam", str(second), f"rec/cam/2026/11/21/{second}/manifest.mpd", CREATED, UPDATED),
        (id_of(3), "cam", str(third), "elsewhere.mpd", CREATED, UPDATED),
        (id_of(4), "ünï", str(first), "ünï/x/manifest.mpd", CREATED, OTHERWISE),
    ]
    await make(database_url, RECORDS, rows)
    await start(database_url)
    assert await sessions(database_url) == [
        ("", stream, record, int(record) * 1_000_000, None, None, path.rpartition("/")[0], path, "Completed")
        for _, stream, record, path, *_ in rows
    ]
    created = datetime(2026, 11, 21, 2, 14, 56, 123456, UTC)
    updated = datetime(2026, 11, 21, 3, 0, 0, 500_000, UTC)
    assert await days(database_url) == [
        (_uuid(id_of(2)), "cam", 2026, 11, 21, rows[1][3], created, updated),
        (_uuid(id_of(3)), "cam", 2026, 11, 22, "elsewhere.mpd", created, updated),
        (_uuid(id_of(4)), "ünï", 2026, 11, 21, "ünï/x/manifest.mpd", created, updated),
    ]


async def test_each_day_of_the_older_generation_is_a_recording(database_url: str) -> None:
    """Of the time that names its manifest's folder, else of its midnight; the day's row stays as it was."""
    begun = MIDNIGHT + 3600
    rows = [
        (id_of(1), "cam", 2026, 11, 21, f"rec/cam/2026/11/21/{begun}/manifest.mpd", CREATED, UPDATED),
        (id_of(2), "cam", 2026, 11, 22, "cam/2026/11/22/manifest.mpd", CREATED, UPDATED),
        # The same recording at both days, as one that went on past midnight.
        (id_of(3), "long", 2026, 11, 20, f"long/{begun}/manifest.mpd", CREATED, UPDATED),
        (id_of(4), "long", 2026, 11, 21, f"long/{begun}/manifest.mpd", CREATED, UPDATED),
        # Midnight is taken.
        (id_of(5), "odd", 2026, 11, 20, f"odd/{MIDNIGHT}/manifest.mpd", CREATED, UPDATED),
        (id_of(6), "odd", 2026, 11, 21, "odd/manifest.mpd", CREATED, UPDATED),
    ]
    await make(database_url, DAYS, rows)
    await start(database_url)
    assert [(row[1], row[2], row[3] // 1_000_000, row[7]) for row in await sessions(database_url)] == [
        ("cam", str(begun), begun, rows[0][5]),
        ("cam", str(MIDNIGHT + 86_400), MIDNIGHT + 86_400, rows[1][5]),
        ("long", str(MIDNIGHT), MIDNIGHT, rows[3][5]),
        ("long", str(begun), begun, rows[2][5]),
        ("odd", str(MIDNIGHT), MIDNIGHT, rows[4][5]),
        ("odd", f"{MIDNIGHT}-2", MIDNIGHT, rows[5][5]),
    ]
    kept = await days(database_url)
    assert [(row[0], *row[1:6]) for row in kept] == [(_uuid(row[0]), *row[1:6]) for row in rows]


@pytest.mark.parametrize("record", ["", "tonight", "12345", "-176369009", "\uff11" * 10])
async def test_a_record_that_is_no_time_is_kept_as_it_is(record: str, database_url: str) -> None:
    """And begins when its row was made, if its folder does not say more."""
    path = f"cam/{MIDNIGHT}/manifest.mpd"
    rows = [
        (id_of(1), "cam", record, "m.mpd", CREATED, UPDATED),
        (id_of(2), "dam", record, path, CREATED, UPDATED),
    ]
    await make(database_url, RECORDS, rows)
    await start(database_url)
    made = datetime(2026, 11, 21, 2, 14, 56, tzinfo=UTC).timestamp()
    found = [(stream, name, begun) for _, stream, name, begun, *_ in await sessions(database_url)]
    assert found == [("cam", record, int(made) * 1_000_000), ("dam", record, MIDNIGHT * 1_000_000)]


async def test_many_rows_are_all_there(database_url: str) -> None:
    """More than are read at once, streams that begin and end anywhere."""
    rows = [
        (
            id_of(number),
            f"cam {number % 7}",
            str(MIDNIGHT + number * 600),
            f"{number}/m.mpd",
            CREATED,
            UPDATED,
        )
        for number in range(3333)
    ]
    await make(database_url, RECORDS, rows)
    await start(database_url)
    kept = {(stream, record, path) for _, stream, record, *_, path, _ in await sessions(database_url)}
    assert kept == {(row[1], row[2], row[3]) for row in rows}
    newest: dict[object, object] = {}
    for row in rows:
        newest[row[1], (MIDNIGHT + int(str(row[3]).partition("/")[0]) * 600) // 86_400] = row[3]
    assert [row[5] for row in await days(database_url)] == [newest[key] for key in sorted(newest)]  # type: ignore[type-var]


@pytest.mark.parametrize("schema", [DAYS, RECORDS])
async def test_an_empty_one_is_taken_over_and_a_second_start_changes_nothing(
    schema: Sequence[str], database_url: str
) -> None:
    """The old table stays, under another name; what is written later is not touched."""
    await make(database_url, schema, [])
    await start(database_url)
    async with connected(database_url) as database:
        assert {"recordings_original", "recordings", "recording_sessions"} <= await database.tables()
        assert (await database.columns("recordings"))[2] == "year"
        await database.execute(
            "INSERT INTO recordings VALUES ($1, 's', 2026, 11, 21, 'm', $2, $2)", [str(UUID(int=9)), UPDATED]
        )
    for _ in range(2):
        await start(database_url)
    assert len(await days(database_url)) == 1
    assert await sessions(database_url) == []


async def test_the_old_table_keeps_its_rows(database_url: str) -> None:
    rows = [(id_of(1), "cam", str(MIDNIGHT), "m.mpd", CREATED, UPDATED)]
    await make(database_url, RECORDS, rows)
    before = await ask(database_url, "SELECT * FROM recordings")
    await start(database_url)
    assert await ask(database_url, "SELECT * FROM recordings_original") == before


async def test_starts_at_once_take_over_once(database_url: str) -> None:
    rows = [(id_of(n), "cam", str(MIDNIGHT + n), "m.mpd", CREATED, UPDATED) for n in range(100)]
    await make(database_url, RECORDS, rows)
    await asyncio.gather(*(start(database_url) for _ in range(4)))
    assert len(await sessions(database_url)) == 100


async def test_a_start_that_is_broken_off_leaves_it_as_it_was(database_url: str) -> None:
    """At whatever step; the next one takes it over."""
    rows = [(id_of(n), "cam", str(MIDNIGHT + n), "m.mpd", CREATED, UPDATED) for n in range(10)]
    await make(database_url, RECORDS, rows)
    done = False
    for steps in range(0, 400, 25):
        task = asyncio.create_task(start(database_url))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with connected(database_url) as database:
            tables = await database.tables()
            assert ("recordings_original" in tables) is ("recording_sessions" in tables)
            done = done or "recordings_original" in tables
            assert len(await _all_rows(database, done)) == 10
    await start(database_url)
    assert len(await sessions(database_url)) == 10


async def _all_rows(database: Database, done: bool) -> list[Any]:
    table = "recording_sessions" if done else "recordings"
    return await database.fetch_all(f"SELECT * FROM {table}")


async def test_a_failure_leaves_it_as_it_was(database_url: str) -> None:
    """Such as a table that stands in the way."""
    await make(database_url, RECORDS, [(id_of(1), "cam", "1", "m.mpd", CREATED, UPDATED)])
    await ask(database_url, "CREATE TABLE recordings_original (x INTEGER)", "SELECT 1")
    with pytest.raises(DatabaseError, match="recordings_original"):
        await start(database_url)
    async with connected(database_url) as database:
        assert await database.tables() == {"recordings", "recordings_original", "seaql_migrations"}
        assert "record" in await database.columns("recordings")


FOREIGN = [
    ("DELETE FROM seaql_migrations",),
    ("UPDATE seaql_migrations SET version = 'm20990101_000001_something_newer'",),
    ("DROP TABLE seaql_migrations",),
    ("ALTER TABLE recordings ADD mine INTEGER",),
    ("CREATE TABLE cluster_secrets (mine INTEGER)",),
]


@pytest.mark.parametrize("statements", FOREIGN)
async def test_what_only_resembles_it_is_left_as_it_is(statements: Sequence[str], database_url: str) -> None:
    await make(database_url, DAYS, [(id_of(1), "s", 2026, 11, 21, "m.mpd", CREATED, UPDATED)])
    await ask(database_url, *statements, "SELECT 1")
    with pytest.raises(ForeignDatabaseError):
        await start(database_url)
    async with connected(database_url) as database:
        assert "liveman_migrations" not in await database.tables()
        assert len(await database.fetch_all("SELECT * FROM recordings")) == 1


async def test_a_file_that_may_not_be_written_is_not_taken_over(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/liveman.db"
    await make(url, DAYS, [])
    with pytest.raises(DatabaseError, match="mode=ro"):
        await start(f"{url}?mode=ro")
    assert "liveman.db" in os.listdir(tmp_path)
