"""A provider as the broker sees it: what it gives at once, what must be waited for, and how it does.

Nothing that a provider raises gets out of here.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from attrs import define, evolve, frozen

from liveman.breaker import Breaker
from liveman.errors import ProviderError
from liveman.ice.pool import Counts
from liveman.ice.provider import IceLease, IceProvider, IceRequest, explain
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["MOST_OWED", "Asked", "Immediate", "Question", "Source", "Status", "Vendor", "tamed"]

log = get_logger("liveman.ice")

#: The most leases that one provider may owe: one that ignores its cancellation must not pile up tasks.
MOST_OWED = 1000
#: The least time between two log lines about one provider's leases, seconds.
_QUIET = 30.0


@contextmanager
def tamed() -> Iterator[None]:
    """What a provider raises here is an Exception: SystemExit in a task would end the event loop."""
    try:
        yield
    except (Exception, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  A third party's code may raise anything.
        raise ProviderError(explain(error)) from None


@frozen
class Status:
    """How a provider does."""

    name: str
    vendor: str
    """The name of its class."""
    way: Literal["computes", "asked", "pooled"]
    """Whether leases are computed, asked for by each session, or fetched ahead of need."""
    works: bool
    """Whether what it was asked last went well; one that was never asked works."""
    problem: str
    """What went wrong last, also if it works again; "": nothing yet."""
    problem_at: float | None
    """When that was, Unix seconds."""
    counts: Counts
    """Since the start."""
    held: int | None
    """Leases that wait for sessions; None: it holds none ahead."""
    wait: float
    """For how long it is not asked, as it failed too often, seconds."""
    started: bool = True
    """Whether its start went well; else it is never asked."""


class Source:
    """One provider under its name."""

    way: Literal["computes", "asked", "pooled"]

    def __init__(self, name: str, provider: IceProvider) -> None:
        self.name = name
        self.provider = provider
        self.counts = Counts()
        self._failures = 0
        """Since the last log line."""
        self._told_at = float("-inf")
        self._told: Literal["works", "fails", "refuses"] = "works"
        """What the last log line said."""
        self._works = True
        self._problem: tuple[str, float | None] = "", None

    @property
    def status(self) -> Status:
        return Status(
            self.name,
            type(self.provider).__name__,
            self.way,
            self._works,
            *self._problem,
            evolve(self.counts),
            self._held,
            self._wait,
        )

    @property
    def _held(self) -> int | None:
        return None

    @property
    def _wait(self) -> float:
        return 0.0

    def at_once(self, request: IceRequest) -> IceLease | None:
        """A lease, if it takes no waiting."""
        return None

    def begin(self, request: IceRequest, seconds: float) -> "asyncio.Future[IceLease | None] | None":
        """After `at_once` gave none: what to wait for, for so long at the most; None: of no use."""
        return None

    def late(self, future: "asyncio.Future[IceLease | None]", seconds: float) -> None:
        """What `begin` gave did not come in so many seconds."""

    def gone(self, future: "asyncio.Future[IceLease | None]") -> None:
        """The client for whom `begin` was has gone."""

    def go(self) -> None:
        """The provider is started."""

    def stop(self) -> None:
        """No more requests come."""

    async def revoke(self) -> None:
        """Give back what nobody got. May raise anything."""

    async def step(self, step: Literal["start", "revoke", "close"]) -> bool:
        """Take a step with the provider, if it has that; whether it went well."""
        run = self.revoke if step == "revoke" else getattr(self.provider, step, None)
        try:
            if run is not None:
                with tamed():
                    await run()
        except Exception as error:  # noqa: BLE001  A third party's code may raise anything.
            self.complain(step, explain(error))
            return False
        return True

    def complain(self, step: str, problem: str) -> None:
        self._works, self._problem = False, (problem, time.time())
        log.error("an ICE provider failed", provider=self.name, step=step, problem=problem)

    def _failed(self, problem: str, *, permanent: bool = False, **values: object) -> None:
        self._works, self._problem = False, (problem, time.time())
        self._failures += 1
        if permanent and self._told != "refuses":
            log.error("an ICE provider is refused, until somebody does something", **self._values(problem))
            self._told = "refuses"
        elif not permanent and self._may_tell():
            log.warning(
                "an ICE provider gives no lease", **self._values(problem), times=self._failures, **values
            )
            self._told = "fails"
        else:
            return
        self._failures, self._told_at = 0, asyncio.get_running_loop().time()

    def _worked(self) -> None:
        self._works = True
        if self._told != "works" and (self._told == "refuses" or self._may_tell()):
            log.info("an ICE provider works again", provider=self.name)
            self._failures, self._told = 0, "works"
            self._told_at = asyncio.get_running_loop().time()

    def _values(self, problem: str) -> dict[str, object]:
        return {"provider": self.name, "problem": problem}

    def _may_tell(self) -> bool:
        return asyncio.get_running_loop().time() - self._told_at >= _QUIET


class Immediate(Source):
    """It only computes: its lease needs no task."""

    way = "computes"

    def at_once(self, request: IceRequest) -> IceLease | None:
        try:
            with tamed():
                lease = _checked(self._given(request))
        except Exception as error:  # noqa: BLE001  A third party's code may raise anything.
            self.counts.failed += 1
            self._failed(explain(error))
            return None
        self.counts.fetched += 1
        self._worked()
        return lease

    def _given(self, request: IceRequest) -> object:
        question = self.provider.lease(request)
        try:
            question.send(None)
        except StopIteration as end:
            return end.value
        except asyncio.CancelledError:
            raise ProviderError("it cancelled itself") from None
        with suppress(RuntimeError):
            question.close()
        raise ProviderError("it waits, but is marked as immediate")


@define(eq=False)
class Question:
    """A lease that a vendor was asked for."""

    ticket: int
    """What the breaker knows it by."""
    asked_at: float
    over: bool = False
    """Whether what it brings is counted already: it took too long."""


class Vendor(Source):
    """A provider that takes its time, so that it is asked in tasks, behind a circuit breaker."""

    def __init__(self, name: str, provider: IceProvider, owner: TaskOwner) -> None:
        super().__init__(name, provider)
        self.owed = 0
        """Leases that it was asked for, where the task has not ended."""
        self._breaker = Breaker()
        self._owner = owner

    @property
    def _wait(self) -> float:
        return self._breaker.wait(asyncio.get_running_loop().time())

    def _ask(self, ticket: int, request: IceRequest) -> "tuple[Question, asyncio.Task[IceLease | None]]":
        question = Question(ticket, asyncio.get_running_loop().time())
        self.owed += 1
        task = self._owner.start(f"ICE provider {self.name}", self._answer(question, request))
        task.add_done_callback(self._ended)
        return question, task

    def _ended(self, _task: "asyncio.Task[IceLease | None]") -> None:
        self.owed -= 1

    async def _answer(self, question: Question, request: IceRequest) -> IceLease | None:
        try:
            with tamed():
                lease = _checked(await self.provider.lease(request))
            if not question.over:
                self._came(question, lease)
                question.over = True
                self._worked()
                return lease
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._fail(question, ProviderError("it cancelled itself"))
        except Exception as error:  # noqa: BLE001  A third party's code may raise anything.
            self._fail(question, error)
        finally:
            self._over(question)
        return None

    def _came(self, question: Question, lease: IceLease) -> None:
        """A lease came in time. Raises ProviderError when it is of no use."""
        raise NotImplementedError

    def _over(self, question: Question) -> None:
        """The question ends, and says nothing of the vendor."""
        if not question.over:
            question.over = True
            self._breaker.left(question.ticket)

    def _fail(self, question: Question, error: Exception) -> None:
        if question.over:
            return
        question.over = True
        self.counts.failed += 1
        retry_after, permanent = None, False
        if isinstance(error, ProviderError):
            permanent = error.permanent is True
            retry_after = error.retry_after if isinstance(error.retry_after, int | float) else None
        now = asyncio.get_running_loop().time()
        self._breaker.failed(
            question.ticket, now, random.random(), retry_after=retry_after, permanent=permanent
        )
        self._failed(explain(error), permanent=permanent)


class Asked(Vendor):
    """It is asked for each request, while that waits."""

    way = "asked"

    def __init__(self, name: str, provider: IceProvider, owner: TaskOwner) -> None:
        super().__init__(name, provider, owner)
        self._questions: dict[object, Question] = {}

    def begin(self, request: IceRequest, seconds: float) -> "asyncio.Future[IceLease | None] | None":
        if self.owed >= MOST_OWED:
            self._failed(f"{MOST_OWED} leases are still owed")
        elif self._breaker.room(asyncio.get_running_loop().time(), MOST_OWED):
            question, task = self._ask(self._breaker.begin(), request)
            self._questions[task] = question
            return task
        return None

    def late(self, future: "asyncio.Future[IceLease | None]", seconds: float) -> None:
        self._fail(self._questions[future], ProviderError(f"no lease within {seconds:g} s"))
        future.cancel()

    def gone(self, future: "asyncio.Future[IceLease | None]") -> None:
        future.cancel()

    def _ended(self, task: "asyncio.Task[IceLease | None]") -> None:
        super()._ended(task)
        del self._questions[task]

    def _came(self, question: Question, lease: IceLease) -> None:
        self.counts.fetched += 1
        self._breaker.worked(question.ticket)


def _checked(lease: object) -> IceLease:
    if not isinstance(lease, IceLease):
        raise ProviderError(f"lease() gave no IceLease but {type(lease).__name__}")
    if lease.expires_at is not None and not lease.expires_at > time.time():
        raise ProviderError("it gave a lease that has expired; is this machine's clock right?")
    return lease
