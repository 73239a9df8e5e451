"""PostgreSQL behind the port, by asyncpg: its pool, and beside it the one standing connection.

While PostgreSQL is away every call fails, and works again when it is back; whatever waits for it has an end.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import asyncpg

from liveman.database.leadership import Leadership
from liveman.database.notices import Notices, Subscription, joined
from liveman.database.port import Queries, Row
from liveman.database.postgresql_errors import FAILURES, is_away, problem
from liveman.database.standing import CHANNEL, Standing
from liveman.database_url import Postgresql
from liveman.errors import DatabaseError
from liveman.logs import get_logger

__all__ = ["PostgresqlDatabase"]

log = get_logger("liveman.database")

#: The longest that a statement may take.
_STATEMENT_SECONDS = 30.0
#: How long a connection may take to be ready for the next one, or to be closed.
_CLEANING_SECONDS = 5.0
#: Between two attempts of a start that comes before PostgreSQL's.
_START_SECONDS = 0.5
#: The advisory lock of the transaction that is open.
_TRANSACTION_LOCK = 0x6C6976650001
_OLDEST = 14

#: For the server's side: a session whose client is gone without a word keeps its locks no longer than this.
_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "idle_in_transaction_session_timeout": f"{2 * _STATEMENT_SECONDS * 1000:.0f}",
    "tcp_user_timeout": f"{_STATEMENT_SECONDS * 1000:.0f}",
}

_TABLES = """
SELECT lower(relname) AS name FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_COLUMNS = """
SELECT attname AS name FROM pg_attribute
WHERE attrelid = CAST($1 AS TEXT)::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class PostgresqlDatabase:
    """A PostgreSQL database, as an async context. Entering waits until it answers, for ``patience`` seconds.

    ``patience`` is also how long a statement waits for a connection, and a transaction for its turn.
    """

    def __init__(self, source: Postgresql, *, max_connections: int, patience: float) -> None:
        self.leadership = Leadership()
        self._notices = Notices()
        self._source = source
        self._patience = patience
        self._max_connections = max_connections
        self._pool: Any = None
        self._closed = False

    @property
    def where(self) -> str:
        return self._source.where

    async def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        async with self._session() as session:
            return await session.execute(sql, params)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        async with self._session() as session:
            await session.execute_many(sql, rows)

    async def fetch_all(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        async with self._session() as session:
            return await session.fetch_all(sql, params)

    async def fetch_one(self, sql: str, params: Sequence[object] = ()) -> Row | None:
        async with self._session() as session:
            return await session.fetch_one(sql, params)

    async def announce(self, channel: str, payload: str = "") -> None:
        async with self._session() as session:
            await session.announce(channel, payload)

    def subscribe(self, channel: str) -> AbstractContextManager[Subscription]:
        return self._notices.subscribe(channel)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Queries]:
        async with self._session() as session:
            try:
                if not await session.begin(self._patience):
                    raise self._busy()
                yield session
                await session.commit()
            except BaseException:
                await session.roll_back()
                raise

    async def tables(self) -> frozenset[str]:
        return frozenset(row["name"] for row in await self.fetch_all(_TABLES))

    async def columns(self, table: str) -> list[str]:
        return [row["name"] for row in await self.fetch_all(_COLUMNS, [table])]

    async def set_up(self) -> None:
        row = await self.fetch_one("SELECT current_setting('transaction_read_only') AS only")
        if row and row["only"] == "on":
            raise DatabaseError(
                f"The database {self.where} cannot be written: it is a standby, or read-only."
            )

    @asynccontextmanager
    async def attend(self) -> AsyncIterator[None]:
        async with Standing(self._connect, self.leadership, self._notices, where=self.where):
            yield

    async def __aenter__(self) -> Self:
        async def connect(*_: object, **_asyncpg_s_own: object) -> Any:
            return await self._connect({})

        self._pool = await asyncpg.create_pool(connect=connect, min_size=0, max_size=self._max_connections)
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _start(self) -> None:
        """Wait until the database answers: it may be starting too."""
        self._check_files()
        deadline = asyncio.get_running_loop().time() + self._patience
        waiting = False
        while True:
            try:
                connection = await self._pool.acquire(timeout=self._patience)
            except FAILURES as error:
                if not is_away(error) or asyncio.get_running_loop().time() + _START_SECONDS > deadline:
                    raise self._explain(error) from _cause(error)
                if not waiting:
                    log.warning("waiting for the database", database=self.where, reason=problem(error))
                waiting = True
                await asyncio.sleep(_START_SECONDS)
                continue
            version = connection.get_server_version().major
            await self._release(connection)
            if version < _OLDEST:
                raise DatabaseError(
                    f"The database {self.where} is PostgreSQL {version}; Liveman needs {_OLDEST} or newer."
                )
            return

    def _check_files(self) -> None:
        for key in ("sslrootcert", "sslcert", "sslkey"):
            if (path := self._source.options.get(key)) and not os.path.isfile(path):
                raise DatabaseError(f"The database {self.where} has a URL whose {key} is no file: {path}.")

    async def _close(self) -> None:
        self._closed = True
        if self._pool.get_idle_size() < self._pool.get_size():
            self._pool.terminate()  # Somebody is still within a transaction, and gets an error.
        try:
            async with asyncio.timeout(_CLEANING_SECONDS):
                await self._pool.close()
        except FAILURES as error:
            log.debug("connections to the database were cut", database=self.where, reason=problem(error))

    async def _connect(self, settings: Mapping[str, str]) -> Any:
        """A connection of asyncpg's; the driver has no types."""
        source = self._source
        own = {key: value for key, value in source.options.items() if not key.startswith("ssl")}
        tls = {key: value for key, value in source.options.items() if key.startswith("ssl")}
        connection = await asyncpg.connect(
            f"postgresql://?{urlencode(tls)}",  # It takes the files of TLS from a URL alone.
            host=source.host,
            port=source.port,
            user=source.user,
            password=source.password,
            database=source.database,
            timeout=self._patience,
            command_timeout=_STATEMENT_SECONDS,
            server_settings={"application_name": "liveman", **own, **_SETTINGS, **settings},
        )
        try:
            for name, decoder in (("uuid", str), ("timestamptz", _iso)):
                await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=decoder)
        except BaseException:
            connection.terminate()
            raise
        return connection

    @asynccontextmanager
    async def _session(self) -> AsyncIterator["_Session"]:
        if self._closed:
            raise DatabaseError(f"The database {self.where} is closed.")
        try:
            connection = await self._pool.acquire(timeout=self._patience)
        except FAILURES as error:
            full = self._pool.get_size() == self._max_connections and not self._pool.get_idle_size()
            raise (self._busy() if full else self._explain(error)) from _cause(error)
        session = _Session(connection, self._explain)
        try:
            yield session
        finally:
            if session.silent:
                # Others may be as dead, and would be found out one by one.
                await self._pool.expire_connections()
            await self._release(connection)

    async def _release(self, connection: Any) -> None:
        try:
            await self._pool.release(connection, timeout=_CLEANING_SECONDS)
        except FAILURES as error:
            log.debug("a connection was dropped", database=self.where, reason=problem(error))

    def _explain(self, error: Exception) -> DatabaseError:
        return DatabaseError(f"The database {self.where} {'is closed' if self._closed else problem(error)}.")

    def _busy(self) -> DatabaseError:
        return DatabaseError(f"The database {self.where} was busy for {self._patience:g} s.")


class _Session:
    """One connection of the pool. Errors are DatabaseErrors."""

    def __init__(self, connection: Any, explain: Callable[[Exception], DatabaseError]) -> None:
        self.silent = False
        """Whether PostgreSQL gave no answer here."""
        self._connection = connection
        self._explain = explain

    async def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        status: str = await self._run("execute", sql, *params)
        return int(status.split()[-1]) if status.startswith(("INSERT", "UPDATE", "DELETE")) else 0

    async def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        await self._run("executemany", sql, rows)

    async def fetch_all(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        return [dict(row) for row in await self._run("fetch", sql, *params)]

    async def fetch_one(self, sql: str, params: Sequence[object] = ()) -> Row | None:
        row = await self._run("fetchrow", sql, *params)
        return None if row is None else dict(row)

    async def announce(self, channel: str, payload: str = "") -> None:
        await self.execute("SELECT pg_notify($1, $2)", [CHANNEL, joined(channel, payload)])

    async def begin(self, patience: float) -> bool:
        """Begin a transaction as soon as it has its turn; whether that came."""
        begin = f"BEGIN; SELECT pg_advisory_xact_lock({_TRANSACTION_LOCK})"
        try:
            await self._connection.execute(begin, timeout=patience)
        except TimeoutError:
            return False
        except FAILURES as error:
            raise self._explain(error) from _cause(error)
        return True

    async def commit(self) -> None:
        if await self._run("execute", "COMMIT") == "ROLLBACK":
            raise DatabaseError("A transaction was undone, since a statement of it had failed.")

    async def roll_back(self) -> None:
        """Undo what is open; by force where that fails, as the server undoes what is cut off."""
        try:
            await self._connection.execute("ROLLBACK", timeout=_CLEANING_SECONDS)
        except BaseException as error:
            with suppress(asyncpg.InterfaceError):  # It may be gone from the pool.
                self._connection.terminate()
            if not isinstance(error, FAILURES):
                raise

    async def _run(self, method: str, *arguments: object) -> Any:
        """The one place where the driver's errors become ours."""
        try:
            return await getattr(self._connection, method)(*arguments)
        except FAILURES as error:
            self.silent = self.silent or isinstance(error, TimeoutError)
            raise self._explain(error) from _cause(error)


def _cause(error: Exception) -> Exception | None:
    """What may stand in a log: PostgreSQL's details and the driver's complaints about values may not."""
    return error if isinstance(error, OSError) else None


def _iso(text: str) -> str:
    """``2026-11-21 02:14:56.1+00`` as ISO 8601, RFC 3339 included."""
    return f"{text.replace(' ', 'T', 1)}:00"
