"""How many messages may be on their way to a peer."""

from hypothesis import given
from hypothesis import strategies as st

from liveman.net4mqtt.window import EVERY, MOST, Window


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
