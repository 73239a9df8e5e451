"""Tokens that are good no more, though they have not expired."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from attrs import define, field

from liveman.database import Database
from liveman.errors import DatabaseError
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["LONGEST_SECONDS", "Revocations"]

log = get_logger("liveman.auth")

#: The longest that a token of ours can live: how long one is remembered whose end is not known.
LONGEST_SECONDS = 31_536_000
_LEEWAY = 120
#: How soon the database is read again when that failed.
_AGAIN_SECONDS = 1.0

_CHANNEL = "revoked_tokens"
_READ = "SELECT token_id FROM revoked_tokens WHERE expires_at > $1"
_KEEP = """
INSERT INTO revoked_tokens (token_id, expires_at) VALUES ($1, $2) ON CONFLICT (token_id) DO NOTHING
"""
_FORGET = "DELETE FROM revoked_tokens WHERE expires_at <= $1"


@define
class Revocations:
    """The ids of revoked tokens, kept in the database until they would have expired."""

    revoked: Callable[[str], None]
    """Called with each id that is revoked while Liveman runs, here or at another instance."""
    clock: Callable[[], float] = time.time
    _database: Database | None = field(default=None, init=False, repr=False)
    _ids: set[str] = field(factory=set, init=False, repr=False)

    def __contains__(self, token_id: str) -> bool:
        return token_id in self._ids

    @asynccontextmanager
    async def kept_in(self, database: Database) -> AsyncIterator[None]:
        """Know what is kept, also what other instances add to it. Raises DatabaseError."""
        self._database = database
        await self._read(database)
        async with TaskOwner() as tasks:
            tasks.start("revoked tokens", self._follow(database))
            yield

    async def revoke(self, token_id: str) -> None:
        """From now on it is refused, here at once. Raises DatabaseError, and then nothing has changed."""
        assert self._database is not None
        now = int(self.clock())
        try:
            async with self._database.transaction() as queries:
                await queries.execute(_FORGET, [now])
                await queries.execute(_KEEP, [token_id, now + LONGEST_SECONDS + _LEEWAY])
                await queries.announce(_CHANNEL, token_id)
        except asyncio.CancelledError:
            # Nobody can tell whether it is kept.
            self._take_in(token_id)
            raise
        self._take_in(token_id)

    async def _follow(self, database: Database) -> None:
        with database.subscribe(_CHANNEL) as notices:
            async for token_id in notices:
                if token_id is not None:
                    self._take_in(token_id)
                    continue
                while True:
                    try:
                        await self._read(database)
                        break
                    except DatabaseError as error:
                        log.warning("revoked tokens cannot be read", reason=error.detail)
                        await asyncio.sleep(_AGAIN_SECONDS)

    async def _read(self, database: Database) -> None:
        for row in await database.fetch_all(_READ, [int(self.clock())]):
            self._take_in(str(row["token_id"]))

    def _take_in(self, token_id: str) -> None:
        if token_id not in self._ids:
            self._ids.add(token_id)
            self.revoked(token_id)
