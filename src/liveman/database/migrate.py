"""Numbered migrations, each applied once, in one transaction together with its record.

They are the files ``migrations/NNNN_name.sql``. A statement ends with a semicolon at the end of a line.
"""

import re
from collections.abc import Sequence
from importlib import resources

from attrs import frozen

from liveman.database.port import Database
from liveman.errors import DatabaseError, ForeignDatabaseError
from liveman.logs import get_logger

__all__ = ["Migration", "apply", "migrations", "pending"]

log = get_logger("liveman.database")


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


def migrations() -> list[Migration]:
    """All that this Liveman knows, in their order."""
    files = resources.files("liveman.database").joinpath("migrations").iterdir()
    names = sorted(file.name for file in files if file.name.endswith(".sql"))
    return [_read(name) for name in names]


async def pending(database: Database, known: Sequence[Migration] | None = None) -> list[Migration]:
    """Those that the database lacks; this only reads.

    Raises ForeignDatabaseError when a table stands there that one of them would make, DatabaseError when the
    database is newer than this Liveman.
    """
    known = migrations() if known is None else known
    # Tables first: what another process makes meanwhile is then known as applied, never as foreign.
    tables = await database.tables()
    applied = set()
    if _RECORDS in tables:
        applied = {row["version"] for row in await database.fetch_all(f"SELECT version FROM {_RECORDS}")}
    if newer := applied - {migration.version for migration in known}:
        raise DatabaseError(
            f"The database {database.where} was made by a newer Liveman (it has migration {max(newer)}); "
            "run that version or a later one, or name another database in database.url (DATABASE_URL)."
        )
    missing = [migration for migration in known if migration.version not in applied]
    if foreign := sorted(tables & frozenset().union(*(migration.makes for migration in missing))):
        raise ForeignDatabaseError(
            f"The database {database.where} holds what Liveman did not make ({', '.join(foreign)}); "
            "it was left as it is. Name another database in database.url (DATABASE_URL), or move it away."
        )
    return missing


async def apply(database: Database, missing: Sequence[Migration]) -> None:
    """Apply them; one that another process has applied meanwhile is passed over."""
    for migration in missing:
        async with database.transaction() as transaction:
            await transaction.execute(_MAKE_RECORDS)
            done = f"SELECT version FROM {_RECORDS} WHERE version = $1"
            if await transaction.fetch_one(done, [migration.version]):
                continue
            for statement in migration.statements:
                await transaction.execute(statement)
            record = f"INSERT INTO {_RECORDS} (version, name, applied_at) VALUES ($1, $2, CURRENT_TIMESTAMP)"
            await transaction.execute(record, [migration.version, migration.name])
        log.info("the database was migrated", database=database.where, migration=migration.name)


_RECORDS = "liveman_migrations"

_MAKE_RECORDS = f"""
CREATE TABLE IF NOT EXISTS {_RECORDS} (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL
)
"""


def _read(name: str) -> Migration:
    version, _, title = name.removesuffix(".sql").partition("_")
    sql = resources.files("liveman.database").joinpath("migrations", name).read_text("utf-8")
    return Migration(int(version), title, sql)
