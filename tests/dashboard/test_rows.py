"""What the tables show of nodes, streams and sessions."""

import pytest

from cluster.fake import body, session, stream
from liveman.cluster.listing import take_streams
from liveman.cluster.state import Node, State
from liveman.dashboard.rows import Load, invisible, linkable, node_row, said, session_rows, stream_rows


def state_with(**told: bytes) -> State:
    state = State()
    for alias, snapshot in told.items():
        state.add(Node(alias, f"http://{alias}.example", pub_max=10, sub_max=10))
        state.happened(alias, "success")
        state.apply(alias, snapshot)
    return state


def push(to: str, far: str) -> dict[str, object]:
    url = f"http://{to}.example"
    return session("feed", cascade={"targetUrl": f"{url}/whip/cam", "sessionUrl": f"{url}/session/cam/{far}"})


@pytest.mark.parametrize(
    ("told", "row"),
    [
        ({"a": body(stream("cam", ["p"], ["v"]))}, ("live", "a", 1, 1)),
        ({"a": body(stream("cam", [session("p", state="new")]))}, ("connecting", "a", 0, 1)),
        # It has lost its connection for a moment.
        ({"a": body(stream("cam", [session("p", state="disconnected")]))}, ("live", "a", 0, 1)),
        ({"a": body(stream("cam", [], ["v", "w"]))}, ("waiting", None, 2, 1)),
        ({"a": body(stream("cam", onDemand=True))}, ("on demand", None, 0, 1)),
        (
            {"a": body(stream("cam", [], ["v"])), "b": body(stream("cam", ["p"], ["w"]))},
            ("live", "b", 2, 2),
        ),
        (
            {"a": body(stream("cam", ["end"])), "b": body(stream("cam", ["p"], [push("a", "end")]))},
            ("live", "b", 0, 2),
        ),
        # Its source is none of ours.
        (
            {"a": body(stream("cam", [session("end", cascade={"sourceUrl": "http://x.example/whep/cam"})]))},
            ("relayed", None, 0, 1),
        ),
    ],
)
def test_a_stream_over_all_its_nodes(told: dict[str, bytes], row: tuple[str, str | None, int, int]) -> None:
    (found,) = stream_rows(take_streams(state_with(**told)))
    assert (found.state, found.publisher, found.viewers, found.nodes) == row


def test_streams_come_by_name_with_what_the_publishers_node_says() -> None:
    said_there = {
        "createdAt": 5000,
        "codecs": [{"kind": "video", "codec": "vp8"}],
        "stats": {"publish": {"bitrate": 7}},
    }
    state = state_with(a=body(stream("z"), stream("cam")), b=body(stream("cam", ["p"], **said_there)))
    cam, z = stream_rows(take_streams(state))
    assert (cam.name, cam.bits, z.name) == ("cam", 7, "z")
    assert (said(cam.raw).since, said(cam.raw).codecs[0].codec) == (5, "vp8")


@pytest.mark.parametrize("created", [None, 0, -5, 10**30, "now", 1.5, [1]])
def test_a_time_that_cannot_be_is_not_told(created: object) -> None:
    (row,) = stream_rows(take_streams(state_with(a=body(stream("cam", createdAt=created)))))
    assert said(row.raw).since is None
    assert said(None).since is None


def test_what_a_node_has_pending_is_a_session_that_nothing_is_said_of() -> None:
    state = state_with(a=body(stream("cam", ["p"])))
    state.session_created("a", "subscribe", "cam", "fresh", 0.0)
    entry = state.streams["cam"]["a"]
    rows = session_rows([("a", entry.raw, state.sessions("a", "cam"))], {})
    assert [(row.id, row.role, row.state) for row in rows] == [
        ("p", "publish", "connected"),
        ("fresh", "subscribe", ""),
    ]
    assert session_rows([("a", None, [("x", "subscribe")])], {})[0].bitrate is None


@pytest.mark.parametrize(
    ("load", "limited", "share"),
    [
        (Load(0, 10), True, 0.0),
        (Load(5, 10), True, 0.5),
        (Load(12, 10), True, 1.0),
        (Load(0, 0), True, 1.0),
        (Load(5, 65_535), False, 5 / 65_535),
    ],
)
def test_how_much_of_a_limit_is_taken(load: Load, limited: bool, share: float) -> None:
    assert (load.limited, load.share) == (limited, share)


def test_that_a_node_is_down_weighs_more_than_that_it_is_drained() -> None:
    state = state_with(a=body(stream("cam", ["p"])))
    state.drain("a", True)
    assert node_row(state.nodes["a"]).standing == "draining"
    for _ in range(3):
        state.happened("a", "failure")
    row = node_row(state.nodes["a"])
    assert (row.standing, row.draining, row.streams) == ("down", True, 0)


@pytest.mark.parametrize("name", ["cam", "a b", "100%", "ü" * 127, "...", "?#&", "\u202ex", "x" * 255])
def test_nearly_all_names_have_an_address(name: str) -> None:
    assert linkable(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\x7f", "x" * 256, "ü" * 128])
def test_some_names_have_none(name: str) -> None:
    assert not linkable(name)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cam", []),
        ("a b\u00a0é東😀", []),
        ("\u202egpj", ["U+202E"]),
        ("a\u200bb\u200bc\u200f", ["U+200B", "U+200F"]),
        ("line\nend\u2028", ["U+000A", "U+2028"]),
    ],
)
def test_characters_that_nobody_sees_are_found(name: str, found: list[str]) -> None:
    assert invisible(name) == found
