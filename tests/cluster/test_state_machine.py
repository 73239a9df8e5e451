"""Whatever happens to the state, it is what a simple model says, and placement keeps its rules."""

from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from cluster.fake import body, session, stream
from liveman.cluster.placement import place
from liveman.cluster.state import FULL, PENDING_SECONDS, Kind, Node, Role, State

ALIASES = ("a", "b", "c")
STREAMS = ("x", "y")
IDS = ("1", "2")
LIMIT = 1
"""`pub_max` and `sub_max` of each node."""

Key = tuple[str, str]
"""Stream, session."""
Reservation = tuple[str, Kind, str, str]
"""Alias, kind, stream, name."""


@define
class Listed:
    """A session as a node lists it."""

    kind: Kind
    id: str
    left: bool
    end: Key | None
    """The session at the other side, where this is the relaying end of a relay."""


@define
class ModelNode:
    failures: int = 0
    status: str = "suspect"
    draining: bool = False
    listed: dict[str, list[Listed]] | None = None
    """The last snapshot: None while it is down, or was not heard yet."""
    deleted: set[Key] = field(factory=set)
    """Sessions of the last snapshot that were deleted since; one without id stands for a stream."""
    pending: dict[Key, tuple[Role, float | None]] = field(factory=dict)
    """And when they expire."""
    ends: set[Key] = field(factory=set)
    """The other sides of its relays; they stay known while it is down."""
    relays: set[Key] = field(factory=set)
    """Which of its sessions are known for relays, for as long as they are there."""

    def said(self) -> dict[Key, Listed]:
        """What is there by the last snapshot; of a session that is listed twice, the first."""
        found: dict[Key, Listed] = {}
        for name, sessions in (self.listed or {}).items():
            for each in sessions:
                if not each.left and (name, each.id) not in self.deleted:
                    found.setdefault((name, each.id), each)
        return found

    def roles(self) -> dict[Key, str]:
        roles: dict[Key, str] = {key: each.kind for key, each in self.said().items()}
        roles |= {key: role for key, (role, _) in self.pending.items()}
        return roles | dict.fromkeys(self.relays, "relay")

    def streams(self) -> set[str]:
        return set(self.listed or ()) | {name for name, _ in self.pending}


_alias = st.sampled_from(ALIASES)
_name = st.sampled_from(STREAMS)
_id = st.sampled_from(IDS)
_kind = st.sampled_from(["publish", "subscribe"])
_few = st.just(set[str]()) | st.sets(_alias, max_size=2)
_listed = st.builds(
    Listed,
    kind=_kind,
    id=_id,
    left=st.sampled_from([False, False, False, True]),
    end=st.none() | st.tuples(_name, _id),
)
_snapshot = st.dictionaries(
    _name, st.lists(_listed, min_size=1, max_size=4).map(lambda rows: sorted(rows, key=lambda row: row.kind))
)


class Watched(RuleBasedStateMachine):
    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.model: dict[str, ModelNode] = {}
        self.now = 0.0
        self.names = 0
        for alias in ALIASES[:2]:
            self.add(alias)
            self.answer(alias)

    # What happens.

    @rule(alias=_alias)
    def add(self, alias: str) -> None:
        if alias not in self.model:
            self.state.add(Node(alias, f"http://{alias}", pub_max=LIMIT, sub_max=LIMIT))
            self.model[alias] = ModelNode()

    @rule(alias=_alias)
    def remove(self, alias: str) -> None:
        if self.model.pop(alias, None):
            self.state.remove(alias)

    @rule(alias=_alias, listed=_snapshot)
    def report(self, alias: str, listed: dict[str, list[Listed]]) -> None:
        """A snapshot came; the node is up."""
        if node := self.model.get(alias):
            self.state.apply(alias, _body(listed))
            self.state.happened(alias, "success")
            node.status, node.failures = "up", 0
            if node.listed is None or _body(listed) != _body(node.listed) or node.deleted:
                node.listed, node.deleted = listed, set()
                for name, rows in listed.items():
                    for id in ["", *(each.id for each in rows)]:
                        node.pending.pop((name, id), None)
                node.ends = {
                    each.end for rows in listed.values() for each in rows if each.end and not each.left
                }

    @rule(alias=_alias, lost=st.sampled_from([(), (), ("1",), ("2",)]))
    def lose(self, alias: str, lost: tuple[str, ...]) -> None:
        """The node says the same again, or has lost some of its sessions."""
        node = self.model.get(alias)
        if node and node.listed:
            kept = {
                name: [each for each in rows if each.id not in lost] for name, rows in node.listed.items()
            }
            self.report(alias, kept)

    @rule(alias=_alias, times=st.sampled_from([1, 3]))
    def fail(self, alias: str, times: int) -> None:
        if node := self.model.get(alias):
            for _ in range(times):
                self.state.happened(alias, "failure")
            node.failures += times
            node.status = "down" if node.failures >= 3 else "suspect"
            if node.status == "down":
                node.listed, node.deleted, node.pending = None, set(), {}

    @rule(alias=_alias)
    def answer(self, alias: str) -> None:
        """It has answered a client, and said nothing of its streams."""
        if node := self.model.get(alias):
            self.state.happened(alias, "success")
            node.status, node.failures = "up", 0

    @rule(alias=_alias, draining=st.booleans())
    def drain(self, alias: str, draining: bool) -> None:
        if node := self.model.get(alias):
            self.state.drain(alias, draining)
            node.draining = draining

    @rule(target=reservations, alias=_alias, kind=_kind, name=_name)
    def reserve(self, alias: str, kind: Kind, name: str) -> Any:
        self.names += 1
        place = f"reserved {self.names}"
        self.state.reserve(alias, kind, name, place)
        node = self.model.get(alias)
        if node is None or node.status == "down":
            return multiple()
        node.pending[name, place] = (kind, None)
        return alias, kind, name, place

    @rule(reservation=reservations, id=_id)
    def create(self, reservation: Reservation, id: str) -> None:
        """The node has made the session that a place was reserved for."""
        alias, kind, name, place = reservation
        self.state.session_created(alias, kind, name, id, self.now, place)
        node = self.model.get(alias)
        if node and node.status != "down" and (name, id) not in node.roles():
            node.pending[name, id] = (kind, self.now + PENDING_SECONDS)
        self.delete(alias, name, place)

    @rule(alias=_alias, name=_name, id=_id)
    def delete(self, alias: str, name: str, id: str) -> None:
        self.state.session_deleted(alias, name, id)
        node = self.model.get(alias)
        if node and not node.pending.pop((name, id), None) and (name, id) in node.said():
            node.deleted.add((name, id))

    @rule(alias=_alias, name=_name)
    def make_stream(self, alias: str, name: str) -> None:
        """The node has made a stream, without any session."""
        self.state.session_created(alias, "made", name, "", self.now)
        node = self.model.get(alias)
        if node and node.status != "down" and name not in (node.listed or ()):
            node.pending.setdefault((name, ""), ("made", self.now + PENDING_SECONDS))

    @rule(alias=_alias, name=_name)
    def delete_stream(self, alias: str, name: str) -> None:
        """The node has deleted a stream, with its sessions."""
        self.state.stream_deleted(alias, name)
        if node := self.model.get(alias):
            node.pending = {key: value for key, value in node.pending.items() if key[0] != name}
            if node.listed and name in node.listed:
                node.listed = {key: rows for key, rows in node.listed.items() if key != name}
                node.deleted.add((name, ""))

    @rule(seconds=st.sampled_from([1.0, 6.0, PENDING_SECONDS]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.state.expire(self.now)
        for node in self.model.values():
            node.pending = {
                key: (role, deadline)
                for key, (role, deadline) in node.pending.items()
                if deadline is None or deadline > self.now
            }

    # What holds.

    @invariant()
    def every_index_and_count_is_the_models(self) -> None:
        ends = {end for node in self.model.values() for end in node.ends}
        index: dict[str, set[str]] = {}
        for alias, node in self.model.items():
            said = node.said()
            known = node.relays | ends | {key for key, each in said.items() if each.end}
            node.relays = known & (said.keys() | node.pending.keys())
            roles = node.roles()
            real = self.state.nodes[alias]
            assert real.health.status == node.status
            assert set(real.streams) == node.streams()
            for name, entry in real.streams.items():
                index.setdefault(name, set()).add(alias)
                assert self.state.streams[name][alias] is entry
                here = {id: role for (stream, id), role in roles.items() if stream == name}
                assert entry.sessions == here
                assert _counts(entry) == _count(here)
                assert (entry.raw is not None) is (name in (node.listed or ()))
                for id in here:
                    finder = self.state.find(name, id)
                    assert finder is not None and id in self.state.nodes[finder].streams[name].sessions
            assert _counts(real) == _count(roles)
        assert {name: set(nodes) for name, nodes in self.state.streams.items()} == index
        assert set(self.state.nodes) == set(self.model)

    @invariant()
    def nothing_is_kept_of_what_is_gone(self) -> None:
        assert {key: self.state._deadlines[key] for key in self.state._deadlines} == {
            (alias, *key): deadline
            for alias, node in self.model.items()
            for key, (_, deadline) in node.pending.items()
            if deadline is not None
        }
        said = [end for node in self.model.values() for end in node.ends]
        assert self.state._ends == {
            name: {id: said.count((name, id)) for stream, id in set(said) if stream == name}
            for name in {stream for stream, _ in said}
        }

    @invariant()
    def the_order_is_of_the_nodes_that_take_sessions(self) -> None:
        expected = []
        for alias, node in self.model.items():
            publishers, subscribers, relays = _count(node.roles())
            if node.status != "down" and not node.draining:
                free = LIMIT - publishers
                rank = FULL if free <= 0 else 0 if node.status == "up" else 1
                expected.append((rank, -free, subscribers + relays, alias))
        assert self.state.order == sorted(expected)

    @precondition(lambda self: self.model)
    @rule(
        kind=_kind,
        name=st.sampled_from([*STREAMS, "new"]),
        exclude=_few,
        nodes=_few,
        chance=st.integers(0, 9),
    )
    def place(self, kind: Kind, name: str, exclude: set[str], nodes: set[str], chance: int) -> None:
        """Never to a node that is down, full, draining or tried; where one is free, there."""
        decision = place(
            self.state,
            kind,
            name,
            nodes=sorted(nodes),
            exclude=exclude,
            at=0.0,
            random=lambda below: chance % below,
        )
        takers = {alias for alias, node in self.model.items() if not node.draining} - exclude
        if nodes:
            takers &= nodes
        if kind == "subscribe":
            free = {
                alias
                for alias in takers & set(self.state.streams.get(name, ()))
                if self.state.streams[name][alias].subscribers < LIMIT
            }
        else:
            free = {alias for _, taken, _, alias in self.state.order if alias in takers and taken < 0}
        if decision.target is None:
            assert not free
            return
        chosen = decision.target.alias
        assert chosen not in exclude
        assert self.model[chosen].status != "down"
        if decision.action == "existing":
            assert chosen in self.state.streams[name]
        if decision.action == "place" or kind == "subscribe":
            assert chosen in free


def _body(listed: dict[str, list[Listed]]) -> bytes:
    def row(each: Listed) -> dict[str, Any]:
        members: dict[str, Any] = {"leaveAt": 1795229960000 if each.left else 0}
        if each.end:
            url = "http://n/session/{}/{}".format(*each.end)
            members["cascade"] = {"targetUrl": "http://n/whip/x", "sessionUrl": url}
        return session(each.id, **members)

    return body(
        *(
            stream(
                name,
                *([row(each) for each in rows if each.kind == kind] for kind in ("publish", "subscribe")),
            )
            for name, rows in listed.items()
        )
    )


def _count(roles: dict[Any, str]) -> tuple[int, int, int]:
    values = list(roles.values())
    return values.count("publish"), values.count("subscribe"), values.count("relay")


def _counts(of: Any) -> tuple[int, int, int]:
    return of.publishers, of.subscribers, of.relays


Watched.TestCase.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)


class TestWatched(Watched.TestCase):  # type: ignore[misc]
    """Nodes come, report, lose sessions, fail, are drained and go, in any order."""
