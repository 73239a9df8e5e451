"""Relays as rules: which there are, where another may go, and which have had their day."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from cluster.fake import body, session, stream
from liveman.cluster import cascade
from liveman.cluster.cascade import Relay, depths, idle, loose, lost, relays
from liveman.cluster.decision import Decision
from liveman.cluster.node import Node
from liveman.cluster.placement import place
from liveman.cluster.state import State
from liveman.secret import build_session_id
from support.transcript import parse

RECORDED = {each.note: each for each in parse(Path(__file__).parent.parent / "data" / "live777.http")}
PUBLIC = "http://live.example"


def build(nodes: dict[str, list[dict[str, Any]]], *, order: list[str] | None = None, **limits: Any) -> State:
    """Nodes a, b, … at http://a, http://b, …, which have said this, in this order."""
    state = State()
    for alias in nodes:
        state.add(Node(alias, f"http://{alias}", sub_max=limits.get(alias, 10)))
        state.happened(alias, "success")
    for alias in order or list(nodes):
        state.apply(alias, body(*nodes[alias]))
    return state


def push(id: str, to: str, at: str) -> dict[str, Any]:
    """A source's session that pushes to node `to`, where the session is `at`."""
    return session(
        id, cascade={"targetUrl": f"http://{to}/whip/x", "sessionUrl": f"http://{to}/session/x/{at}"}
    )


def pull(id: str, of: str, at: str) -> dict[str, Any]:
    """A destination's session that pulls from node `of`, where the session is `at`."""
    return session(
        id, cascade={"sourceUrl": f"http://{of}/whep/x", "sessionUrl": f"http://{of}/session/x/{at}"}
    )


PUSHED = {"a": [stream("x", ["p"], [push("s", "b", "r")])], "b": [stream("x", ["r"])]}
PULLED = {"a": [stream("x", ["p"], ["s"])], "b": [stream("x", [pull("r", "a", "s")])]}
CHAIN = {
    "a": [stream("x", ["p"], [push("s", "b", "r")])],
    "b": [stream("x", ["r"], ["s2"])],
    "c": [stream("x", [pull("r2", "b", "s2")], ["viewer"])],
}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (PUSHED, [Relay("x", "a", "b", "push", "s", "r")]),
        (PULLED, [Relay("x", "a", "b", "pull", "s", "r")]),
        (CHAIN, [Relay("x", "a", "b", "push", "s", "r"), Relay("x", "b", "c", "pull", "s2", "r2")]),
        ({"a": [stream("x", ["p"], ["s"])], "b": []}, []),
    ],
    ids=["push", "pull", "a chain", "none"],
)
def test_relays_are_known_from_what_either_side_says(said: Any, expected: list[Relay]) -> None:
    """Whatever order the nodes are heard in, as after a restart."""
    for order in permutations(said):
        state = build(said, order=list(order))
        assert sorted(relays(state, "x").values(), key=lambda each: each.destination) == expected
        assert {
            alias: depths(state, "x").get(alias) for alias in ("a", *[r.destination for r in expected])
        } == {
            "a": 0,
            **{each.destination: depth for depth, each in enumerate(expected, 1)},
        }


def test_relays_of_real_nodes_are_known() -> None:
    """The push and the pull of the recorded nodes; the pull goes on under another name and is none of ours."""

    def said(note: str) -> dict[str, Any]:
        return json.loads(RECORDED[note].answer)  # type: ignore[no-any-return]

    state = State()
    for alias, port in (("a", 15101), ("b", 15102)):
        state.add(Node(alias, f"http://127.0.0.1:{port}"))
        state.happened(alias, "success")
    state.apply("a", body(said("the source of a push and a pull")))
    state.apply("b", body(said("the destination of a push"), said("the destination of a pull")))
    (found,) = relays(state, "cam").values()
    assert (found.source, found.destination, found.mode) == ("a", "b", "push")
    assert depths(state, "cam") == {"a": 0, "b": 1}
    assert relays(state, "other") == {}
    assert state.nodes["b"].publishers == 0


def test_a_relay_through_liveman_s_own_route_is_known_by_the_tag_in_its_session() -> None:
    tagged = build_session_id(b"k" * 32, alias="b", kind="p", stream="x", id="r")
    source = session(
        "s", cascade={"targetUrl": f"{PUBLIC}/api/whip/b/x", "sessionUrl": f"{PUBLIC}/session/x/{tagged}"}
    )
    state = build({"a": [stream("x", ["p"], [source])], "b": [stream("x", ["r"])]})
    assert relays(state, "x") == {"b": Relay("x", "a", "b", "push", "s", "r")}


def test_an_older_node_s_words_are_known_too() -> None:
    source = session("s", cascade={"dst": "http://b/whip/x", "resource": "http://b/session/x/r"})
    state = build({"a": [stream("x", ["p"], [source])], "b": [stream("x", ["r"])]})
    assert relays(state, "x") == {"b": Relay("x", "a", "b", "push", "s", "r")}


@pytest.mark.parametrize("mode", ["push", "pull"])
def test_what_comes_from_abroad_begins_here_and_is_never_ended(mode: str) -> None:
    """A pull from a node of nobody's knowledge is this cluster's origin; a push to one is left alone."""
    abroad = {
        "push": {"a": [stream("x", ["p"], [push("s", "far", "r")])]},
        "pull": {"a": [stream("x", [pull("r", "far", "s")])]},
    }
    state = build(abroad[mode] | {"b": []})
    assert depths(state, "x") == {"a": 0}
    assert (relays(state, "x"), lost(state), loose(state), idle(state)) == ({}, [], [], [])
    assert decide(state).action == "cascade"


def test_nodes_that_feed_each_other_in_a_circle_do_no_harm() -> None:
    state = build(
        {
            "a": [stream("x", [pull("ra", "b", "sb")], ["sa"])],
            "b": [stream("x", [pull("rb", "a", "sa")], ["sb"])],
        }
    )
    assert depths(state, "x") == {}
    assert decide(state).refusal == "full"


def decide(state: State, **given: Any) -> Decision:
    return cascade.plan(state, "x", **{"max_depth": 3, "at": 1.0, "random": lambda n: 0, **given})


def outcome(decision: Decision) -> tuple[str, str] | str:
    """From where to where; or why not."""
    if decision.target is None:
        assert (decision.action, decision.refusal) == ("refuse", "full")
        return decision.reason
    assert decision.action == "cascade" and decision.source is not None
    return decision.source.alias, decision.target.alias


ORIGIN = [stream("x", ["p"], ["v"])]
TWO_FED = {
    "a": [stream("x", ["p"], [push("s", "b", "r"), push("t", "c", "q"), "v1", "v2"])],
    "b": [stream("x", ["r"], ["v3"])],
    "c": [stream("x", ["q"])],
    "d": [],
}


@pytest.mark.parametrize(
    ("said", "limits", "given", "expected"),
    [
        ({"a": ORIGIN, "b": []}, {}, {}, ("a", "b")),
        ({"a": ORIGIN, "b": [], "c": []}, {"c": 20}, {}, ("a", "c")),
        ({"a": ORIGIN, "b": [stream("y", [], ["1"])], "c": []}, {}, {}, ("a", "c")),
        ({"a": ORIGIN, "b": [], "c": []}, {}, {"nodes": ["c"]}, ("a", "c")),
        ({"a": ORIGIN, "b": [], "c": []}, {}, {"exclude": ["b"]}, ("a", "c")),
        ({"a": ORIGIN, "b": [], "c": []}, {}, {"random": lambda n: n - 1}, ("a", "c")),
        (TWO_FED, {}, {"max_depth": 2}, ("a", "d")),
        ({**PUSHED, "c": []}, {}, {}, ("a", "c")),
        ({"a": ORIGIN, "b": [stream("x", [], ["waits"])]}, {"b": 2}, {}, ("a", "b")),
    ],
    ids=[
        "to the other",
        "to most places",
        "to least load",
        "only to those asked for",
        "not to those tried",
        "among equals by chance",
        "from the node nearest the publisher, however busy",
        "from the origin",
        "to where viewers wait",
    ],
)
def test_a_relay_goes(said: Any, limits: Any, given: Any, expected: Any) -> None:
    assert outcome(decide(build(said, **limits), **given)) == expected


@pytest.mark.parametrize(
    ("said", "limits", "given", "reason"),
    [
        ({"a": ORIGIN}, {}, {}, "nor could take a relay"),
        ({"a": ORIGIN, "b": []}, {"b": 0}, {}, "nor could take a relay"),
        ({"a": ORIGIN, "b": []}, {}, {"nodes": ["a"]}, "nor could take a relay"),
        ({"a": ORIGIN, "b": []}, {}, {"exclude": ["b"]}, "nor could take a relay"),
        ({**PUSHED}, {}, {}, "nor could take a relay"),
        ({"a": [stream("x", [], ["v"])], "b": []}, {}, {}, "nobody publishes it"),
        (
            {"b": [stream("x", ["r"], ["v"])], "a": [stream("x", ["p"], [push("s", "b", "r")])]},
            {},
            {},
            "nor could",
        ),
    ],
)
def test_a_relay_that_cannot_be_is_refused_with_a_reason(
    said: Any, limits: Any, given: Any, reason: str
) -> None:
    assert reason in outcome(decide(build(said, **limits), **given))


def test_relays_are_no_deeper_than_allowed() -> None:
    state = build({**CHAIN, "d": []})
    assert outcome(decide(state, max_depth=1)) == ("a", "d")
    for alias in ("a", "b"):
        for _ in range(3):
            state.happened(alias, "failure")
    # Only c is left, and what it has comes from nowhere.
    assert decide(state, max_depth=3).target is None


@pytest.mark.parametrize("what", ["down", "suspect", "draining"])
def test_a_destination_is_in_service(what: str) -> None:
    state = build({"a": ORIGIN, "b": [], "c": []}, b=20)
    if what == "draining":
        state.drain("b", True)
    else:
        for _ in range(3 if what == "down" else 1):
            state.happened("b", "failure")
    assert outcome(decide(state)) == ("a", "c")


def test_a_relay_takes_no_place_at_either_end() -> None:
    for said in (PUSHED, PULLED):
        state = build(said)
        assert [(node.publishers, node.subscribers, node.relays) for node in state.nodes.values()] == [
            (1, 0, 1),
            (0, 0, 1),
        ]


def test_a_relay_is_idle_without_viewers_and_relays_of_its_own() -> None:
    assert [each.destination for each in idle(build(PUSHED))] == ["b"]
    assert [each.destination for each in idle(build(PULLED))] == ["b"]
    assert idle(build(CHAIN)) == []
    watched = {"a": PUSHED["a"], "b": [stream("x", ["r"], ["viewer"])]}
    assert idle(build(watched)) == []
    left = {"a": PUSHED["a"], "b": [stream("x", ["r"], [session("viewer", leaveAt=5)])]}
    assert [each.destination for each in idle(build(left))] == ["b"]
    state = build(PUSHED)
    state.reserve("b", "subscribe", "x", "reserved 1")
    assert idle(state) == []


def test_a_relay_is_lost_when_its_source_is_down() -> None:
    state = build(PUSHED)
    assert lost(state) == []
    for _ in range(3):
        state.happened("a", "failure")
    assert lost(state) == [("x", "b", "r")]
    assert state.nodes["b"].publishers == 0, "it is not taken for a publisher"


def test_a_relay_is_lost_when_its_source_came_back_empty_or_has_no_publisher() -> None:
    state = build(PULLED)
    state.apply("a", body())
    assert lost(state) == [("x", "b", "r")]
    state.apply("a", body(stream("x", [], ["s"])))
    assert lost(state) == [("x", "b", "r")]
    state.apply("a", body(stream("x", ["p2"], ["s"])))
    assert lost(state) == []


def test_a_publisher_is_not_sent_where_a_lost_relay_would_refuse_him() -> None:
    """He comes back after his node died: to a node that takes him, and not to his viewers', who get a relay."""
    state = build(
        {"a": [stream("x", ["p"], [push("s", "b", "r")])], "b": [stream("x", ["r"], ["v"])], "c": []}
    )
    for _ in range(3):
        state.happened("a", "failure")
    decision = place(state, "publish", "x", at=1.0, random=lambda n: 0)
    assert (decision.action, decision.target) == ("place", state.nodes["c"].node)
    state.apply("b", body(stream("x", [], ["v"])))
    decision = place(state, "publish", "x", at=1.0, random=lambda n: 0)
    assert (decision.action, decision.target) == ("existing", state.nodes["b"].node)


@pytest.mark.parametrize("said", [PUSHED, PULLED], ids=["push", "pull"])
def test_a_session_is_loose_when_the_destination_of_its_relay_came_back_without_it(said: Any) -> None:
    """While that is away, or not heard yet, it may have it; and nobody else's session is ever loose."""
    state = build({**said, "c": [stream("x", [], ["viewer"])]})
    assert loose(state) == []
    for _ in range(3):
        state.happened("b", "failure")
    assert loose(state) == []
    state.happened("b", "success")
    assert loose(state) == []
    state.apply("b", body(stream("x", [], ["viewer too"])))
    assert loose(state) == [("x", "a", "s")]
    state.apply("b", body())
    assert loose(state) == [("x", "a", "s")]
    state.session_deleted("a", "x", "s")
    assert loose(state) == []


def test_a_pull_is_not_loose_before_it_was_made() -> None:
    """The destination asks the source through Liveman's direct route, and lists it after the answer."""
    state = build({"a": [stream("x", ["p"])], "b": []})
    state.reserve("a", "relay", "x", "reserved 1")
    assert loose(state) == []
    state.session_created("a", "relay", "x", "s", 0.0, "reserved 1")
    assert loose(state) == [("x", "a", "s")]
    state.apply("b", body(stream("x", [pull("r", "a", "s")])))
    assert loose(state) == []


def test_of_a_broken_chain_the_first_is_lost() -> None:
    """The others hang on it, and are looked at when it is mended."""
    state = build(CHAIN)
    for _ in range(3):
        state.happened("a", "failure")
    assert lost(state) == [("x", "b", "r")]


def renamed(mode: str) -> dict[str, list[dict[str, Any]]]:
    """An operator relays a's stream x to b, as y; somebody watches it there."""
    if mode == "push":
        far = {"targetUrl": "http://b/whip/y", "sessionUrl": "http://b/session/y/r"}
        return {
            "a": [stream("x", ["p"], [session("s", cascade=far)])],
            "b": [stream("y", ["r"], ["viewer"])],
        }
    return {"a": [stream("x", ["p"], ["s"])], "b": [stream("y", [pull("r", "a", "s")], ["viewer"])]}


@pytest.mark.parametrize("mode", ["push", "pull"])
def test_a_relay_under_another_name_is_left_alone_and_begins_a_stream_of_its_own(mode: str) -> None:
    """Whatever order the nodes are heard in: it takes no place, is never ended, and can be relayed on."""
    for order in permutations("ab"):
        state = build({**renamed(mode), "c": []}, order=["c", *order])
        assert (depths(state, "x"), depths(state, "y")) == ({"a": 0}, {"b": 0})
        assert (relays(state, "y"), idle(state), lost(state), loose(state)) == ({}, [], [], [])
        assert [node.publishers for node in state.nodes.values()] == [1, 0, 0]
        decision = cascade.plan(state, "y", max_depth=3, exclude=["a"], at=1.0, random=lambda n: 0)
        assert outcome(decision) == ("b", "c")
        decision = place(state, "publish", "y", at=1.0, random=lambda n: 0)
        assert decision.target == state.nodes["b"].node, "where the node itself refuses a second publisher"
        for _ in range(3):
            state.happened("a", "failure")
        assert lost(state) == [], "its source may come back"


@pytest.mark.parametrize(
    "url",
    ["http://far/whep/x", "http://b.example/whep/x", "http://ab/whep/x", "http://far/api/whep/z/x"],
)
def test_a_pull_from_a_host_that_only_resembles_one_of_ours_is_from_abroad(url: str) -> None:
    there = session("r", cascade={"sourceUrl": url, "sessionUrl": url.replace("whep", "session") + "/s"})
    state = build({"a": [stream("x", [there])], "b": []})
    assert depths(state, "x") == {"a": 0} and lost(state) == []


@pytest.mark.parametrize("url", ["http://a/whep/x", f"{PUBLIC}/api/whep/a/x"])
def test_a_pull_from_a_node_of_ours_that_died_is_lost(url: str) -> None:
    """Also where the destination reached its source through Liveman alone."""
    far = session("r", cascade={"sourceUrl": url, "sessionUrl": "http://a/session/x/s"})
    state = build({"a": [stream("x", ["p"], ["s"])], "b": [stream("x", [far])]})
    assert depths(state, "x") == {"a": 0, "b": 1}
    for _ in range(3):
        state.happened("a", "failure")
    assert lost(state) == [("x", "b", "r")]


def test_a_relay_does_not_begin_at_a_node_that_was_tried() -> None:
    state = build({**PUSHED, "c": []})
    assert outcome(decide(state, exclude=["a"])) == ("b", "c")
    assert "all that have it were tried" in outcome(decide(state, exclude=["a", "b"]))


def test_of_two_sources_as_near_the_one_that_stays_in_service_is_taken() -> None:
    said = {"a": ORIGIN, "b": [stream("x", ["p2"], ["v1", "v2"])], "c": []}
    state = build(said)
    assert outcome(decide(state)) == ("a", "c")
    state.drain("a", True)
    assert outcome(decide(state)) == ("b", "c")


def test_a_suspect_source_is_the_last_choice() -> None:
    state = build({**PUSHED, "c": []})
    state.happened("a", "failure")
    assert outcome(decide(state)) == ("b", "c")


def viewer_goes_to(state: State) -> tuple[str | None, dict[str, str | None]]:
    decision = place(state, "subscribe", "x", at=1.0, random=lambda n: 0)
    rejected = {each.alias: each.rejected for each in decision.candidates}
    return decision.target.alias if decision.target else decision.refusal, rejected


@pytest.mark.parametrize(
    ("there", "goes_to"),
    [
        (stream("x", [session("r", state="connecting")]), "full"),
        (stream("x", [session("r", state="new")]), "full"),
        (stream("x", ["r"]), "b"),
        (stream("x", [session("r", state="disconnected")]), "b"),
        (stream("x", [], ["waits"]), "full"),
        (stream("x"), "full"),
        ({**stream("x"), "onDemand": True}, "b"),
        ({**stream("x"), "onDemand": None}, "full"),
    ],
    ids=["connecting", "new", "connected", "flaps", "left over", "empty", "on demand", "odd"],
)
def test_a_viewer_is_not_sent_where_the_stream_does_not_come_yet(there: Any, goes_to: str) -> None:
    """While it comes elsewhere: he is held until a relay is connected, and those who wait there profit too."""
    state = build({"a": [stream("x", ["p"], [push("s", "b", "r"), "v"])], "b": [there]}, a=1)
    found, rejected = viewer_goes_to(state)
    assert found == goes_to
    assert rejected["b"] == (None if goes_to == "b" else "nothing comes there yet")


def test_a_viewer_waits_beside_others_while_nobody_publishes() -> None:
    state = build({"a": [stream("x", [], ["waits"])], "b": []})
    assert viewer_goes_to(state) == ("a", {"a": None})


def test_a_viewer_is_not_sent_to_a_relay_that_ends_or_is_being_made() -> None:
    state = build({"a": [stream("x", ["p"], [push("s", "b", "r"), "v"])], "b": [stream("x", ["r"])]}, a=1)
    assert viewer_goes_to(state)[0] == "b"
    state.session_deleted("b", "x", "r")
    assert viewer_goes_to(state)[0] == "full"
    state.reserve("b", "relay", "x", "reserved 1")
    assert viewer_goes_to(state)[0] == "full"
    state.relay_connected("b", "x", "r2", 0.0)
    assert viewer_goes_to(state)[0] == "b"


def test_a_publisher_is_not_sent_to_a_lost_relay_though_its_node_has_most_places() -> None:
    state = build({"a": ORIGIN, "b": [stream("x", ["r"])], "c": [stream("z", ["p1"])]})
    state.apply("a", body(stream("x", ["p"], [push("s", "b", "r")])))
    for _ in range(3):
        state.happened("a", "failure")
    decision = place(state, "publish", "x", at=1.0, random=lambda n: 0)
    assert decision.target == state.nodes["c"].node
