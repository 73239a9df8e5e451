"""The port: all that Liveman knows of a database. One class per driver fulfils it.

SQL names its parameters ``$1``, ``$2`` … in the order of ``params``: SQLite and PostgreSQL both know that.
Values are str, int, float, bytes and None alike in both: a UUID is a str, a TIMESTAMPTZ an ISO 8601 str in
UTC. PostgreSQL takes the type of a parameter from its place; where that has none, cast it.
Every method raises DatabaseError, whose text holds no secret and no value.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from liveman.database.leadership import Leadership
from liveman.database.notices import Subscription

__all__ = ["Database", "Queries", "Row"]

Row = Mapping[str, Any]
"""One row by its columns' names."""


class Queries(Protocol):
    """What can be asked, within a transaction or outside of one."""

    async def execute(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run one statement; gives the number of rows that it changed."""
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement with each of these parameters; all of it or nothing."""
        ...

    async def fetch_all(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        """All rows of one query. One that writes (RETURNING) belongs into a transaction."""
        ...

    async def fetch_one(self, sql: str, params: Sequence[object] = ()) -> Row | None:
        """The first row of one query, if there is any."""
        ...

    async def announce(self, channel: str, payload: str = "") -> None:
        """Tell all instances that listen to this channel; within a transaction: once it is committed.

        Both together have 7900 bytes at the most, and the channel has no blank. With SQLite only this process
        hears of it.
        """
        ...


class Database(Queries, Protocol):
    """An open database. Outside of a transaction each statement is committed by itself."""

    @property
    def where(self) -> str:
        """The database as messages name it, without secrets."""
        ...

    @property
    def leadership(self) -> Leadership:
        """Whether this instance does what only one may do. Nobody leads before `attend` is entered."""
        ...

    def subscribe(self, channel: str) -> AbstractContextManager[Subscription]:
        """What is announced from now on, this instance's own announcements included. While the database is
        away nothing comes; then None does, as something may have been missed."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Queries]:
        """Statements that are committed together when the context is left, or not at all when it raises.

        Of all instances one at a time has one, so what was read is still true when something is written.
        Within it ask what the context gave: the database itself may wait for the transaction to end. A
        statement that failed may have undone it all: let its error out.
        """
        ...

    async def tables(self) -> frozenset[str]:
        """The names of all tables and views, in lower case."""
        ...

    async def columns(self, table: str) -> list[str]:
        """The names of a table's columns, in their order."""
        ...

    async def set_up(self) -> None:
        """Make it ready to be written, once it is known to be ours; raises when it cannot be written."""
        ...

    def attend(self) -> AbstractAsyncContextManager[None]:
        """While it is entered, notices come and leadership is sought."""
        ...
