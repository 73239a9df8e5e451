"""The broker says of each provider how it does now, without a secret."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from liveman.config import Secret
from liveman.errors import ProviderError
from liveman.ice.broker import Broker
from liveman.ice.pool import Counts
from liveman.ice.provider import IceLease, IceRequest
from liveman.ice.server import IceServer
from liveman.ice.standing import Standing

SECRET = "s3cret-value"
REQUEST = IceRequest("publish", "cam")
LEASE = IceLease([IceServer(("turn:a",), "u", Secret(SECRET))])


class Acme:
    """Gives leases, and raises what it is told to."""

    error: BaseException | None = None

    async def lease(self, _: IceRequest) -> IceLease:
        if self.error is not None:
            raise self.error
        return LEASE


class Computing(Acme):
    immediate = True


class Pooling(Acme):
    pooled = True


class Broken(Acme):
    async def start(self) -> None:
        raise OSError(f"https://acme.test/?key={SECRET}")


def broker_of(**providers: Any) -> Broker:
    return Broker(providers, timeout_ms=5000)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_one_that_works_stands_there_with_its_way_and_counts() -> None:
    """In the order of the configuration."""
    async with broker_of(one=Computing(), two=Acme()) as broker:
        await broker.servers(REQUEST)
        counts = Counts(fetched=1, given=1)
        common: dict[str, Any] = {"started": True, "failing": False, "problem": "", "problem_at": None}
        assert broker.standings() == [
            Standing("one", "Computing", "computes", counts, **common),
            Standing("two", "Acme", "asked", counts, **common),
        ]


async def test_a_standing_is_of_its_moment() -> None:
    async with broker_of(one=Computing()) as broker:
        (before,) = broker.standings()
        await broker.servers(REQUEST)
        assert before.counts == Counts()


async def test_a_pool_says_how_many_leases_wait() -> None:
    async with broker_of(one=Pooling()) as broker:
        await until(lambda: broker.standings()[0].held == 4)
        (standing,) = broker.standings()
        assert (standing.way, standing.under_way) == ("pooled", 0)


async def test_a_failure_is_told_until_it_works_again_and_remembered_then() -> None:
    acme = Acme()
    async with broker_of(one=acme) as broker:
        acme.error = ProviderError("the vendor is closed on Sundays")
        await broker.servers(REQUEST)
        (bad,) = broker.standings()
        assert (bad.failing, bad.problem) == (True, "the vendor is closed on Sundays")
        assert bad.problem_at is not None and abs(bad.problem_at - time.time()) < 60
        acme.error = None
        await broker.servers(REQUEST)
        (good,) = broker.standings()
        assert (good.failing, good.problem, good.problem_at) == (False, bad.problem, bad.problem_at)


async def test_one_that_is_left_alone_says_for_how_long() -> None:
    """After failures in a row."""
    acme = Acme()
    acme.error = ProviderError("refused", permanent=True)
    async with broker_of(one=acme) as broker:
        assert broker.standings()[0].paused == 0
        await broker.servers(REQUEST)
        assert 60 < broker.standings()[0].paused <= 600


async def test_one_whose_start_failed_is_told_without_the_secret_in_its_error() -> None:
    async with broker_of(one=Broken()) as broker:
        (standing,) = broker.standings()
        assert (standing.started, standing.failing) == (False, True)
        assert standing.problem.startswith("start: OSError")
        assert SECRET not in repr(standing)


async def test_an_error_of_a_third_party_is_told_by_its_kind_alone() -> None:
    acme = Computing()
    acme.error = RuntimeError(f"401 for {SECRET}")
    async with broker_of(one=acme) as broker:
        await broker.servers(REQUEST)
        (standing,) = broker.standings()
        assert standing.problem.startswith("RuntimeError in ")
        assert SECRET not in repr(standing)
