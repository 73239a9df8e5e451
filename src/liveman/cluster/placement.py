"""Which node takes a new publisher or subscriber: plain rules over the state.

Nodes that are down take nothing, suspect ones are the last choice. The cost does not grow with the number of
nodes, but with the number of those that have the stream or were tried already. Among equals chance decides,
so that many instances of Liveman do not all take the same node between two snapshots.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence

from liveman.cluster import cascade
from liveman.cluster.decision import CANDIDATES, Candidate, Decision, Refusal
from liveman.cluster.state import FULL, Kind, Place, State, StreamOnNode

__all__ = ["place"]

#: Comes after every alias.
_LAST = chr(0x10FFFF)
_TRIED = "tried already"
_FULL = "full"
_DRAINING = "draining"
_UNFED = "nothing comes there yet"


def place(
    state: State,
    kind: Kind,
    stream: str,
    *,
    nodes: Collection[str] = (),
    exclude: Collection[str] = (),
    at: float,
    random: Callable[[int], int],
) -> Decision:
    """Choose the node for a new session.

    `nodes` narrows the choice for new streams and for subscribers (empty: all nodes); `exclude` names the
    nodes that were tried for this request already; `at` is Unix time, seconds; `random(n)` gives one of the
    numbers below n.
    """
    known = state.streams.get(stream)
    if kind == "subscribe":
        if known is None:
            return _unknown(state, at)
        return _subscribe(state, known, nodes, exclude, at, random)
    if known is not None:
        lost = cascade.left_behind(state, stream)
        if decision := _publish_known(state, known, exclude, lost, at):
            return decision
        exclude = {*exclude, *lost}
    return _publish_new(state, nodes, exclude, at, random)


def _publish_known(
    state: State, known: dict[str, StreamOnNode], exclude: Collection[str], lost: Collection[str], at: float
) -> Decision | None:
    """To the origin, draining or not; else to where most subscribers wait; else to where it was made.
    None: all were tried, are draining, or would refuse, as a relay has not noticed yet that it has ended."""
    rows = []
    for alias, entry in known.items():
        node = state.nodes[alias]
        rejected = None
        if alias in exclude:
            rejected = _TRIED
        elif alias in lost:
            rejected = "a relay is there, whose source has gone"
        elif node.draining and not entry.publishers:
            rejected = _DRAINING
        away = 0 if entry.publishers else 1 if node.health.status == "up" else 2
        rows.append((rejected is not None, away, -entry.subscribers, alias, rejected))
    rows.sort()
    unfit, away, _, best, _ = rows[0]
    if unfit:
        return None
    return Decision(
        "existing",
        state.nodes[best].node,
        "its publisher is there" if away == 0 else "the stream is there",
        tuple(Candidate(alias, -score, rejected) for _, _, score, alias, rejected in rows[:CANDIDATES]),
        at,
    )


def _publish_new(
    state: State,
    nodes: Collection[str],
    exclude: Collection[str],
    at: float,
    random: Callable[[int], int],
) -> Decision:
    """To the node with most free places, then with least load."""
    order: Sequence[Place] = state.order
    if nodes:
        named = (state.nodes.get(alias) for alias in set(nodes))
        order = sorted(node.place for node in named if node is not None and node.place is not None)
    candidates: list[Candidate] = []
    full = False
    for index, (rank, taken, load, alias) in enumerate(order):
        if rank == FULL:
            full = True
            rejected: str | None = _FULL
        else:
            rejected = _TRIED if alias in exclude else None
        if len(candidates) < CANDIDATES:
            candidates.append(Candidate(alias, -taken, rejected))
        elif full:
            break  # All that follow are full too.
        if rejected is None:
            best = alias
            if index + 1 < len(order) and order[index + 1][:3] == (rank, taken, load):
                end = bisect_right(order, (rank, taken, load, _LAST), lo=index)
                chosen = order[index + random(end - index)][3]
                if chosen != alias and chosen not in exclude:
                    best = chosen
                    candidates[-1:] = [Candidate(best, -taken), candidates[-1]]
            reason = "it has most free places for publishers"
            return Decision("place", state.nodes[best].node, reason, tuple(candidates[:CANDIDATES]), at)
    if full:
        return _refuse("full", "No node has a free place for another publisher.", candidates, at)
    if candidates:
        return _refuse("no_node", "Every node that is up was tried, without success.", candidates, at)
    which = "None of the nodes asked for" if nodes else "No node"
    wanted = f"{which} is up and in service."
    return _refuse("no_node", wanted, candidates, at)


def _subscribe(
    state: State,
    known: dict[str, StreamOnNode],
    nodes: Collection[str],
    exclude: Collection[str],
    at: float,
    random: Callable[[int], int],
) -> Decision:
    """Of the nodes that have the stream, to the one with most free places for it. Those where it does not
    come, as before a relay is connected, are of use only while it comes nowhere."""
    fed = any(entry.fed for entry in known.values())
    rows = []
    for alias, entry in known.items():
        node = state.nodes[alias]
        free = node.sub_max - entry.subscribers
        rejected = None
        if nodes and alias not in nodes:
            rejected = "not asked for"
        elif alias in exclude:
            rejected = _TRIED
        elif node.draining:
            rejected = _DRAINING
        elif free <= 0:
            rejected = _FULL
        elif fed and not entry.fed:
            rejected = _UNFED
        rows.append((rejected is not None, node.health.status != "up", -free, node.load, alias, rejected))
    rows.sort()
    if rows[0][5] is None and len(rows) > 1:
        equals = sum(1 for row in rows if row[:4] == rows[0][:4])
        if equals > 1:
            chosen = random(equals)
            rows[0], rows[chosen] = rows[chosen], rows[0]
    candidates = [Candidate(alias, -taken, rejected) for _, _, taken, _, alias, rejected in rows[:CANDIDATES]]
    if rows[0][5] is None:
        reason = "it has most free places for the stream"
        return Decision("existing", state.nodes[rows[0][4]].node, reason, tuple(candidates), at)
    reasons = {row[5] for row in rows}
    if _TRIED in reasons and not reasons & {_FULL, _DRAINING, _UNFED}:
        return _refuse(
            "no_node", "Every node that has the stream was tried, without success.", candidates, at
        )
    where = "None of the nodes asked for" if nodes else "No node"
    return _refuse("full", f"{where} has a free place for another subscriber of the stream.", candidates, at)


def _unknown(state: State, at: float) -> Decision:
    if not state.order:
        return _refuse("no_node", "No node is up and in service.", (), at)
    return _refuse("unknown_stream", "No node has such a stream.", (), at)


def _refuse(refusal: Refusal, reason: str, candidates: Iterable[Candidate], at: float) -> Decision:
    return Decision("refuse", None, reason, tuple(candidates), at, refusal)
