"""The edge of a pooled provider: what its `Pool` plans is done here, in tasks and timers."""

import asyncio
import time

from liveman.errors import ProviderError
from liveman.ice.pool import LONGEST_LIFE, Pool
from liveman.ice.provider import IceLease, IceProvider, IceRequest, explain
from liveman.ice.source import MOST_OWED, Question, Vendor, log, tamed
from liveman.tasks import TaskOwner

__all__ = ["Pooled"]

#: How long one question may take, seconds.
_FETCH_SECONDS = 10.0
#: The most leases that are revoked at the end.
_MOST_REVOKED = 256
#: How long a cancelled revocation may take to end before it is left behind, seconds.
_GRACE = 0.5


class Pooled(Vendor):
    """Requests get the leases that wait; while one does, no request waits for the vendor."""

    way = "pooled"

    def __init__(self, name: str, provider: IceProvider, owner: TaskOwner, *, min_life: float) -> None:
        super().__init__(name, provider, owner)
        self._pool: Pool[IceLease, asyncio.Future[IceLease | None]]
        self._pool = Pool(min_life, self.counts, self._breaker)
        self._waiting: set[asyncio.Future[IceLease | None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self._told_long = False

    @property
    def _held(self) -> int:
        return self._pool.held

    def at_once(self, request: IceRequest) -> IceLease | None:
        lease = self._pool.take(asyncio.get_running_loop().time(), time.time())
        self._act()
        return lease

    def begin(self, request: IceRequest, seconds: float) -> "asyncio.Future[IceLease | None] | None":
        loop = asyncio.get_running_loop()
        if not (self._running and self._pool.worth_waiting(loop.time(), seconds)):
            return None
        future: asyncio.Future[IceLease | None] = loop.create_future()
        self._pool.wait(future)
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        self._act()
        return future

    def late(self, future: "asyncio.Future[IceLease | None]", seconds: float) -> None:
        self._pool.leave(future, in_vain=True)
        future.cancel()
        self._failed(f"no lease within {seconds:g} s, and none waits")

    def gone(self, future: "asyncio.Future[IceLease | None]") -> None:
        self._pool.leave(future, in_vain=False)
        future.cancel()

    def go(self) -> None:
        self._running = True
        self._act()

    def stop(self) -> None:
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        for future in list(self._waiting):
            self.gone(future)

    async def revoke(self) -> None:
        run = getattr(self.provider, "revoke", None)
        leases = self._pool.empty()[:_MOST_REVOKED]
        if run is None or not leases:
            return
        problems: list[str] = []

        async def revoke(lease: IceLease) -> None:
            try:
                with tamed():
                    await run(lease)
            except Exception as error:  # noqa: BLE001  A third party's code may raise anything.
                problems.append(explain(error))

        async with TaskOwner(grace=_GRACE) as owner:
            await asyncio.wait([owner.start(f"ICE provider {self.name}", revoke(lease)) for lease in leases])
        if problems:
            raise ProviderError(f"{len(problems)} unused leases are not revoked: {problems[0]}")

    def _act(self) -> None:
        """Do what the pool plans."""
        if not self._running:
            return
        loop = asyncio.get_running_loop()
        stuck = self.owed - self._breaker.under_way
        plan = self._pool.plan(loop.time(), time.time(), most=MOST_OWED - stuck)
        for future, lease in plan.give:
            future.set_result(lease)
        for ticket in plan.fetch:
            question, task = self._ask(ticket, IceRequest.ahead())
            limit = loop.call_later(_FETCH_SECONDS, self._overdue, question, task)
            task.add_done_callback(lambda _, limit=limit: limit.cancel())  # type: ignore[misc]
        # One that fires too early does no harm.
        if plan.wake_at is not None and (self._timer is None or plan.wake_at < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(plan.wake_at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._act()

    def _overdue(self, question: Question, task: "asyncio.Task[IceLease | None]") -> None:
        self._fail(question, ProviderError(f"no lease within {_FETCH_SECONDS:g} s"))
        task.cancel()

    def _came(self, question: Question, lease: IceLease) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not lease.servers:
            raise ProviderError("it gave a lease without servers")
        try:
            believed = self._pool.fetched(
                question.ticket,
                lease,
                lease.expires_at,
                now,
                time.time(),
                seconds=now - question.asked_at,
            )
        except ValueError as error:
            raise ProviderError(str(error)) from None
        if not believed and not self._told_long:
            self._told_long = True
            log.warning(
                "an ICE provider's leases are taken to be good for less long than they say",
                provider=self.name,
                seconds=LONGEST_LIFE,
            )
        self._act()

    def _fail(self, question: Question, error: Exception) -> None:
        super()._fail(question, error)
        self._act()
