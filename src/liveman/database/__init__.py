"""What must outlive Liveman: a narrow port, SQLite and PostgreSQL behind it, and numbered migrations."""

from liveman.database.cluster_secret import cluster_secret
from liveman.database.leadership import Leadership
from liveman.database.notices import Subscription
from liveman.database.opening import open_database
from liveman.database.port import Database, Queries, Row
from liveman.database.pulse import Pulse
from liveman.database.queries import load_queries

__all__ = [
    "Database",
    "Leadership",
    "Pulse",
    "Queries",
    "Row",
    "Subscription",
    "cluster_secret",
    "load_queries",
    "open_database",
]
