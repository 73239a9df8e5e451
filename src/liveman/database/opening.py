"""From `database.url` to an open database whose tables are up to date."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from liveman.config import Secret
from liveman.database.migrate import apply, pending
from liveman.database.port import Database
from liveman.database.postgresql import PostgresqlDatabase
from liveman.database.sqlite import SqliteDatabase
from liveman.database.takeover import recognise, take_over
from liveman.database_url import Postgresql, parse_database_url
from liveman.errors import ConfigError, Fault

__all__ = ["open_database"]


@asynccontextmanager
async def open_database(
    url: Secret | str, *, max_connections: int = 10, connect_timeout: float = 30
) -> AsyncIterator[Database]:
    """The database of this URL, migrated, until the context is left.

    ``connect_timeout`` is how long the start waits for PostgreSQL, and a statement for its turn, seconds.
    Raises ConfigError for a URL that cannot be used, ForeignDatabaseError for another program's database
    (which is left as it is) and DatabaseError for one that cannot be opened or that a newer Liveman made.
    """
    try:
        source = parse_database_url(url.reveal() if isinstance(url, Secret) else url)
    except ValueError as error:
        raise ConfigError(Fault("database.url", str(error))) from None
    options: Any = {"max_connections": max_connections, "patience": connect_timeout}
    async with (
        PostgresqlDatabase(source, **options)
        if isinstance(source, Postgresql)
        else SqliteDatabase(source, **options)
    ) as database:
        # A foreign database must not even get a write-ahead log, so looking comes first.
        original = await recognise(database)
        migrations = await pending(database, original=original is not None)
        await database.set_up()
        if original is not None:
            await take_over(database, original, migrations)
        await apply(database, migrations)
        async with database.attend():
            yield database
