"""Whatever happens to the state, its counters and indexes agree with its sessions."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.fake import body, session, stream
from liveman.cluster.state import FULL, PENDING_SECONDS, Node, State

ALIASES = ["a", "b", "c"]
_alias = st.sampled_from(ALIASES)
_name = st.sampled_from(["x", "y"])
_id = st.sampled_from(["1", "2", "3"])
_kind = st.sampled_from(["publish", "subscribe"])
_stream = st.tuples(
    _name, st.lists(_id, max_size=2), st.lists(_id, max_size=2), st.none() | st.tuples(_name, _id)
)
_step = st.one_of(
    st.tuples(st.just("apply"), _alias, st.lists(_stream, max_size=2, unique_by=lambda row: row[0])),
    st.tuples(st.just("created"), _alias, _kind, _name, _id),
    st.tuples(st.just("deleted"), _alias, _name, _id),
    st.tuples(st.just("stream made"), _alias, _name),
    st.tuples(st.just("stream deleted"), _alias, _name),
    st.tuples(st.just("happened"), _alias, st.sampled_from(["success", "failure", "failure"])),
    st.tuples(st.just("time"), st.sampled_from([1, 6, 11])),
)


def _snapshot(rows: Sequence[tuple[str, list[str], list[str], tuple[str, str] | None]]) -> bytes:
    def listed(id: str, end: tuple[str, str] | None) -> dict[str, object]:
        if end is None:
            return session(id)
        return session(
            id, cascade={"targetUrl": "http://n/whip/x", "sessionUrl": f"http://n/session/{end[0]}/{end[1]}"}
        )

    return body(*(stream(n, list(p), [listed(id, end) for id in s]) for n, p, s, end in rows))


@settings(max_examples=300, deadline=None)
@given(st.lists(_step, max_size=30))
def test_counts_and_orders_always_agree_with_the_sessions(steps: list[tuple[object, ...]]) -> None:
    """Whatever happens: every counter is what a recount gives, and nothing empty or down stays indexed."""
    state = State()
    for alias in ALIASES:
        state.add(Node(alias, f"http://{alias}", pub_max=2))
        state.happened(alias, "success")
    now = 0.0
    for step in steps:
        match step:
            case ("apply", str(alias), list(rows)):
                state.apply(alias, _snapshot(rows))
                state.happened(alias, "success")
            case ("created", str(alias), ("publish" | "subscribe") as kind, str(name), str(id)):
                state.session_created(alias, kind, name, id, now)
            case ("deleted", str(alias), str(name), str(id)):
                state.session_deleted(alias, name, id)
            case ("stream made", str(alias), str(name)):
                state.session_created(alias, "made", name, "", now)
            case ("stream deleted", str(alias), str(name)):
                state.stream_deleted(alias, name)
                assert alias not in state.streams.get(name, {})
            case ("happened", str(alias), ("success" | "failure") as event):
                state.happened(alias, event)
            case ("time", int(seconds)):
                now += seconds
                state.expire(now)
        _check(state)
    state.expire(now + PENDING_SECONDS)
    assert not state._deadlines
    for alias in ALIASES:
        state.apply(alias, b"[]")
    assert state.streams == {}
    assert state._ends == {}
    assert [node.publishers + node.load for node in state.nodes.values()] == [0, 0, 0]


def _check(state: State) -> None:
    index: dict[str, set[str]] = {}
    for alias, node in state.nodes.items():
        totals = {"publish": 0, "subscribe": 0, "relay": 0, "made": 0}
        for name, entry in node.streams.items():
            index.setdefault(name, set()).add(alias)
            roles = list(entry.sessions.values())
            assert (entry.publishers, entry.subscribers, entry.relays) == tuple(
                roles.count(role)
                for role in ("publish", "subscribe", "relay")  # type: ignore[arg-type]
            )
            for role in roles:
                totals[role] += 1
            assert state.streams[name][alias] is entry
            assert entry.raw is not None or entry.sessions
        assert (node.publishers, node.subscribers, node.relays) == tuple(totals.values())[:3]
        assert node.health.status != "down" or not node.streams
    assert {name: set(nodes) for name, nodes in state.streams.items()} == index
    assert state.order == sorted(node.place for node in state.nodes.values() if node.place is not None)
    assert {place[3] for place in state.order} == {
        alias for alias, node in state.nodes.items() if node.health.status != "down"
    }
    for rank, taken, load, alias in state.order:
        node = state.nodes[alias]
        assert (-taken, load) == (node.node.pub_max - node.publishers, node.subscribers + node.relays)
        assert rank == (FULL if taken >= 0 else 0 if node.health.status == "up" else 1)
