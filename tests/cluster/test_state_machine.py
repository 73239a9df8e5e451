"""Whatever happens to the state, it is what a simple model says, and placement and relays keep their rules."""

from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from cluster.fake import body, session, stream
from liveman.cluster.cascade import depths, idle, lost, plan, relays
from liveman.cluster.node import Node
from liveman.cluster.placement import place
from liveman.cluster.state import FULL, PENDING_SECONDS, Kind, Role, State

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
    """The session at the other side, where this is the relaying end of a relay: a publisher's pulls, a
    subscriber's pushes."""
    host: str
    """Where that goes to, or comes from."""
    state: str


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
    renamed: set[Key] = field(factory=set)
    """Those of them that are pushed to under another name."""
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

    def publishing(self, name: str) -> Listed | None:
        """Of the sessions that publish by the last snapshot, the first that is connected, or else the last."""
        here: dict[str, Listed] = {}
        for each in (self.listed or {}).get(name, ()):
            if not each.left:
                here.setdefault(each.id, each)
        rows = [each for each in here.values() if each.kind == "publish"]
        found = next((each for each in rows if each.state == "connected"), rows[-1] if rows else None)
        return None if found is None or (name, found.id) in self.deleted else found

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
    host=st.sampled_from([*ALIASES, "abroad"]),
    state=st.sampled_from(["connected", "connected", "connecting", "disconnected"]),
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
                said = node.said().items()
                node.ends = {each.end for _, each in said if each.end}
                node.renamed = {
                    each.end
                    for (name, _), each in said
                    if each.end and each.end[0] != name and each.kind == "subscribe"
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

    def learn(self) -> None:
        """Which sessions are relays' by what has happened last."""
        ends = {end for node in self.model.values() for end in node.ends}
        for node in self.model.values():
            said = node.said()
            known = node.relays | ends | {key for key, each in said.items() if each.end}
            node.relays = known & (said.keys() | node.pending.keys())

    @invariant()
    def every_index_and_count_is_the_models(self) -> None:
        self.learn()
        index: dict[str, set[str]] = {}
        for alias, node in self.model.items():
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
        known = self.state.streams.get(name, {})
        if kind == "subscribe":
            fed = {alias for alias in known if self.is_fed(alias, name)} or set(known)
            free = {alias for alias in takers & fed if known[alias].subscribers < LIMIT}
        else:
            left = self.state.streams and {
                alias
                for alias in known
                if self.is_relayed(alias, name) and alias not in depths(self.state, name)
            }
            held = {alias for alias in left if not self.publishers(alias, name)} if left else set[str]()
            free = {alias for _, taken, _, alias in self.state.order if alias in takers - held and taken < 0}
            assert decision.target is None or decision.target.alias not in held
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

    # Relays.

    def is_relayed(self, alias: str, name: str) -> bool:
        """Whether a relay publishes there."""
        node = self.model[alias]
        there = node.publishing(name)
        return there is not None and node.roles()[name, there.id] == "relay"

    def is_fed(self, alias: str, name: str) -> bool:
        there = self.model[alias].publishing(name)
        begun = there is not None and there.state != "connecting"
        return self.publishers(alias, name) > 0 or (begun and self.is_relayed(alias, name))

    def publishers(self, alias: str, name: str) -> int:
        roles = self.model[alias].roles()
        return sum(1 for (stream, _), role in roles.items() if stream == name and role == "publish")

    def begins(self, alias: str, name: str) -> bool:
        """Whether it is published there, pulled from elsewhere, or pushed to under another name."""
        if self.publishers(alias, name):
            return True
        there = self.model[alias].publishing(name)
        if there is None or not self.is_relayed(alias, name):
            return False
        if there.end:
            return there.end[0] != name or there.host not in self.model
        return any((name, there.id) in node.renamed for node in self.model.values())

    @invariant()
    def relays_join_two_nodes_and_are_ended_when_nobody_needs_or_feeds_them(self) -> None:
        self.learn()
        for name in STREAMS:
            hops = relays(self.state, name)
            for alias, hop in hops.items():
                assert hop.destination == alias != hop.source
                (teller, id), (other, far) = hop.ends
                told = self.model[teller].said()[name, id]
                assert told.end == (name, far)
                assert told.kind == ("subscribe" if hop.mode == "push" else "publish")
                assert {(name, id)} <= self.model[teller].relays and {(name, far)} <= self.model[other].relays
            reached = {
                alias: 0
                for alias in self.state.streams.get(name, ())
                if self.publishers(alias, name) or (alias not in hops and self.begins(alias, name))
            }
            for _ in ALIASES:
                for alias, hop in hops.items():
                    if hop.source in reached:
                        depth = reached[hop.source] + 1
                        reached[alias] = min(depth, reached.get(alias, depth))
            assert depths(self.state, name) == reached
        for hop in idle(self.state):
            assert not self.state.streams[hop.stream][hop.destination].subscribers
            assert hop.destination not in {each.source for each in relays(self.state, hop.stream).values()}
        for name, alias, left in lost(self.state):
            there = self.model[alias].publishing(name)
            assert there is not None and there.id == left and self.is_relayed(alias, name)
            hop = relays(self.state, name).get(alias)
            assert (hop or not self.begins(alias, name)) and alias not in depths(self.state, name)

    @precondition(lambda self: self.model)
    @rule(name=_name, exclude=_few, nodes=_few, max_depth=st.integers(1, 3), chance=st.integers(0, 9))
    def plan_relay(self, name: str, exclude: set[str], nodes: set[str], max_depth: int, chance: int) -> None:
        """From the least deep node that has the stream, to one in service with a place, that has it not."""
        decision = plan(
            self.state,
            name,
            max_depth=max_depth,
            nodes=nodes,
            exclude=exclude,
            at=0.0,
            random=lambda below: chance % below,
        )
        sources = {
            alias: (self.model[alias].status != "up", depth)
            for alias, depth in depths(self.state, name).items()
            if depth < max_depth and alias not in exclude
        }
        known = self.state.streams.get(name, {})
        takers = {
            alias
            for alias, node in self.model.items()
            if node.status != "down" and not node.draining and alias not in exclude
            if not nodes or alias in nodes
            if not self.publishers(alias, name) and node.publishing(name) is None
            if alias not in known or known[alias].subscribers < LIMIT
        }
        if decision.target is None:
            assert not sources or not takers
            return
        assert decision.source is not None
        assert decision.target.alias in takers
        assert sources[decision.source.alias] == min(sources.values())


def _body(listed: dict[str, list[Listed]]) -> bytes:
    def row(each: Listed) -> dict[str, Any]:
        members: dict[str, Any] = {"leaveAt": 1795229960000 if each.left else 0, "state": each.state}
        if each.end:
            name, id = each.end
            pull = each.kind == "publish"
            members["cascade"] = {
                "sourceUrl"
                if pull
                else "targetUrl": f"http://{each.host}/{'whep' if pull else 'whip'}/{name}",
                "sessionUrl": f"http://{each.host}/session/{name}/{id}",
            }
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


Watched.TestCase.settings = settings(max_examples=250, stateful_step_count=50)


class TestWatched(Watched.TestCase):  # type: ignore[misc]
    """Nodes come, report, lose sessions, fail, are drained and go, in any order."""
