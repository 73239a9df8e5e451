"""Which streams are recorded where: a table, and what holds for all."""

import pytest

from liveman.recording.schedule import Origin, Running, Step, base_dir, matches, plan

A, B, AGAIN = Origin("a", "p1"), Origin("b", "p2"), Origin("a", "p3")


def running(origin: Origin = A, since: int = 0) -> Running:
    return Running(origin, since, "cam/manifest.mpd")


@pytest.mark.parametrize(
    ("origins", "known", "options", "steps"),
    [
        ({}, {}, {}, []),
        ({"cam": A}, {}, {}, []),
        ({"cam": A}, {}, {"globs": ["c*"]}, [Step("start", "cam", A)]),
        ({"cam": A}, {}, {"globs": ["d*", "[c]am"]}, [Step("start", "cam", A)]),
        ({"cam": A}, {}, {"wanted": ["cam"]}, [Step("start", "cam", A)]),
        ({"cam": A}, {}, {"wanted": ["cam"], "tried": [("cam", "a")]}, []),
        ({"cam": A}, {}, {"wanted": ["cam"], "tried": [("cam", "b")]}, [Step("start", "cam", A)]),
        ({"cam": A}, {"cam": running()}, {"globs": ["*"]}, []),
        ({}, {"cam": running()}, {"globs": ["*"]}, [Step("stop", "cam", A)]),
        ({"cam": B}, {"cam": running()}, {"globs": ["*"]}, [Step("stop", "cam", A)]),
        ({"cam": AGAIN}, {"cam": running()}, {"globs": ["*"]}, [Step("start", "cam", AGAIN)]),
        ({"cam": A}, {"cam": running()}, {"now": 59.9, "longest": 60}, []),
        ({"cam": A}, {"cam": running()}, {"now": 60, "longest": 60}, [Step("rotate", "cam", A)]),
        ({"cam": A}, {"cam": running()}, {"now": 1e9, "longest": 0}, []),
    ],
)
def test_one_step_for_each_stream(origins: dict, known: dict, options: dict, steps: list) -> None:
    asked = {"wanted": (), "globs": (), "now": 0.0, "longest": 0, **options}
    assert plan(origins, known, **asked) == steps


@pytest.mark.parametrize(
    ("name", "globs", "matched"),
    [
        ("cam", ["*"], True),
        ("cam", [], False),
        ("cam", ["CAM"], False),
        ("cam\n", ["cam"], False),
        ("room.1", ["room.?"], True),
        ("roomx1", ["room.?"], False),
        ("a", ["[!b]"], True),
    ],
)
def test_globs_match_whole_names(name: str, globs: list[str], matched: bool) -> None:
    assert matches(name, globs) is matched


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        ("", "cam/2026/11/21/1795219200"),
        ("live", "live/cam/2026/11/21/1795219200"),
        ("/live//old/", "live/old/cam/2026/11/21/1795219200"),
    ],
)
def test_the_folder_names_stream_day_and_time(prefix: str, path: str) -> None:
    assert base_dir(prefix, "cam", "2026/11/21", 1_795_219_200) == path
