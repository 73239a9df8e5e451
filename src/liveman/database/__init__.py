"""What must outlive Liveman: a narrow port, SQLite behind it, and numbered migrations."""

from liveman.database.cluster_secret import cluster_secret
from liveman.database.opening import open_database
from liveman.database.port import Database, Queries, Row

__all__ = ["Database", "Queries", "Row", "cluster_secret", "open_database"]
