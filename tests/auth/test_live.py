"""Whose sessions there are."""

from liveman.access import Identity
from liveman.auth.live import _LEAST_SWEPT, Live, Session

ANN, BOB = Identity("ann", token_id="a"), Identity("bob", token_id="b")


def one(id: str, action: str = "publish") -> Session:
    return Session(action, "n0", "cam", id)  # type: ignore[arg-type]


def test_each_subject_and_kind_is_counted_for_itself() -> None:
    live = Live(lambda _: "live")
    live.add(one("1"), ANN)
    live.add(one("2", "subscribe"), ANN)
    live.add(one("3"), BOB)
    assert [live.count(who, "publish") for who in ("ann", "bob", "nobody")] == [1, 1, 0]
    assert live.count("ann", "subscribe") == 1
    assert list(live.of_token("a")) == [one("1"), one("2", "subscribe")]


def test_what_is_away_does_not_count_and_is_not_forgotten() -> None:
    state = "away"
    live = Live(lambda _: state)  # type: ignore[arg-type, return-value]
    live.add(one("1"), ANN)
    assert live.count("ann", "publish") == 0
    state = "live"
    assert live.count("ann", "publish") == 1
    state = "gone"
    assert live.count("ann", "publish") == 0
    state = "live"
    assert live.count("ann", "publish") == 0


def test_a_session_of_the_same_name_is_the_later_ones_alone() -> None:
    """A node that names two alike: nothing is left of the one before."""
    live = Live(lambda _: "live")
    live.add(one("1"), ANN)
    live.add(one("1"), BOB)
    assert [live.count(who, "publish") for who in ("ann", "bob")] == [0, 1]
    assert list(live.of_token("a")) == [] and list(live.of_token("b")) == [one("1")]
    live.remove(one("1"))
    assert not live._of_subject and not live._sessions


def test_what_has_ended_is_forgotten_though_nobody_counts() -> None:
    """Some millions of sessions leave no more than the last thousand or so."""
    last = {"id": ""}
    live = Live(lambda session: "live" if session.id == last["id"] else "gone")
    for number in range(20 * _LEAST_SWEPT):
        last["id"] = str(number)
        live.add(one(str(number)), Identity(f"subject {number}"))
    assert len(live._sessions) <= _LEAST_SWEPT + 1
    assert len(live._of_subject) == len(live._sessions)
