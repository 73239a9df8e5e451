"""Relays from node to node: which there are, where another may begin and end, and which have had their day.

A relay is known by both its ends: the relaying one says where the session at the other side is. Relays under
another name than their source's, and those from or to other clusters, are none of ours.
"""

import re
from collections.abc import Callable, Collection
from urllib.parse import unquote

from attrs import frozen

from liveman.cluster import wire
from liveman.cluster.decision import CANDIDATES, Candidate, Decision
from liveman.cluster.node import Node
from liveman.cluster.state import NodeState, State, StreamOnNode
from liveman.config import CascadeMode

__all__ = ["Relay", "again", "depths", "idle", "left_behind", "loose", "lost", "plan", "relays"]

_FULL = "No node has a free place for another subscriber of the stream"
_DIRECT = re.compile(r"/api/(?:whip|whep)/([^/?#]+)/[^/?#]+$")
_LAST = re.compile(r"[^/?#]*(?=[?#]|$)")


@frozen
class Relay:
    """One hop, between two nodes of ours that are not down."""

    stream: str
    source: str
    """The alias of the node that has the stream already; ``destination`` is that of the other."""
    destination: str
    mode: CascadeMode
    at_source: str
    """The node's own id of the session there, as ``at_destination``."""
    at_destination: str

    @property
    def ends(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Alias and session of both ends, the relaying one first: that ends the other by itself."""
        source, destination = (self.source, self.at_source), (self.destination, self.at_destination)
        return (source, destination) if self.mode == "push" else (destination, source)


def relays(state: State, stream: str) -> dict[str, Relay]:
    """The relays of a stream, by the alias of their destination."""
    found: dict[str, Relay] = {}
    for alias, entry in state.streams.get(stream, {}).items():
        for session, cascade in entry.cascades.items():
            far = wire.session_of(cascade.session)
            other = state.find(stream, far[1]) if far and far[0] == stream else None
            if far is None or other is None or other == alias:
                continue
            if cascade.target:
                found[other] = Relay(stream, alias, other, "push", session, far[1])
            elif cascade.source:
                found[alias] = Relay(stream, other, alias, "pull", far[1], session)
    return found


def depths(state: State, stream: str) -> dict[str, int]:
    """How many relays lie between the publisher and each node that gets the stream; 0: it begins there."""
    known = state.streams.get(stream, {})
    hops = relays(state, stream)
    reached = {
        alias: 0
        for alias, entry in known.items()
        if entry.publishers or (alias not in hops and _begins(state, stream, entry))
    }
    depth = 0
    while new := {
        alias for alias, hop in hops.items() if reached.get(hop.source) == depth and alias not in reached
    }:
        depth += 1
        reached.update(dict.fromkeys(new, depth))
    return reached


def plan(
    state: State,
    stream: str,
    *,
    max_depth: int,
    nodes: Collection[str] = (),
    exclude: Collection[str] = (),
    at: float,
    random: Callable[[int], int],
) -> Decision:
    """From where to where a stream that is full everywhere is relayed.

    It begins at the node nearest the publisher that has the least load, and ends at the one with most free
    places. `nodes` names the only ones where it may end (empty: all), `exclude` those that take no part.
    """
    known = state.streams.get(stream, {})
    source = _source(state, stream, max_depth, exclude)
    if source is None:
        why = "all that have it were tried" if depths(state, stream) else "nobody publishes it"
        return Decision("refuse", None, f"{_FULL}, and it cannot be relayed: {why}.", (), at, "full")
    rows = []
    for _, _, _, alias in state.order:
        node, entry = state.nodes[alias], known.get(alias)
        free = node.sub_max - (entry.subscribers if entry else 0)
        rejected = None
        if nodes and alias not in nodes:
            rejected = "not asked for"
        elif alias in exclude:
            rejected = "tried already"
        elif entry is not None and (entry.publishers or entry.publishing is not None):
            rejected = "it has the stream"
        elif free <= 0:
            rejected = "full"
        rows.append((rejected is not None, node.health.status != "up", -free, node.load, alias, rejected))
    rows.sort()
    candidates = tuple(Candidate(alias, -taken, why) for _, _, taken, _, alias, why in rows[:CANDIDATES])
    if not rows or rows[0][0]:
        return Decision("refuse", None, f"{_FULL}, nor could take a relay of it.", candidates, at, "full")
    equals = sum(1 for row in rows if row[:4] == rows[0][:4])
    destination = rows[random(equals) if equals > 1 else 0][4]
    reason = f"the stream is full everywhere; it is relayed from {source.alias}"
    return Decision("cascade", state.nodes[destination].node, reason, candidates, at, source=source)


def again(state: State, stream: str, destination: str, *, max_depth: int, at: float) -> Decision:
    """From where a stream is relayed once more to a node whose relay of it was lost, and that has viewers."""
    node = state.nodes.get(destination)
    source = _source(state, stream, max_depth)
    if node is None or source is None or source.alias == destination:
        return Decision("refuse", None, "No other node has the stream any more.", (), at, "unknown_stream")
    entry = node.streams.get(stream)
    candidate = Candidate(destination, node.sub_max - (entry.subscribers if entry else 0))
    reason = f"the relay that it had was lost; it is relayed from {source.alias}"
    return Decision("cascade", node.node, reason, (candidate,), at, source=source)


def _source(state: State, stream: str, max_depth: int, exclude: Collection[str] = ()) -> Node | None:
    """The node where another relay of the stream begins."""
    carriers = [
        (node.health.status != "up", depth, node.draining, node.load, alias)
        for alias, depth in depths(state, stream).items()
        if depth < max_depth and alias not in exclude and (node := state.nodes[alias])
    ]
    return state.nodes[min(carriers)[-1]].node if carriers else None


def idle(state: State) -> list[Relay]:
    """The relays that nobody watches, and that feed no other."""
    found = []
    for stream in _relayed_streams(state):
        hops = relays(state, stream)
        feeding = {hop.source for hop in hops.values()}
        found += [
            hop
            for alias, hop in hops.items()
            if alias not in feeding and not state.streams[stream][alias].subscribers
        ]
    return found


def lost(state: State) -> list[tuple[str, str, str]]:
    """What relays left behind whose source has gone, or has no publisher any more: stream, alias of the
    destination, and the session there. Of several in a row only the first."""
    found = []
    for stream in _relayed_streams(state):
        hops = relays(state, stream)
        for alias in left_behind(state, stream):
            entry, hop = state.streams[stream][alias], hops.get(alias)
            if hop is None or not state.streams[stream][hop.source].relayed:
                assert entry.publishing is not None
                found.append((stream, alias, entry.publishing))
    return found


def left_behind(state: State, stream: str) -> set[str]:
    """The nodes where a relay publishes that gets nothing from a publisher any more."""
    known = state.streams[stream]
    relayed = {alias for alias, entry in known.items() if entry.relayed}
    return relayed - depths(state, stream).keys() if relayed else relayed


def loose(state: State) -> list[tuple[str, str, str]]:
    """The sessions that feed a relay which its destination has no more, as after a restart: stream, alias of
    the source, and the session there."""
    found = []
    for stream in _relayed_streams(state):
        for alias, entry in state.streams[stream].items():
            for session, role in state.sessions(alias, stream) if entry.relays else ():
                if role != "relay" or session == entry.publishing or state.is_far_end(stream, session):
                    continue
                cascade = entry.cascades.get(session)
                if cascade is None or _is_missing(state, stream, cascade):
                    found.append((stream, alias, session))
    return found


def _is_missing(state: State, stream: str, cascade: wire.Cascade) -> bool:
    """Whether a push goes to a node of ours that has told of its streams, without the session there."""
    node, far = _node_of_url(state, cascade.target), wire.session_of(cascade.session)
    if node is None or not node.heard or far is None or far[0] != stream:
        return False
    known = node.streams.get(stream)
    return known is None or far[1] not in known.sessions


def _relayed_streams(state: State) -> list[str]:
    if not any(node.relays for node in state.nodes.values()):
        return []
    return [
        stream for stream, known in state.streams.items() if any(entry.relays for entry in known.values())
    ]


def _begins(state: State, stream: str, entry: StreamOnNode) -> bool:
    """Whether a node has the stream from its publisher, or from what is none of ours: for this cluster it
    begins there."""
    if entry.publishers or not entry.relayed:
        return entry.publishers > 0
    cascade = entry.cascades.get(entry.publishing or "")
    if cascade is None or not cascade.source:
        return any((stream, entry.publishing) in node.renamed for node in state.nodes.values())
    name = unquote(_LAST.findall(cascade.source)[0])
    return name != stream or _node_of_url(state, cascade.source) is None


def _node_of_url(state: State, url: str) -> NodeState | None:
    direct = _DIRECT.search(url)
    if direct and (node := state.nodes.get(unquote(direct[1]))):
        return node
    return next((node for node in state.nodes.values() if url.startswith(node.node.url + "/")), None)
