"""The port: all that Liveman knows of a database. One class per driver fulfils it.

SQL names its parameters ``$1``, ``$2`` … in the order of ``params``: SQLite and PostgreSQL both know that.
Every method raises DatabaseError, whose text holds no secret.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

__all__ = ["Database", "Queries", "Row"]

Row = Mapping[str, Any]
"""One row by its columns' names."""


class Queries(Protocol):
    """What can be asked, within a transaction or outside of one."""

    async def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run one statement; gives the number of rows that it changed."""
        ...

    async def fetch_all(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        """All rows of one query. One that writes (RETURNING) belongs into a transaction."""
        ...

    async def fetch_one(self, sql: str, params: Sequence[object] = ()) -> Row | None:
        """The first row of one query, if there is any."""
        ...


class Database(Queries, Protocol):
    """An open database. Outside of a transaction each statement is committed by itself."""

    @property
    def where(self) -> str:
        """The database as messages name it, without secrets."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Queries]:
        """Statements that are committed together when the context is left, or not at all when it raises.

        Within it ask what the context gave: the database itself waits for the transaction to end.
        """
        ...

    async def tables(self) -> frozenset[str]:
        """The names of all tables and views, in lower case."""
        ...

    async def set_up(self) -> None:
        """Make it ready to be written, once it is known to be ours; raises when it cannot be written."""
        ...
