"""Who may do what only one may do: of all instances on a database, one leads.

A leader's word is good for a moment and given anew all the time, so that one who was cut off, or stopped,
knows that it leads no more before another one does.
"""

import asyncio
import fcntl
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import IO

from liveman.errors import DatabaseError
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["TRY_SECONDS", "Leadership", "led_by_file"]

log = get_logger("liveman.database")

#: How often an instance that does not lead looks whether it may.
TRY_SECONDS = 1.0


class Leadership:
    """Whether this instance leads; the database that it belongs to says so."""

    def __init__(self) -> None:
        self._until = -math.inf
        self._told = False
        self._turned = asyncio.Event()
        self._working: set[asyncio.Timeout] = set()

    @property
    def leads(self) -> bool:
        """Whether this instance may do now what only one may do."""
        return self._told and time.monotonic() < self._until

    async def until(self, leads: bool) -> None:
        """Wait until this instance leads, or until it leads no more."""
        while self.leads is not leads:
            await self._turned.wait()

    async def while_leading(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this work whenever this instance leads: it is cancelled when that ends, and begun anew when that
        begins again. Ends when the work does."""
        while True:
            await self.until(True)
            try:
                async with asyncio.timeout(None) as limit:
                    self._working.add(limit)
                    try:
                        return await work()
                    finally:
                        self._working.discard(limit)
            except TimeoutError:
                if not limit.expired():
                    raise

    def lead(self, until: float = math.inf) -> None:
        """This instance leads until the monotonic clock shows so many seconds."""
        if not self.leads:
            self.stand_back()  # Also when its time is over and nobody has said so yet.
            log.info("this instance leads")
        self._until = until
        self._tell(True)

    def stand_back(self) -> None:
        """This instance leads no more."""
        if self._told:
            log.info("this instance leads no more")
        while self._working:
            self._working.pop().reschedule(asyncio.get_running_loop().time())
        self._tell(False)

    def _tell(self, leads: bool) -> None:
        if leads is not self._told:
            self._told = leads
            self._turned.set()
            self._turned = asyncio.Event()


@asynccontextmanager
async def led_by_file(leadership: Leadership, path: str) -> AsyncIterator[None]:
    """Of all processes of this machine, the one that has locked this file leads."""
    file = _opened(path)

    def try_it() -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        leadership.lead()
        return True

    async def keep_trying() -> None:
        while True:
            await asyncio.sleep(TRY_SECONDS)
            if try_it():
                return

    with file:
        async with TaskOwner() as tasks:
            if not try_it():
                tasks.start("wait to lead", keep_trying())
            try:
                yield
            finally:
                leadership.stand_back()


def _opened(path: str) -> IO[bytes]:
    try:
        return open(path, "ab")
    except OSError as error:
        raise DatabaseError(f"The lock file {path} cannot be opened: {error.strerror}.") from error
