"""What tables show of nodes, streams and sessions, taken from the cluster's state.

What of a stream's JSON is of an unexpected type counts as not said.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal
from unicodedata import category
from urllib.parse import quote

import msgspec
from attrs import frozen
from msgspec import Raw, Struct

from liveman.access import stream_name
from liveman.cluster.cascade import Relay
from liveman.cluster.listing import Streams
from liveman.cluster.node import Node
from liveman.cluster.state import NodeState, Role, StreamOnNode
from liveman.errors import BadStreamName

__all__ = [
    "Load",
    "NodeRow",
    "Said",
    "SessionRow",
    "StreamRow",
    "StreamState",
    "invisible",
    "linkable",
    "node_row",
    "said",
    "session_rows",
    "state_of",
    "stream_rows",
]

#: What stands for "as many as come" in a node's limits.
NO_LIMIT = 65_535

StreamState = Literal["live", "connecting", "relayed", "on demand", "waiting"]
"""``relayed``: it comes from a node that is none of ours, or is away; ``waiting``: nobody publishes it."""

Standing = Literal["up", "suspect", "down", "draining"]


@frozen
class Load:
    """How much of a limit is used."""

    value: int
    limit: int

    @property
    def limited(self) -> bool:
        return self.limit < NO_LIMIT

    @property
    def share(self) -> float:
        """0 to 1; what has no room at all is full."""
        return min(1.0, self.value / self.limit) if self.limit else 1.0


@frozen
class NodeRow:
    node: Node
    standing: Standing
    """Its health; that it is drained, while it is not down."""
    draining: bool
    publishers: Load
    viewers: int
    fullest: Load
    """The stream that has most of the viewers that one stream may have there."""
    relays: int
    streams: int
    bits_in: float
    """What comes to it, bits per second."""
    bits_out: float
    latency: float | None
    """Of the last poll, seconds."""
    version: str

    @property
    def alias(self) -> str:
        return self.node.alias


def node_row(known: NodeState) -> NodeRow:
    health = known.health.status
    fullest = max((entry.subscribers for entry in known.streams.values()), default=0)
    return NodeRow(
        known.node,
        "draining" if known.draining and health != "down" else health,
        known.draining,
        Load(known.publishers, known.node.pub_max),
        known.subscribers,
        Load(fullest, known.sub_max),
        known.relays,
        len(known.streams),
        known.bits_in,
        known.bits_out,
        known.polled,
        known.version or "",
    )


# There may be tens of thousands of these: see `cluster.snapshot`.
class StreamRow(Struct, frozen=True, gc=False):
    name: str
    state: StreamState
    publisher: str | None
    """The alias of the node where its publisher is."""
    viewers: int
    nodes: int
    bits: float
    """What the publisher sends, bits per second; without one, what comes to any node."""
    raw: Raw | None
    """What the publisher's node says of it; without a publisher any node."""


class Codec(Struct, frozen=True, gc=False):
    kind: str = ""
    codec: str = ""


class Said(Struct, frozen=True, gc=False):
    """What a node says of a stream, beside its sessions."""

    createdAt: int | None = None
    """Unix time, milliseconds."""
    codecs: tuple[Codec, ...] = ()

    @property
    def since(self) -> float | None:
        """When the stream was made, Unix seconds."""
        return self.createdAt / 1000 if self.createdAt and 0 < self.createdAt < 1e15 else None

    @property
    def seniority(self) -> float | None:
        """The older, the greater."""
        return None if self.since is None else -self.since


NOTHING = Said()
_said = msgspec.json.Decoder(Said)


def said(raw: Raw | None) -> Said:
    try:
        return _said.decode(raw) if raw is not None else NOTHING
    except msgspec.MsgspecError:
        return NOTHING


def linkable(name: str) -> bool:
    """Whether a stream can be named in a URL of Liveman's; nodes may list others."""
    try:
        return stream_name(quote(name, safe="")) == name
    except BadStreamName:
        return False


def invisible(name: str) -> list[str]:
    """The characters of a name that nobody sees, such as marks of direction, as U+202E; each once."""
    hidden = (char for char in name if category(char) in ("Cc", "Cf", "Zl", "Zp"))
    return [f"U+{ord(char):04X}" for char in dict.fromkeys(hidden)]


def stream_rows(streams: Streams) -> list[StreamRow]:
    """By name. A thread may do it while the state changes; what it counts is then of several moments."""
    by_name: dict[str, list[tuple[str, StreamOnNode]]] = {}
    for alias, entries in streams.items():
        for name, entry in entries.items():
            there = by_name.get(name)
            if there is None:
                by_name[name] = [(alias, entry)]
            else:
                there.append((alias, entry))
    return [_stream_row(name, by_name[name]) for name in sorted(by_name)]


def state_of(entries: Iterable[StreamOnNode]) -> StreamState:
    """What becomes of a stream that is on these nodes."""
    state: StreamState = "waiting"
    for entry in entries:
        if entry.publishers:
            if entry.begun:
                return "live"
            state = "connecting"
        elif state != "connecting" and entry.fed:
            state = "on demand" if entry.on_demand else "relayed"
    return state


def _stream_row(name: str, there: list[tuple[str, StreamOnNode]]) -> StreamRow:
    alias, best = there[0]
    if len(there) == 1 and best.publishers and best.begun:
        # As nearly all are.
        return StreamRow(name, "live", alias, best.subscribers, 1, best.bits_in, best.raw)
    if not best.publishers:
        alias, best = next((each for each in there if each[1].publishers), there[0])
    return StreamRow(
        name,
        state_of(entry for _, entry in there),
        alias if best.publishers else None,
        sum(entry.subscribers for _, entry in there),
        len(there),
        best.bits_in,
        best.raw,
    )


@frozen
class SessionRow:
    id: str
    """The node's own."""
    alias: str
    role: Role
    other: str | None
    """For a relay, in words: where it comes from or goes to, if that is one of our nodes."""
    state: str
    """Its connection's, as browsers call it; "" when the node has not told."""
    since: float | None
    """Unix time, seconds."""
    bitrate: float | None


class _SaidSession(Struct, frozen=True, gc=False):
    id: str
    state: str = ""
    createdAt: Any = None
    stats: Any = None


class _Group(Struct, frozen=True, gc=False):
    sessions: tuple[_SaidSession, ...] = ()


class _Groups(Struct, frozen=True, gc=False):
    publish: _Group = _Group()
    subscribe: _Group = _Group()


_groups = msgspec.json.Decoder(_Groups)


def session_rows(
    parts: Iterable[tuple[str, Raw | None, Iterable[tuple[str, Role]]]], hops: Mapping[str, Relay]
) -> list[SessionRow]:
    """The sessions of a stream: of each node's alias, what it says of the stream, and by id and role the
    sessions that are there. ``hops``: the stream's relays by their destination."""
    others = {}
    for hop in hops.values():
        others[hop.source, hop.at_source] = f"to {hop.destination}"
        others[hop.destination, hop.at_destination] = f"from {hop.source}"
    rows = []
    for alias, raw, there in parts:
        known = {each.id: each for each in reversed(_sessions(raw))}
        rows += [
            _session_row(alias, known.get(id) or _SaidSession(id), role, others.get((alias, id)))
            for id, role in there
        ]
    return rows


def _session_row(alias: str, about: _SaidSession, role: Role, other: str | None) -> SessionRow:
    created = _number(about.createdAt)
    stats = about.stats if isinstance(about.stats, dict) else {}
    return SessionRow(
        about.id,
        alias,
        role,
        other,
        about.state,
        None if created is None else created / 1000,
        _number(stats.get("bitrate")),
    )


def _sessions(raw: Raw | None) -> list[_SaidSession]:
    try:
        groups = _groups.decode(raw) if raw is not None else _Groups()
    except msgspec.MsgspecError:
        return []
    return [*groups.publish.sessions, *groups.subscribe.sessions]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        return None
    return float(value)
