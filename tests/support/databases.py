"""A look into a database, as it is: nothing is migrated."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from liveman.database import Database
from liveman.database.postgresql import PostgresqlDatabase
from liveman.database.sqlite import SqliteDatabase
from liveman.database_url import Sqlite, parse_database_url

__all__ = ["ask", "columns", "connected", "is_sqlite"]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Database]:
    """The driver alone."""
    source = parse_database_url(url)
    if isinstance(source, Sqlite):
        async with SqliteDatabase(source, max_connections=2, patience=5) as sqlite:
            yield sqlite
    else:
        async with PostgresqlDatabase(source, max_connections=2, patience=5) as postgresql:
            yield postgresql


async def ask(url: str, *statements: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """What the last of these statements gives."""
    async with connected(url) as database:
        for statement in statements[:-1]:
            await database.execute(statement)
        async with database.transaction() as transaction:
            return [tuple(row.values()) for row in await transaction.fetch_all(statements[-1], params)]


async def columns(url: str, table: str) -> dict[str, str]:
    """The columns of a table and their declared types, in their order, in upper case."""
    if is_sqlite(url):
        rows = await ask(url, f"SELECT name, type FROM pragma_table_info('{table}')")
    else:
        rows = await ask(
            url,
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum",
        )
    return {name: kind.upper() for name, kind in rows}


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite")
