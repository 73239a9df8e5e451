"""SQLite alone: files, locks, rights, the end of its threads. What holds for all is in test_port."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from liveman.config import Secret
from liveman.database import Database, open_database
from liveman.errors import ConfigError, DatabaseError

KEEP = "INSERT INTO cluster_secrets (name, value, created_at) VALUES ($1, $2, 'now')"
NAMES = "SELECT name FROM cluster_secrets ORDER BY name"


async def names(database: Database) -> list[str]:
    return [row["name"] for row in await database.fetch_all(NAMES)]


# Connections


async def test_there_are_never_more_connections_than_configured(tmp_path: Path) -> None:
    before = threading.active_count()
    async with open_database(f"sqlite://{tmp_path}/liveman.db", max_connections=3) as database:
        await asyncio.gather(*(database.fetch_all(NAMES) for _ in range(50)))
        assert threading.active_count() <= before + 3


async def test_a_statement_that_gets_no_turn_says_so(tmp_path: Path) -> None:
    """Waiting has an end, and so has a transaction that asks the database instead of itself."""
    url = f"sqlite://{tmp_path}/liveman.db"
    async with open_database(url, connect_timeout=0.05) as database, database.transaction():
        with pytest.raises(DatabaseError, match=r"was busy for 0\.05 s"):
            await database.execute(KEEP, ["a", b""])
    async with open_database("sqlite::memory:", connect_timeout=0.05) as database, database.transaction():
        with pytest.raises(DatabaseError, match="was busy"):
            await database.fetch_all(NAMES)


# The file


async def test_a_file_is_set_up_for_concurrent_use(tmp_path: Path) -> None:
    async with open_database(f"sqlite://{tmp_path}/liveman.db") as database:
        assert await database.fetch_one("PRAGMA journal_mode") == {"journal_mode": "wal"}
        assert await database.fetch_one("PRAGMA synchronous") == {"synchronous": 1}
        assert await database.fetch_one("PRAGMA foreign_keys") == {"foreign_keys": 1}
        assert await database.fetch_one("PRAGMA busy_timeout") == {"timeout": 5000}


@pytest.mark.parametrize(
    "url", ["sqlite://./liveman.db?mode=rwc", "sqlite://liveman.db", "sqlite:liveman.db"]
)
async def test_a_relative_path_counts_from_the_working_folder(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one at the start: a folder that changes later leads nowhere else."""
    other = tmp_path / "other"
    os.mkdir(other)
    monkeypatch.chdir(tmp_path)
    async with open_database(url) as database, database.transaction():
        monkeypatch.chdir(other)
        await database.fetch_all(NAMES)  # Needs a second connection.
    assert "liveman.db" in os.listdir(tmp_path)
    assert os.listdir(other) == []


@pytest.mark.parametrize("name", ["with blank.db", "a#b.db", "per%cent.db", "Straße?.db", "a@b.db"])
async def test_odd_names_of_files_work(name: str, tmp_path: Path) -> None:
    async with open_database(f"sqlite://{tmp_path}/{quote(name)}"):
        pass
    assert name in os.listdir(tmp_path)


async def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    url = Secret(f"sqlite://{tmp_path}/liveman.db")
    async with open_database(url) as database:
        await database.execute(KEEP, ["a", b""])
    async with open_database(url) as database:
        assert await names(database) == ["a"]


async def test_a_read_only_database_is_read_and_not_written(tmp_path: Path) -> None:
    async with open_database(f"sqlite://{tmp_path}/liveman.db") as database:
        await database.execute(KEEP, ["a", b""])
    async with open_database(f"sqlite://{tmp_path}/liveman.db?mode=ro") as database:
        assert await names(database) == ["a"]
        async with database.transaction() as transaction:
            assert await transaction.fetch_one(NAMES) == {"name": "a"}
        with pytest.raises(DatabaseError, match="cannot be written, since its URL says mode=ro"):
            await database.execute(KEEP, ["b", b""])


def _folder(path: Path) -> str:
    path.mkdir()
    return "is a folder; name a file in it"


def _no_folder(path: Path) -> str:
    path.parent.rmdir()
    return "has no folder to lie in; make it first"


def _text(path: Path) -> str:
    path.write_text("This is no database, but a text that someone put here. " * 100)
    return "is no SQLite database, or damaged"


def _damaged(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 8000)
    return "is (no SQLite database, or )?damaged"


@pytest.mark.parametrize("make", [_folder, _no_folder, _text, _damaged])
async def test_a_file_that_cannot_be_used_is_told_why(make: Callable[[Path], str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "liveman.db"
    problem = make(path)
    await refused(f"sqlite://{path}", problem)


@pytest.mark.parametrize("mode", ["ro", "rw"])
async def test_a_missing_file_is_made_only_where_that_is_wanted(mode: str, tmp_path: Path) -> None:
    await refused(
        f"sqlite://{tmp_path}/no.db?mode={mode}", f"does not exist, and mode={mode} does not make it"
    )
    assert os.listdir(tmp_path) == []


async def test_an_empty_file_becomes_a_database_unless_it_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    await refused(f"sqlite://{tmp_path}/empty.db?mode=ro", "cannot be written, since its URL says mode=ro")
    async with open_database(f"sqlite://{tmp_path}/empty.db?mode=rw") as database:
        assert await names(database) == []


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder, and a user who has no right to everything, as root has."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        os.chmod(folder, 0o755)


@asynccontextmanager
async def as_nobody() -> AsyncIterator[None]:
    """Threads take over the user that is set here."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


async def test_a_file_without_the_right_to_write_is_refused_at_the_start(unprivileged: Path) -> None:
    """Not at the first recording, hours later."""
    path = unprivileged / "liveman.db"
    async with open_database(f"sqlite://{path}"):
        pass
    os.chmod(path, 0o444)
    os.chmod(unprivileged, 0o777)
    async with as_nobody():
        await refused(
            f"sqlite://{path}", "cannot be written; Liveman's user must own the file and its folder"
        )
    os.chmod(unprivileged, 0o555)
    async with as_nobody():
        await refused(f"sqlite://{path}", "cannot be (written|opened); Liveman's user must")
        await refused(f"sqlite://{unprivileged}/new.db", "cannot be opened; Liveman's user must")
    os.chmod(path, 0o000)
    async with as_nobody():
        await refused(f"sqlite://{path}", "cannot be opened; Liveman's user must")


async def test_a_file_that_another_program_holds_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveman.database.sqlite._LOCK_SECONDS", 0.05)
    path = tmp_path / "liveman.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        await refused(f"sqlite://{path}", "is locked by another program; stop that one")
    finally:
        holder.close()
    async with open_database(f"sqlite://{path}") as database:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="is locked by another program"):
            await database.execute(KEEP, ["a", b""])
        assert await names(database) == []
        holder.close()
        assert await database.execute(KEEP, ["a", b""]) == 1


async def test_a_start_outwaits_another_one_that_writes(tmp_path: Path) -> None:
    """SQLite itself does not wait when it is to change a file's journal."""
    path = tmp_path / "liveman.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE other (x)")
    holder.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.3, holder.close)
    async with open_database(f"sqlite://{path}") as database:
        assert await names(database) == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://u:topsecret@h/d", 'must begin with "sqlite:" or "postgresql://"'),
        ("sqlite://", "names no file"),
        ("sqlite://a.db?mode=x", "unknown mode"),
        ("postgresql://u:topsecret@localhost/live777?sslmode=x", "unknown sslmode"),
    ],
)
async def test_a_url_that_cannot_be_used_is_a_fault_of_the_configuration(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        async with open_database(Secret(url)):
            raise AssertionError
    assert [fault.path for fault in caught.value.faults] == ["database.url"]
    assert "topsecret" not in str(caught.value)


async def refused(url: str, problem: str) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(DatabaseError, match=problem) as caught:
        async with open_database(url):
            raise AssertionError("it was opened")
    assert url.removeprefix("sqlite://").partition("?")[0] in str(caught.value)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
    no_threads_but(threads)


def no_threads_but(known: set[threading.Thread]) -> None:
    """A thread has a moment left after its last word."""
    for thread in set(threading.enumerate()) - known:
        thread.join(timeout=10)
        assert not thread.is_alive()


# The end


async def test_no_thread_stays_even_with_a_transaction_open(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    kept = asyncio.Event()
    async with open_database(f"sqlite://{tmp_path}/liveman.db") as database:
        task = asyncio.create_task(_keep(database, "a", kept))
        await kept.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    no_threads_but(before)


async def test_no_thread_stays_when_opening_is_cancelled(tmp_path: Path) -> None:
    """At whatever step; the database itself waits for it."""
    before = set(threading.enumerate())
    for steps in range(12):
        async with open_database(f"sqlite://{tmp_path}/liveman.db") as database, database.transaction():
            task = asyncio.create_task(database.fetch_all(NAMES))  # Needs a second connection.
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        no_threads_but(before)


@pytest.mark.parametrize(
    "end", ["pass", "raise KeyError", "asyncio.current_task().cancel(); await asyncio.sleep(9)"]
)
def test_the_interpreter_ends_however_the_database_was_left(end: str, tmp_path: Path) -> None:
    """A connection that is not closed would keep its thread, and with it the process."""
    code = f"""
import asyncio
from liveman.database import open_database
async def main():
    async with open_database("sqlite://{tmp_path}/liveman.db") as database:
        async with database.transaction() as transaction:
            await transaction.fetch_all("SELECT 1")
            await database.fetch_all("SELECT 1")
            {end}
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == (0 if end == "pass" else 1)
    assert {"pass": "", "raise KeyError": "KeyError"}.get(end, "CancelledError") in done.stderr


async def _keep(database: Database, name: str, kept: asyncio.Event) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(KEEP, [name, b""])
        kept.set()
        await asyncio.Event().wait()
