"""Whatever providers do, a request gets the servers of those that work, within the budget."""

import asyncio
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

import pytest
from attrs import frozen

from liveman import breaker as breaker_module
from liveman.config import Secret
from liveman.errors import ProviderError
from liveman.ice import broker as broker_module
from liveman.ice import pooled as pooled_module
from liveman.ice import source as source_module
from liveman.ice.broker import Broker
from liveman.ice.pool import Counts
from liveman.ice.provider import IceLease, IceProvider, IceRequest
from liveman.ice.server import IceServer

SECRET = "s3cret-value"
REQUEST = IceRequest("publish", "cam")
#: Longer than any test takes.
EVER = 3600_000


def server(name: str) -> IceServer:
    return IceServer((f"turn:{name}",), "u", Secret(SECRET))


class Provider:
    """One whose every step is a function of the test's."""

    @frozen
    class Options:
        pass

    def __init__(self, lease: Any = None, **steps: Any) -> None:
        self._lease = lease
        self.__dict__.update(steps)

    async def lease(self, request: IceRequest) -> Any:
        return await self._lease(request) if callable(self._lease) else self._lease


class Immediate(Provider):
    immediate: ClassVar[bool] = True


def gives(name: str) -> Provider:
    return Provider(IceLease([server(name)]))


def failing(error: BaseException) -> Callable[..., Awaitable[Any]]:
    async def fail(*_: Any) -> Any:
        raise error

    return fail


async def hang(*_: Any) -> Any:
    await asyncio.Event().wait()


class Stubborn:
    """Hangs, and ignores its cancellation until it is let go; after 5 s it is, so that a red test ends."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()

    async def __call__(self, *_: Any) -> Any:
        self.calls += 1
        asyncio.get_running_loop().call_later(5, self.go.set)
        while not self.go.is_set():
            with suppress(asyncio.CancelledError):
                await self.go.wait()
        return IceLease([server("late")])


@asynccontextmanager
async def running(providers: dict[str, Any], *, timeout_ms: int = EVER) -> AsyncIterator[Broker]:
    before = asyncio.all_tasks()
    typed: dict[str, IceProvider] = providers
    async with Broker(typed, timeout_ms=timeout_ms) as broker:
        yield broker
    assert asyncio.all_tasks() == before, "a task outlives the broker"


async def targets(broker: Broker) -> list[str]:
    return [url for found in await broker.servers(REQUEST) for url in found.urls]


RUBBISH: list[Any] = [
    None,
    5,
    [server("x")],
    server("x"),
    {"servers": []},
    lambda _: failing(TypeError())(),
    lambda _: 5,
]


class NoException(BaseException):
    pass


class OwnError(ProviderError):
    """An author's, whose __init__ forgets the one above it."""

    def __init__(self) -> None:
        Exception.__init__(self, SECRET)


ERRORS = [
    RuntimeError(SECRET),
    SystemExit(SECRET),
    NoException(SECRET),
    BaseExceptionGroup("many", [NoException(SECRET)]),
    OwnError(),
    ProviderError(5),  # type: ignore[arg-type]
    KeyError(SECRET),
    ProviderError("the vendor is away"),
    TimeoutError(),
    OSError(SECRET),
    StopAsyncIteration(),
    asyncio.CancelledError(),
    ExceptionGroup("many", [ValueError(SECRET)]),
    AssertionError(),
]


async def test_servers_come_in_the_order_of_the_configuration() -> None:
    """Not in the order of the answers."""
    second_asked = asyncio.Event()

    async def after_the_second(_: IceRequest) -> IceLease:
        await second_asked.wait()
        return IceLease([server("a"), server("b")])

    async def at_once(request: IceRequest) -> IceLease:
        assert request is REQUEST
        second_asked.set()
        return IceLease([server("c")])

    providers = {
        "one": Provider(after_the_second),
        "two": Provider(at_once),
        "three": Immediate(IceLease([server("d")])),
    }
    async with running(providers) as broker:
        assert not broker.empty
        assert await targets(broker) == ["turn:a", "turn:b", "turn:c", "turn:d"]


async def test_without_providers_there_are_no_servers() -> None:
    async with running({}, timeout_ms=1) as broker:
        assert broker.empty
        assert await broker.servers(REQUEST) == ()


@pytest.mark.parametrize("kind", [Provider, Immediate])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_a_provider_that_raises_is_named_and_skipped(
    error: BaseException, kind: type[Provider], caplog: pytest.LogCaptureFixture
) -> None:
    """What a library wrote into its error stays out of the log; a ProviderError's own text is there."""
    async with running({"bad": kind(failing(error)), "good": gives("a")}) as broker:
        assert await targets(broker) == ["turn:a"]
    (record,) = caplog.records
    assert "provider=bad" in record.message
    assert SECRET not in caplog.text
    if "the vendor is away" in str(error):
        assert "the vendor is away" in record.message


@pytest.mark.parametrize("kind", [Provider, Immediate])
@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda rubbish: re.sub(" at 0x.*", "", repr(rubbish)))
async def test_a_provider_that_gives_rubbish_is_named_and_skipped(
    rubbish: Any, kind: type[Provider], caplog: pytest.LogCaptureFixture
) -> None:
    async with running({"good": gives("a"), "bad": kind(rubbish)}) as broker:
        assert await targets(broker) == ["turn:a"]
    assert "provider=bad" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("slow", [hang, Stubborn], ids=["hangs", "ignores its cancellation"])
async def test_a_provider_that_hangs_costs_the_budget_and_no_more(
    slow: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others' servers are there; two that hang share one budget."""
    monkeypatch.setattr(broker_module, "_GRACE", 0.01)
    one, two = (slow(), slow()) if slow is Stubborn else (slow, slow)
    broker = Broker({"one": Provider(one), "good": gives("a"), "two": Provider(two)}, timeout_ms=20)
    async with broker:
        assert await targets(broker) == ["turn:a"]
        assert [record.message.split("provider=")[1].split()[0] for record in caplog.records] == [
            "one",
            "two",
        ]
        assert "no lease within 0.02 s" in caplog.text
    if slow is Stubborn:
        assert "ignores its cancellation" in caplog.text
        one.go.set()
        two.go.set()


async def test_a_late_lease_is_cancelled() -> None:
    ended = asyncio.Event()

    async def lease(_: IceRequest) -> IceLease:
        try:
            await hang()
        finally:
            ended.set()
        raise AssertionError

    async with running({"slow": Provider(lease)}, timeout_ms=1) as broker:
        assert await targets(broker) == []
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_caller_that_is_cancelled_cancels_its_leases() -> None:
    """As when the client hangs up; the next request is served."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def lease(_: IceRequest) -> IceLease:
        if not asked.is_set():
            asked.set()
            try:
                await hang()
            finally:
                ended.set()
        return IceLease([server("a")])

    async with running({"slow": Provider(lease)}) as broker:
        caller = asyncio.create_task(broker.servers(REQUEST))
        await asyncio.wait_for(asked.wait(), 5)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.wait_for(ended.wait(), 5)
        assert await targets(broker) == ["turn:a"]


async def test_a_provider_that_cannot_be_cancelled_does_not_pile_up_tasks(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "MOST_OWED", 3)
    monkeypatch.setattr(breaker_module, "_ENOUGH", 1000)
    stubborn = Stubborn()
    async with running({"stubborn": Provider(stubborn)}, timeout_ms=1) as broker:
        for _ in range(10):
            assert await targets(broker) == []
        assert stubborn.calls == 3
        stubborn.go.set()
        await broker._owner.drain(5)
        monkeypatch.setattr(broker, "_timeout", 60)
        assert await targets(broker) == ["turn:late"]


async def test_an_immediate_provider_costs_no_task() -> None:
    tasks = []

    async def lease(_: IceRequest) -> IceLease:
        tasks.append(asyncio.current_task())
        return IceLease([server("a")])

    async with running({"quick": Immediate(lease), "other": Provider(lease)}) as broker:
        assert await targets(broker) == ["turn:a", "turn:a"]
    assert tasks[0] is asyncio.current_task()
    assert tasks[1] is not asyncio.current_task()


@pytest.mark.parametrize(
    "waits", [lambda _: asyncio.sleep(0), hang, Stubborn()], ids=["yields", "hangs", "stubborn"]
)
async def test_a_provider_that_is_immediate_in_name_alone_is_skipped(
    waits: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with running({"bad": Immediate(waits), "good": gives("a")}) as broker:
        assert await targets(broker) == ["turn:a"]
    assert "marked as immediate" in caplog.text


async def test_failures_are_told_once_in_a_while_and_so_is_their_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vendor that is down for an hour under load fills no disk."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(breaker_module, "_ENOUGH", 1000)
    works = False

    async def lease(_: IceRequest) -> IceLease:
        if works:
            return IceLease([server("a")])
        raise ProviderError("down")

    def told() -> list[str]:
        messages = [record.message for record in caplog.records]
        caplog.clear()
        return messages

    def later() -> None:
        for source in broker._all:
            source._told_at -= source_module._QUIET

    async with running({"p": Provider(lease)}) as broker:
        for _ in range(50):
            await broker.servers(REQUEST)
        assert told() == ["an ICE provider gives no lease provider=p problem=down times=1"]
        later()
        await broker.servers(REQUEST)
        assert told() == ["an ICE provider gives no lease provider=p problem=down times=50"]
        works = True
        await broker.servers(REQUEST)
        assert told() == []
        later()
        await broker.servers(REQUEST)
        assert told() == ["an ICE provider works again provider=p"]
        later()
        await broker.servers(REQUEST)
        assert told() == []


async def test_providers_are_started_and_closed_once() -> None:
    steps: list[str] = []

    async def start() -> None:
        steps.append("start")

    async def lease(_: IceRequest) -> IceLease:
        steps.append("lease")
        return IceLease([])

    async def close() -> None:
        steps.append("close")

    async with running({"p": Provider(lease, start=start, close=close)}) as broker:
        await broker.servers(REQUEST)
        await broker.servers(REQUEST)
    assert steps == ["start", "lease", "lease", "close"]


BAD_STEPS: list[Any] = [
    failing(RuntimeError(SECRET)),
    failing(SystemExit(SECRET)),
    failing(asyncio.CancelledError()),
    hang,
    lambda: 5,
    5,
]
BAD_NAMES = ["raises", "exits", "cancels itself", "hangs", "is no async def", "is no function"]


@pytest.mark.parametrize("step", BAD_STEPS, ids=BAD_NAMES)
async def test_a_provider_that_does_not_start_is_named_and_not_asked_but_closed(
    step: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(broker_module._LIMITS, "start", 0.02)
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    bad = Provider(IceLease([server("b")]), start=step, close=close)
    async with running({"bad": bad, "good": gives("a")}) as broker:
        assert await targets(broker) == ["turn:a"]
    assert closed.is_set()
    (record,) = caplog.records
    assert "provider=bad step=start" in record.message
    assert SECRET not in caplog.text


@pytest.mark.parametrize("step", BAD_STEPS, ids=BAD_NAMES)
async def test_a_provider_that_does_not_close_is_named_and_left(
    step: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(broker_module._LIMITS, "close", 0.02)
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    async with running({"bad": Provider(close=step), "good": Provider(close=close)}):
        pass
    assert closed.is_set()
    (record,) = caplog.records
    assert "provider=bad step=close" in record.message
    assert SECRET not in caplog.text


async def test_a_start_that_is_cancelled_closes_what_was_started() -> None:
    """As when Liveman is stopped while it starts."""
    started, closed = asyncio.Event(), asyncio.Event()

    async def start() -> None:
        started.set()
        await hang()

    async def close() -> None:
        closed.set()

    before = asyncio.all_tasks()
    broker = Broker({"p": Provider(start=start, close=close)}, timeout_ms=1)
    entering = asyncio.create_task(broker.__aenter__())
    await asyncio.wait_for(started.wait(), 5)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert closed.is_set()
    assert asyncio.all_tasks() == before


async def test_leaving_ends_the_leases_that_are_under_way() -> None:
    asked = asyncio.Event()

    async def lease(_: IceRequest) -> IceLease:
        asked.set()
        await hang()
        raise AssertionError

    async with running({"slow": Provider(lease)}) as broker:
        caller = asyncio.create_task(broker.servers(REQUEST))
        await asyncio.wait_for(asked.wait(), 5)
        await broker.__aexit__(None, None, None)
        assert await asyncio.wait_for(caller, 5) == ()


@pytest.mark.parametrize("kind", [Provider, Immediate])
@pytest.mark.parametrize(
    "expires_at",
    [time.time() - 1, 0, -1.0, math.nan, -math.inf],
    ids=["just now", "0", "below 0", "no number", "ever"],
)
async def test_a_lease_that_has_expired_is_never_handed_out(
    expires_at: float, kind: type[Provider], caplog: pytest.LogCaptureFixture
) -> None:
    async with running({"bad": kind(IceLease([server("b")], expires_at)), "good": gives("a")}) as broker:
        assert await targets(broker) == ["turn:a"]
    assert "a lease that has expired" in caplog.text


async def test_servers_of_no_use_to_the_client_are_taken_out() -> None:
    found = IceServer(("turn:a", "turn:b?transport=tcp", "turns:c"), "u", Secret(SECRET))
    only_udp = IceServer(("stun:d",))
    request = IceRequest("publish", "cam", transports=("tcp", "tls"))
    async with running({"p": Immediate(IceLease([found, only_udp]))}) as broker:
        (kept,) = await broker.servers(request)
    assert kept == IceServer(("turn:b?transport=tcp", "turns:c"), "u", Secret(SECRET))


@pytest.mark.parametrize("kind", [Provider, Immediate])
async def test_what_becomes_of_leases_is_counted(kind: type[Provider]) -> None:
    good = True

    async def lease(_: IceRequest) -> IceLease:
        if good:
            return IceLease([server("a")])
        raise ProviderError("down")

    async with running({"p": kind(lease)}) as broker:
        for good in (True, True, False):  # noqa: B007  The provider looks at it.
            await broker.servers(REQUEST)
        assert broker.counts == {"p": Counts(fetched=2, failed=1, given=2, missed=1)}


@pytest.mark.parametrize("kind", [Provider, Immediate])
async def test_it_is_known_how_each_provider_does(kind: type[Provider]) -> None:
    """For people who look: what went wrong last and when, also once it works again."""
    good = True

    async def lease(_: IceRequest) -> IceLease:
        if good:
            return IceLease([server("a")])
        raise ProviderError("down")

    async with running({"p": kind(lease), "bad": Provider(start=failing(OSError("no such host")))}) as broker:
        first, second = broker.status
        assert (first.name, first.works, first.problem, first.problem_at) == ("p", True, "", None)
        assert (second.started, second.works, second.problem[:7]) == (False, False, "OSError")
        assert (first.started, first.vendor) == (True, kind.__name__)
        assert first.way == ("computes" if kind is Immediate else "asked")
        for good in (False, True):
            before = time.time()
            await broker.servers(REQUEST)
            (status, _) = broker.status
            assert status.works is good
            assert "down" in status.problem
            assert status.problem_at is not None
            assert before - 1 <= status.problem_at <= time.time()
        assert status.counts == Counts(fetched=1, failed=1, given=1, missed=1)
        assert status.held is None


@pytest.mark.parametrize("retry_after", ["7", b"7", [], object()])
async def test_a_time_to_wait_that_is_none_is_as_none(retry_after: Any) -> None:
    error = ProviderError("busy", retry_after=retry_after)
    async with running({"bad": Provider(failing(error)), "good": gives("a")}) as broker:
        assert await targets(broker) == ["turn:a"]


async def test_questions_that_are_over_are_forgotten() -> None:
    async with running({"p": gives("a")}) as broker:
        for _ in range(3):
            await broker.servers(REQUEST)
        await asyncio.sleep(0)
        (source,) = broker._all
        assert isinstance(source, source_module.Asked)
        assert not source._questions


async def test_it_is_by_luck_when_a_vendor_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that many instances do not come back at once."""
    waits = []
    for luck in (0.0, 1.0):
        monkeypatch.setattr("random.random", lambda luck=luck: luck)
        async with running({"p": Provider(failing(ProviderError("busy", retry_after=100)))}) as broker:
            await broker.servers(REQUEST)
            (source,) = broker._all
            assert isinstance(source, source_module.Asked)
            assert source._breaker.retry_at is not None
            waits.append(source._breaker.retry_at - asyncio.get_running_loop().time())
    assert waits[1] - waits[0] > 9


def test_the_figures_of_the_contract_are_those_that_hold() -> None:
    contract = " ".join(f"{IceProvider.__doc__} {IceProvider.lease.__doc__}".split())
    limits = broker_module._LIMITS
    for promise in (
        f"takes longer than {limits['start']:g} seconds",
        f"at most {limits['close']:g} seconds",
        f"and {limits['revoke']:g} seconds in all",
        f"of a pooled provider after {pooled_module._FETCH_SECONDS:g} seconds",
    ):
        assert promise in contract
    # What goes on beside it when Liveman ends, and in a log at each failure.
    assert (broker_module._GRACE, source_module._QUIET, source_module.MOST_OWED) == (0.5, 30.0, 1000)
    assert pooled_module._MOST_REVOKED == 256
