"""Migrations: each once, whole or not at all, however many start at once; other programs' data untouched."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from liveman.database import migrate, open_database
from liveman.database.migrate import Migration, apply, migrations, pending
from liveman.errors import DatabaseError, ForeignDatabaseError
from support.databases import ask, columns, connected, is_sqlite

FIRST = Migration(1, "first", "CREATE TABLE a (x INTEGER);\nINSERT INTO a VALUES (1);\n")
SECOND = Migration(2, "second", "ALTER TABLE a ADD y INTEGER;\nCREATE TABLE b (z INTEGER);\n")
BROKEN = Migration(2, "broken", "CREATE TABLE b (z INTEGER);\nINSERT INTO nowhere VALUES (1);\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a SQLite file."""
    return tmp_path / "liveman.db"


def use(monkeypatch: pytest.MonkeyPatch, *known: Migration) -> None:
    monkeypatch.setattr(migrate, "migrations", lambda: list(known))


async def start(url: str | Path) -> None:
    async with open_database(url if isinstance(url, str) else f"sqlite://{url}"):
        pass


async def applied(url: str) -> list[int]:
    return [
        version for (version,) in await ask(url, "SELECT version FROM liveman_migrations ORDER BY version")
    ]


async def tables(url: str) -> frozenset[str]:
    async with connected(url) as database:
        return await database.tables()


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


async def test_the_index_of_recordings_has_the_documented_columns(database_url: str) -> None:
    """Scripts read this table: these names and types, nothing more, in this order."""
    await start(database_url)
    time = "TIMESTAMPTZ" if is_sqlite(database_url) else "TIMESTAMP WITH TIME ZONE"
    assert list((await columns(database_url, "recordings")).items()) == [
        ("id", "UUID"),
        ("stream", "TEXT"),
        ("year", "INTEGER"),
        ("month", "INTEGER"),
        ("day", "INTEGER"),
        ("mpd_path", "TEXT"),
        ("created_at", time),
        ("updated_at", time),
    ]


async def test_a_stream_has_one_row_a_day(database_url: str) -> None:
    insert = "INSERT INTO recordings VALUES ($1, 'live', 2026, 11, $2, 'm.mpd', $3, $3)"
    now = "2026-11-21T02:14:56+00:00"
    async with open_database(database_url) as database:
        await database.execute(insert, [str(UUID(int=1)), 21, now])
        await database.execute(insert, [str(UUID(int=2)), 22, now])
        with pytest.raises(DatabaseError, match=r"recordings\.stream.*recordings\.day|recordings_by_day"):
            await database.execute(insert, [str(UUID(int=3)), 21, now])


# Applying


async def test_a_second_start_changes_nothing(database_url: str) -> None:
    await start(database_url)
    record = "SELECT * FROM liveman_migrations ORDER BY version"
    before = await ask(database_url, record), await tables(database_url)
    assert [row[:2] for row in before[0]] == [
        (migration.version, migration.name) for migration in migrations()
    ]
    await start(database_url)
    assert (await ask(database_url, record), await tables(database_url)) == before


async def test_looking_for_what_is_pending_writes_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FIRST)
    async with open_database(database_url) as database:
        assert await pending(database, [FIRST, SECOND]) == [SECOND]
        assert await pending(database, [FIRST, SECOND]) == [SECOND]
    assert await tables(database_url) == {"a", "liveman_migrations"}


async def test_what_is_missing_is_added_and_data_stays(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FIRST)
    await start(database_url)
    use(monkeypatch, FIRST, SECOND)
    await start(database_url)
    assert await ask(database_url, "SELECT x, y FROM a") == [(1, None)]
    assert await applied(database_url) == [1, 2]


async def test_a_migration_that_fails_leaves_nothing_of_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it stay, and a mended one goes through at the next start."""
    use(monkeypatch, FIRST, BROKEN)
    with pytest.raises(DatabaseError, match=r'no such table: nowhere|"nowhere" does not exist'):
        await start(database_url)
    assert await applied(database_url) == [1]
    assert "b" not in await tables(database_url)
    use(monkeypatch, FIRST, SECOND)
    await start(database_url)
    assert await applied(database_url) == [1, 2]


async def test_a_migration_that_is_cancelled_leaves_nothing_of_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FIRST)
    for steps in range(0, 60, 3):
        task = asyncio.create_task(start(database_url))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await tables(database_url) in (set(), {"a", "liveman_migrations"})
    await start(database_url)
    assert await ask(database_url, "SELECT x FROM a") == [(1,)]


async def test_one_that_another_process_applied_meanwhile_is_passed_over(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FIRST)
    async with open_database(database_url) as database:
        await apply(database, [FIRST, SECOND])
        await apply(database, [FIRST, SECOND])
    assert await ask(database_url, "SELECT x FROM a") == [(1,)]


async def test_processes_that_start_at_once_do_not_clash(database_url: str) -> None:
    """Six of them on one new database: all of them come up, and the schema is made once."""
    code = (
        "import asyncio, secrets, sys\n"
        "from liveman.database import cluster_secret, open_database\n"
        "async def main():\n"
        "    sys.stdin.readline()\n"
        f"    async with open_database('{database_url}') as database:\n"
        "        print((await cluster_secret(database, secrets.token_bytes)).hex())\n"
        "asyncio.run(main())\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(6)
    ]
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * 6, answers
    assert len({out for out, _ in answers}) == 1
    assert len(await applied(database_url)) == len(migrations())


async def test_starts_at_once_within_a_process_do_not_clash(database_url: str) -> None:
    await asyncio.gather(*(start(database_url) for _ in range(8)))
    assert len(await applied(database_url)) == len(migrations())


# What is not ours


async def test_a_database_of_a_newer_liveman_is_refused(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FIRST, SECOND)
    await start(database_url)
    use(monkeypatch, FIRST)
    with pytest.raises(
        DatabaseError, match=r"newer Liveman \(it has migration 2\).*run that version"
    ) as caught:
        await start(database_url)
    assert not isinstance(caught.value, ForeignDatabaseError)
    assert await applied(database_url) == [1, 2]


FOREIGN = [
    "CREATE TABLE Recordings (title);",
    "CREATE VIEW recordings AS SELECT 1 AS x;",
    "CREATE TABLE cluster_secrets (mine);",
]


@pytest.mark.parametrize("schema", FOREIGN)
@pytest.mark.parametrize("journal", ["delete", "wal"])
async def test_another_program_s_table_is_refused_and_left_as_it_is(
    schema: str, journal: str, path: Path
) -> None:
    """To the byte, and with no journal of ours beside it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.executescript(schema)
    before = path.read_bytes()
    with pytest.raises(
        ForeignDatabaseError, match=r"liveman\.db holds what Liveman did not make .*DATABASE_URL"
    ):
        await start(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["liveman.db"]


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE Recordings (title TEXT)", "CREATE VIEW recordings AS SELECT 1 AS x"]
)
async def test_another_program_s_table_is_refused_on_every_database(
    database_url: str, statement: str
) -> None:
    await ask(database_url, statement, "SELECT 1")
    with pytest.raises(ForeignDatabaseError, match=r"holds what Liveman did not make \(recordings\)"):
        await start(database_url)
    assert await tables(database_url) == {"recordings"}


async def test_another_program_s_other_tables_are_no_trouble(database_url: str) -> None:
    await ask(database_url, "CREATE TABLE guests (name TEXT)", "INSERT INTO guests VALUES ('x')", "SELECT 1")
    await start(database_url)
    assert await ask(database_url, "SELECT * FROM guests") == [("x",)]
