"""SQLite behind the port, by aiosqlite: a small pool of connections, each with a thread of its own."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiosqlite

from liveman.database.leadership import Leadership, led_by_file
from liveman.database.notices import Notices, Subscription, joined
from liveman.database.port import Queries, Row
from liveman.database_url import Sqlite
from liveman.errors import DatabaseError

__all__ = ["SqliteDatabase"]

T = TypeVar("T")

#: How long SQLite itself waits for another process's lock, seconds; a waiting thread cannot be cancelled.
_LOCK_SECONDS = 5.0


class SqliteDatabase:
    """A SQLite file, or a database in memory, as an async context.

    Reads run side by side; writers take turns in the order in which they came: SQLite lets one write.
    ``patience`` is how long a statement waits for its turn, seconds. Memory is one connection alone.
    """

    def __init__(self, source: Sqlite, *, max_connections: int, patience: float) -> None:
        self.leadership = Leadership()
        self._notices = Notices()
        self._source = source
        # Connections are opened on demand, perhaps after the working folder has changed.
        self._path = os.path.abspath(source.path) if source.path else None
        self._patience = patience
        self._places = asyncio.Semaphore(max_connections if source.path else 1)
        self._writing = asyncio.Lock()
        self._idle: list[_Session] = []
        self._open: set[_Session] = set()
        self._ending: set[asyncio.Future[Any]] = set()
        """What must be over before the loop is closed."""
        self._closed = False

    @property
    def where(self) -> str:
        return self._source.path or "in memory"

    async def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        async with self._writer() as session:
            return await session.execute(sql, params)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        async with self.transaction() as transaction:
            await transaction.execute_many(sql, rows)

    async def fetch_all(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        async with self._session() as session:
            return await session.fetch_all(sql, params)

    async def fetch_one(self, sql: str, params: Sequence[object] = ()) -> Row | None:
        async with self._session() as session:
            return await session.fetch_one(sql, params)

    async def announce(self, channel: str, payload: str = "") -> None:
        async with self.transaction() as transaction:
            await transaction.announce(channel, payload)

    def subscribe(self, channel: str) -> AbstractContextManager[Subscription]:
        return self._notices.subscribe(channel)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Queries]:
        async with self._writer() as session:
            try:
                # IMMEDIATE: one that reads first and writes later could not wait for the lock in between.
                await session.execute("BEGIN" if self._source.mode == "ro" else "BEGIN IMMEDIATE")
                yield session
                await session.commit()
            except BaseException:
                session.announced.clear()
                await self._roll_back(session)
                raise
            while session.announced:
                self._notices.tell(*session.announced.pop(0))

    async def tables(self) -> frozenset[str]:
        rows = await self.fetch_all("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        return frozenset(row["name"].lower() for row in rows)

    async def columns(self, table: str) -> list[str]:
        return [
            row["name"] for row in await self.fetch_all("SELECT name FROM pragma_table_info($1)", [table])
        ]

    async def set_up(self) -> None:
        if self._source.mode == "ro":
            return
        async with self._writer() as session:
            await session.use_write_ahead_log()
        # SQLite opens a file read-only when it has to, and says so at the first write alone: so write.
        async with self.transaction() as transaction:
            row = await transaction.fetch_one("PRAGMA user_version")
            await transaction.execute(f"PRAGMA user_version = {row['user_version'] if row else 0}")

    @asynccontextmanager
    async def attend(self) -> AsyncIterator[None]:
        if self._source.path and self._source.mode != "ro":
            async with led_by_file(self.leadership, f"{self._path}-leader"):
                yield
        else:
            self.leadership.lead()
            yield
            self.leadership.stand_back()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        # All are told to stop before any is waited for: a thread left over hangs the interpreter's exit.
        for session in list(self._open):
            self._discard(session)
        while self._ending:
            await asyncio.wait(self._ending)

    @asynccontextmanager
    async def _writer(self) -> AsyncIterator["_Session"]:
        await self._turn(self._writing.acquire())
        try:
            async with self._session() as session:
                yield session
        finally:
            self._writing.release()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator["_Session"]:
        await self._turn(self._places.acquire())
        try:
            if self._closed:
                raise DatabaseError(f"The database {self.where} is closed.")
            session = self._idle.pop() if self._idle else await self._connect()
            try:
                yield session
            finally:
                if session in self._open:
                    self._idle.append(session)
        finally:
            self._places.release()

    async def _turn(self, waiting: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await waiting
        except TimeoutError:
            raise DatabaseError(f"The database {self.where} was busy for {self._patience:g} s.") from None

    async def _connect(self) -> "_Session":
        uri = _uri(self._path, self._source.mode)
        connection = _Connection(
            lambda: sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_LOCK_SECONDS),
            iter_chunk_size=64,
        )
        session = _Session(connection, self._explain)
        # A cancel leaves this running: cut short, it would leave a thread that nobody stops.
        opening = asyncio.ensure_future(session.start())
        self._await_in_the_end(opening)
        try:
            await asyncio.shield(opening)
            self._open.add(session)
            for pragma in ("synchronous = NORMAL", "foreign_keys = ON"):
                await session.execute(f"PRAGMA {pragma}")
        except BaseException:
            if opening.done():
                self._discard(session)
            else:
                opening.add_done_callback(lambda _: self._discard(session))
            raise
        return session

    async def _roll_back(self, session: "_Session") -> None:
        """A cancel while this waits harms nothing: the rollback is queued before all that comes later."""
        try:
            await session.roll_back()
        except DatabaseError:
            self._discard(session)

    def _discard(self, session: "_Session") -> None:
        self._open.discard(session)
        if stopped := session.stop():
            self._await_in_the_end(stopped)

    def _await_in_the_end(self, work: "asyncio.Future[Any]") -> None:
        self._ending.add(work)
        work.add_done_callback(self._ending.discard)

    def _explain(self, error: Exception) -> DatabaseError:
        return DatabaseError(f"The database {self.where} {_problem(error, self._source)}.")


class _Session:
    """One connection. Statements run in the order in which they were asked; errors are DatabaseErrors."""

    def __init__(self, connection: "_Connection", explain: Callable[[Exception], DatabaseError]) -> None:
        self.announced: list[tuple[str, str]] = []
        """What is to be told when the transaction is committed."""
        self._connection = connection
        self._explain = explain

    async def start(self) -> None:
        await self._run(self._connection)
        self._connection.row_factory = _row  # type: ignore[assignment]  # any callable will do

    def stop(self) -> "asyncio.Future[Any] | None":
        """Close it after what is queued; the future is done when its thread is about to end."""
        return self._connection.stop()

    async def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        cursor = await self._run(self._connection.execute(sql, _Params(params)))
        await self._run(cursor.close())
        return max(cursor.rowcount, 0)

    async def fetch_all(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        rows: Any = await self._run(self._connection.execute_fetchall(sql, _Params(params)))
        return list(rows)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        cursor = await self._run(self._connection.executemany(sql, [_Params(row) for row in rows]))
        await self._run(cursor.close())

    async def announce(self, channel: str, payload: str = "") -> None:
        joined(channel, payload)
        self.announced.append((channel, payload))

    async def fetch_one(self, sql: str, params: Sequence[object] = ()) -> Row | None:
        return next(iter(await self.fetch_all(sql, params)), None)

    async def commit(self) -> None:
        await self._run(self._connection.commit())

    async def roll_back(self) -> None:
        """Undo what is open; nothing, when nothing is."""
        await self._run(self._connection.rollback())

    async def use_write_ahead_log(self) -> None:
        """Switch to it, for good. SQLite does not wait for locks here, so other starts are outwaited."""
        deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
        while True:
            try:
                await self._connection.execute_fetchall("PRAGMA journal_mode = WAL")
                return
            except sqlite3.Error as error:
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or asyncio.get_running_loop().time() > deadline:
                    raise self._explain(error) from error
            await asyncio.sleep(0.02)

    async def _run(self, work: Awaitable[T]) -> T:
        """The one place where the driver's errors become ours; its ValueErrors and OverflowErrors are values
        that it cannot keep, and connections that were stopped."""
        try:
            return await work
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise self._explain(error) from error


class _Connection(aiosqlite.Connection):
    """It stops itself when it cannot be opened; its thread has to be waited for then too."""

    _stopped: "asyncio.Future[Any] | None" = None

    def stop(self) -> "asyncio.Future[Any] | None":
        if self._stopped is None:
            self._stopped = super().stop()
        return self._stopped


class _Params(dict[str, object]):
    """Parameters by number, as SQLite knows ``$1``; with no repr, since aiosqlite logs its calls."""

    def __init__(self, params: Sequence[object]) -> None:
        super().__init__((str(number), value) for number, value in enumerate(params, 1))

    def __repr__(self) -> str:
        return f"<{len(self)} parameters>"


def _row(cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> Mapping[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _uri(path: str | None, mode: str) -> str:
    return f"file://{quote(path)}?mode={mode}" if path else ":memory:"


_PROBLEMS = {
    sqlite3.SQLITE_BUSY: "is locked by another program; stop that one",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_READONLY: "cannot be written; Liveman's user must own the file and its folder",
    sqlite3.SQLITE_PERM: "cannot be opened; Liveman's user may not",
    sqlite3.SQLITE_FULL: "has no room left; the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written; the disk fails",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a copy, or name another file",
    sqlite3.SQLITE_NOTADB: "is no SQLite database, or damaged; restore a copy, or name another file",
}


def _problem(error: Exception, source: Sqlite) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_READONLY and source.mode == "ro":
        return "cannot be written, since its URL says mode=ro"
    if code == sqlite3.SQLITE_CANTOPEN and source.path:
        return _why_not_open(source.path, source.mode)
    return _PROBLEMS.get(code) or f"refused a statement: {error}"


def _why_not_open(path: str, mode: str) -> str:
    if os.path.isdir(path):
        return "is a folder; name a file in it"
    if not os.path.isdir(os.path.dirname(path) or "."):
        return "has no folder to lie in; make it first"
    if mode != "rwc" and not os.path.exists(path):
        return f"does not exist, and mode={mode} does not make it"
    return "cannot be opened; Liveman's user must be able to read and write the file and its folder"
