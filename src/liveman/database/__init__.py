"""What must outlive Liveman: a narrow port, SQLite behind it, and numbered migrations."""

from liveman.database.cluster_secret import cluster_secret
from liveman.database.opening import open_database
from liveman.database.port import Database, Queries, Row
from liveman.database.queries import load_queries

__all__ = ["Database", "Queries", "Row", "cluster_secret", "load_queries", "open_database"]
