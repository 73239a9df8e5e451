"""The last 15 minutes, and their curves."""

import re

import pytest

from cluster.fake import body, stream
from liveman.cluster.state import Node, State
from liveman.dashboard.history import HEIGHT, KEPT, SECONDS, History, Sample, curve, sample


def test_a_sample_adds_up_the_nodes() -> None:
    state = State()
    stats = {"publish": {"bitrate": 10}, "subscribe": {"bitrate": 30}}
    for alias in ("a", "b"):
        state.add(Node(alias, f"http://{alias}"))
        state.apply(alias, body(stream("x", ["p1"], ["v1", "v2"], stats=stats)))
    assert sample(state.nodes.values(), 7.0) == Sample(7.0, 2, 4, 20.0, 60.0)


def test_what_is_older_than_15_minutes_is_forgotten() -> None:
    assert KEPT * SECONDS == 15 * 60
    history = History()
    for at in range(KEPT + 10):
        history.add(Sample(at, at, 0, 0, 0))
    assert history.values("publishers") == list(range(10, KEPT + 10))


def heights(path: str) -> list[int]:
    """Of the points that are seen."""
    found = re.fullmatch(rf"M-3 {HEIGHT + 3}V(-?\d+)h3((?:l1 -?\d+)*)h4V{HEIGHT + 3}z", path)
    assert found, path
    all = [int(found[1])]
    for step in re.findall(r"l1 (-?\d+)", found[2]):
        all.append(all[-1] + int(step))
    return all


@pytest.mark.parametrize(
    ("values", "left", "expected"),
    [
        ([5.0], KEPT - 1, [5]),
        ([0.0, 0.0], KEPT - 2, [HEIGHT - 1] * 2),
        ([0.0, 50.0, 100.0], KEPT - 3, [59, 32, 5]),
        ([1.0] * KEPT, 0, [5] * KEPT),
    ],
)
def test_a_curve_ends_at_the_right_and_begins_at_zero(
    values: list[float], left: int, expected: list[int]
) -> None:
    drawn = curve(values)
    assert (drawn.left, heights(drawn.path)) == (left, expected)


def test_nothing_is_drawn_of_nothing() -> None:
    assert curve([]).path == ""
