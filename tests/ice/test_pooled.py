"""A pooled provider behind the broker: leases wait for requests, and a vendor in trouble costs them little."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from liveman.config import Secret
from liveman.errors import ProviderError
from liveman.ice import pooled as pooled_module
from liveman.ice import source as source_module
from liveman.ice.broker import Broker
from liveman.ice.pooled import Pooled
from liveman.ice.provider import IceLease, IceRequest
from liveman.ice.server import IceServer

SECRET = "s3cret-value"
REQUEST = IceRequest("publish", "cam", subject="viewer")
EVER = 3600_000


class NoException(BaseException):
    pass


class Vendor:
    """Its answers are a test's: what `say` gives for each question, or waits for."""

    pooled = True

    def __init__(self, say: Callable[[int], Any], **steps: Any) -> None:
        self.say = say
        self.asked: list[IceRequest] = []
        self.__dict__.update(steps)

    async def lease(self, request: IceRequest) -> Any:
        self.asked.append(request)
        answer = self.say(len(self.asked) - 1)
        if asyncio.isfuture(answer) or asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        return answer


def lease(number: int, life: float = 3600.0) -> IceLease:
    return IceLease([IceServer((f"turn:v{number}",), "u", Secret(SECRET))], time.time() + life)


async def hang(*_: Any) -> Any:
    await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(
    vendor: Vendor, timeout_ms: int = EVER, **more: Any
) -> AsyncIterator[tuple[Broker, Pooled]]:
    before = asyncio.all_tasks()
    broker = Broker({"acme": vendor, **more}, timeout_ms=timeout_ms)  # type: ignore[dict-item]
    async with broker:
        source = broker._all[0]
        assert isinstance(source, Pooled)
        yield broker, source
    assert asyncio.all_tasks() == before, "a task outlives the broker"
    assert source._timer is None or source._timer.cancelled()


async def targets(broker: Broker) -> list[str]:
    return [url for found in await broker.servers(REQUEST) for url in found.urls]


async def test_leases_are_fetched_before_anyone_asks_and_handed_out_once_each() -> None:
    """With a request that names nobody; while one waits, no request lets the event loop turn."""
    vendor = Vendor(lease)
    async with running(vendor) as (broker, source):
        await until(lambda: source.counts.fetched == 4)
        assert set(vendor.asked) == {IceRequest("ahead")}
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        assert (broker.status[0].way, broker.status[0].held) == ("pooled", 4)
        assert {url for _ in range(4) for url in await targets(broker)} == {f"turn:v{n}" for n in range(4)}
        assert not turned.done()
        assert await targets(broker) == ["turn:v4"], "what was taken is fetched anew"
        assert broker.counts["acme"].given == 5
        assert broker.counts["acme"].missed == 0


async def test_those_who_find_none_get_what_comes_in_their_order() -> None:
    answers = [asyncio.get_running_loop().create_future() for _ in range(20)]
    vendor = Vendor(answers.__getitem__)
    async with running(vendor) as (broker, _):
        waiting = [asyncio.create_task(targets(broker)) for _ in range(3)]
        await until(lambda: len(vendor.asked) >= 7)
        for number, answer in enumerate(answers):
            answer.set_result(lease(number))
        assert await asyncio.gather(*waiting) == [["turn:v0"], ["turn:v1"], ["turn:v2"]]


async def test_one_who_has_gone_takes_no_lease_from_another() -> None:
    """Nor does his going count against the vendor."""
    answer = asyncio.get_running_loop().create_future()
    vendor = Vendor(lambda n: answer if n == 0 else hang())
    async with running(vendor) as (broker, source):
        for _ in range(5):
            gone = asyncio.create_task(broker.servers(REQUEST))
            await asyncio.sleep(0)
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        stays = asyncio.create_task(targets(broker))
        await asyncio.sleep(0)
        assert not stays.done()
        answer.set_result(lease(0))
        assert await stays == ["turn:v0"]
        assert source.counts.failed == 0


async def test_a_vendor_that_is_silent_costs_three_requests_the_budget_and_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(Vendor(lambda _: hang()), timeout_ms=20) as (broker, source):
        for _ in range(3):
            assert await targets(broker) == []
        assert "no lease within 0.02 s, and none waits" in caplog.text
        broker._timeout = 3600
        assert await targets(broker) == []
        assert source.counts.missed == 4
        assert not source._pool._line, "nobody who has gone stands in line"


@pytest.mark.parametrize("count", [1, 3])
async def test_several_that_are_silent_share_one_budget(count: int) -> None:
    more = {f"vendor {n}": Vendor(lambda _: hang()) for n in range(count)}
    async with running(Vendor(lambda _: hang()), timeout_ms=40, **more) as (broker, _):
        waits: list[tuple[int, float]] = []
        wait = asyncio.wait

        async def measured(tasks: Any, *, timeout: float) -> Any:
            waits.append((len(list(tasks)), timeout))
            return await wait(tasks, timeout=timeout)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "wait", measured)
            assert await targets(broker) == []
        ((tasks_waited_for, seconds),) = waits
        assert tasks_waited_for == count + 1
        assert 0 < seconds < 0.04


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError(SECRET),
        SystemExit(SECRET),
        NoException(SECRET),
        asyncio.CancelledError(),
        None,
        IceLease([]),
    ],
    ids=repr,
)
async def test_questions_that_fail_are_counted_and_asked_again_later(
    answer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever was raised: no question is left over that keeps others from being asked."""
    monkeypatch.setattr(random, "random", lambda: 0.0)
    vendor = Vendor(lambda n: answer if n < 4 else lease(n))
    async with running(vendor) as (broker, source):
        await until(lambda: source.counts.failed >= 3)
        assert source.status.problem and source.status.wait > 0
        assert (await targets(broker))[0].startswith("turn:v"), "after a quarter of a second it is tried"
        assert source.counts.failed >= 3
    assert "provider=acme" in caplog.text
    assert SECRET not in caplog.text


async def test_a_lease_that_could_not_be_handed_out_is_a_failure_with_its_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(Vendor(lambda n: lease(n, life=300))) as (_, source):
        await until(lambda: source.counts.failed >= 3)
    assert "raise its ttl, or lower min_life" in caplog.text


async def test_a_life_that_is_not_believed_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Vendor(lambda n: lease(n, life=7 * 86_400))) as (_, source):
        await until(lambda: source.counts.fetched == 4)
    (record,) = caplog.records
    assert "good for less long than they say provider=acme seconds=86400.0" in record.message


async def test_a_question_is_given_up_after_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert pooled_module._FETCH_SECONDS == 10.0
    monkeypatch.setattr(pooled_module, "_FETCH_SECONDS", 0.01)
    cancelled: list[int] = []

    async def slow() -> None:
        try:
            await hang()
        finally:
            cancelled.append(1)

    async with running(Vendor(lambda _: slow())) as (_, source):
        await until(lambda: len(cancelled) >= 4)
        assert source.counts.failed >= 3
        assert source._breaker.openings >= 1
    assert "no lease within 0.01 s" in caplog.text


async def test_questions_that_cannot_be_cancelled_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled_module, "_FETCH_SECONDS", 0.001)
    monkeypatch.setattr(pooled_module, "MOST_OWED", 6)
    monkeypatch.setattr("liveman.breaker._FIRST", 0.001)
    monkeypatch.setattr("liveman.breaker._LONGEST", 0.001)
    go = asyncio.Event()
    asyncio.get_running_loop().call_later(5, go.set)

    async def stubborn() -> IceLease:
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()
        return lease(0)

    vendor = Vendor(lambda _: stubborn())
    async with running(vendor) as (broker, source):
        await until(lambda: len(vendor.asked) == 6)
        for _ in range(10):
            await asyncio.sleep(0.002)
            source._wake()
        assert (len(vendor.asked), source.owed) == (6, 6)
        go.set()
        await until(lambda: source.owed == 0)
        assert source.counts.fetched == 0
        assert await targets(broker) == ["turn:v0"]


async def test_the_pool_learns_how_long_the_vendor_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it keeps more for a slow one."""
    loop = asyncio.get_running_loop()
    answers = [loop.create_future() for _ in range(4)]
    vendor = Vendor(lambda n: answers[n] if n < 4 else hang())
    async with running(vendor) as (broker, source):
        waiting = asyncio.create_task(targets(broker))
        await until(lambda: len(vendor.asked) >= 5)
        later = loop.time() + 100
        monkeypatch.setattr(loop, "time", lambda: later)
        answers[0].set_result(lease(0))
        assert await waiting == ["turn:v0"]
        assert source._pool._fetch_seconds > 19
        monkeypatch.undo()


async def test_an_old_lease_is_replaced_without_anyone_asking() -> None:
    """The pool wakes by itself, when its first lease becomes too old and again."""
    vendor = Vendor(lambda n: lease(n, life=0.06))
    broker = Broker({"acme": vendor}, timeout_ms=EVER, min_life=0.01)  # type: ignore[dict-item]
    async with broker:
        await until(lambda: len(vendor.asked) >= 8)
        assert broker.counts["acme"].outgrown >= 4


async def test_it_wakes_for_what_comes_first() -> None:
    """A lease of a short life that comes after one of a long life."""
    vendor = Vendor(lambda n: lease(n, life=3600 if n == 0 else 0.06))
    broker = Broker({"acme": vendor}, timeout_ms=EVER, min_life=0.01)  # type: ignore[dict-item]
    async with broker:
        await until(lambda: broker.counts["acme"].outgrown >= 3)


async def test_a_probe_comes_by_itself_when_the_vendors_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.0)
    vendor = Vendor(lambda n: ProviderError("busy", retry_after=0.05) if n < 4 else lease(n))
    async with running(vendor) as (_, source):
        await until(lambda: source.counts.fetched > 0)


async def test_what_nobody_got_is_revoked_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """But for those that sessions have; what goes wrong is told once, without what it says."""
    revoked: list[str] = []

    async def revoke(lease: IceLease) -> None:
        revoked.append(lease.servers[0].urls[0])
        raise NoException(SECRET)

    async with running(Vendor(lease, revoke=revoke)) as (broker, source):
        await until(lambda: source.counts.fetched == 4)
        assert await targets(broker) == ["turn:v0"]
        await until(lambda: source.counts.fetched >= 4)
        held = source._pool.held
    assert len(revoked) == held
    assert "turn:v0" not in revoked
    (record,) = caplog.records
    assert f"step=revoke problem='{held} unused leases are not revoked" in record.message
    assert SECRET not in caplog.text


async def test_the_end_is_not_held_up_by_a_full_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled_module, "_MOST_REVOKED", 2)
    revoked: list[IceLease] = []

    async def revoke(lease: IceLease) -> None:
        revoked.append(lease)

    async with running(Vendor(lease, revoke=revoke)) as (_, source):
        await until(lambda: source.counts.fetched == 4)
    assert len(revoked) == 2


async def test_the_end_answers_those_who_wait() -> None:
    async with running(Vendor(lambda _: hang())) as (broker, _):
        waiting = asyncio.create_task(targets(broker))
        await asyncio.sleep(0)
    assert await asyncio.wait_for(waiting, 5) == []


async def test_a_lease_that_comes_too_late_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question was given up; an answer after that is no lease, and no second failure."""
    monkeypatch.setattr(pooled_module, "_FETCH_SECONDS", 0.01)
    monkeypatch.setattr(random, "random", lambda: 0.0)
    ended: list[int] = []

    async def late() -> IceLease:
        with suppress(asyncio.CancelledError):
            await hang()
        ended.append(1)
        return lease(0)

    async with running(Vendor(lambda n: late() if n < 4 else hang())) as (_, source):
        await until(lambda: len(ended) == 4)
        assert (source.counts.fetched, source.counts.failed, source._pool.held) == (0, 4, 0)


async def test_a_refusal_is_an_error_of_its_own_and_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it works again, which is told at once."""
    caplog.set_level(logging.INFO)
    refused = True
    vendor = Vendor(lambda n: ProviderError("the key is revoked", permanent=True) if refused else lease(n))
    async with running(vendor, timeout_ms=60_000) as (broker, source):
        await until(lambda: source.counts.failed == 4)
        retry_at = source._breaker.retry_at
        assert retry_at is not None
        assert retry_at - asyncio.get_running_loop().time() > 290
        assert await targets(broker) == [], "nobody waits for it"
        source._breaker.retry_at = 0
        refused = False
        assert await targets(broker) != []
    assert [record.levelname for record in caplog.records if "acme" in record.message] == ["ERROR", "INFO"]
    assert source_module._QUIET == 30.0
