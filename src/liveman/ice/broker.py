"""Asks every provider for a request's ICE servers, in one budget of time; none of them can fail a request."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

from attrs import evolve

from liveman.ice.pool import Counts
from liveman.ice.pooled import Pooled
from liveman.ice.provider import IceLease, IceProvider, IceRequest
from liveman.ice.server import IceServer
from liveman.ice.source import Asked, Immediate, Source, Status
from liveman.tasks import TaskOwner

__all__ = ["Broker"]

#: How long each step may take, seconds.
_LIMITS = {"start": 5.0, "revoke": 2.0, "close": 2.0}
#: How long a cancelled provider may take to end before it is left behind, seconds.
_GRACE = 0.5
#: How much of its budget a request waits: a busy loop's timers are late.
_WAITED = 0.96


class Broker:
    """An async context: providers are started on entering it and closed on leaving."""

    def __init__(
        self, providers: Mapping[str, IceProvider], *, timeout_ms: int, min_life: float = 600
    ) -> None:
        """timeout_ms: how long all providers together may take for one request. min_life: pooled leases that
        are good for less are not handed out, seconds."""
        self._owner = TaskOwner(grace=_GRACE)
        self._all = [self._source(name, provider, min_life) for name, provider in providers.items()]
        self._usable = self._all
        self._timeout = timeout_ms / 1000

    @property
    def empty(self) -> bool:
        """Whether there is no provider to ask."""
        return not self._usable

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the leases of each provider."""
        return {source.name: source.counts for source in self._all}

    @property
    def status(self) -> list[Status]:
        """How each provider does, in the order of the configuration."""
        return [evolve(source.status, started=source in self._usable) for source in self._all]

    async def servers(self, request: IceRequest) -> tuple[IceServer, ...]:
        """The servers of all providers in the order of the configuration, but for those that fail.

        Raises nothing but CancelledError, and takes no longer than ``timeout_ms``.
        """
        leases: dict[Source, IceLease] = {}
        slow: dict[asyncio.Future[IceLease | None], Source] = {}
        for source in self._usable:
            if lease := source.at_once(request):
                leases[source] = lease
            elif future := source.begin(request, self._timeout * _WAITED):
                slow[future] = source
        if slow:
            leases |= await self._come(slow)
        found: list[IceServer] = []
        for source in self._usable:
            if source in leases:
                source.counts.given += 1
                found += leases[source].servers
            else:
                source.counts.missed += 1
        if not request.transports:
            return tuple(found)
        return tuple(kept for server in found if (kept := server.over(request.transports)))

    async def _come(self, slow: "dict[asyncio.Future[IceLease | None], Source]") -> dict[Source, IceLease]:
        """The leases that come in time."""
        try:
            await asyncio.wait(slow, timeout=self._timeout * _WAITED)
        except asyncio.CancelledError:
            for future, source in slow.items():
                source.gone(future)
            raise
        leases = {}
        for future, source in slow.items():
            if not future.done():
                source.late(future, self._timeout)
            elif not future.cancelled() and (lease := future.result()):
                leases[source] = lease
        return leases

    async def __aenter__(self) -> Self:
        try:
            self._usable = await self._step("start")
        except BaseException:
            await self._step("close")
            raise
        for source in self._usable:
            source.go()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for source in self._all:
            source.stop()
        await self._owner.__aexit__(kind, error, trace)
        await self._step("revoke")
        await self._step("close")

    def _source(self, name: str, provider: IceProvider, min_life: float) -> Source:
        if getattr(provider, "immediate", False) is True:
            return Immediate(name, provider)
        if getattr(provider, "pooled", False) is True:
            return Pooled(name, provider, self._owner, min_life=min_life)
        return Asked(name, provider, self._owner)

    async def _step(self, step: Literal["start", "revoke", "close"]) -> list[Source]:
        """Start or close every provider; those where it went well."""
        if not self._all:
            return []
        limit = _LIMITS[step]
        async with TaskOwner(grace=_GRACE) as owner:
            tasks = {
                source: owner.start(f"ICE provider {source.name}", source.step(step)) for source in self._all
            }
            await asyncio.wait(tasks.values(), timeout=limit)
        well = []
        for source, task in tasks.items():
            if not task.done() or task.cancelled():
                source.complain(step, f"not done within {limit:g} s")
            elif task.result():
                well.append(source)
        return well
