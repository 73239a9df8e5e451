"""Where sessions go: the rules as tables."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cluster.fake import body, data, session, stream
from liveman.cluster.decision import CANDIDATES, Candidate, Decision
from liveman.cluster.node import Node
from liveman.cluster.placement import place
from liveman.cluster.state import Kind, State
from liveman.cluster.wire import Strategy

UP, SUSPECT, DOWN = 0, 1, 3
RELAY = session("relay", cascade={"sourceUrl": "http://o/whep/x", "sessionUrl": "http://o/session/x/1"})


def build(nodes: dict[str, dict[str, Any]]) -> State:
    """Nodes by alias: `pub` and `sub` limits, `failures` in a row, `streams`."""
    state = State()
    for alias, given in nodes.items():
        state.add(Node(alias, "http://x", pub_max=given.get("pub", 10), sub_max=given.get("sub", 10)))
        state.happened(alias, "success")
        state.apply(alias, body(*given.get("streams", [])))
        for _ in range(given.get("failures", UP)):
            state.happened(alias, "failure")
    return state


def decide(
    state: State,
    kind: Kind,
    name: str = "x",
    nodes: Sequence[str] = (),
    exclude: Sequence[str] = (),
    random: Callable[[int], int] = lambda n: 0,
) -> Decision:
    return place(state, kind, name, nodes=nodes, exclude=exclude, at=1234.5, random=random)


def outcome(decision: Decision) -> str:
    """``existing a``, ``place b``, or the refusal."""
    assert (decision.target is None) == (decision.action == "refuse") == (decision.refusal is not None)
    assert decision.reason
    assert decision.at == 1234.5
    return f"{decision.action} {decision.target.alias}" if decision.target else str(decision.refusal)


PUBLISH: list[tuple[str, dict[str, dict[str, Any]], dict[str, Any], str]] = [
    ("no node at all", {}, {}, "no_node"),
    ("one node", {"a": {}}, {}, "place a"),
    ("the most free places", {"a": {"pub": 3}, "b": {"pub": 5}}, {}, "place b"),
    (
        "free places are what is left",
        {"a": {"pub": 5, "streams": [stream("1", ["p"]), stream("2", ["p"])]}, "b": {"pub": 4}},
        {},
        "place b",
    ),
    (
        "among equals the fewest subscribers",
        {"a": {"streams": [stream("1", [], ["v", "w"])]}, "b": {"streams": [stream("2", [], ["v"])]}},
        {},
        "place b",
    ),
    ("among equals in all the first alias", {"b": {}, "a": {}}, {}, "place a"),
    (
        "relays count as load",
        {"a": {"streams": [stream("1", [RELAY])]}, "b": {}},
        {},
        "place b",
    ),
    (
        "relays take no place",
        {"a": {"pub": 1, "streams": [stream("1", [RELAY])]}},
        {},
        "place a",
    ),
    ("a suspect node is the last choice", {"a": {"failures": SUSPECT}, "b": {"pub": 1}}, {}, "place b"),
    ("a suspect node is a choice", {"a": {"failures": SUSPECT}}, {}, "place a"),
    ("before a full one", {"a": {"failures": SUSPECT}, "b": {"pub": 0}}, {}, "place a"),
    ("a node that is down is none", {"a": {"failures": DOWN}}, {}, "no_node"),
    ("nothing free", {"a": {"pub": 0}, "b": {"pub": 1, "streams": [stream("1", ["p"])]}}, {}, "full"),
    ("nodes narrows", {"a": {"pub": 9}, "b": {"pub": 1}}, {"nodes": ["b"]}, "place b"),
    (
        "nodes narrows to the best",
        {"a": {"pub": 9}, "b": {"pub": 1}, "c": {"pub": 2}},
        {"nodes": ["b", "c"]},
        "place c",
    ),
    ("nodes that are unknown", {"a": {}}, {"nodes": ["z"]}, "no_node"),
    ("some nodes that are unknown", {"a": {}}, {"nodes": ["z", "a", "a"]}, "place a"),
    ("nodes that are full", {"a": {}, "b": {"pub": 0}}, {"nodes": ["b"]}, "full"),
    ("nodes that are down", {"a": {}, "b": {"failures": DOWN}}, {"nodes": ["b"]}, "no_node"),
    ("what was tried is not tried again", {"a": {"pub": 9}, "b": {"pub": 1}}, {"exclude": ["a"]}, "place b"),
    ("all were tried", {"a": {}, "b": {}}, {"exclude": ["a", "b"]}, "no_node"),
    ("one was tried, the other is full", {"a": {}, "b": {"pub": 0}}, {"exclude": ["a"]}, "full"),
    ("narrowed and tried", {"a": {}, "b": {}}, {"nodes": ["a"], "exclude": ["a"]}, "no_node"),
    ("its origin", {"a": {"pub": 99}, "b": {"streams": [stream("x", ["p"])]}}, {}, "existing b"),
    ("its origin, full", {"a": {}, "b": {"pub": 1, "streams": [stream("x", ["p"])]}}, {}, "existing b"),
    (
        "its origin, suspect",
        {"a": {}, "b": {"failures": 2, "streams": [stream("x", ["p"])]}},
        {},
        "existing b",
    ),
    (
        "its origin, whatever was asked for",
        {"a": {}, "b": {"streams": [stream("x", ["p"])]}},
        {"nodes": ["a"]},
        "existing b",
    ),
    (
        "its origin before its viewers",
        {"a": {"streams": [stream("x", [], ["v", "w"])]}, "b": {"streams": [stream("x", ["p"])]}},
        {},
        "existing b",
    ),
    (
        "never a relay instead of the origin",
        {"a": {"streams": [stream("x", [RELAY], ["v", "w"])]}, "b": {"streams": [stream("x", ["p"])]}},
        {},
        "existing b",
    ),
    (
        "without publisher, most of its subscribers",
        {"a": {"streams": [stream("x", [], ["v"])]}, "b": {"streams": [stream("x", [], ["v", "w"])]}},
        {},
        "existing b",
    ),
    (
        "without publisher, not where it is suspect",
        {"a": {"failures": 1, "streams": [stream("x", [], ["v", "w"])]}, "b": {"streams": [stream("x")]}},
        {},
        "existing b",
    ),
    ("where it was created", {"a": {"pub": 99}, "b": {"streams": [stream("x")]}}, {}, "existing b"),
    (
        "where it was, but that is down",
        {"a": {}, "b": {"failures": DOWN, "streams": [stream("x", ["p"])]}},
        {},
        "place a",
    ),
    (
        "its origin was tried",
        {"a": {}, "b": {"streams": [stream("x", ["p"])]}},
        {"exclude": ["b"]},
        "place a",
    ),
    (
        "its origin was tried, viewers wait elsewhere",
        {
            "a": {"pub": 99},
            "b": {"streams": [stream("x", ["p"])]},
            "c": {"streams": [stream("x", [], ["v"])]},
        },
        {"exclude": ["b"]},
        "existing c",
    ),
]

SUBSCRIBE: list[tuple[str, dict[str, dict[str, Any]], dict[str, Any], str]] = [
    ("no node at all", {}, {}, "no_node"),
    ("all are down", {"a": {"failures": DOWN, "streams": [stream("x", ["p"])]}}, {}, "no_node"),
    ("nobody has it", {"a": {}}, {}, "unknown_stream"),
    ("the origin", {"a": {}, "b": {"streams": [stream("x", ["p"])]}}, {}, "existing b"),
    ("created or provisioned, without publisher", {"a": {"streams": [stream("x")]}}, {}, "existing a"),
    (
        "the most free places for it",
        {
            "a": {"sub": 3, "streams": [stream("x", ["p"], ["v"])]},
            "b": {"sub": 3, "streams": [stream("x", [RELAY])]},
        },
        {},
        "existing b",
    ),
    (
        "the limit is the stream's, not the node's",
        {"a": {"sub": 2, "streams": [stream("x", ["p"], ["v"]), stream("y", ["q"], ["1", "2"])]}},
        {},
        "existing a",
    ),
    (
        "among equals the least load",
        {
            "a": {"streams": [stream("x", ["p"]), stream("y", [], ["v"])]},
            "b": {"streams": [stream("x", [RELAY])]},
            "c": {"streams": [stream("x", ["p"])]},
        },
        {},
        "existing c",
    ),
    ("full", {"a": {"sub": 1, "streams": [stream("x", ["p"], ["v"])]}, "b": {}}, {}, "full"),
    (
        "one that has left takes no place",
        {"a": {"sub": 1, "streams": [stream("x", ["p"], [session("v", leaveAt=9)])]}},
        {},
        "existing a",
    ),
    (
        "a relay takes no place at its source",
        {
            "a": {
                "sub": 1,
                "streams": [stream("x", ["p"], [session("v", cascade={"targetUrl": "http://b/whip/x"})])],
            }
        },
        {},
        "existing a",
    ),
    (
        "a suspect node is the last choice",
        {
            "a": {"failures": 1, "streams": [stream("x", ["p"])]},
            "b": {"sub": 1, "streams": [stream("x", [RELAY])]},
        },
        {},
        "existing b",
    ),
    ("a suspect node is a choice", {"a": {"failures": 1, "streams": [stream("x", ["p"])]}}, {}, "existing a"),
    (
        "nodes narrows",
        {"a": {"streams": [stream("x", ["p"])]}, "b": {"sub": 1, "streams": [stream("x", [RELAY])]}},
        {"nodes": ["b"]},
        "existing b",
    ),
    (
        "nodes that do not have it",
        {"a": {"streams": [stream("x", ["p"])]}, "b": {}},
        {"nodes": ["b"]},
        "full",
    ),
    (
        "what was tried is not tried again",
        {"a": {"streams": [stream("x", ["p"])]}, "b": {"sub": 1, "streams": [stream("x", [RELAY])]}},
        {"exclude": ["a"]},
        "existing b",
    ),
    ("all were tried", {"a": {"streams": [stream("x", ["p"])]}, "b": {}}, {"exclude": ["a"]}, "no_node"),
    (
        "one was tried, the other is full",
        {"a": {"streams": [stream("x", ["p"])]}, "b": {"sub": 0, "streams": [stream("x", [RELAY])]}},
        {"exclude": ["a"]},
        "full",
    ),
]


@pytest.mark.parametrize(
    ("nodes", "request_", "expected"), [r[1:] for r in PUBLISH], ids=[r[0] for r in PUBLISH]
)
def test_a_publisher_goes_to(nodes: dict[str, Any], request_: dict[str, Any], expected: str) -> None:
    """A known stream where it is, an unknown one where most places are free."""
    assert outcome(decide(build(nodes), "publish", **request_)) == expected


@pytest.mark.parametrize(
    ("nodes", "request_", "expected"), [r[1:] for r in SUBSCRIBE], ids=[r[0] for r in SUBSCRIBE]
)
def test_a_subscriber_goes_to(nodes: dict[str, Any], request_: dict[str, Any], expected: str) -> None:
    """Where the stream is and most places are free for it."""
    assert outcome(decide(build(nodes), "subscribe", **request_)) == expected


def test_the_limit_that_a_node_reports_holds() -> None:
    """A node reports it, and leaves it to Liveman to keep it."""
    state = build({"a": {"streams": [stream("x", ["p"], ["v"])]}})
    state.describe("a", Strategy(b"{}", 1), None)
    assert outcome(decide(state, "subscribe")) == "full"


def test_pending_viewers_fill_the_places() -> None:
    """Two fast viewers do not get one place."""
    state = build({"a": {"sub": 1, "streams": [stream("x", ["p"])]}})
    assert outcome(decide(state, "subscribe")) == "existing a"
    state.session_created("a", "subscribe", "x", "v", now=0)
    assert outcome(decide(state, "subscribe")) == "full"
    state.session_deleted("a", "x", "v")
    assert outcome(decide(state, "subscribe")) == "existing a"


def test_real_relays_are_no_origins() -> None:
    """Captured of real nodes: a publisher of a relayed stream goes to its source."""
    state = build({"source": {}, "destination": {}})
    for alias, name in (("destination", "push_destination.json"), ("source", "pull_source.json")):
        state.apply(alias, data(name))
    assert outcome(decide(state, "publish", "cam")) == "existing source"


def test_a_decision_tells_who_was_looked_at() -> None:
    """With scores, and why the others were rejected."""
    state = build(
        {
            "a": {"sub": 2, "streams": [stream("x", ["p"], ["v", "w"])]},
            "b": {"sub": 5, "streams": [stream("x", [RELAY])]},
            "c": {"sub": 9, "streams": [stream("x", [RELAY])]},
        }
    )
    decision = decide(state, "subscribe", exclude=["c"])
    assert set(decision.candidates[1:]) == {Candidate("a", 0, "full"), Candidate("c", 9, "tried already")}
    assert decision.candidates[0] == Candidate("b", 5)


@pytest.mark.parametrize("kind", ["publish", "subscribe"])
@pytest.mark.parametrize("known", [True, False])
def test_a_decision_stays_small(kind: Kind, known: bool) -> None:
    """However many nodes are full."""
    streams = [stream("x", ["p"], ["v"])] if known else []
    state = build({f"n{i}": {"pub": 0, "sub": 0, "streams": streams} for i in range(50)})
    assert len(decide(state, kind).candidates) <= CANDIDATES


def test_many_tried_nodes_do_not_hide_a_free_one() -> None:
    """Failover looks on behind the candidates that it lists."""
    state = build({f"n{i:02}": {} for i in range(30)})
    decision = decide(state, "publish", exclude=[f"n{i:02}" for i in range(29)])
    assert outcome(decision) == "place n29"
