"""How many connections there may be to one agent: who comes when all are taken waits for one that ends."""

import asyncio

from attrs import define, field

__all__ = ["Slots"]


@define
class _Taken:
    free: asyncio.Semaphore
    users: int = 0
    """Who has a slot, or waits for one."""
    waiting: int = field(default=0)


class Slots:
    """So many for each agent."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._agents: dict[str, _Taken] = {}

    async def take(self, agent: str) -> None:
        """Take one, as soon as there is one; those who wait are served in turn."""
        taken = self._agents.setdefault(agent, _Taken(asyncio.Semaphore(self._most)))
        taken.users += 1
        taken.waiting += 1
        try:
            await taken.free.acquire()
        except BaseException:
            self._leave(agent, taken)
            raise
        finally:
            taken.waiting -= 1

    def give(self, agent: str) -> None:
        """Give one back."""
        taken = self._agents[agent]
        taken.free.release()
        self._leave(agent, taken)

    def wanted(self, agent: str) -> bool:
        """Whether somebody waits for one."""
        taken = self._agents.get(agent)
        return taken is not None and taken.waiting > 0

    def _leave(self, agent: str, taken: _Taken) -> None:
        taken.users -= 1
        if not taken.users:
            del self._agents[agent]
