"""Where a recording is cut."""

import pytest

from liveman.demo.cutting import Cutter, Frame, Segment

CLOCK = 1000


def cut(frames: list[tuple[int, bool]]) -> list[tuple[int, int, int, int]]:
    """Number, start, end and count of frames of each segment."""
    cutter = Cutter(CLOCK)
    found = [cutter.add(Frame(at, b"x", key)) for at, key in frames]
    return [shape(segment) for segment in [*found, cutter.end()] if segment]


def shape(segment: Segment) -> tuple[int, int, int, int]:
    return segment.number, segment.start, segment.end, len(segment.frames)


KEY, DELTA = True, False


@pytest.mark.parametrize(
    ("frames", "segments"),
    [
        ([], []),
        ([(0, DELTA), (100, DELTA)], []),
        ([(0, KEY)], [(1, 0, 20, 1)]),
        ([(0, KEY), (40, DELTA)], [(1, 0, 80, 2)]),
        ([(0, DELTA), (40, KEY), (80, DELTA)], [(1, 40, 120, 2)]),
        ([(0, KEY), (1999, KEY), (2000, KEY)], [(1, 0, 2000, 2), (2, 2000, 2020, 1)]),
        ([(0, KEY), (5000, DELTA), (6000, KEY)], [(1, 0, 6000, 2), (2, 6000, 6020, 1)]),
        ([(0, KEY), (9999, DELTA), (10_000, DELTA)], [(1, 0, 10_000, 2), (2, 10_000, 10_020, 1)]),
        ([(7, KEY), (7, DELTA), (5, KEY), (47, DELTA)], [(1, 7, 87, 2)]),
    ],
)
def test_segments(frames: list[tuple[int, bool]], segments: list[tuple[int, int, int, int]]) -> None:
    """Each begins where the one before ends: with the first keyframe after two seconds, or after ten with
    whatever comes; frames that go back in time are dropped."""
    assert cut(frames) == segments


def test_a_keyframe_is_wanted_when_a_segment_could_end() -> None:
    """And until there is a first one."""
    cutter = Cutter(CLOCK)
    wanted = []
    for at, key in [(0, DELTA), (40, KEY), (1000, DELTA), (2040, DELTA), (2100, KEY)]:
        cutter.add(Frame(at, b"x", key))
        wanted.append(cutter.wants_keyframe)
    assert wanted == [True, False, False, True, False]
