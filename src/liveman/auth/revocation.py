"""Tokens that are good no more, though they have not expired."""

import asyncio
import time
from collections.abc import Callable

from attrs import define, field

from liveman.database import Database

__all__ = ["LONGEST_SECONDS", "Revocations"]

#: The longest that a token of ours can live: how long one is remembered whose end is not known.
LONGEST_SECONDS = 31_536_000
_LEEWAY = 120

_READ = "SELECT token_id FROM revoked_tokens WHERE expires_at > $1"
_KEEP = """
INSERT INTO revoked_tokens (token_id, expires_at) VALUES ($1, $2) ON CONFLICT (token_id) DO NOTHING
"""
_FORGET = "DELETE FROM revoked_tokens WHERE expires_at <= $1"


@define
class Revocations:
    """The ids of revoked tokens, kept in the database until they would have expired."""

    revoked: Callable[[str], None]
    """Called with each id that is revoked while Liveman runs."""
    clock: Callable[[], float] = time.time
    _database: Database | None = field(default=None, init=False, repr=False)
    _ids: set[str] = field(factory=set, init=False, repr=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)
    """What was read before a revocation must not be taken in after it."""

    def __contains__(self, token_id: str) -> bool:
        return token_id in self._ids

    async def load(self, database: Database) -> None:
        """Take in what is kept. Raises DatabaseError."""
        self._database = database
        await self.read()

    async def read(self) -> None:
        """Look what is kept now; another instance may have added to it. Raises DatabaseError."""
        assert self._database is not None
        async with self._lock:
            rows = await self._database.fetch_all(_READ, [int(self.clock())])
            ids = {str(row["token_id"]) for row in rows}
            fresh, self._ids = ids - self._ids, ids
        for token_id in fresh:
            self.revoked(token_id)

    async def revoke(self, token_id: str) -> None:
        """From now on it is refused, here at once. Raises DatabaseError, and then nothing has changed."""
        assert self._database is not None
        now = int(self.clock())
        async with self._lock:
            try:
                async with self._database.transaction() as queries:
                    await queries.execute(_FORGET, [now])
                    await queries.execute(_KEEP, [token_id, now + LONGEST_SECONDS + _LEEWAY])
            except asyncio.CancelledError:
                # Nobody can tell whether it is kept.
                self._refuse(token_id)
                raise
            self._refuse(token_id)

    def _refuse(self, token_id: str) -> None:
        self._ids.add(token_id)
        self.revoked(token_id)
