"""Snapshots, indexes, pending sessions, relays."""

import pytest

from cluster.fake import body, data, session, stream
from liveman.cluster.node import Node
from liveman.cluster.state import FULL, PENDING_SECONDS, State
from liveman.config import NodeConfig, Secret
from liveman.errors import NodeError


def state_of(*aliases: str, pub_max: int = 10) -> State:
    """Nodes that are up."""
    state = State()
    for alias in aliases:
        state.add(Node(alias, f"http://{alias}", pub_max=pub_max))
        state.happened(alias, "success")
    return state


def counts(state: State, alias: str) -> tuple[int, int, int]:
    node = state.nodes[alias]
    return node.publishers, node.subscribers, node.relays


def best(state: State) -> str:
    return state.order[0][3]


def test_a_node_is_made_from_its_configuration() -> None:
    """Every key arrives, and the token is in no repr."""
    config = NodeConfig("a", "http://a", Secret("s3cret"), "poll", 5, 6)
    node = Node.from_config(config)
    assert node == Node("a", "http://a", Secret("s3cret"), "poll", 5, 6, "config")
    assert "s3cret" not in repr(node)


def test_a_snapshot_replaces_what_the_node_contributed() -> None:
    """What it no longer names is gone, other nodes' streams are untouched."""
    state = state_of("a", "b")
    state.apply("a", body(stream("x", ["p1"], ["v1", "v2"]), stream("y", ["p2"])))
    state.apply("b", body(stream("x", [], ["v3"])))
    assert counts(state, "a") == (2, 2, 0)
    assert {name: set(nodes) for name, nodes in state.streams.items()} == {"x": {"a", "b"}, "y": {"a"}}
    state.apply("a", body(stream("z", ["p9"])))
    assert counts(state, "a") == (1, 0, 0)
    assert {name: set(nodes) for name, nodes in state.streams.items()} == {"x": {"b"}, "z": {"a"}}
    assert state.find("x", "v1") is None


def test_a_node_s_bitrates_are_those_of_its_streams() -> None:
    state = state_of("a")
    stats = {"publish": {"bitrate": 10}, "subscribe": {"bitrate": 30}}
    state.apply("a", body(stream("x", ["p1"], stats=stats), stream("y", ["p2"], stats=stats)))
    node = state.nodes["a"]
    assert (node.bits_in, node.bits_out) == (20, 60)
    assert (node.streams["x"].bits_in, node.streams["x"].bits_out) == (10, 30)
    state.apply("a", body())
    assert (node.bits_in, node.bits_out) == (0, 0)


def test_an_unusable_snapshot_changes_nothing() -> None:
    """The last good one stands, also when only a part of it is bad."""
    state = state_of("a")
    state.apply("a", body(stream("x", ["p1"])))
    with pytest.raises(NodeError):
        state.apply("a", b'[{"id": "y"}, {"id": 7}]')
    assert set(state.streams) == {"x"}
    assert counts(state, "a") == (1, 0, 0)


def test_sessions_that_have_left_count_nowhere() -> None:
    """A viewer who left stays listed for a while."""
    state = state_of("a")
    left = session("old", leaveAt=1795229960000, state="closed")
    state.apply("a", body(stream("x", ["p"], ["v", left])))
    assert counts(state, "a") == (1, 1, 0)
    assert state.find("x", "old") is None


def test_publishers_and_subscribers_are_found_by_their_ids() -> None:
    """Both kinds are indexed."""
    state = state_of("a", "b")
    state.apply("b", body(stream("x", ["p"], ["v"])))
    assert state.find("x", "p") == state.find("x", "v") == "b"
    assert state.find("y", "p") is None


def test_a_session_that_is_listed_twice_counts_once() -> None:
    """Duplicated ids are no two sessions."""
    state = state_of("a")
    state.apply("a", body(stream("x", ["p", "p"], ["p", "v"])))
    assert counts(state, "a") == (1, 1, 0)


def test_one_session_id_at_two_nodes_is_two_sessions() -> None:
    """Each counts where it is; when it ends at one node, the other still has it."""
    state = state_of("a", "b")
    for alias in ("a", "b"):
        state.apply(alias, body(stream("x", ["p"], ["v"])))
    assert counts(state, "a") == counts(state, "b") == (1, 1, 0)
    state.session_deleted("a", "x", "v")
    assert (counts(state, "a"), counts(state, "b")) == ((1, 0, 0), (1, 1, 0))
    assert state.find("x", "v") == "b"
    state.apply("b", b"[]")
    assert state.find("x", "v") is None


def test_a_node_may_list_what_only_liveman_names() -> None:
    """A reserved place is taken for that session then, and nothing breaks when the answer comes."""
    state = state_of("a")
    state.reserve("a", "publish", "x", "reserved 0")
    state.apply("a", body(stream("x", ["reserved 0"])))
    state.session_created("a", "publish", "x", "p", now=0, reserved="reserved 0")
    state.session_deleted("a", "x", "reserved 0")
    assert counts(state, "a") == (1, 0, 0)


def test_a_pending_relay_stays_one_when_its_source_forgets_it() -> None:
    """As a listed one does."""
    state = state_of("a", "b")
    state.apply("a", data("push_source.json"))
    end = "10ffaa95-e375-43fa-b9d9-d4db8069d732"
    state.session_created("b", "publish", "cam", end, now=0)
    state.apply("a", b"[]")
    state.apply("b", body(stream("other")))
    assert counts(state, "b") == (0, 0, 1)


def test_a_pending_session_counts_at_once_and_makes_its_stream_known() -> None:
    """Two fast publishers do not land on one place; a viewer finds the stream."""
    state = state_of("a", "b", pub_max=1)
    state.session_created("a", "publish", "x", "p", now=0)
    assert counts(state, "a") == (1, 0, 0)
    assert best(state) == "b"
    assert state.find("x", "p") == "a"
    assert set(state.streams["x"]) == {"a"}


def test_a_pending_session_outlives_snapshots_that_do_not_have_it() -> None:
    """They were made before it."""
    state = state_of("a")
    state.session_created("a", "subscribe", "x", "v", now=0)
    state.apply("a", body(stream("x", ["p"])))
    state.apply("a", body(stream("y")))
    assert counts(state, "a") == (0, 1, 0)
    assert state.find("x", "v") == "a"


@pytest.mark.parametrize("leave_at", [0, 1795229960000])
def test_a_snapshot_confirms_a_pending_session(leave_at: int) -> None:
    """From then on only snapshots say whether it is there; one that left is as good."""
    state = state_of("a")
    state.session_created("a", "subscribe", "x", "v", now=0)
    state.apply("a", body(stream("x", ["p"], [session("v", leaveAt=leave_at)])))
    assert counts(state, "a") == (1, 0 if leave_at else 1, 0)
    state.expire(now=PENDING_SECONDS + 1)
    assert counts(state, "a") == (1, 0 if leave_at else 1, 0)
    state.apply("a", body(stream("x", ["p"])))
    assert counts(state, "a") == (1, 0, 0)


def test_a_snapshot_may_be_faster_than_the_answer() -> None:
    """Then the session is not counted again."""
    state = state_of("a")
    state.apply("a", body(stream("x", ["p"])))
    state.session_created("a", "publish", "x", "p", now=0)
    assert counts(state, "a") == (1, 0, 0)
    state.expire(now=PENDING_SECONDS + 1)
    assert counts(state, "a") == (1, 0, 0)


def test_pending_sessions_expire_in_their_order() -> None:
    """Each after its own time, and the stream with the last of them."""
    state = state_of("a", "b")
    state.session_created("a", "publish", "x", "p", now=0)
    state.session_created("b", "subscribe", "x", "v", now=4)
    state.expire(now=PENDING_SECONDS - 0.1)
    assert set(state.streams["x"]) == {"a", "b"}
    state.expire(now=PENDING_SECONDS)
    assert set(state.streams["x"]) == {"b"}
    state.expire(now=PENDING_SECONDS + 4)
    assert state.streams == {}
    assert counts(state, "a") == counts(state, "b") == (0, 0, 0)


def test_a_deleted_pending_session_is_gone_at_once() -> None:
    """And does not expire once more."""
    state = state_of("a")
    state.session_created("a", "publish", "x", "p", now=0)
    state.session_deleted("a", "x", "p")
    assert state.streams == {}
    assert counts(state, "a") == (0, 0, 0)
    state.session_created("a", "publish", "x", "p", now=5)
    state.expire(now=PENDING_SECONDS + 1)
    assert counts(state, "a") == (1, 0, 0)


def test_a_deleted_session_of_a_snapshot_frees_its_place_at_once() -> None:
    """The stream itself stays until a snapshot says otherwise."""
    state = state_of("a")
    snapshot = body(stream("x", ["p"], ["v"]))
    state.apply("a", snapshot)
    state.session_deleted("a", "x", "v")
    assert counts(state, "a") == (1, 0, 0)
    assert set(state.streams) == {"x"}
    state.apply("a", snapshot)
    assert counts(state, "a") == (1, 1, 0)  # The node says so still.


def test_a_deleted_stream_comes_back_when_its_node_goes_on_listing_it() -> None:
    """In the same words: it is still there, says the node."""
    state = state_of("a")
    snapshot = body(stream("x", ["p"], ["v"]))
    state.apply("a", snapshot)
    state.stream_deleted("a", "x")
    assert (state.streams, counts(state, "a")) == ({}, (0, 0, 0))
    state.apply("a", snapshot)
    assert counts(state, "a") == (1, 1, 0)


@pytest.mark.parametrize(("alias", "name", "id"), [("z", "x", "p"), ("a", "y", "p"), ("a", "x", "q")])
def test_unknown_sessions_can_be_deleted_harmlessly(alias: str, name: str, id: str) -> None:
    """Whoever asks may be late."""
    state = state_of("a")
    state.apply("a", body(stream("x", ["p"])))
    state.session_deleted(alias, name, id)
    assert counts(state, "a") == (1, 0, 0)


def test_the_streams_of_a_node_that_is_down_are_gone() -> None:
    """Pending ones too; nothing is left in any index, and its way back begins empty."""
    state = state_of("a", "b")
    snapshot = body(stream("x", ["p"], ["v"]))
    state.apply("a", snapshot)
    state.session_created("a", "publish", "y", "q", now=0)
    state.happened("a", "failure")
    state.happened("a", "failure")
    assert set(state.streams) == {"x", "y"}
    state.happened("a", "failure")
    assert state.streams == {}
    assert counts(state, "a") == (0, 0, 0)
    assert [place[3] for place in state.order] == ["b"]
    state.session_created("a", "publish", "z", "r", now=1)
    assert state.streams == {}
    state.expire(now=100)
    state.apply("a", snapshot)
    state.happened("a", "success")
    assert counts(state, "a") == (1, 1, 0)
    assert [place[3] for place in state.order] == ["b", "a"]


def test_the_order_of_placement() -> None:
    """Up before suspect before full; most free places, then least load, then the alias."""
    state = State()
    for alias, pub_max in [("a", 5), ("b", 9), ("c", 9), ("d", 9), ("e", 99), ("f", 0)]:
        state.add(Node(alias, "http://x", pub_max=pub_max))
        if alias != "e":
            state.happened(alias, "success")
    state.apply("b", body(stream("x", [], ["v"])))
    assert [(place[0], place[3]) for place in state.order] == [
        (0, "c"),
        (0, "d"),
        (0, "b"),
        (0, "a"),
        (1, "e"),
        (FULL, "f"),
    ]


def test_the_subscriber_limit_is_the_lesser_of_two() -> None:
    """The configuration's and the node's own."""
    from liveman.cluster.wire import Strategy

    state = State()
    state.add(Node("a", "http://a", sub_max=5))
    node = state.nodes["a"]
    limits = []
    for reported in (None, 2, 9):
        state.describe("a", Strategy(b"{}", reported), None)
        limits.append(node.sub_max)
    assert limits == [5, 2, 5]


class TestRelays:
    """A relay takes no place at either end, but counts as load; it is never an origin."""

    def test_push_is_recognised_from_the_source(self) -> None:
        """Only the source's subscriber says so; the destination's publisher carries no sign."""
        for order in (("a", "b"), ("b", "a")):
            state = state_of("a", "b")
            for alias in order:
                state.apply(alias, data("push_source.json" if alias == "a" else "push_destination.json"))
            assert counts(state, "a") == (1, 1, 1), order
            assert counts(state, "b") == (0, 0, 1), order
            assert state.streams["cam"]["b"].publishers == 0

    def test_pull_is_recognised_from_the_destination(self) -> None:
        """The source's subscriber carries no sign. Here a push is going on too."""
        for order in (("a", "b"), ("b", "a")):
            state = state_of("a", "b")
            for alias in order:
                state.apply(alias, data("pull_source.json" if alias == "a" else "pull_destination.json"))
            assert counts(state, "a") == (1, 1, 2), order
            assert counts(state, "b") == (0, 0, 1), order
            assert state.streams["other"]["b"].publishers == 0

    def test_an_older_node_pushes_and_pulls_to_itself(self) -> None:
        """Its members have other names."""
        state = state_of("a")
        state.apply("a", data("older_relays.json"))
        assert counts(state, "a") == (1, 1, 4)
        assert [name for name, nodes in state.streams.items() if nodes["a"].publishers] == ["web-0"]

    def test_a_relay_through_liveman_is_recognised_by_its_tagged_id(self) -> None:
        """A push to the direct route gets Liveman's own session id."""
        state = state_of("a", "b")
        url = "https://liveman/live/session/x/relay.abcdefghpmmmmmmmm"
        cascade = {"targetUrl": "https://liveman/live/api/whip/b/x", "sessionUrl": url}
        state.apply("b", body(stream("x", ["relay"])))
        assert counts(state, "b") == (1, 0, 0)
        state.apply("a", body(stream("x", ["p"], [session("s", cascade=cascade)])))
        assert counts(state, "b") == (0, 0, 1)

    def test_a_pending_session_that_a_relay_names_is_no_publisher(self) -> None:
        """The source's snapshot may come before the destination's 201."""
        state = state_of("a", "b")
        cascade = {"targetUrl": "http://b/whip/x", "sessionUrl": "http://b/session/x/relay"}
        state.apply("a", body(stream("x", ["p"], [session("s", cascade=cascade)])))
        state.session_created("b", "publish", "x", "relay", now=0)
        assert counts(state, "b") == (0, 0, 1)

    def test_a_relay_stays_one_when_its_source_forgets_it(self) -> None:
        """The source restarted empty, or is away: what it fed is no origin meanwhile."""
        state = state_of("a", "b")
        state.apply("a", data("push_source.json"))
        state.apply("b", data("push_destination.json"))
        state.apply("a", b"[]")
        assert counts(state, "b") == (0, 0, 1)
        state.apply("b", data("push_destination.json").replace(b"42262", b"42263"))
        assert counts(state, "b") == (0, 0, 1)

    def test_a_source_that_is_down_still_marks_its_relays(self) -> None:
        """Also those of a destination that comes back meanwhile."""
        state = state_of("a", "b")
        state.apply("a", data("push_source.json"))
        for _ in range(3):
            state.happened("a", "failure")
        state.apply("b", data("push_destination.json"))
        assert counts(state, "b") == (0, 0, 1)

    def test_a_new_session_after_a_relay_is_a_publisher(self) -> None:
        """The mark belongs to the session, not to the stream."""
        state = state_of("a", "b")
        state.apply("a", data("push_source.json"))
        state.apply("b", data("push_destination.json"))
        state.apply("a", b"[]")
        state.apply("b", body(stream("cam", ["another"])))
        assert counts(state, "b") == (1, 0, 0)

    @pytest.mark.parametrize("cascade", [None, {}, {"sourceUrl": None}, {"later": "x"}])
    def test_a_cascade_that_names_nothing_is_none(self, cascade: object) -> None:
        """Members may be there and empty."""
        state = state_of("a")
        state.apply("a", body(stream("x", [session("p", cascade=cascade)])))
        assert counts(state, "a") == (1, 0, 0)

    def test_a_relay_that_has_left_marks_nobody(self) -> None:
        """Its session id is history."""
        state = state_of("a", "b")
        cascade = {"targetUrl": "http://b/whip/x", "sessionUrl": "http://b/session/x/p"}
        state.apply("a", body(stream("x", [], [session("s", leaveAt=5, cascade=cascade)])))
        state.apply("b", body(stream("x", ["p"])))
        assert counts(state, "b") == (1, 0, 0)
