"""What is wrong, the worst first, each with what to do."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import pytest

from liveman.cluster.node import Node, Way
from liveman.cluster.state import NodeState, State
from liveman.dashboard.problems import problems


def nodes(*healths: str, pub_max: int = 10, draining: bool = False) -> list[NodeState]:
    """Nodes n0, n1, … of these healths."""
    state = State()
    for i, health in enumerate(healths):
        state.add(Node(f"n{i}", f"http://n{i}.example", pub_max=pub_max))
        for _ in range({"new": 0, "up": 1, "suspect": 1, "down": 3}[health]):
            state.happened(f"n{i}", "success" if health == "up" else "failure")
        state.drain(f"n{i}", draining)
    return list(state.nodes.values())


def told(
    nodes: list[NodeState],
    ice: Mapping[str, str] = MappingProxyType({}),
    database: str = "",
    mqtt: str = "",
) -> list[str]:
    return [each.what for each in problems(nodes, ice=ice, database=database, mqtt=mqtt)]


def test_a_cluster_that_is_well_has_none() -> None:
    assert told(nodes("up", "up")) == []


def test_a_node_that_was_not_asked_yet_is_none() -> None:
    assert told(nodes("up", "new")) == []


def test_the_worst_comes_first() -> None:
    found = problems(
        nodes("up", "down", "suspect"), ice={"acme": "refused: 403"}, database="connection refused", mqtt=""
    )
    assert [each.kind for each in found] == ["bad", "bad", "warn", "warn"]
    assert [each.what.split()[:3] for each in found] == [
        ["The", "database", "does"],
        ["Node", "n1", "is"],
        ["The", "ICE", "provider"],
        ["Node", "n2", "did"],
    ]
    assert "connection refused" in found[0].what
    assert "http://n1.example" in found[1].remedy
    assert found[1].page == ("nodes", "n1")
    assert "refused: 403" in found[2].what
    assert "[extra_ice.acme]" in found[2].remedy
    assert all(each.remedy for each in found)


def test_many_nodes_that_are_down_are_one_problem() -> None:
    (what,) = told(nodes("up", *["down"] * 100))
    assert what == "100 nodes are down: n1, n2, n3 and 97 more."


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], "There is no node yet"),
        (nodes("up", "up", pub_max=0), "No node has a place for another publisher."),
        (nodes("up", draining=True), "All nodes that are up are being drained"),
    ],
)
def test_where_nobody_new_can_publish_that_is_said(there: list[NodeState], expected: str) -> None:
    (what,) = told(there)
    assert what.startswith(expected)


def behind(broker: str, presence: Literal["online", "offline"]) -> list[NodeState]:
    """One that is down, and reached over an MQTT broker."""
    found = nodes("down")
    found[0].way = Way("edge-7", presence, broker)
    return found


def test_a_broker_that_is_lost_is_one_problem_for_all_nodes_behind_it() -> None:
    there = behind("it does not answer in time", "online") + behind("it does not answer in time", "offline")
    (what,) = told(there, mqtt="it does not answer in time")
    assert what == "The MQTT broker is not connected: it does not answer in time."


def test_a_broker_that_was_never_there_is_one_too_also_without_nodes_behind_it() -> None:
    what = "The MQTT broker is not connected: it has not been reached yet."
    assert told(nodes("up"), mqtt="it has not been reached yet") == [what]
    assert told(nodes(), mqtt="it has not been reached yet")[0] == what
    assert told(nodes("down"), mqtt="it has not been reached yet")[1:] == [
        "Node n0 is down: it does not answer."
    ]


def test_a_node_whose_agent_has_left_says_where_to_look() -> None:
    (gone,) = problems(behind("connected", "offline"), ice={}, database="", mqtt="")
    (silent,) = problems(behind("connected", "online"), ice={}, database="", mqtt="")
    assert "has left the MQTT broker" in gone.remedy
    assert "beside the agent edge-7" in silent.remedy
