"""The pool as a pure machine: driven with a clock of the test's own, alone and through simulated days."""

import math
import random
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveman.ice.pool import LONGEST_LIFE, Pool

WALL = 1_700_000_000.0
TTL = 3600.0


def filled(*lives: float, min_life: float = 600) -> Pool[Any, Any]:
    """A pool that got leases 0, 1, … at time 0, good for so long."""
    pool: Pool[Any, Any] = Pool(min_life)
    for number, life in enumerate(lives):
        pool.fetched(pool.breaker.begin(), number, WALL + life, 0.0, WALL, seconds=0.1)
    return pool


# Which lease goes out.


@pytest.mark.parametrize(
    ("life", "min_life", "good_until"),
    [(3600, 600, 2400), (3600, 1, 2400), (3600, 1800, 1800), (900, 600, 300), (86_400, 600, 57_600)],
)
def test_a_lease_is_handed_out_until_a_third_of_its_life_or_min_life_is_left(
    life: float, min_life: float, good_until: float
) -> None:
    before = filled(life, min_life=min_life)
    assert before.take(good_until - 1, WALL + good_until - 1) == 0
    after = filled(life, min_life=min_life)
    assert after.take(good_until, WALL + good_until) is None
    assert after.counts.outgrown == 1


@pytest.mark.parametrize(
    ("now", "wall"),
    [
        (2400.0, WALL),  # The machine's clock was set back.
        (10.0, WALL + 2400),  # The machine slept, or its clock was set forward.
    ],
)
def test_the_clock_that_says_old_wins(now: float, wall: float) -> None:
    assert filled(TTL).take(now, wall) is None


def test_the_lease_that_would_become_too_old_first_goes_first() -> None:
    pool = filled(3600, 1200, 7200, 3600)
    assert [pool.take(1.0, WALL + 1) for _ in range(5)] == [1, 0, 3, 2, None]


@pytest.mark.parametrize("life", [600, 599, 1, 0, -1, -math.inf, math.nan])
def test_a_lease_that_could_not_be_handed_out_is_refused(life: float) -> None:
    """With a reason that names the remedy; so the vendor is not asked for more of them all the time."""
    pool: Pool[Any, Any] = Pool(600)
    ticket = pool.breaker.begin()
    with pytest.raises(ValueError, match="min_life"):
        pool.fetched(ticket, "x", WALL + life, 0.0, WALL, seconds=0.1)
    assert pool.held == pool.counts.fetched == 0
    assert pool.breaker.under_way == 1, "it is for the caller to say that the question failed"


@pytest.mark.parametrize("told", [7 * 86_400.0, math.inf, None])
def test_a_life_that_cannot_be_believed_is_cut_to_a_day(told: float | None) -> None:
    pool: Pool[Any, Any] = Pool(600)
    expires_at = None if told is None else WALL + told
    believed = pool.fetched(pool.breaker.begin(), "x", expires_at, 0.0, WALL, seconds=0.1)
    assert believed is (told is None)
    old = LONGEST_LIFE * 2 / 3
    assert pool.take(old, WALL + old) is None


def test_at_the_end_all_that_is_left_comes_out() -> None:
    pool = filled(3600, 3600, 3600)
    pool.take(0.0, WALL)
    assert sorted(pool.empty()) == [1, 2]
    assert pool.held == 0


# Who waits, and who is asked.


def test_those_who_wait_are_served_in_the_order_in_which_they_came() -> None:
    pool: Pool[Any, Any] = Pool(600)
    for waiter in "abc":
        assert pool.take(0.0, WALL) is None
        pool.wait(waiter)
    pool.leave("b", in_vain=False)
    tickets = pool.plan(0.0, WALL).fetch
    for number, ticket in enumerate(tickets[:2]):
        pool.fetched(ticket, number, WALL + TTL, 1.0, WALL + 1, seconds=1.0)
    assert pool.plan(1.0, WALL + 1).give == (("a", 0), ("c", 1))


def test_what_is_planned_counts_as_done() -> None:
    """One question for each need: nothing is asked for twice."""
    pool: Pool[Any, Any] = Pool(600)
    assert len(pool.plan(0.0, WALL).fetch) == 4
    assert pool.plan(0.0, WALL).fetch == ()
    pool.take(0.0, WALL)
    pool.wait("a")
    assert len(pool.plan(0.0, WALL).fetch) == 2, "one for who waits, and one since it is busier"
    assert pool.plan(0.0, WALL).fetch == ()


def test_no_more_questions_are_under_way_than_may_be() -> None:
    pool: Pool[Any, Any] = Pool(600)
    for waiter in range(2000):
        pool.take(0.0, WALL)
        pool.wait(waiter)
    assert len(pool.plan(0.0, WALL, most=10).fetch) == 10
    assert len(pool.plan(0.0, WALL).fetch) == 590
    assert pool.plan(0.0, WALL).fetch == ()


def test_while_the_vendor_is_down_the_pool_serves() -> None:
    pool = filled(TTL, TTL)
    pool.breaker.failed(pool.breaker.begin(), 10.0, 1.0, retry_after=60)
    plan = pool.plan(10.0, WALL + 10)
    assert (plan.fetch, plan.wake_at) == ((), pool.breaker.retry_at)
    assert [pool.take(10.0, WALL + 10) for _ in range(3)] == [0, 1, None]
    assert not pool.worth_waiting(10.0, 0.5), "nothing can come in time"
    assert pool.breaker.retry_at is not None
    assert not pool.worth_waiting(pool.breaker.retry_at - 0.6, 0.5)
    assert pool.worth_waiting(pool.breaker.retry_at - 0.4, 0.5), "a probe may come in time"
    assert pool.worth_waiting(76.0, 0.5)
    assert pool.plan(76.0, WALL + 76).fetch == (1,), "one probe"


def test_it_wakes_when_the_next_lease_becomes_too_old() -> None:
    """Then another is asked for, so that the pool is not found empty."""
    pool = filled(3600, 7200, 7200, 7200)
    assert pool.plan(0.0, WALL).wake_at == 2400
    pool.plan(2400.0, WALL + 2400)
    assert (pool.held, pool.counts.outgrown) == (3, 1)


def test_after_three_waits_for_nothing_nobody_waits_until_a_lease_comes() -> None:
    """A vendor that hangs costs some requests the budget, and not all of them."""
    pool: Pool[Any, Any] = Pool(600)
    (ticket, *_) = pool.plan(0.0, WALL).fetch
    for waiter in range(3):
        assert pool.worth_waiting(0.0, 0.5)
        pool.wait(waiter)
        pool.leave(waiter, in_vain=True)
    assert not pool.worth_waiting(9.0, 0.5)
    pool.fetched(ticket, "x", WALL + TTL, 9.0, WALL + 9, seconds=9.0)
    assert pool.worth_waiting(9.0, 0.5)


@pytest.mark.parametrize(("life", "later"), [(3600, 7), (900, 1)])
def test_no_more_are_kept_than_are_used_before_they_are_too_old(life: float, later: int) -> None:
    """After twenty sessions at once and then 2000 s of silence; leases of 900 s wait for 300 s alone."""
    pool = filled(life)
    for _ in range(20):
        pool.take(0.0, WALL)
    assert pool.wanted(0.0) > 5
    assert pool.wanted(2000.0) == min(later, 5)


def test_before_the_first_lease_its_life_is_taken_to_be_an_hour() -> None:
    """A vendor that is away for ten minutes finds a pool that still knows how busy it is."""
    pool: Pool[Any, Any] = Pool(600)
    for _ in range(10):
        pool.take(0.0, WALL)
    assert pool.wanted(600.0) == 5


def test_no_more_than_a_thousand_are_kept() -> None:
    pool: Pool[Any, Any] = Pool(600)
    for _ in range(100_000):
        pool.take(0.0, WALL)
    assert pool.wanted(0.0) == 1000


# Simulated days.

REQUEST, ANSWER, LEAVE, WAKE = range(4)


class Simulation:
    """Requests that come by chance, a vendor with a latency, and a budget of 0.5 s."""

    def __init__(self, seed: int, vendor: Callable[[float], float | None]) -> None:
        self.luck = random.Random(seed)
        self.vendor = vendor
        """The latency at a time; None: it fails after a tenth of a second."""
        self.pool: Pool[int, int] = Pool(600)
        self.events: list[tuple[float, int, int, Any]] = []
        self.now = 0.0
        self.number = 0
        self.seen: Counter[str] = Counter()
        self.gaps: Callable[[random.Random], float] | None = None
        self.waiting: dict[int, float] = {}
        self.given: set[int] = set()
        self.expiry: dict[int, float] = {}
        self.most_held = 0
        self.wake_at = 0.0

    def run(self, gaps: Callable[[random.Random], float], seconds: float) -> "Simulation":
        """Until that time requests come at such gaps."""
        self.gaps, first = gaps, self.gaps is None
        if first:
            self.at(gaps(self.luck), REQUEST)
        self.plan()
        while self.events[0][0] < seconds:
            self.now, _, event, value = heappop(self.events)
            if event == REQUEST:
                self.at(self.now + self.gaps(self.luck), REQUEST)
                self.request()
            elif event == ANSWER:
                self.answer(*value)
            elif event == LEAVE and value in self.waiting:
                del self.waiting[value]
                self.pool.leave(value, in_vain=True)
                self.seen["without"] += 1
            self.plan()
        self.now = seconds
        return self

    def request(self) -> None:
        lease = self.pool.take(self.now, WALL + self.now)
        if lease is not None:
            self.give(lease)
            self.seen["at once"] += 1
        elif not self.pool.worth_waiting(self.now, 0.5):
            self.seen["without"] += 1
        else:
            self.number += 1
            self.waiting[self.number] = self.now
            self.pool.wait(self.number)
            self.at(self.now + 0.5, LEAVE, self.number)

    def give(self, lease: int) -> None:
        left = self.expiry[lease] - self.now
        assert left > TTL / 3, "a lease went out that was too old"
        assert lease not in self.given, "a lease went out twice"
        self.given.add(lease)

    def answer(self, ticket: int, good: bool, asked_at: float) -> None:
        if not good:
            self.pool.breaker.failed(ticket, self.now, self.luck.random())
            return
        self.number += 1
        self.expiry[self.number] = asked_at + TTL
        expires_at = WALL + asked_at + TTL
        self.pool.fetched(
            ticket, self.number, expires_at, self.now, WALL + self.now, seconds=self.now - asked_at
        )
        self.seen["issued"] += 1

    def plan(self) -> None:
        plan = self.pool.plan(self.now, WALL + self.now)
        for waiter, lease in plan.give:
            assert self.waiting.pop(waiter) <= min(self.waiting.values(), default=math.inf), "out of turn"
            self.give(lease)
            self.seen["waited"] += 1
        for ticket in plan.fetch:
            self.seen["asked"] += 1
            takes = self.vendor(self.now)
            self.at(
                self.now + (0.1 if takes is None else takes), ANSWER, (ticket, takes is not None, self.now)
            )
        if plan.wake_at is not None and plan.wake_at != self.wake_at:
            self.wake_at = plan.wake_at
            self.at(plan.wake_at, WAKE)
        self.most_held = max(self.most_held, self.pool.held)

    def at(self, time: float, event: int, value: Any = None) -> None:
        self.number += 1
        heappush(self.events, (time, self.number, event, value))


def poisson(per_second: float) -> Callable[[random.Random], float]:
    return lambda luck: luck.expovariate(per_second)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("per_second", "seconds"), [(1 / 600, 10 * 86_400), (1 / 60, 86_400), (1, 7200), (50, 120)]
)
def test_a_vendor_that_works_is_used_well(per_second: float, seconds: float, seed: int) -> None:
    """More than half of what is issued is used; hardly anyone waits, and nobody goes without."""
    seen = Simulation(seed, lambda _: 0.2).run(poisson(per_second), seconds).seen
    total = seen["at once"] + seen["waited"]
    assert total > 400
    assert seen["without"] == 0
    assert seen["waited"] < total * 0.05
    assert total > seen["issued"] * 0.5


def test_an_idle_pool_keeps_one() -> None:
    """So the first session of the day does not wait, at one lease for each 40 minutes."""
    simulation = Simulation(1, lambda _: 0.2)
    simulation.run(lambda _: 10 * 86_400.0, 86_400)
    assert simulation.pool.held == 1
    assert simulation.seen["issued"] <= 86_400 / 2400 + 4


def test_a_slow_vendor_is_kept_up_with() -> None:
    """200 sessions a second and 2 s for an answer: after the first seconds everyone finds a lease."""
    simulation = Simulation(2, lambda _: 2.0).run(poisson(200), 10)
    simulation.seen.clear()
    simulation.run(poisson(200), 30)
    assert simulation.seen["without"] == 0
    assert simulation.seen["at once"] > 3900
    assert simulation.most_held <= 1000


def test_an_outage_is_bridged_by_the_pool_and_hardly_asked_about() -> None:
    """Then everything is as before."""
    simulation = Simulation(3, lambda now: None if 600 <= now < 1200 else 0.2)
    simulation.run(poisson(1), 600)
    held = simulation.pool.held
    simulation.seen.clear()
    simulation.run(poisson(1), 1200)
    assert simulation.seen["at once"] >= held
    assert simulation.seen["asked"] < 30, "backed off"
    assert simulation.seen["waited"] < 5
    simulation.run(poisson(1), 1300)
    simulation.seen.clear()
    simulation.run(poisson(1), 1900)
    assert simulation.seen["without"] == 0


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    rates=st.lists(st.sampled_from([0.01, 1.0, 30.0]), min_size=1, max_size=4),
    moods=st.lists(st.sampled_from([None, 0.01, 0.3, 3.0, 12.0]), min_size=1, max_size=6),
)
def test_whatever_happens_the_rules_hold(seed: int, rates: list[float], moods: list[float | None]) -> None:
    """No lease goes out twice, too old or out of turn; what is held and asked is bounded; all are accounted."""
    simulation = Simulation(seed, lambda now: moods[int(now / 7) % len(moods)])
    for period, rate in enumerate(rates):
        simulation.run(poisson(rate), 40.0 * (period + 1))
        assert simulation.pool.breaker.under_way <= 600
        assert simulation.pool.held <= 1000 + 600
    used, old = len(simulation.given), simulation.pool.counts.outgrown
    assert simulation.seen["issued"] == used + old + simulation.pool.held
