"""A vendor in trouble is left alone, for longer and longer, and tried by one question at a time."""

import math
from typing import Any

import pytest

from liveman.breaker import Breaker

MANY = 100


def fail(breaker: Breaker, now: float, times: int = 1, luck: float = 1.0, **said: Any) -> None:
    for _ in range(times):
        breaker.failed(breaker.begin(), now, luck, **said)


def test_two_failures_are_no_outage_and_three_are() -> None:
    breaker = Breaker()
    fail(breaker, 0.0, 2)
    assert breaker.room(0.0, MANY) == MANY
    fail(breaker, 0.0)
    assert breaker.room(0.0, MANY) == 0
    assert breaker.retry_at == 0.5


def test_failures_that_are_not_in_a_row_are_no_outage() -> None:
    breaker = Breaker()
    for _ in range(100):
        fail(breaker, 0.0, 2)
        breaker.worked(breaker.begin())
    assert (breaker.openings, breaker.retry_at) == (0, None)


def test_each_probe_that_fails_doubles_the_wait_up_to_a_minute() -> None:
    breaker = Breaker()
    fail(breaker, 0.0, 3)
    now, waits = 0.0, []
    for _ in range(12):
        assert breaker.retry_at is not None
        waits.append(breaker.retry_at - now)
        now = breaker.retry_at
        fail(breaker, now)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_luck_spreads_those_who_come_back() -> None:
    """Between half of the wait and the whole."""
    for luck, wait in ((0.0, 0.25), (0.5, 0.375), (1.0, 0.5)):
        breaker = Breaker()
        fail(breaker, 0.0, 3, luck)
        assert breaker.retry_at == wait


def test_an_open_breaker_lets_one_probe_through_and_it_closes() -> None:
    breaker = Breaker()
    fail(breaker, 0.0, 3)
    assert breaker.room(0.49, MANY) == 0
    assert breaker.room(0.5, MANY) == 1
    probe = breaker.begin()
    assert breaker.room(9.0, MANY) == 0
    breaker.worked(probe)
    assert breaker.room(9.0, MANY) == MANY
    fail(breaker, 9.0, 3)
    assert breaker.retry_at == 9.5, "the next outage begins anew"


def test_a_probe_that_tells_nothing_makes_place_for_another() -> None:
    """As when the client who waited for it has gone."""
    breaker = Breaker()
    fail(breaker, 0.0, 3)
    probe = breaker.begin()
    breaker.left(probe)
    assert breaker.room(1.0, MANY) == 1


def test_questions_that_were_under_way_are_part_of_the_same_outage() -> None:
    """A hundred that fail at once open it once; and one that is stuck does not keep the probe out."""
    breaker = Breaker()
    tickets = [breaker.begin() for _ in range(MANY)]
    for ticket in tickets[:-1]:
        breaker.failed(ticket, 0.0, 1.0)
    assert (breaker.openings, breaker.retry_at) == (1, 0.5)
    assert breaker.room(0.5, MANY) == 1
    breaker.worked(tickets[-1])
    assert (breaker.retry_at, breaker.under_way) == (0.5, 0)


@pytest.mark.parametrize(("times", "said"), [(1, {"retry_after": 60}), (1, {"permanent": True}), (3, {})])
def test_an_older_answer_is_no_news(times: int, said: dict[str, Any]) -> None:
    """Of many questions at once the last ones fail. Each of the first that worked would let loose as many."""
    breaker = Breaker()
    first = breaker.begin()
    fail(breaker, 0.0, times, **said)
    retry_at = breaker.retry_at
    assert retry_at is not None
    breaker.worked(first)
    assert breaker.retry_at == retry_at
    assert breaker.room(retry_at - 0.1, MANY) == 0
    breaker.worked(breaker.begin())
    assert breaker.retry_at is None


def test_a_probe_keeps_to_the_most_too() -> None:
    breaker = Breaker()
    fail(breaker, 0.0, 3)
    assert breaker.room(1.0, 0) == 0
    assert breaker.room(1.0, -1) == 0


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [(7, 7, 7.71), (0.1, 0.25, 0.5), (604_800, 3600, 3961), (math.inf, 3600, 3961)],
)
def test_the_vendors_own_time_is_obeyed(asked: float, low: float, high: float) -> None:
    """At once, never too early, and for an hour at the most."""
    for luck in (0.0, 1.0):
        breaker = Breaker()
        fail(breaker, 0.0, 1, luck, retry_after=asked)
        assert breaker.retry_at is not None
        assert low <= breaker.retry_at <= high


def test_luck_spreads_those_who_obey_the_vendor_too() -> None:
    """After its time, up to a tenth more."""
    times = []
    for luck in (0.0, 0.5, 1.0):
        breaker = Breaker()
        fail(breaker, 0.0, 1, luck, retry_after=100)
        times.append(breaker.retry_at)
    assert times == [100, pytest.approx(105), pytest.approx(110)]


def test_an_outage_may_last_for_ever() -> None:
    breaker = Breaker()
    for minute in range(5000):
        fail(breaker, 60.0 * minute, 3)
    assert breaker.retry_at == 60.0 * 4999 + 60


@pytest.mark.parametrize("asked", [0, -5, math.nan, -math.inf, None])
def test_a_time_that_says_nothing_is_as_none(asked: float | None) -> None:
    breaker = Breaker()
    fail(breaker, 0.0, 2, retry_after=asked)
    assert breaker.retry_at is None
    fail(breaker, 0.0, 1, retry_after=asked)
    assert breaker.retry_at == 0.5


def test_a_refusal_for_good_is_asked_about_every_ten_minutes() -> None:
    breaker = Breaker()
    for outage in range(20):
        fail(breaker, 1000.0 * outage, permanent=True)
        assert breaker.retry_at == 1000.0 * outage + 600
