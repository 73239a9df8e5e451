"""The secret that a cluster's instances share when the configuration names none."""

from collections.abc import Callable

from liveman.database.port import Database
from liveman.errors import DatabaseError

__all__ = ["cluster_secret"]

_READ = "SELECT value FROM cluster_secrets WHERE name = 'cluster'"
_KEEP = """
INSERT INTO cluster_secrets (name, value, created_at) VALUES ('cluster', $1, CURRENT_TIMESTAMP)
ON CONFLICT (name) DO NOTHING
"""
_SIZE = 32


async def cluster_secret(database: Database, random: Callable[[int], bytes]) -> bytes:
    """The cluster's 32 bytes, made with ``random(32)`` when there are none yet.

    Of several instances that make them at once, the first one's are everyone's.
    """
    row = await database.fetch_one(_READ)
    if row is None:
        await database.execute(_KEEP, [random(_SIZE)])
        row = await database.fetch_one(_READ)
    value = row["value"] if row else None
    if not isinstance(value, bytes) or len(value) != _SIZE:
        raise DatabaseError(
            f"The database {database.where} holds a damaged secret; delete the row 'cluster' of the table "
            "cluster_secrets, and a new one is made (clients must then connect anew)."
        )
    return value
