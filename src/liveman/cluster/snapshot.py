"""A node's list of streams, read into the index that it becomes: whole, before anything of it is believed.

Reading a large one takes longer than others can wait; as it touches nothing else, a thread may do it.
"""

from typing import Literal

from attrs import field, frozen
from msgspec import Raw, Struct

from liveman.cluster import wire

__all__ = ["Kind", "Role", "Snapshot", "StreamOnNode", "read"]

Kind = Literal["publish", "subscribe"]
Role = Literal["publish", "subscribe", "relay", "made"]
"""Both ends of a relay take no place, but count as load. ``made`` is no session: under the id "" it keeps a
stream that Liveman made, until a snapshot has that."""


class StreamOnNode(Struct, eq=False, gc=False):
    """What one node has of one stream.

    The garbage collector knows neither these nor the indexes over them, so what it takes does not grow with
    the streams. Nothing in here may lead back here.
    """

    raw: Raw | None = None
    """Its JSON as the node said it; None when only pending sessions make it."""
    sessions: dict[str, Role] = {}
    """By the node's own id; those that have left are not here."""
    publishers: int = 0
    subscribers: int = 0
    relays: int = 0
    publishing: str | None = None
    """The session that publishes here, a publisher's or a relay's, as the node said last."""
    connected: bool = False
    """Whether that session is connected."""
    begun: bool = False
    """Whether it was: it may have lost its connection for a moment."""
    on_demand: bool = False
    bits_in: float = 0.0
    """What comes from its publisher or relay, bits per second, as the node said last."""
    bits_out: float = 0.0
    """What goes to all who subscribe, relays included."""
    cascades: dict[str, wire.Cascade] = {}
    """By the session of this node that is the relaying end: where its relay goes, or comes from."""

    @property
    def relayed(self) -> bool:
        """Whether it is a relay that publishes here."""
        return self.publishing is not None and self.sessions.get(self.publishing) == "relay"

    @property
    def fed(self) -> bool:
        """Whether there is something to see here."""
        return self.publishers > 0 or self.on_demand or (self.begun and self.relayed)


@frozen(eq=False)
class Snapshot:
    """What a node contributes; it can be taken in once, as the state goes on with its parts."""

    body: bytes = field(repr=False)
    streams: dict[str, StreamOnNode] = field(factory=dict, repr=False)
    """With the roles that the node itself tells of."""
    left: set[tuple[str, str]] = field(factory=set, repr=False)
    """Sessions (stream, id) that are listed, but have left."""
    ends: set[tuple[str, str]] = field(factory=set, repr=False)
    """Sessions (stream, id) at the other side of this node's relays."""
    renamed: set[tuple[str, str]] = field(factory=set, repr=False)
    """Those of them where a stream is pushed to under another name than here."""


def read(body: bytes) -> Snapshot:
    """A snapshot of a list that is sound throughout; NodeError for every other."""
    snapshot = Snapshot(body)
    for stream in wire.parse_streams(body).values():
        entry = snapshot.streams[stream.id] = StreamOnNode(
            stream.raw, on_demand=stream.onDemand, bits_in=stream.bitsIn, bits_out=stream.bitsOut
        )
        _read_group(snapshot, entry, stream.id, "publish", stream.publish)
        _read_group(snapshot, entry, stream.id, "subscribe", stream.subscribe)
        roles = list(entry.sessions.values())
        entry.publishers = roles.count("publish")
        entry.subscribers = roles.count("subscribe")
        entry.relays = roles.count("relay")
    return snapshot


def _read_group(snapshot: Snapshot, entry: StreamOnNode, name: str, kind: Kind, group: wire.Group) -> None:
    for session in group.sessions:
        if session.leaveAt:
            snapshot.left.add((name, session.id))
            continue
        if session.id in entry.sessions:
            continue  # Duplicated ids are one session, the first.
        cascade = session.cascade
        relay = cascade is not None and bool(cascade.source or cascade.target or cascade.session)
        if cascade is not None and relay:
            entry.cascades[session.id] = cascade
            if end := wire.session_of(cascade.session):
                snapshot.ends.add(end)
                if cascade.target and end[0] != name:
                    snapshot.renamed.add(end)
        if kind == "publish" and not entry.connected:
            entry.publishing = session.id
            entry.connected = session.state in ("connected", "")
            entry.begun = session.state not in ("new", "connecting")
        entry.sessions[session.id] = "relay" if relay else kind
