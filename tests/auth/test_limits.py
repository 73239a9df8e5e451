"""Token buckets: what they let through, what they remember, and what an attacker cannot make of them."""

import sys
from ipaddress import IPv6Address
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.auth.limits import Buckets, check_quotas, client_network, login_failures
from liveman.config import Quotas
from liveman.errors import NotAllowed, TooMany


def taken(buckets: Buckets, key: object, now: float) -> int:
    """How many tokens can be taken at this moment."""
    return next(number for number in count() if buckets.take(key, now) > 0)


# A bucket


def test_a_burst_then_one_at_a_time() -> None:
    buckets = Buckets(rate=2, burst=3, most_keys=10)
    assert [buckets.take("a", 100.0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]
    assert buckets.take("a", 100.4) == pytest.approx(0.1)
    assert buckets.take("a", 100.5) == 0
    assert buckets.take("a", 100.5) == pytest.approx(0.5)


def test_each_key_has_a_bucket_of_its_own() -> None:
    buckets = Buckets(rate=1, burst=1, most_keys=10)
    assert [buckets.take(key, 0.0) for key in ("a", "b", "a")] == [0, 0, pytest.approx(1)]


def test_a_refused_request_uses_nothing_up() -> None:
    """Who hammers gets in as soon as one who waits."""
    buckets = Buckets(rate=1, burst=1, most_keys=10)
    buckets.take("a", 0.0)
    assert all(buckets.take("a", moment / 100) > 0 for moment in range(99))
    assert buckets.take("a", 1.0) == 0


@given(
    st.floats(0.001, 1000),
    st.integers(1, 100),
    st.lists(st.floats(0, 10), min_size=1, max_size=60),
    st.floats(0, 1e7),
)
def test_never_more_than_the_burst_and_the_rate_and_the_wait_that_is_named_suffices(
    rate: float, burst: int, pauses: list[float], now: float
) -> None:
    """Against the plain model: a level that rises with time and sinks by what was taken."""
    buckets = Buckets(rate, burst, most_keys=1)
    level, began, allowed = float(burst), now, 0
    for pause in pauses:
        now += pause
        level = min(burst, level + pause * rate)
        wait = buckets.take("a", now)
        if wait:
            assert level < 1 + 1e-3
            now += wait
            level = min(burst, level + wait * rate)
            assert buckets.take("a", now) == 0, "the wait that was named was too short"
        allowed += 1
        level -= 1
        assert level > -0.01
    assert allowed <= burst + (now - began) * rate + 0.01


@pytest.mark.parametrize("rate", [3, 7, 0.3, 0.07, 1 / 30])
def test_sums_of_floats_take_no_token_away_and_lengthen_no_wait(rate: float) -> None:
    for step in range(300):
        now = 0.1 + step * 3.7
        buckets = Buckets(rate, burst=4, most_keys=1)
        assert taken(buckets, "a", now) == 4
        now += 0.3 / rate
        assert buckets.take("a", now + buckets.take("a", now)) == 0


def test_what_is_given_back_can_be_taken_again() -> None:
    buckets = Buckets(rate=1, burst=2, most_keys=10)
    for _ in range(50):
        assert buckets.take("a", 0.0) == 0
        buckets.give_back("a")
    assert taken(buckets, "a", 0.0) == 2


def test_what_is_given_back_to_a_shared_bucket_can_be_taken_again() -> None:
    buckets = Buckets(rate=1, burst=2, most_keys=1)
    buckets.take("first", 0.0)
    for _ in range(50):
        assert buckets.take("b", 0.0) == 0
        buckets.give_back("b")
    assert taken(buckets, "b", 0.0) == 2


def test_giving_back_what_is_forgotten_already_makes_no_more_than_a_burst() -> None:
    buckets = Buckets(rate=1, burst=1, most_keys=2)
    buckets.take("a", 0.0)
    buckets.take("b", 10.0)
    assert len(buckets) == 1
    for _ in range(5):
        buckets.give_back("a")
    assert taken(buckets, "a", 10.0) == 1


# Memory


def test_full_buckets_are_forgotten() -> None:
    buckets = Buckets(rate=1, burst=5, most_keys=1000)
    for number in range(1000):
        buckets.take(number, 0.0)
    assert len(buckets) == 1000
    for number in range(1000):
        buckets.take("one", 10.0 + number)
    assert len(buckets) == 1


def test_who_never_pauses_keeps_nobody_else_in_memory() -> None:
    buckets = Buckets(rate=1, burst=5, most_keys=1000)
    buckets.take("busy", 0.0)
    for number in range(100):
        buckets.take(number, 0.0)
    for moment in range(1, 200):
        buckets.take("busy", moment / 2)
    assert len(buckets) == 1


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 3)), max_size=300))
def test_there_are_never_more_buckets_than_may_be_and_nobody_gains_by_their_number(
    takes: list[tuple[int, float]],
) -> None:
    """However addresses alternate: each gets at most its burst and its rate."""
    buckets = Buckets(rate=1, burst=3, most_keys=10)
    now, let_in = 0.0, dict.fromkeys(range(61), 0)
    for key, pause in takes:
        now += pause
        let_in[key] += buckets.take(key, now) == 0
        assert len(buckets) <= 10
    assert all(number <= 3 + now + 0.01 for number in let_in.values())


def test_an_attacker_cannot_free_his_bucket_by_filling_the_memory() -> None:
    """He uses his burst up, then a million other addresses; his own is still empty."""
    buckets = Buckets(rate=0.001, burst=5, most_keys=100)
    assert taken(buckets, "attacker", 0.0) == 5
    for number in range(100_000):
        buckets.take(f"other {number}", 1.0)
    assert buckets.take("attacker", 1.0) > 0
    assert len(buckets) == 100


def test_an_attacker_gains_nothing_by_waiting_for_a_bucket_of_his_own() -> None:
    """What he used up of a shared one follows him; else each address had its burst twice."""
    buckets = Buckets(rate=1, burst=5, most_keys=1)
    assert taken(buckets, "first", 0.0) == 5
    assert taken(buckets, "attacker", 1.0) == 5
    assert taken(buckets, "attacker", 5.5) == 4
    assert len(buckets) == 1


def test_who_was_there_before_is_served_as_ever_when_the_memory_is_full() -> None:
    buckets = Buckets(rate=1, burst=5, most_keys=2)
    buckets.take("good", 0.0)
    for number in range(100_000):
        buckets.take(number, 0.0)
    assert taken(buckets, "good", 0.0) == 4


def test_a_stranger_is_served_by_a_shared_bucket_when_the_memory_is_full() -> None:
    """He is slowed down by other strangers, and not shut out."""
    buckets = Buckets(rate=1, burst=5, most_keys=2)
    for name in ("a", "b"):
        buckets.take(name, 0.0)
    assert taken(buckets, "stranger", 0.0) == 5
    assert 0 < buckets.take("stranger", 0.0) <= 1


def test_a_huge_name_costs_no_memory() -> None:
    buckets = Buckets(rate=1, burst=5, most_keys=10)
    for number in range(10):
        buckets.take(("10.0.0.1", f"{number}" * 1_000_000), 0.0)
    assert sum(sys.getsizeof(key) for key in buckets._full_at) < 1000


# Logins


def test_ten_failed_logins_then_one_in_half_a_minute() -> None:
    failures = login_failures()
    key = ("10.0.0.1", "admin")
    assert taken(failures, key, 0.0) == 10
    assert failures.take(key, 0.0) == pytest.approx(30)
    assert failures.take(("10.0.0.2", "admin"), 0.0) == 0, "an attacker locks the owner out elsewhere"
    assert failures.take(("10.0.0.1", "root"), 0.0) == 0
    assert failures.take(key, 30.0) == 0


def test_successes_never_use_logins_up() -> None:
    failures = login_failures()
    for _ in range(1000):
        assert failures.take(("10.0.0.1", "admin"), 0.0) == 0
        failures.give_back(("10.0.0.1", "admin"))


# Addresses


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("", ""),
        ("unix:", "unix:"),
        ("not an address", "not an address"),
    ],
)
def test_clients_are_counted_by_address_or_by_the_network_they_get(address: str, counted: str) -> None:
    assert client_network(address) == counted


@given(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_every_address_of_a_64_counts_as_one(network: int, one: int, other: int) -> None:
    counted = client_network(str(IPv6Address(network << 64 | one)))
    assert counted == client_network(str(IPv6Address(network << 64 | other)))
    assert counted != client_network(str(IPv6Address((network ^ 1 or 2) << 64 | one)))


# Quotas

QUOTAS = Quotas(subscribers_per_stream=10, publishers_per_subject=1, subscribers_per_subject=3)


@pytest.mark.parametrize(
    ("quotas", "action", "of_stream", "of_subject", "error", "said"),
    [
        (QUOTAS, "publish", 5, 0, None, ""),
        (QUOTAS, "publish", 0, 1, TooMany, "1 published streams of the 1"),
        (QUOTAS, "publish", 0, 7, TooMany, "7 published streams of the 1"),
        (QUOTAS, "subscribe", 9, 2, None, ""),
        (QUOTAS, "subscribe", 10, 2, NotAllowed, "all the 10 subscribers"),
        (QUOTAS, "subscribe", 0, 3, TooMany, "3 subscriptions of the 3"),
        (QUOTAS, "subscribe", 10, 3, TooMany, "3 subscriptions of the 3"),
        (Quotas(), "publish", 10**6, 10**6, None, ""),
        (Quotas(), "subscribe", 10**6, 10**6, None, ""),
    ],
)
def test_a_session_more_than_may_be_is_refused_and_told_why(
    quotas, action, of_stream, of_subject, error, said
) -> None:
    """429 for what this subject has, 403 for a stream that is full; 0 in the configuration is no limit."""
    if error is None:
        check_quotas(quotas, action, of_stream=of_stream, of_subject=of_subject)
        return
    with pytest.raises(error) as caught:
        check_quotas(quotas, action, of_stream=of_stream, of_subject=of_subject)
    assert said in caught.value.detail
    assert caught.value.status == (429 if error is TooMany else 403)
    assert "Retry-After" not in caught.value.headers


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (29.5, "30")]
)
def test_a_wait_is_told_in_whole_seconds_that_suffice(seconds: float, header: str) -> None:
    assert TooMany(retry_after=seconds).headers == {"Retry-After": header}
