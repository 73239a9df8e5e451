"""Asks every provider for a request's ICE servers, in one budget of time; none of them can fail a request."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from attrs import define

from liveman.errors import ProviderError
from liveman.ice.provider import IceLease, IceProvider, IceRequest, explain
from liveman.ice.server import IceServer
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["Broker"]

T = TypeVar("T")

log = get_logger("liveman.ice")

#: How long start and close may take, seconds.
_LIMITS = {"start": 5.0, "close": 2.0}
#: How long a cancelled provider may take to end before it is left behind, seconds.
_GRACE = 0.5
#: The most leases that one provider may owe: one that ignores its cancellation must not pile up tasks.
_MOST_OWED = 1000
#: The least time between two log lines about one provider's leases, seconds.
_QUIET = 30.0


class Broker:
    """An async context: providers are started on entering it and closed on leaving."""

    def __init__(self, providers: Mapping[str, IceProvider], *, timeout_ms: int) -> None:
        """``timeout_ms``: how long all providers together may take for one request."""
        self._all = [_Source(name, provider) for name, provider in providers.items()]
        self._usable = self._all
        self._timeout = timeout_ms / 1000
        self._owner = TaskOwner(grace=_GRACE)

    @property
    def empty(self) -> bool:
        """Whether there is no provider to ask."""
        return not self._usable

    async def servers(self, request: IceRequest) -> tuple[IceServer, ...]:
        """The servers of all providers in the order of the configuration, but for those that fail.

        Raises nothing but CancelledError, and takes no longer than ``timeout_ms``.
        """
        leases: dict[_Source, tuple[IceServer, ...]] = {}
        slow = []
        for source in self._usable:
            if source.immediate:
                leases[source] = source.lease_at_once(request)
            elif source.owed < _MOST_OWED:
                slow.append((source, source.lease(request)))
            else:
                source.failed(f"{_MOST_OWED} leases are still owed")
        if slow:
            leases |= await _within(self._timeout, self._owner, slow)
            for source, _ in slow:
                if source not in leases:
                    source.failed(f"no lease within {self._timeout:g} s")
        return tuple(server for source in self._usable for server in leases.get(source, ()))

    async def __aenter__(self) -> Self:
        try:
            self._usable = await self._step("start")
        except BaseException:
            await self._step("close")
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._owner.__aexit__(kind, error, trace)
        await self._step("close")

    async def _step(self, step: Literal["start", "close"]) -> list["_Source"]:
        """Start or close every provider; those where it went well."""
        limit = _LIMITS[step]
        async with TaskOwner(grace=_GRACE) as owner:
            done = await _within(limit, owner, [(source, source.step(step)) for source in self._all])
        for source in self._all:
            if source not in done:
                source.complain(step, f"not done within {limit:g} s")
        return [source for source in self._all if done.get(source)]


async def _within(
    seconds: float, owner: TaskOwner, calls: Sequence[tuple["_Source", Coroutine[Any, Any, T]]]
) -> dict["_Source", T]:
    """What the calls gave that ended in time; the others are cancelled and left to their owner."""
    tasks = {owner.start(f"ICE provider {source.name}", call): source for source, call in calls}
    if not tasks:
        return {}
    try:
        await asyncio.wait(tasks, timeout=seconds)
    finally:
        for task in tasks:
            task.cancel()
    return {source: task.result() for task, source in tasks.items() if task.done() and not task.cancelled()}


@define(eq=False)
class _Source:
    """A provider, and how its leases do. Nothing that it raises gets out."""

    name: str
    provider: IceProvider
    owed: int = 0
    """Leases that it was asked for and has not given."""
    failures: int = 0
    """Since the last log line."""
    told_at: float = float("-inf")
    told: Literal["works", "fails"] = "works"
    """What the last log line said."""

    @property
    def immediate(self) -> bool:
        return getattr(self.provider, "immediate", False) is True

    async def lease(self, request: IceRequest) -> tuple[IceServer, ...]:
        self.owed += 1
        try:
            lease: object = await self.provider.lease(request)
            if not isinstance(lease, IceLease):
                raise ProviderError(f"lease() gave no IceLease but {type(lease).__name__}")
        except Exception as error:  # noqa: BLE001  A third party's code may raise anything.
            self.failed(explain(error))
            return ()
        finally:
            self.owed -= 1
        self.worked()
        return lease.servers

    def lease_at_once(self, request: IceRequest) -> tuple[IceServer, ...]:
        """The lease of a provider that only computes, without a task."""
        lease = self.lease(request)
        try:
            lease.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self.failed("it cancelled itself")
            return ()
        with suppress(RuntimeError):
            lease.close()
        self.failed("it waits, but is marked as immediate")
        return ()

    async def step(self, step: str) -> bool:
        run = getattr(self.provider, step, None)
        try:
            if run is not None:
                await run()
        except Exception as error:  # noqa: BLE001  A third party's code may raise anything.
            self.complain(step, explain(error))
            return False
        return True

    def complain(self, step: str, problem: str) -> None:
        log.error("an ICE provider failed", provider=self.name, step=step, problem=problem)

    def failed(self, problem: str) -> None:
        self.failures += 1
        if self._may_tell():
            log.warning(
                "an ICE provider gives no lease", provider=self.name, problem=problem, times=self.failures
            )
            self.failures, self.told = 0, "fails"

    def worked(self) -> None:
        if self.told == "fails" and self._may_tell():
            log.info("an ICE provider works again", provider=self.name)
            self.failures, self.told = 0, "works"

    def _may_tell(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self.told_at < _QUIET:
            return False
        self.told_at = now
        return True
