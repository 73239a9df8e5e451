"""The one connection to PostgreSQL that is always there, made anew when it breaks. On it this instance hears
notices and, by an advisory lock, leads.

Whoever holds the lock says so each second. When PostgreSQL hears nothing for longer, it ends the session, and
with it the lock: the instance is dead, stopped, or cut off. By then it knows itself that it leads no more.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from liveman.database.leadership import TRY_SECONDS, Leadership
from liveman.database.notices import Notices
from liveman.database.postgresql_errors import FAILURES, problem
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["CHANNEL", "LEADER_LOCK", "Standing"]

log = get_logger("liveman.database")

CHANNEL = "liveman"
"""PostgreSQL's channel that carries all of ours; a payload begins with the name of ours and a blank."""
LEADER_LOCK = 0x6C6976650002
"""The advisory lock of the one who leads."""

#: How long PostgreSQL may take to answer.
_ANSWER_SECONDS = 2.0
#: How long a leader leads without another word. Its next one comes after TRY_SECONDS and takes
#: _ANSWER_SECONDS at the most.
_LEASE_SECONDS = TRY_SECONDS + _ANSWER_SECONDS
#: After what silence PostgreSQL gives the lock to someone else: later than the lease ends.
_SILENCE_SECONDS = 5.0
_SETTINGS = {"idle_session_timeout": f"{_SILENCE_SECONDS * 1000:.0f}"}

Connect = Callable[[Mapping[str, str]], Awaitable[Any]]
"""A new connection, with these settings of its session."""


class Standing:
    """An async context: the connection, and the task that keeps it. Entering waits for the first attempt."""

    def __init__(self, connect: Connect, leadership: Leadership, notices: Notices, *, where: str) -> None:
        self._connect = connect
        self._leadership = leadership
        self._notices = notices
        self._where = where
        self._tasks = TaskOwner()
        self._tried = asyncio.Event()
        self._lost = asyncio.Event()
        self._missing = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.start("notices and leadership", self._keep())
        try:
            await self._tried.wait()
        except BaseException:
            await self._tasks.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    async def _keep(self) -> None:
        while True:
            try:
                await self._stand()
            except FAILURES as error:
                if not self._missing:
                    log.warning("the database is away", database=self._where, reason=problem(error))
                self._missing = True
            self._tried.set()
            await asyncio.sleep(TRY_SECONDS)

    async def _stand(self) -> None:
        async with asyncio.timeout(_SILENCE_SECONDS):
            connection = await self._connect(_SETTINGS)
        try:
            await connection.add_listener(CHANNEL, self._hear)
            connection.add_termination_listener(lambda _: self._lost.set())
            self._lost.clear()
            if self._missing:
                log.info("the database is back", database=self._where)
            self._missing = False
            # Whoever was away has missed something, and so has who subscribed before the first LISTEN.
            self._notices.tell_missed()
            await self._seek_to_lead(connection)
        finally:
            self._leadership.stand_back()
            with suppress(*FAILURES):
                await connection.close(timeout=1.0)

    async def _seek_to_lead(self, connection: Any) -> None:
        leading = False
        while not self._lost.is_set():
            now = time.monotonic()
            statement = "SELECT true" if leading else f"SELECT pg_try_advisory_lock({LEADER_LOCK})"
            leading = await connection.fetchval(statement, timeout=_ANSWER_SECONDS)
            if leading:
                self._leadership.lead(now + _LEASE_SECONDS)
            self._tried.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(TRY_SECONDS):
                    await self._lost.wait()
        raise ConnectionError("the connection was closed")

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        channel, _, text = payload.partition(" ")
        self._notices.tell(channel, text)
