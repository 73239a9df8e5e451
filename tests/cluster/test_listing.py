"""The JSON of nodes and streams."""

import json
from typing import Any

import msgspec
import pytest

from cluster.fake import body, data, session, stream
from liveman.cluster import listing
from liveman.cluster.node import Node
from liveman.cluster.state import State
from liveman.cluster.wire import Strategy
from liveman.config import Secret


def listed(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


def encoded_streams(state: State, nodes: list[str] | None = None) -> bytes:
    return listing.StreamRows().encode(listing.take_streams(state, nodes))


def streams(state: State, nodes: list[str] | None = None) -> Any:
    return json.loads(encoded_streams(state, nodes))


def state_of(**snapshots: bytes) -> State:
    state = State()
    for alias, snapshot in snapshots.items():
        state.add(Node(alias, f"http://{alias}"))
        state.happened(alias, "success")
        state.apply(alias, snapshot)
    return state


def test_a_node_that_was_never_polled() -> None:
    """All members that clients rely on, and ours; what is not known is left out, and the token always."""
    state = State()
    state.add(Node("a", "http://a:7777", Secret("s3cret"), "sse", 5, 6, "api"))
    row = listed(listing.node_row(state.nodes["a"]))
    assert row == {
        "alias": "a",
        "url": "http://a:7777",
        "pub_max": 5,
        "sub_max": 6,
        "status": "running",
        "duration": "-",
        "kind": "api",
        "health": "suspect",
        "draining": False,
        "publishers": 0,
        "subscribers": 0,
    }


def test_a_node_that_tells_of_itself() -> None:
    """Its strategy as it said it, its version, how long the last poll took, its sessions."""
    state = state_of(a=data("one_publisher_one_subscriber.json"))
    state.describe("a", Strategy(data("strategy.json"), 2), "v1")
    state.nodes["a"].polled = 0.0123
    row = listed(listing.node_row(state.nodes["a"]))
    assert row["strategy"] == json.loads(data("strategy.json"))
    assert (row["version"], row["duration"], row["health"]) == ("v1", "12ms", "up")
    assert (row["publishers"], row["subscribers"]) == (1, 1)


@pytest.mark.parametrize(
    ("failures", "status"), [(0, "running"), (1, "running"), (2, "running"), (3, "stopped")]
)
def test_only_nodes_that_are_down_are_stopped(failures: int, status: str) -> None:
    """Suspect ones run."""
    state = state_of(a=b"[]")
    for _ in range(failures):
        state.happened("a", "failure")
    assert listing.node_row(state.nodes["a"])["status"] == status


def test_a_stream_of_one_node_is_as_that_node_said_it() -> None:
    """With all that a newer node adds, numbers that fit no type included; and it says where it is."""
    text = b'[{"id": "x", "new": {"huge": 1e999, "fine": 2.50}, "statsScope": "node", "publish": {"sessions": []}}]'
    encoded = encoded_streams(state_of(a=text))
    assert b'{"huge": 1e999, "fine": 2.50}' in encoded
    (row,) = json.loads(encoded)
    assert (row["node"], row["statsScope"]) == ("a", "node")
    assert "createdAt" not in row and "codecs" not in row


def test_a_real_stream_on_two_nodes_is_merged() -> None:
    """A push: source and destination."""
    source, destination = (
        json.loads(data("push_source.json"))[0],
        json.loads(data("push_destination.json"))[0],
    )
    (row,) = streams(state_of(b=data("push_source.json"), a=data("push_destination.json")))
    assert row["createdAt"] == source["createdAt"]
    assert row["publish"]["sessions"] == destination["publish"]["sessions"] + source["publish"]["sessions"]
    assert row["subscribe"] == {"leaveAt": 0, "sessions": source["subscribe"]["sessions"]}
    assert row["codecs"] == source["codecs"]
    assert row["statsScope"] == "clusterNodeWork"
    assert row["stats"]["subscribe"] == source["stats"]["subscribe"]
    assert row["stats"]["publish"] == {
        "bytes": 145467 + 42262,
        "packets": 1077 + 306,
        "bitrate": 83390 + 85977,
    }
    assert (row["provisioned"], row["onDemand"]) == (False, False)
    assert "node" not in row


@pytest.mark.parametrize(
    ("one", "other", "member", "expected"),
    [
        ({"createdAt": 5}, {"createdAt": 3}, "createdAt", 3),
        ({"createdAt": 5}, {"createdAt": "later"}, "createdAt", 5),
        ({"publish": {"leaveAt": 7}}, {"publish": {"leaveAt": 9}}, "publish", {"leaveAt": 9, "sessions": []}),
        ({"publish": {"leaveAt": 7}}, {"publish": {"leaveAt": 0}}, "publish", {"leaveAt": 0, "sessions": []}),
        ({"publish": {}}, {}, "publish", {"sessions": []}),
        ({"onDemand": True}, {"onDemand": False}, "onDemand", True),
        ({"provisioned": False}, {}, "provisioned", False),
        ({"codecs": []}, {"codecs": [{"kind": "audio"}]}, "codecs", [{"kind": "audio"}]),
        (
            {"codecs": [{"kind": "relayed"}]},
            {"codecs": [{"kind": "video"}], "publish": {"sessions": [session("p")]}},
            "codecs",
            [{"kind": "video"}],
        ),
        (
            {"stats": {"publish": {"bytes": 2}}},
            {"stats": {"publish": {"bytes": "x"}, "subscribe": 7}},
            "stats",
            None,
        ),
    ],
)
def test_members_are_merged(
    one: dict[str, Any], other: dict[str, Any], member: str, expected: object
) -> None:
    """Each by its own rule."""
    zeros = {"bytes": 0, "packets": 0, "bitrate": 0}
    if member == "stats":
        expected = {"publish": {**zeros, "bytes": 2}, "subscribe": zeros}
    (row,) = streams(state_of(a=body({"id": "x", **one}), b=body({"id": "x", **other})))
    assert row[member] == expected


def test_members_that_no_node_sent_are_left_out() -> None:
    """A merge invents nothing but its scope."""
    (row,) = streams(state_of(a=body({"id": "x"}), b=body({"id": "x"})))
    assert row == {"id": "x", "statsScope": "clusterNodeWork"}


def test_streams_come_by_id_and_can_be_narrowed() -> None:
    """`nodes` counts only what those nodes said."""
    state = state_of(a=body(stream("y", ["p"]), stream("x")), b=body(stream("y", [], ["v"])))
    assert [row["id"] for row in listed(streams(state))] == ["x", "y"]
    (row,) = streams(state, ["b"])
    assert (row["id"], row["node"]) == ("y", "b")
    assert row["publish"]["sessions"] == []
    assert streams(state, ["z"]) == []


def test_only_what_a_node_said_is_listed() -> None:
    """A pending session has no words yet."""
    state = state_of(a=b"[]")
    state.session_created("a", "publish", "x", "p", now=0)
    assert streams(state) == []
    assert listing.nodes_of_stream(state, "x", with_ids=True) == {}


def test_one_stream_is_given_as_each_node_said_it() -> None:
    """By alias, in their order."""
    state = state_of(b=data("push_source.json"), a=data("push_destination.json"))
    found = listed(listing.nodes_of_stream(state, "cam", with_ids=True))
    assert list(found) == ["a", "b"]
    assert [found["b"]] == json.loads(data("push_source.json"))


@pytest.mark.parametrize("name", ["push_source.json", "pull_destination.json", "older_relays.json"])
def test_scoped_callers_see_no_session_ids(name: str) -> None:
    """Neither as ids nor in the urls of relays; the rest stays."""
    state = state_of(a=data(name))
    for said in json.loads(data(name)):
        text = msgspec.json.encode(listing.nodes_of_stream(state, said["id"], with_ids=False)).decode()
        sessions = said["publish"]["sessions"] + said["subscribe"]["sessions"]
        assert sessions and not any(each["id"] in text for each in sessions)
        assert "/session/" not in text
        found = json.loads(text)["a"]
        assert [s["state"] for s in found["publish"]["sessions"]] == [
            s["state"] for s in said["publish"]["sessions"]
        ]
        assert found["subscribe"]["leaveAt"] == said["subscribe"]["leaveAt"]


def test_a_stream_without_sessions_has_none_to_hide() -> None:
    """Missing members stay missing."""
    assert listed(listing.nodes_of_stream(state_of(a=b'[{"id":"x","publish":{}}]'), "x", with_ids=False)) == {
        "a": {"id": "x", "publish": {}}
    }


def test_rows_are_made_anew_only_when_a_node_says_something_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each stream by itself; a snapshot with the same words makes none, though its bytes are others."""
    made = []
    row = listing._row
    monkeypatch.setattr(listing, "_row", lambda name, parts: (made.append(name), row(name, parts))[1])
    state = state_of(a=body(stream("x", ["p"]), stream("y")), b=body(stream("x", [], ["v"])))
    rows = listing.StreamRows()

    def encoded(alias: str, *said: dict[str, Any]) -> Any:
        made.clear()
        state.apply(alias, body(*said))
        return json.loads(rows.encode(listing.take_streams(state)))

    assert rows.encode(listing.take_streams(state)) == encoded_streams(state)
    encoded("a", stream("x", ["p"]), stream("y"), stream("z"))
    assert made == ["z"]
    found = encoded("b", stream("x", [], ["v", "w"]))
    assert made == ["x"]
    assert found == streams(state)
    assert [row["id"] for row in encoded("a", stream("z"), stream("x", ["p"]))] == ["x", "z"]
    assert made == []


def test_a_publisher_who_moves_takes_the_codecs_along() -> None:
    """Who is a relay follows from what the other node says, while this one's words stay the same."""
    rows = listing.StreamRows()
    said = body({**stream("x", ["p"]), "codecs": [{"kind": "relayed"}]})
    state = state_of(a=said, b=body({**stream("x", ["q"]), "codecs": [{"kind": "real"}]}))
    (row,) = json.loads(rows.encode(listing.take_streams(state)))
    assert row["codecs"] == [{"kind": "relayed"}]
    push = session("r", cascade={"targetUrl": "http://a/whip/x", "sessionUrl": "http://a/session/x/p"})
    state.apply("b", body({**stream("x", ["q"], [push]), "codecs": [{"kind": "real"}]}))
    (row,) = json.loads(rows.encode(listing.take_streams(state)))
    assert row["codecs"] == [{"kind": "real"}]


def test_the_list_is_one_line() -> None:
    """However a node wrote it: it stands in one line of an event stream."""
    text = b'[{"id": "x",\r\n "a": [1,\r2,\n3,\r\n4]}]'
    encoded = encoded_streams(state_of(a=text))
    assert b"\n" not in encoded and b"\r" not in encoded
    assert json.loads(encoded) == [{"id": "x", "a": [1, 2, 3, 4], "node": "a"}]
