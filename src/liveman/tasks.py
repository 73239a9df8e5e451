"""Background tasks with a name and an owner, from start to cancellation."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from liveman.logs import get_logger

__all__ = ["TaskOwner"]

log = get_logger("liveman.tasks")


class TaskOwner:
    """An async context that owns tasks: leaving it cancels those still running and waits for them.

    A task that ends by an exception is logged by name; the others go on.
    """

    def __init__(self, *, grace: float | None = None) -> None:
        """``grace``: how long tasks may take to end once they are cancelled, seconds; None: as they need."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._grace = grace

    def start(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a task of this owner."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    def cancel(self) -> None:
        """Cancel all tasks, without waiting for them."""
        for task in set(self._tasks):
            task.cancel()

    async def drain(self, seconds: float) -> None:
        """Wait until all tasks have ended by themselves, for so long at the most."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = set(self._tasks)
        self.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=self._grace)
            for task in stuck:
                log.error("a background task ignores its cancellation", task=task.get_name())

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a background task failed", task=task.get_name(), exc_info=error)
