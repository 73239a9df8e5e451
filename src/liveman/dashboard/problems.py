"""What is wrong with the cluster now, in words, and what to do about it. The worst comes first."""

from collections.abc import Mapping, Sequence
from typing import Literal

from attrs import frozen

from liveman.cluster.state import FULL, NodeState

__all__ = ["Problem", "problems"]

#: So many nodes with the same problem are told of one by one.
_APART = 3


@frozen
class Problem:
    kind: Literal["bad", "warn"]
    what: str
    remedy: str
    page: tuple[str, ...] = ()
    """The segments of the page that shows more of it."""


def problems(
    nodes: Sequence[NodeState], *, ice: Mapping[str, str], database: str, mqtt: str
) -> list[Problem]:
    """ice: what is wrong with the ICE providers that fail; database, mqtt: with the database, and the MQTT
    broker; "": nothing."""
    found: list[Problem] = []
    if database:
        found.append(
            Problem(
                "bad",
                f"The database does not answer: {database}",
                "Start it again, or correct database.url. Streams go on meanwhile, but what has to be kept "
                "cannot change: nodes, drains, revoked tokens and the index of recordings.",
            )
        )
    if mqtt:
        found.append(
            Problem(
                "bad",
                f"The MQTT broker is not connected: {mqtt}.",
                "Check that it runs, and net4mqtt.mqtt_url; Liveman keeps trying. Meanwhile the nodes behind "
                "it are down, or not known.",
                ("nodes", ""),
            )
        )
    if not nodes:
        found.append(
            Problem(
                "bad",
                "There is no node yet, so nobody can publish or watch.",
                "Add one on the page of nodes, or in the configuration under [[nodes]].",
                ("nodes", ""),
            )
        )
    found += _down([node for node in nodes if node.health.status == "down" and not (mqtt and node.way)])
    places = [node.place for node in nodes if node.place is not None]
    if places and all(place[0] == FULL for place in places):
        found.append(
            Problem(
                "bad",
                "No node has a place for another publisher.",
                "Add a node, raise pub_max where one can take more, or put a drained one back into service.",
                ("nodes", ""),
            )
        )
    elif nodes and not places and any(node.draining and node.health.status != "down" for node in nodes):
        found.append(
            Problem(
                "bad",
                "All nodes that are up are being drained, so nobody new can publish or watch.",
                "Put one back into service on its page, or add a node.",
                ("nodes", ""),
            )
        )
    for name, problem in ice.items():
        found.append(
            Problem(
                "warn",
                f"The ICE provider {name} fails: {problem}",
                f"Who sits behind a strict firewall may not connect. Check [extra_ice.{name}] in the "
                "configuration and the status page of the vendor; the ICE page tells more.",
                ("ice", ""),
            )
        )
    found += _suspect([node for node in nodes if node.health.status == "suspect" and node.health.failures])
    return found


def _remedy(node: NodeState) -> str:
    if node.way is None:
        check = f"Check that live777 runs at {node.node.url} and can be reached from here."
        return f"{check} If it is gone for good, remove it."
    if node.way.presence == "offline":
        return "Its agent has left the MQTT broker. Check that the agent runs, and its way to the broker."
    return f"Check that live777 runs beside the agent {node.way.agent}, and that the agent runs."


def _down(nodes: Sequence[NodeState]) -> list[Problem]:
    if len(nodes) <= _APART:
        return [
            Problem(
                "bad",
                f"Node {node.node.alias} is down: it does not answer.",
                _remedy(node),
                ("nodes", node.node.alias),
            )
            for node in nodes
        ]
    what = f"{len(nodes)} nodes are down: {_some(nodes)}."
    common = "Check the network between them and Liveman first, then each node. Remove those that are gone."
    return [Problem("bad", what, common, ("nodes", ""))]


def _suspect(nodes: Sequence[NodeState]) -> list[Problem]:
    remedy = "Nothing yet: it gets no new sessions while others have room, and is asked again right now."
    if len(nodes) <= _APART:
        return [
            Problem(
                "warn",
                f"Node {node.node.alias} did not answer the last time.",
                remedy,
                ("nodes", node.node.alias),
            )
            for node in nodes
        ]
    what = f"{len(nodes)} nodes did not answer the last time: {_some(nodes)}."
    return [Problem("warn", what, "If it does not pass, check the network between them and Liveman.", ())]


def _some(nodes: Sequence[NodeState]) -> str:
    named = ", ".join(node.node.alias for node in nodes[:_APART])
    more = len(nodes) - _APART
    return f"{named} and {more} more" if more > 0 else named
