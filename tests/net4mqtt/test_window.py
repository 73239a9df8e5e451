"""How many messages may be on their way to a peer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.net4mqtt.window import EVERY, MOST, Tally, Window


def sent(window: Window, count: int) -> list[int]:
    """The marks that are due after so many messages."""
    return [mark for _ in range(count) if (mark := window.sent()) is not None]


@given(st.lists(st.integers(1, 300), max_size=30))
def test_a_peer_that_answers_never_has_more_on_its_way(steps: list[int]) -> None:
    """And always gets on: before a window closes, a mark is under way whose echo opens it."""
    window, marks, total = Window(), [], 0
    for step in steps:
        for _ in range(step):
            if not window.open:
                assert marks
                window.echo(marks.pop(0))
            assert window.open
            marks += sent(window, 1)
            total += 1
            assert total - window.echoed <= MOST


def test_a_mark_is_due_after_each_so_many_messages() -> None:
    assert sent(Window(), 3 * EVERY + 1) == [EVERY, 2 * EVERY, 3 * EVERY]


def test_a_peer_that_never_answers_has_no_limit() -> None:
    window = Window()
    sent(window, MOST)
    assert not window.open
    assert window.answers is None
    window.answers = False
    assert window.open
    assert sent(window, 10 * MOST) == []
    assert window.open


def test_echoes_of_what_was_never_sent_say_nothing() -> None:
    window = Window()
    sent(window, EVERY + 1)
    for strange in (0, EVERY + 1, 10**17):
        window.echo(strange)
        assert (window.echoed, window.answers) == (0, None)
    window.echo(EVERY)
    window.echo(1)
    assert (window.echoed, window.answers) == (EVERY, True)


def test_what_was_sent_since_the_last_mark_gets_one_when_there_is_a_rest() -> None:
    """Again and again, until it is back. A peer that never answers gets none."""
    window = Window()
    assert window.rest() is None
    sent(window, EVERY + 3)
    assert window.rest() == window.rest() == EVERY + 3
    window.echo(EVERY + 3)
    assert window.rest() is None
    sent(window, 1)
    window.answers = False
    assert window.rest() is None


@given(
    st.lists(st.integers(4, EVERY), min_size=1, max_size=20).flatmap(
        lambda steps: st.tuples(st.just(steps), st.sets(st.integers(0, sum(steps) - 1)), st.integers(0, 3))
    )
)
def test_what_is_missing_is_known_after_the_last_mark(case: tuple[list[int], set[int], int]) -> None:
    """However many messages are lost, and though each mark comes some messages too early or too late."""
    steps, lost, ahead = case
    tally, wire, sent_so_far = Tally(), [], 0
    for step in steps:
        wire += [number not in lost for number in range(sent_so_far, sent_so_far + step)]
        sent_so_far += step
        wire.insert(max(len(wire) - ahead, 0), sent_so_far)  # type: ignore[arg-type]
    for each in wire:
        if each is True:
            tally.came()
        elif each is not False:
            tally.mark(int(each))
    assert tally.missing == len(lost)


@pytest.mark.parametrize(
    ("before", "mark", "came", "missing"),
    [
        (500, 0, 0, 0),  # The peer counted before we came.
        (5, 5, 5, 0),  # It counts anew, and happens to stop at the same.
        (5, 5, 4, 1),
        (9, 3, 3, 0),
        (9, 3, 1, 2),
        (5, 5, 0, 0),  # The same mark once more.
    ],
)
def test_a_peer_may_count_anew(before: int, mark: int, came: int, missing: int) -> None:
    tally = Tally()
    for _ in range(min(before, EVERY)):
        tally.came()
    tally.mark(before)
    for _ in range(came):
        tally.came()
    if mark:
        tally.mark(mark)
    assert tally.missing == missing
