"""A relay tree as a picture: every node that has the stream is in it, at its place."""

import pytest

from liveman.dashboard.tree import (
    BOX_HEIGHT,
    BOX_WIDTH,
    DEEPEST,
    MOST,
    MOST_WORDS,
    Box,
    Picture,
    Spot,
    draw,
    shortened,
)


def origin(alias: str, viewers: int = 0) -> Spot:
    return Spot(alias, "origin", viewers)


def relay(alias: str, source: str | None, viewers: int = 0) -> Spot:
    return Spot(alias, "relay", viewers, source)


def box(picture: Picture, name: str) -> Box:
    (found,) = [each for each in picture.boxes if each.full == name]
    return found


def columns(picture: Picture) -> list[list[str]]:
    """The names from left to right, each column from top to bottom."""
    return [
        [each.full for each in sorted(picture.boxes, key=lambda each: each.y) if each.x == x]
        for x in sorted({each.x for each in picture.boxes})
    ]


def lines(picture: Picture) -> set[str]:
    return {each.words for each in picture.lines}


CASES: list[tuple[str, list[Spot], list[list[str]], set[str]]] = [
    ("nobody has it", [], [], set()),
    ("one node", [origin("a")], [["a"]], set()),
    ("one relay", [relay("b", "a"), origin("a")], [["a"], ["b"]], {"from a to b"}),
    (
        "a chain",
        [origin("a"), relay("b", "a"), relay("c", "b")],
        [["a"], ["b"], ["c"]],
        {"from a to b", "from b to c"},
    ),
    (
        "a tree",
        [origin("a"), relay("b", "a"), relay("c", "a"), relay("d", "b"), relay("e", "b")],
        [["a"], ["b", "c"], ["d", "e"]],
        {"from a to b", "from a to c", "from b to d", "from b to e"},
    ),
    (
        "where it is waited for stands below where it is published, a relay without its source between",
        [Spot("a", "waiting", 3), relay("b", None), origin("c")],
        [["c", "b", "a"]],
        set(),
    ),
    ("a source that does not have it", [relay("b", "gone")], [["b"]], set()),
    ("one that relays to itself", [relay("a", "a")], [["a"]], set()),
    ("a circle", [relay("a", "b"), relay("b", "a")], [["a"], ["b"]], {"from a to b"}),
    (
        "a circle beside a tree, with a tail",
        [origin("o"), relay("x", "z"), relay("y", "x"), relay("z", "y"), relay("tail", "x")],
        [["o", "x"], ["tail", "y"], ["z"]],
        {"from x to tail", "from x to y", "from y to z"},
    ),
]


@pytest.mark.parametrize(("spots", "shown", "joined"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_node_stands_one_column_right_of_its_source(
    spots: list[Spot], shown: list[list[str]], joined: set[str]
) -> None:
    """Relays that feed each other in a circle begin at one of it."""
    picture = draw("cam", spots)
    assert columns(picture) == shown
    assert lines(picture) == joined


@pytest.mark.parametrize("spots", [c[1] for c in CASES], ids=[c[0] for c in CASES])
def test_boxes_do_not_overlap_and_all_is_inside(spots: list[Spot]) -> None:
    picture = draw("cam", spots)
    for one in picture.boxes:
        assert one.x > 0 and one.x + one.width < picture.width
        assert one.y > 0 and one.y + one.height < picture.height
        for other in picture.boxes:
            apart = one.x != other.x or abs(one.y - other.y) >= BOX_HEIGHT
            assert one is other or apart


def test_a_source_stands_in_the_middle_of_what_it_feeds() -> None:
    picture = draw("cam", [origin("a"), relay("b", "a"), relay("c", "a")])
    middle = (box(picture, "b").y + box(picture, "c").y) / 2
    assert box(picture, "a").y == middle


def test_a_line_goes_from_the_right_side_of_its_source_to_the_left_side_of_its_target() -> None:
    picture = draw("cam", [origin("a"), relay("b", "a")])
    (line,) = picture.lines
    a, b = box(picture, "a"), box(picture, "b")
    assert line.path.startswith(f"M{a.x + BOX_WIDTH:g} {a.y + BOX_HEIGHT / 2:g}C")
    assert line.path.endswith(f" {b.x:g} {b.y + BOX_HEIGHT / 2:g}")


def test_many_behind_one_are_summed_up_with_all_behind_them() -> None:
    spots = [origin("a"), *(relay(f"b{at:03}", "a", viewers=1) for at in range(100)), relay("c", "b099", 5)]
    picture = draw("cam", spots)
    more = f"{100 - (MOST - 1) + 1} more nodes"
    assert columns(picture)[1] == [*(f"b{at:03}" for at in range(MOST - 1)), more]
    assert box(picture, more).note == f"{100 - (MOST - 1) + 5} viewers"
    assert f"from a to {more}" in lines(picture)
    exactly = draw("cam", [origin("a"), *(relay(f"b{at:03}", "a") for at in range(MOST))])
    assert len(exactly.boxes) == MOST + 1


def test_a_chain_without_end_ends_in_the_picture() -> None:
    """Nodes may say anything; a thousand hops make neither a wide picture nor a deep recursion."""
    spots = [origin("0000"), *(relay(f"{at:04}", f"{at - 1:04}", viewers=1) for at in range(1, 2000))]
    picture = draw("cam", spots)
    assert len(columns(picture)) == DEEPEST + 1
    assert columns(picture)[-1] == [f"{2000 - DEEPEST} more nodes"]


def test_a_single_one_that_is_summed_up() -> None:
    spots = [origin("0"), *(relay(str(at), str(at - 1)) for at in range(1, DEEPEST + 1))]
    assert columns(draw("cam", spots))[-1] == ["1 more node"]


@pytest.mark.parametrize(
    ("spots", "words"),
    [
        ([], "No node has cam."),
        ([origin("a", 1)], "a: the publisher is here, 1 viewer."),
        (
            [origin("a", 2), relay("b", "a", 1200)],
            "a: the publisher is here, 2 viewers; b: by a relay from a, 1200 viewers.",
        ),
        (
            [relay("b", None), Spot("c", "waiting", 0)],
            "b: by a relay, 0 viewers; c: nothing comes here yet, 0 viewers.",
        ),
    ],
)
def test_the_same_in_words(spots: list[Spot], words: str) -> None:
    assert draw("cam", spots).words == words


def test_the_words_name_not_more_than_one_can_listen_to() -> None:
    words = draw("cam", [origin(f"{at:03}") for at in range(MOST_WORDS + 7)]).words
    assert words.endswith("; and 7 more nodes.")
    assert words.count("publisher") == MOST_WORDS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("abcdef", "abcdef"),
        ("abcdefg", "abcde…"),
        ("<b>&amp;", "<b>&a…"),
        ("東京東", "東京東"),
        ("東京東京", "東京…"),
        ("e\u0301" * 6, "e\u0301" * 6),
        ("e\u0301" * 7, "e\u0301" * 5 + "…"),
    ],
)
def test_a_name_is_cut_to_what_fits(text: str, shown: str) -> None:
    """Here in 6 columns; combining marks take none, wide characters two."""
    assert shortened(text, 6) == shown
