"""Tells those who wait that what is known of the nodes has changed."""

import asyncio

__all__ = ["Changes"]


class Changes:
    """Any number may wait; a change that nobody waits for costs nothing."""

    def __init__(self) -> None:
        self.count = 0
        """How many there were."""
        self._next: asyncio.Future[None] | None = None

    def mark(self) -> None:
        """Something has changed."""
        self.count += 1
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def after(self, seen: int) -> int:
        """Wait until there were others than those ``seen``; the count then."""
        while self.count == seen:
            if self._next is None:
                self._next = asyncio.get_running_loop().create_future()
            # Shielded, as all who wait share it.
            await asyncio.shield(self._next)
        return self.count
