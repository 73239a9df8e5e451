"""The port, the same on both databases: statements, transactions, cancellation, errors."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from liveman.database import Database, open_database
from liveman.errors import DatabaseError

KEEP = "INSERT INTO cluster_secrets (name, value, created_at) VALUES ($1, $2, 'now')"
NAMES = "SELECT name FROM cluster_secrets ORDER BY name"


@pytest.fixture(params=["file", "memory", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated database."""
    urls = {"file": f"sqlite://{tmp_path}/liveman.db", "memory": "sqlite::memory:"}
    url = urls.get(request.param) or request.getfixturevalue("postgres_url")
    async with open_database(url, connect_timeout=5) as opened:
        yield opened


async def names(database: Database) -> list[str]:
    return [row["name"] for row in await database.fetch_all(NAMES)]


# Statements


async def test_statements_take_parameters_and_tell_what_they_did(database: Database) -> None:
    assert await database.execute(KEEP, ["a", b"1"]) == 1
    assert await database.execute(KEEP, ["b", b"2"]) == 1
    assert await database.execute("UPDATE cluster_secrets SET value = $2 WHERE name <> $1", ["c", b"3"]) == 2
    assert await database.execute("DELETE FROM cluster_secrets WHERE name = 'nobody'") == 0
    rows = await database.fetch_all("SELECT name, value FROM cluster_secrets ORDER BY name")
    assert rows == [{"name": "a", "value": b"3"}, {"name": "b", "value": b"3"}]
    sql = "SELECT CAST($1 AS INTEGER) AS x, CAST($2 AS TEXT) AS y, $1 AS z"
    assert await database.fetch_one(sql, [1, None]) == {"x": 1, "y": None, "z": 1}
    assert await database.fetch_one("SELECT name FROM cluster_secrets WHERE name = $1", ["nobody"]) is None


async def test_values_are_never_sql(database: Database) -> None:
    name = "x'); DROP TABLE cluster_secrets; --"
    await database.execute(KEEP, [name, b""])
    assert await names(database) == [name]


_REFUSED = r"^The database .* (refused a statement: |cannot keep a value that it was given|has closed)"


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELEKT 1", []),
        ("SELECT * FROM nowhere", []),
        ("SELECT $1", []),
        ("INSERT INTO cluster_secrets (name) VALUES ('x')", []),
        (KEEP, ["twice", b""]),
        (KEEP, ["x", object()]),
        (KEEP, ["\ud800", b""]),
        (KEEP, [2**70, b""]),
        ("SELECT 1\0", []),
    ],
)
async def test_a_bad_statement_is_a_database_error_and_nothing_more(
    database: Database, sql: str, params: list[object]
) -> None:
    """Every failure is ours, names the database, and leaves it usable."""
    await database.execute(KEEP, ["twice", b""])
    for ask in (database.execute, database.fetch_all, database.fetch_one):
        with pytest.raises(DatabaseError, match=_REFUSED):
            await ask(sql, params)
    assert await names(database) == ["twice"]


async def test_parameters_are_in_no_log(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A host application may log everything, tracebacks included, and still sees no secret."""
    caplog.set_level(logging.DEBUG)
    secret = "".join(("top", "secret"))
    await database.execute(KEEP, [secret, secret.encode()])
    await database.fetch_all("SELECT CAST($1 AS TEXT)", [secret])
    for bad in ([secret, b""], [secret, None], [secret, object()]):
        with pytest.raises(DatabaseError) as caught:
            await database.execute(KEEP, bad)
        assert secret not in "".join(traceback.format_exception(caught.value))
    assert secret not in caplog.text


# Transactions


async def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(KEEP, ["a", b""])
        assert await transaction.fetch_one(NAMES) == {"name": "a"}
    with pytest.raises(KeyError):
        async with database.transaction() as transaction:
            await transaction.execute(KEEP, ["b", b""])
            raise KeyError
    with pytest.raises(DatabaseError):
        async with database.transaction() as transaction:
            await transaction.execute(KEEP, ["c", b""])
            await transaction.execute(KEEP, ["a", b""])
    assert await names(database) == ["a"]


async def test_a_cancelled_transaction_leaves_nothing_and_the_next_one_works(database: Database) -> None:
    """At whatever point the cancel comes: before, within, and while committing."""
    for steps in range(30):
        task = asyncio.create_task(_keep(database, f"{steps:02}", asyncio.Event()))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with database.transaction() as transaction:
            await transaction.execute(KEEP, ["after", b""])
            await transaction.execute("DELETE FROM cluster_secrets WHERE name = 'after'")
    assert await names(database) == []


async def test_a_cancel_within_a_statement_rolls_back(database: Database) -> None:
    """The statement runs on in its thread; what it did is undone all the same."""
    reached = asyncio.Event()
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n"

    async def work() -> None:
        async with database.transaction() as transaction:
            await transaction.execute(KEEP, ["a", b""])
            reached.set()
            await transaction.fetch_all(slow)

    task = asyncio.create_task(work())
    await reached.wait()
    await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(database) == []
    assert await database.execute(KEEP, ["b", b""]) == 1


async def test_two_cancels_in_a_row_still_roll_back(database: Database) -> None:
    """The second one comes while the rollback is waited for."""
    kept = asyncio.Event()
    task = asyncio.create_task(_keep(database, "a", kept))
    await kept.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.transaction() as transaction:
        assert await transaction.fetch_all(NAMES) == []


async def _keep(database: Database, name: str, kept: asyncio.Event) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(KEEP, [name, b""])
        kept.set()
        await asyncio.Event().wait()


async def test_what_is_not_committed_is_not_seen_outside(database_url: str) -> None:
    async with open_database(database_url) as database, database.transaction() as transaction:
        await transaction.execute(KEEP, ["a", b""])
        assert await names(database) == []


COUNTER = "CREATE TABLE counter (value INTEGER NOT NULL)"


async def add(database: Database) -> None:
    async with database.transaction() as transaction:
        row = await transaction.fetch_one("SELECT value FROM counter")
        assert row
        await transaction.execute("UPDATE counter SET value = $1", [row["value"] + 1])


async def test_many_writers_and_readers_at_once_lose_nothing(database: Database) -> None:
    """More tasks than connections: each waits for its turn, none fails, no update is lost."""
    await database.execute(COUNTER)
    await database.execute("INSERT INTO counter VALUES (0)")
    await asyncio.gather(*(add(database) for _ in range(50)), *(names(database) for _ in range(50)))
    await asyncio.gather(*(database.execute("UPDATE counter SET value = value + 1") for _ in range(50)))
    assert await database.fetch_one("SELECT value FROM counter") == {"value": 100}


async def test_two_instances_on_one_database_lose_nothing(database_url: str) -> None:
    """Each has its own turns; between the two the database waits, and what was read is still true."""
    async with open_database(database_url) as one, open_database(database_url) as two:
        await one.execute(COUNTER)
        await one.execute("INSERT INTO counter VALUES (0)")
        await asyncio.gather(*(add(database) for database in (one, two) * 10))
        assert await one.fetch_one("SELECT value FROM counter") == {"value": 20}


async def test_many_rows_are_written_at_once_or_not_at_all(database: Database) -> None:
    await database.execute_many(KEEP, ([name, b"1"] for name in "abc"))
    async with database.transaction() as transaction:
        await transaction.execute_many(KEEP, [["d", b"1"]])
        await transaction.execute_many(KEEP, [])
    with pytest.raises(DatabaseError):
        await database.execute_many(KEEP, [["e", b"1"], ["a", b"1"]])
    with pytest.raises(DatabaseError):
        async with database.transaction() as transaction:
            await transaction.execute_many(KEEP, [["f", b"1"], ["a", b"1"]])
    assert await names(database) == ["a", "b", "c", "d"]


async def test_identities_and_times_are_texts(database: Database) -> None:
    """As they are written, so they are read, on every database."""
    id, time = "1539592b-e49b-4983-988e-f288d6e7e706", "2026-11-21T02:14:56.123456+00:00"
    insert = "INSERT INTO recordings VALUES ($1, 's', 2026, 11, 21, 'm.mpd', $2, $2)"
    await database.execute(insert, [id, time])
    row = await database.fetch_one("SELECT id, created_at FROM recordings WHERE id = $1", [id])
    assert row == {"id": id, "created_at": time}


async def test_a_failure_that_was_swallowed_is_not_taken_for_success(database: Database) -> None:
    """What SQLite keeps of such a transaction and PostgreSQL undoes, nobody is told to be kept when it is not."""
    committed = False
    with contextlib.suppress(DatabaseError):
        async with database.transaction() as transaction:
            await transaction.execute(KEEP, ["a", b""])
            with contextlib.suppress(DatabaseError):
                await transaction.execute(KEEP, ["a", b""])
        committed = True
    assert (await names(database) == ["a"]) is committed


async def test_a_closed_database_says_so(database_url: str) -> None:
    async with open_database(database_url) as database:
        pass
    for ask in (database.execute(KEEP, ["a", b""]), database.fetch_all(NAMES), database.tables()):
        with pytest.raises(DatabaseError, match="is closed"):
            await ask


async def test_the_end_comes_even_with_a_transaction_open(database_url: str) -> None:
    """Its work is undone."""
    kept = asyncio.Event()
    async with open_database(database_url) as database:
        task = asyncio.create_task(_keep(database, "a", kept))
        await kept.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with open_database(database_url) as database:
        assert await names(database) == []
