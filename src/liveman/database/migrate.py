"""Numbered migrations, each applied once, in one transaction together with its record.

They are the files ``migrations/NNNN_name.sql``. A statement ends with a semicolon at the end of a line.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from attrs import frozen

from liveman.database.port import Database, Queries
from liveman.errors import DatabaseError, ForeignDatabaseError
from liveman.logs import get_logger

__all__ = ["RECORDS", "Migration", "apply", "migrations", "pending", "recorded", "run"]

log = get_logger("liveman.database")

RECORDS = "liveman_migrations"
"""The table of those that were applied."""


@frozen
class Migration:
    """One step of the schema."""

    version: int
    name: str
    sql: str

    @property
    def statements(self) -> list[str]:
        """Its statements, without the comments that stand on lines of their own."""
        sql = re.sub(r"^\s*--.*$", "", self.sql, flags=re.MULTILINE)
        return [
            statement for part in re.split(r";\s*$", sql, flags=re.MULTILINE) if (statement := part.strip())
        ]

    @property
    def makes(self) -> frozenset[str]:
        """The tables that it makes, in lower case."""
        return frozenset(name.lower() for name in re.findall(r"^CREATE TABLE (\w+)", self.sql, re.MULTILINE))


@cache
def migrations() -> tuple[Migration, ...]:
    """All that this Liveman knows, in their order."""
    files = resources.files("liveman.database").joinpath("migrations").iterdir()
    names = sorted(file.name for file in files if file.name.endswith(".sql"))
    return tuple(_read(name) for name in names)


async def pending(
    database: Database, known: Sequence[Migration] | None = None, *, original: bool = False
) -> list[Migration]:
    """Those that the database lacks; this only reads. ``original``: its table `recordings` is the original's.

    Raises ForeignDatabaseError when a table stands there that one of them would make, DatabaseError when the
    database is newer than this Liveman.
    """
    known = migrations() if known is None else known
    # Tables first: what another process makes meanwhile is then known as applied, never as foreign.
    tables = await database.tables() - ({"recordings"} if original else set())
    done = await _versions(database) if RECORDS in tables else set()
    if newer := done - {migration.version for migration in known}:
        raise DatabaseError(
            f"The database {database.where} was made by a newer Liveman (it has migration {max(newer)}); "
            "run that version or a later one, or name another database in database.url (DATABASE_URL)."
        )
    missing = [migration for migration in known if migration.version not in done]
    if foreign := sorted(tables & frozenset().union(*(migration.makes for migration in missing))):
        raise ForeignDatabaseError(
            f"The database {database.where} holds what Liveman did not make ({', '.join(foreign)}); "
            "it was left as it is. Name another database in database.url (DATABASE_URL), or move it away."
        )
    return missing


async def apply(database: Database, missing: Sequence[Migration]) -> None:
    """Apply them, each in a transaction; one that another process has applied meanwhile is passed over."""
    for migration in missing:
        async with database.transaction() as transaction:
            if migration.version in await recorded(transaction):
                continue
            await run(transaction, migration)
        log.info("the database was migrated", database=database.where, migration=migration.name)


async def recorded(transaction: Queries) -> set[int]:
    """The versions of those that were applied; the table of them is made where it is missing."""
    await transaction.execute(_MAKE_RECORDS)
    return await _versions(transaction)


async def run(transaction: Queries, migration: Migration) -> None:
    """Apply one, and record it; the transaction is the caller's."""
    for statement in migration.statements:
        await transaction.execute(statement)
    record = f"INSERT INTO {RECORDS} (version, name, applied_at) VALUES ($1, $2, CURRENT_TIMESTAMP)"
    await transaction.execute(record, [migration.version, migration.name])


_MAKE_RECORDS = f"""
CREATE TABLE IF NOT EXISTS {RECORDS} (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL
)
"""


async def _versions(queries: Queries) -> set[int]:
    return {row["version"] for row in await queries.fetch_all(f"SELECT version FROM {RECORDS}")}


def _read(name: str) -> Migration:
    version, _, title = name.removesuffix(".sql").partition("_")
    sql = resources.files("liveman.database").joinpath("migrations", name).read_text("utf-8")
    return Migration(int(version), title, sql)
