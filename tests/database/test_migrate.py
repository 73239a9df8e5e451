"""Migrations: each once, whole or not at all, however many start at once; other programs' data untouched."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from liveman.database import migrate, open_database
from liveman.database.migrate import Migration, apply, migrations, pending
from liveman.errors import DatabaseError, ForeignDatabaseError

FIRST = Migration(1, "first", "CREATE TABLE a (x);\nINSERT INTO a VALUES (1);\n")
SECOND = Migration(2, "second", "ALTER TABLE a ADD y;\nCREATE TABLE b (z);\n")
BROKEN = Migration(2, "broken", "CREATE TABLE b (z);\nINSERT INTO nowhere VALUES (1);\n")


@pytest.fixture(autouse=True)
def path(tmp_path: Path) -> Path:
    return tmp_path / "liveman.db"


def use(monkeypatch: pytest.MonkeyPatch, *known: Migration) -> None:
    monkeypatch.setattr(migrate, "migrations", lambda: list(known))


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def content(path: Path) -> bytes:
    return path.read_bytes()


async def start(path: Path) -> None:
    async with open_database(f"sqlite://{path}"):
        pass


# What there is


def test_the_files_are_numbered_without_a_gap() -> None:
    known = migrations()
    assert [migration.version for migration in known] == list(range(1, len(known) + 1))
    assert all(re.fullmatch(r"[a-z_]+", migration.name) for migration in known)
    assert all(migration.statements for migration in known)


def test_a_migration_parts_into_statements() -> None:
    sql = "-- why;\nCREATE TABLE a (\n  x TEXT DEFAULT ';' -- here\n);\n\n  -- and\nCREATE TABLE B (y);  \n"
    migration = Migration(1, "x", sql)
    assert migration.statements == ["CREATE TABLE a (\n  x TEXT DEFAULT ';' -- here\n)", "CREATE TABLE B (y)"]
    assert migration.makes == {"a", "b"}


async def test_the_index_of_recordings_has_the_documented_columns(path: Path) -> None:
    """Scripts read this table: these names, nothing more, in this order."""
    await start(path)
    columns = [
        (name, kind, bool(required), bool(key))
        for _, name, kind, required, _, key in table(path, "recordings")
    ]
    assert columns == [
        ("id", "TEXT", True, True),
        ("stream", "TEXT", True, False),
        ("year", "INTEGER", True, False),
        ("month", "INTEGER", True, False),
        ("day", "INTEGER", True, False),
        ("mpd_path", "TEXT", True, False),
        ("created_at", "TEXT", True, False),
        ("updated_at", "TEXT", True, False),
    ]


async def test_a_stream_has_one_row_a_day(path: Path) -> None:
    insert = "INSERT INTO recordings VALUES ($1, 'live', 2026, 11, $2, 'm.mpd', 'now', 'now')"
    async with open_database(f"sqlite://{path}") as database:
        await database.execute(insert, ["id-1", 21])
        await database.execute(insert, ["id-2", 22])
        with pytest.raises(DatabaseError, match=r"recordings\.stream.*recordings\.day"):
            await database.execute(insert, ["id-3", 21])


def table(path: Path, name: str) -> list[Any]:
    return rows(path, f"PRAGMA table_info({name})")


# Applying


async def test_a_second_start_changes_nothing(path: Path) -> None:
    await start(path)
    dump = rows(path, "SELECT * FROM sqlite_master"), rows(path, "SELECT * FROM liveman_migrations")
    assert [row[:2] for row in dump[1]] == [(migration.version, migration.name) for migration in migrations()]
    await start(path)
    assert (rows(path, "SELECT * FROM sqlite_master"), rows(path, "SELECT * FROM liveman_migrations")) == dump


async def test_looking_for_what_is_pending_writes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FIRST)
    async with open_database(f"sqlite://{path}") as database:
        before = rows(path, "SELECT * FROM sqlite_master")
        assert await pending(database, [FIRST, SECOND]) == [SECOND]
        assert await pending(database, [FIRST, SECOND]) == [SECOND]
        assert rows(path, "SELECT * FROM sqlite_master") == before


async def test_what_is_missing_is_added_and_data_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FIRST)
    await start(path)
    use(monkeypatch, FIRST, SECOND)
    await start(path)
    assert rows(path, "SELECT x, y FROM a") == [(1, None)]
    assert [row[0] for row in rows(path, "SELECT version FROM liveman_migrations")] == [1, 2]


async def test_a_migration_that_fails_leaves_nothing_of_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it stay, and a mended one goes through at the next start."""
    use(monkeypatch, FIRST, BROKEN)
    with pytest.raises(DatabaseError, match="no such table: nowhere"):
        await start(path)
    assert rows(path, "SELECT version FROM liveman_migrations") == [(1,)]
    assert rows(path, "SELECT name FROM sqlite_master WHERE name = 'b'") == []
    use(monkeypatch, FIRST, SECOND)
    await start(path)
    assert rows(path, "SELECT version FROM liveman_migrations") == [(1,), (2,)]


async def test_a_migration_that_is_cancelled_leaves_nothing_of_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FIRST)
    for steps in range(0, 60, 3):
        task = asyncio.create_task(start(path))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if os.listdir(path.parent):
            made = {name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
            assert made in (set(), {"a", "liveman_migrations"})
    await start(path)
    assert rows(path, "SELECT x FROM a") == [(1,)]


async def test_one_that_another_process_applied_meanwhile_is_passed_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FIRST)
    async with open_database(f"sqlite://{path}") as database:
        await apply(database, [FIRST, SECOND])
        await apply(database, [FIRST, SECOND])
    assert rows(path, "SELECT x FROM a") == [(1,)]


def test_processes_that_start_at_once_do_not_clash(path: Path) -> None:
    """Six of them on one new file: all of them come up, and the schema is made once."""
    code = (
        "import asyncio, secrets, sys\n"
        "from liveman.database import cluster_secret, open_database\n"
        "async def main():\n"
        "    sys.stdin.readline()\n"
        f"    async with open_database('sqlite://{path}') as database:\n"
        "        print((await cluster_secret(database, secrets.token_bytes)).hex())\n"
        "asyncio.run(main())\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, answers
    assert len({out for out, _ in answers}) == 1
    assert len(rows(path, "SELECT * FROM liveman_migrations")) == len(migrations())


async def test_starts_at_once_within_a_process_do_not_clash(path: Path) -> None:
    await asyncio.gather(*(start(path) for _ in range(8)))
    assert len(rows(path, "SELECT * FROM liveman_migrations")) == len(migrations())


# What is not ours


async def test_a_database_of_a_newer_liveman_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FIRST, SECOND)
    await start(path)
    before = content(path)
    use(monkeypatch, FIRST)
    with pytest.raises(
        DatabaseError, match=r"newer Liveman \(it has migration 2\).*run that version"
    ) as caught:
        await start(path)
    assert not isinstance(caught.value, ForeignDatabaseError)
    assert content(path) == before


ORIGINALS = [
    "CREATE TABLE recordings (id uuid_text NOT NULL PRIMARY KEY, stream varchar NOT NULL, "
    "year integer NOT NULL, month integer NOT NULL, day integer NOT NULL, mpd_path varchar NOT NULL,"
    " created_at timestamp_with_timezone_text NOT NULL, updated_at timestamp_with_timezone_text NOT NULL);"
    "CREATE UNIQUE INDEX idx_recordings_stream_date ON recordings (stream, year, month, day);"
    "INSERT INTO recordings VALUES ('i', 's', 2026, 11, 21, 'p', '2026-11-21 02:14:56.123456 +00:00', 'u');"
    "CREATE TABLE seaql_migrations (version text PRIMARY KEY, applied_at integer);",
    "CREATE TABLE recordings (id uuid_text NOT NULL PRIMARY KEY, stream varchar NOT NULL, "
    "record varchar NOT NULL, mpd_path varchar NOT NULL, created_at text NOT NULL, updated_at text NOT NULL);"
    "CREATE UNIQUE INDEX idx_recordings_stream_date ON recordings (stream, record);"
    "INSERT INTO recordings VALUES (x'00', 's', '1763690096', 'p', 'c', 'u');",
    "CREATE TABLE Recordings (title);",
    "CREATE VIEW recordings AS SELECT 1 AS x;",
    "CREATE TABLE cluster_secrets (mine);",
]


@pytest.mark.parametrize("schema", ORIGINALS)
@pytest.mark.parametrize("journal", ["delete", "wal"])
async def test_another_program_s_table_is_refused_and_left_as_it_is(
    schema: str, journal: str, path: Path
) -> None:
    """To the byte, and with no journal of ours beside it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.executescript(schema)
    before = content(path)
    with pytest.raises(
        ForeignDatabaseError, match=r"liveman\.db holds what Liveman did not make .*DATABASE_URL"
    ):
        await start(path)
    assert content(path) == before
    assert os.listdir(path.parent) == ["liveman.db"]


async def test_another_program_s_other_tables_are_no_trouble(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE guests (name); INSERT INTO guests VALUES ('x');")
    await start(path)
    assert rows(path, "SELECT * FROM guests") == [("x",)]
