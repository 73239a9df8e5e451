"""What is known of the nodes and their streams: snapshots, the indexes over them, and what is pending.

A snapshot replaces what its node contributed. A session that Liveman made after it is pending and counts
already, until a snapshot has it, it is deleted, or `PENDING_SECONDS` have passed. `now` is in seconds and
monotonic.
"""

from bisect import bisect_left, insort
from collections import OrderedDict

from attrs import define, field

from liveman.cluster import snapshot, wire
from liveman.cluster.health import NEW, UNSEEN, Event, Health, after
from liveman.cluster.node import Node, Way
from liveman.cluster.snapshot import Kind, Role, Snapshot, StreamOnNode

__all__ = [
    "FULL",
    "PENDING_SECONDS",
    "Kind",
    "NodeState",
    "Place",
    "Role",
    "State",
    "StreamOnNode",
]

#: How long a session counts that no snapshot has confirmed.
PENDING_SECONDS = 10.0

Place = tuple[int, int, int, str]
"""A node in the order of placement: rank, minus its free places for publishers, load, alias."""

#: The rank of a node without a free place for a publisher; 0 is one that is up, 1 a suspect one.
FULL = 2


@define(eq=False)
class NodeState:
    """A node and what is known of it."""

    node: Node
    health: Health = NEW
    draining: bool = False
    """Whether it is being emptied: it takes no new sessions."""
    streams: dict[str, StreamOnNode] = field(factory=dict, repr=False)
    publishers: int = 0
    """Places taken of `node.pub_max`; relays take none."""
    subscribers: int = 0
    relays: int = 0
    """Ends of relays, of either side."""
    bits_in: float = 0.0
    """What comes to it, bits per second, as it said last."""
    bits_out: float = 0.0
    strategy: wire.Strategy | None = None
    version: str | None = None
    polled: float | None = None
    """How long the last poll took, seconds."""
    way: Way | None = None
    """None: it is dialled."""
    renamed: set[tuple[str, str]] = field(factory=set, repr=False)
    """Sessions (stream, id) that this node pushes to under another name; kept while it is down."""
    _body: bytes | None = field(default=None, repr=False)
    """The last snapshot."""
    _edited: bool = False
    """Whether a session of the last snapshot was deleted since."""
    _pending: dict[tuple[str, str], Role] = field(factory=dict, repr=False)
    _ends: set[tuple[str, str]] = field(factory=set, repr=False)
    """Sessions (stream, id) at the other side of this node's relays."""
    _place: Place | None = None

    @property
    def heard(self) -> bool:
        """Whether it has told of its streams since it was added, or down."""
        return self._body is not None

    @property
    def load(self) -> int:
        return self.subscribers + self.relays

    @property
    def sub_max(self) -> int:
        """The most subscribers of one stream: the lesser of the configuration's and the node's own limit."""
        reported = self.strategy.each_stream_max_sub if self.strategy else None
        return self.node.sub_max if reported is None else min(self.node.sub_max, reported)

    @property
    def place(self) -> Place | None:
        """Where it stands in the order of placement; None while it is down."""
        return self._place


class State:
    """All nodes and streams. Nodes that are down have no streams here."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.streams: dict[str, dict[str, StreamOnNode]] = {}
        """By stream, then by the node's alias."""
        self.order: list[Place] = []
        """The nodes that take new sessions, the best for a new publisher first."""
        self.version = 0
        """Grows with every change of what nodes have told of their streams."""
        self._ends: dict[str, dict[str, int]] = {}
        """By stream and session: how many nodes say that it is the far end of a relay of theirs."""
        self._deadlines: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        """When each pending session (alias, stream, id) expires, the earliest first."""

    def add(self, node: Node) -> None:
        health = UNSEEN if node.kind == "net4mqtt" else NEW
        state = self.nodes[node.alias] = NodeState(node, health)
        self._reorder(state)

    def remove(self, alias: str) -> None:
        """Forget a node and all that it contributed."""
        node = self.nodes[alias]
        self._forget(node)
        self._set_ends(node, set())
        if node._place is not None:
            del self.order[bisect_left(self.order, node._place)]
        del self.nodes[alias]

    def drain(self, alias: str, draining: bool) -> None:
        """Take a node out of service for new sessions, or back."""
        node = self.nodes[alias]
        node.draining = draining
        self._reorder(node)

    def happened(self, alias: str, event: Event) -> None:
        """A success or a failure of the node, which moves its health."""
        node = self.nodes[alias]
        node.health = after(node.health, event)
        if node.health.status == "down":
            self._forget(node)
        self._reorder(node)

    def apply(self, alias: str, body: bytes) -> None:
        """Replace what the node contributed by this snapshot. An unusable one changes nothing: NodeError."""
        if not self.has(alias, body):
            self.replace(alias, snapshot.read(body))

    def has(self, alias: str, body: bytes) -> bool:
        """Whether what the node contributes is exactly this snapshot."""
        node = self.nodes[alias]
        return body == node._body and not node._edited

    def replace(self, alias: str, by: Snapshot) -> None:
        """Replace what the node contributed, by a snapshot that was read already.

        The work grows with the streams, and with what is pending or relayed, not with the sessions.
        """
        node = self.nodes[alias]
        node._body, node._edited = by.body, False
        self.version += 1
        self._set_ends(node, by.ends)
        node.renamed = by.renamed
        before, node.streams = node.streams, by.streams
        node.publishers = node.subscribers = node.relays = node.bits_in = node.bits_out = 0
        for name, entry in node.streams.items():
            self._index(alias, name, entry)
            node.publishers += entry.publishers
            node.subscribers += entry.subscribers
            node.relays += entry.relays
            node.bits_in += entry.bits_in
            node.bits_out += entry.bits_out
        for (name, session), role in list(node._pending.items()):
            known = node.streams.get(name)
            listed = known is not None and (session in known.sessions or (role == "made" and known.raw))
            if listed or (name, session) in by.left:
                self._settle(node, name, session)
            else:
                self._put(node, name, known or self._enter(node, name), session, role)
        for name, entry in node.streams.items():
            for session in self._ends.get(name, ()):
                _make_relay(node, entry, session)
        for name, old in before.items():
            if name in node.streams:
                _inherit_relays(node, node.streams[name], old)
            else:
                self._unindex(alias, name)
        self._reorder(node)

    def describe(self, alias: str, strategy: wire.Strategy | None, version: str | None) -> None:
        node = self.nodes[alias]
        node.strategy, node.version = strategy, version

    def session_created(
        self, alias: str, role: Role, stream: str, session: str, now: float, reserved: str | None = None
    ) -> None:
        """A node has made a session: it is pending, unless a snapshot was faster.

        ``reserved`` names the place that it had meanwhile and takes over.
        """
        node = self.nodes.get(alias)
        if node is None or node.health.status == "down":
            return
        entry = node.streams.get(stream)
        if entry is None:
            entry = self._enter(node, stream)
        elif session in entry.sessions or (role == "made" and entry.raw is not None):
            return
        if reserved in entry.sessions and not self.is_far_end(stream, session):
            entry.sessions[session] = entry.sessions.pop(reserved)
            self._settle(node, stream, reserved)
        else:
            self._put(node, stream, entry, session, role)
            self._reorder(node)
        node._pending[stream, session] = role
        self._deadlines[alias, stream, session] = now + PENDING_SECONDS

    def relay_connected(self, alias: str, stream: str, session: str, now: float) -> None:
        """The session by which a relay publishes at a node was seen connected, before a snapshot has it."""
        self.session_created(alias, "relay", stream, session, now)
        if entry := self.streams.get(stream, {}).get(alias):
            entry.publishing, entry.connected, entry.begun = session, True, True

    def reserve(self, alias: str, role: Role, stream: str, name: str) -> None:
        """A session is being asked for: its place counts until `session_deleted` with the same name.

        ``name`` must be none that a node gives.
        """
        node = self.nodes.get(alias)
        if node is None or node.health.status == "down":
            return
        entry = node.streams.get(stream) or self._enter(node, stream)
        self._put(node, stream, entry, name, role)
        node._pending[stream, name] = role
        self._reorder(node)

    def session_deleted(self, alias: str, stream: str, session: str) -> None:
        """A node has ended a session."""
        node = self.nodes.get(alias)
        entry = node.streams.get(stream) if node else None
        if node is None or entry is None or session not in entry.sessions:
            return
        _count(node, entry, entry.sessions.pop(session), -1)
        entry.cascades.pop(session, None)
        if session == entry.publishing:
            entry.publishing, entry.connected, entry.begun = None, False, False
        if not self._settle(node, stream, session):
            node._edited = True
        if entry.raw is None and not entry.sessions:
            del node.streams[stream]
            self._unindex(alias, stream)
        self._reorder(node)

    def stream_deleted(self, alias: str, stream: str) -> None:
        """A node has deleted a stream, with its sessions."""
        node = self.nodes.get(alias)
        entry = node.streams.get(stream) if node else None
        if node is None or entry is None:
            return
        for session in list(entry.sessions):
            self.session_deleted(alias, stream, session)
        if entry.raw is not None:
            node._edited = True
            self.version += 1
            del node.streams[stream]
            self._unindex(alias, stream)

    def sessions(self, alias: str, stream: str) -> list[tuple[str, Role]]:
        """A stream's sessions on a node that has it, without those that it is still being asked for."""
        node = self.nodes[alias]
        return [
            (session, role)
            for session, role in node.streams[stream].sessions.items()
            if (stream, session) not in node._pending or (alias, stream, session) in self._deadlines
            if role != "made"
        ]

    def expire(self, now: float) -> None:
        """Drop the sessions that were pending for too long."""
        while self._deadlines:
            (alias, stream, session), deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                return
            self.session_deleted(alias, stream, session)

    def find(self, stream: str, session: str) -> str | None:
        """The alias of the node that has this session."""
        for alias, entry in self.streams.get(stream, {}).items():
            if session in entry.sessions:
                return alias
        return None

    def is_far_end(self, stream: str, session: str) -> bool:
        """Whether a node says that its relay ends in this session."""
        return session in self._ends.get(stream, ())

    def _forget(self, node: NodeState) -> None:
        # Which sessions of others its relays fed stays known: those are no origins while it is away.
        if node.streams:
            self.version += 1
        for name in node.streams:
            self._unindex(node.node.alias, name)
        for stream, session in node._pending:
            self._deadlines.pop((node.node.alias, stream, session), None)
        node.streams, node._pending, node._body = {}, {}, None
        node.publishers = node.subscribers = node.relays = node.bits_in = node.bits_out = 0

    def _enter(self, node: NodeState, name: str) -> StreamOnNode:
        entry = node.streams[name] = StreamOnNode()
        self._index(node.node.alias, name, entry)
        return entry

    def _settle(self, node: NodeState, name: str, session: str) -> bool:
        """It is pending no more; whether it was."""
        self._deadlines.pop((node.node.alias, name, session), None)  # A reservation has none.
        return node._pending.pop((name, session), None) is not None

    def _put(self, node: NodeState, name: str, entry: StreamOnNode, session: str, role: Role) -> None:
        ends = self._ends.get(name)
        if ends and session in ends:
            role = "relay"
        entry.sessions[session] = role
        _count(node, entry, role, 1)

    def _index(self, alias: str, name: str, entry: StreamOnNode) -> None:
        nodes = self.streams.get(name)
        if nodes is None:
            self.streams[name] = {alias: entry}
        else:
            nodes[alias] = entry

    def _unindex(self, alias: str, name: str) -> None:
        nodes = self.streams[name]
        del nodes[alias]
        if not nodes:
            del self.streams[name]

    def _set_ends(self, node: NodeState, ends: set[tuple[str, str]]) -> None:
        for stream, session in node._ends - ends:
            known = self._ends[stream]
            known[session] -= 1
            if not known[session]:
                del known[session]
            if not known:
                del self._ends[stream]
        for stream, session in ends - node._ends:
            known = self._ends.setdefault(stream, {})
            known[session] = known.get(session, 0) + 1
            for alias, entry in self.streams.get(stream, {}).items():
                _make_relay(self.nodes[alias], entry, session)
                self._reorder(self.nodes[alias])
        node._ends = ends

    def _reorder(self, node: NodeState) -> None:
        place = _place(node)
        if place == node._place:
            return
        if node._place is not None:
            del self.order[bisect_left(self.order, node._place)]
        if place is not None:
            insort(self.order, place)
        node._place = place


def _place(node: NodeState) -> Place | None:
    status = node.health.status
    if status == "down" or node.draining:
        return None
    free = node.node.pub_max - node.publishers
    rank = FULL if free <= 0 else 0 if status == "up" else 1
    return rank, -free, node.subscribers + node.relays, node.node.alias


def _inherit_relays(node: NodeState, entry: StreamOnNode, before: StreamOnNode) -> None:
    """A session that fed or was fed by a relay once stays one, whoever still says so."""
    if before.relays:
        for session, role in before.sessions.items():
            if role == "relay":
                _make_relay(node, entry, session)


def _make_relay(node: NodeState, entry: StreamOnNode, session: str) -> None:
    role = entry.sessions.get(session)
    if role is not None and role != "relay":
        _count(node, entry, role, -1)
        entry.sessions[session] = "relay"
        _count(node, entry, "relay", 1)


def _count(node: NodeState, entry: StreamOnNode, role: Role, by: int) -> None:
    if role == "publish":
        entry.publishers += by
        node.publishers += by
    elif role == "subscribe":
        entry.subscribers += by
        node.subscribers += by
    elif role == "relay":
        entry.relays += by
        node.relays += by
