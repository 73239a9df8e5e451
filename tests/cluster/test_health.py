"""Health as a table."""

import pytest

from liveman.cluster.health import NEW, TABLE, Event, Health, Status, after, retry_after

CASES: list[tuple[Health, Event, Health]] = [
    (NEW, "success", Health("up", 0)),
    (NEW, "failure", Health("suspect", 1)),
    (Health("up", 0), "success", Health("up", 0)),
    (Health("up", 0), "failure", Health("suspect", 1)),
    (Health("suspect", 1), "success", Health("up", 0)),
    (Health("suspect", 1), "failure", Health("suspect", 2)),
    (Health("suspect", 2), "success", Health("up", 0)),
    (Health("suspect", 2), "failure", Health("down", 3)),
    (Health("down", 3), "failure", Health("down", 4)),
    (Health("down", 400), "success", Health("up", 0)),
]


@pytest.mark.parametrize(("before", "event", "expected"), CASES)
def test_what_follows_from_an_event(before: Health, event: Event, expected: Health) -> None:
    """Three failures in a row make a node down, one success brings it back."""
    assert after(before, event) == expected


def test_the_table_knows_every_case() -> None:
    """Each status, each event."""
    statuses: tuple[Status, ...] = ("up", "suspect", "down")
    events: tuple[Event, ...] = ("success", "failure")
    assert set(TABLE) == {(status, event) for status in statuses for event in events}


@pytest.mark.parametrize(
    ("failures", "jitter", "expected"),
    [
        (1, 0.0, 0.2),
        (1, 1.0, 0.2),
        (2, 0.5, 0.3),
        (3, 0.0, 1.0),
        (3, 1.0, 0.75),
        (4, 0.0, 2.0),
        (7, 0.0, 16.0),
        (8, 0.0, 30.0),
        (100_000, 0.0, 30.0),
        (100_000, 1.0, 22.5),
    ],
)
def test_probes_are_quick_first_and_then_rarer(failures: int, jitter: float, expected: float) -> None:
    """At 0.2 and 0.5 s, then backing off to 30 s."""
    assert retry_after(failures, quick=(0.2, 0.3), backoff=(1.0, 30.0), jitter=jitter) == pytest.approx(
        expected
    )
