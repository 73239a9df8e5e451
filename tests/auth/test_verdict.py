"""What an access service's answer means, how long it counts, and when the service may be asked."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.auth.verdict import Verdict, Verdicts, parse_verdict

DENIED = "The access service denies this."


def text(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


@pytest.mark.parametrize(
    ("status", "document", "verdict"),
    [
        (200, {"allow": True}, Verdict(True)),
        (200, {"allow": True, "ttl": 60}, Verdict(True, seconds=60.0)),
        (200, {"allow": True, "ttl": 0.5, "reason": "x", "more": [1]}, Verdict(True, seconds=0.5)),
        (200, {"allow": True, "ttl": None, "reason": None}, Verdict(True)),
        (200, {"allow": True, "ttl": 1e308}, Verdict(True, seconds=3600.0)),
        (200, {"allow": True, "ttl": 10**30}, Verdict(True, seconds=3600.0)),
        (200, {"allow": True, "ttl": 0}, Verdict(True)),
        (202, {"allow": True}, Verdict(True)),
        (200, b"", Verdict(True)),
        (204, b"", Verdict(True)),
        (299, b"", Verdict(True)),
        (200, {"allow": False}, Verdict(False, DENIED, 2.0)),
        (201, {"allow": False, "reason": "not paid"}, Verdict(False, "not paid", 2.0)),
        (200, {"allow": False, "ttl": 0}, Verdict(False, DENIED, 0.0)),
        (200, {"allow": False, "ttl": 5}, Verdict(False, DENIED, 5.0)),
        (200, {"allow": False, "ttl": 86_400}, Verdict(False, DENIED, 10.0)),
        (200, {"allow": False, "reason": "a\r\nb\0\x1b[1mc\u202e"}, Verdict(False, "a  b  [1mc", 2.0)),
        (200, {"allow": False, "reason": " "}, Verdict(False, DENIED, 2.0)),
        (200, {"allow": False, "reason": "x" * 1000}, Verdict(False, "x" * 200, 2.0)),
        (401, b"", Verdict(False, DENIED, 2.0)),
        (403, {"reason": "not paid"}, Verdict(False, "not paid", 2.0)),
        (403, {"allow": True, "reason": "not paid", "ttl": 3600}, Verdict(False, "not paid", 2.0)),
        (403, b"<html>Forbidden</html>", Verdict(False, DENIED, 2.0)),
        (403, b"\xff" * 20_000, Verdict(False, DENIED, 2.0)),
        (403, {"reason": 5}, Verdict(False, DENIED, 2.0)),
        (400, b"", Verdict(False, DENIED, 2.0)),
        (404, b"no such stream", Verdict(False, DENIED, 2.0)),
        (499, b"", Verdict(False, DENIED, 2.0)),
    ],
)
def test_an_answer_is_a_verdict(status: int, document: Any, verdict: Verdict) -> None:
    assert parse_verdict(status, text(document)) == verdict


@pytest.mark.parametrize(
    ("status", "document", "problem"),
    [
        *((status, {"allow": True}, f"status {status}") for status in (301, 302, 303, 307, 308, 408, 429)),
        *((status, {"allow": True}, f"status {status}") for status in (500, 502, 503, 504, 599, 101)),
        (200, {}, "no flag allow"),
        (200, {"allow": None}, "no flag allow"),
        (200, {"Allow": True}, "no flag allow"),
        (200, {"code": 0}, "no flag allow"),
        *((200, {"allow": value}, "bool") for value in ("true", 1, 0, "false", [], {})),
        *((200, {"allow": True, "ttl": value}, "ttl") for value in (-1, -0.001, "60", True, [60], -(10**30))),
        (200, {"allow": True, "reason": 5}, "reason"),
        (200, b'{"allow": true, "ttl": NaN}', "no JSON"),
        (200, b'{"allow": true, "ttl": Infinity}', "no JSON"),
        (200, b'{"allow": true, "ttl": 1e999}', "no JSON|ttl"),
        *((200, document, "object") for document in ([True], True, 0, "allow", None)),
        (200, b"OK", "no JSON"),
        (200, b"0", "object"),
        (200, b" ", "no JSON"),
        (200, b"\xff\xfe", "no JSON"),
        (200, b'{"allow": true}{"allow": true}', "no JSON"),
        (200, b'{"allow": true', "no JSON"),
        (200, b'{"x": ' + b"[" * 16_000, "no JSON"),
        (200, b'{"allow": true, "x": "' + b"x" * 20_000 + b'"}', "longer than 16384"),
        (200, b"<!doctype html><title>allow</title>", "no JSON"),
    ],
)
def test_an_answer_that_says_nothing_is_none(status: int, document: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_verdict(status, text(document))


@given(
    st.integers(100, 599),
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["allow", "ttl", "reason", "x"]), inner, max_size=4)
        ),
        max_leaves=6,
    ),
)
def test_whatever_comes_is_a_bounded_verdict_or_a_problem(status: int, document: Any) -> None:
    try:
        verdict = parse_verdict(status, text(document))
    except ValueError as error:
        assert str(error)
        return
    assert 0 <= verdict.seconds <= (3600 if verdict.allow else 10)
    assert len(verdict.reason) <= 200
    assert verdict.allow == (200 <= status < 300 and (document == b"" or document["allow"] is True))


# Memory

KEY = (b"who", "cam", "publish")
YES, NO = Verdict(True, seconds=10.0), Verdict(False, "no", 2.0)


def test_a_verdict_counts_for_its_time_and_is_known_as_the_last_one_after() -> None:
    verdicts = Verdicts()
    assert verdicts.fresh(KEY, 0.0) is verdicts.last(KEY) is None
    verdicts.keep(KEY, YES, 100.0)
    assert verdicts.fresh(KEY, 109.9) == YES
    assert verdicts.fresh(KEY, 110.0) is None
    assert verdicts.last(KEY) == YES


@pytest.mark.parametrize(("first", "second"), [(YES, NO), (NO, YES)])
def test_a_later_verdict_replaces_an_earlier_one(first: Verdict, second: Verdict) -> None:
    verdicts = Verdicts()
    verdicts.keep(KEY, first, 0.0)
    verdicts.keep(KEY, second, 0.0)
    assert verdicts.fresh(KEY, 1.0) == verdicts.last(KEY) == second
    assert len(verdicts) == 1


def test_the_memory_is_bounded_and_denials_push_no_allowance_out() -> None:
    """Whoever sends tokens of his own invention gets denials, as many as he likes."""
    verdicts = Verdicts()
    verdicts.keep(KEY, YES, 0.0)
    for number in range(25_000):
        verdicts.keep((b"%d" % number, "cam", "publish"), NO, 0.0)
    assert len(verdicts) == 10_001
    assert verdicts.fresh(KEY, 1.0) == YES
    assert verdicts.fresh((b"24999", "cam", "publish"), 1.0) == NO


def test_the_oldest_allowances_go_first() -> None:
    verdicts = Verdicts()
    for number in (*range(5000), 0, *range(5000, 10_000)):
        verdicts.keep((b"%d" % number, "cam", "publish"), YES, 0.0)
    verdicts.keep(KEY, YES, 0.0)
    assert len(verdicts) == 10_000
    assert verdicts.last((b"0", "cam", "publish")) == YES
    assert verdicts.last((b"1", "cam", "publish")) is None
