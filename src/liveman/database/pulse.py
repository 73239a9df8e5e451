"""Whether a database answers, for all who want to know."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from liveman.database.port import Database
from liveman.errors import DatabaseError

__all__ = ["Pulse"]

#: Longer nobody waits for the answer.
PATIENCE_SECONDS = 1.0


class Pulse:
    """One question at a time, however many ask: none waits for the end of those before."""

    def __init__(
        self,
        database: Callable[[], Database],
        start: Callable[[str, Coroutine[Any, Any, str]], asyncio.Task[str]],
    ) -> None:
        self._database = database
        self._start = start
        self._question: asyncio.Task[str] | None = None

    async def problem(self) -> str:
        """Why it does not answer; empty: it does."""
        if self._question is None or self._question.done():
            self._question = self._start("ask whether the database answers", self._ask())
        # It is not cancelled, as the end of a cancelled one may be long in coming.
        answered, _ = await asyncio.wait({self._question}, timeout=PATIENCE_SECONDS)
        return self._question.result() if answered else f"it says nothing within {PATIENCE_SECONDS:g} s."

    async def _ask(self) -> str:
        try:
            await self._database().fetch_one("SELECT 1", ())
        except DatabaseError as error:
            return error.detail
        return ""
