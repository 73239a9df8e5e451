"""The facade."""

import asyncio
import time

import pytest

from cluster.fake import FAST, as_json, body, fake_node, hang, stream, until
from liveman import config, secret
from liveman.cluster import Cluster, Node
from liveman.errors import ConfigError, Conflict


def cluster_of(*nodes: Node) -> Cluster:
    return Cluster(nodes, options=config.Cluster(), timing=FAST)


async def test_streams_are_known_when_the_start_is_over() -> None:
    """A restarted Liveman serves nobody before it has asked; strategies included."""
    async with fake_node(streams=body(stream("x", ["p"]))) as a, fake_node(sse=True) as b:
        a.answers["GET /api/strategy/"] = as_json(b'{"each_stream_max_sub": 1}')
        async with cluster_of(Node("b", b.url), Node("a", a.url)) as cluster:
            assert [node.node.alias for node in cluster.nodes()] == ["a", "b"]
            decision = cluster.place("subscribe", "x")
            assert decision.target == cluster.node("a")
            assert cluster.nodes()[0].sub_max == 1
            assert cluster.unasked() == []


async def test_a_publisher_and_his_viewer_before_any_snapshot() -> None:
    """What was made counts at once, and is gone when it is deleted."""
    async with fake_node() as node, cluster_of(Node("a", node.url)) as cluster:
        assert cluster.place("subscribe", "x").refusal == "unknown_stream"
        assert cluster.place("publish", "x").action == "place"
        cluster.session_created("a", "publish", "x", "p")
        decision = cluster.place("subscribe", "x")
        assert (decision.action, decision.target) == ("existing", cluster.node("a"))
        assert abs(decision.at - time.time()) < 60
        cluster.session_deleted("a", "x", "p")
        assert cluster.place("subscribe", "x").refusal == "unknown_stream"


async def test_pending_sessions_expire_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds after their 201, whatever is asked first."""
    cluster = cluster_of(Node("a", "http://a"))
    now = time.monotonic()
    cluster.session_created("a", "publish", "x", "p")
    monkeypatch.setattr(time, "monotonic", lambda: now + 11)
    assert cluster.place("subscribe", "x").refusal == "unknown_stream"
    assert cluster.nodes()[0].publishers == 0


def test_nodes_are_found_by_alias_and_by_tag() -> None:
    """Unknown ones are None, and as good as down."""
    cluster = cluster_of(Node("a", "http://a"), Node("b", "http://b"))
    assert cluster.node("b") == cluster.node_by_tag(secret.alias_tag("b")) == Node("b", "http://b")
    assert cluster.node("z") is cluster.node_by_tag("zzzzzzzz") is None
    assert not cluster.is_down("a")
    assert cluster.is_down("z")
    cluster.node_failed("z", "whatever")
    cluster.node_answered("z")


def test_two_nodes_that_session_ids_cannot_tell_apart_are_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All such pairs at once; at start and when one is added."""
    monkeypatch.setattr("liveman.cluster.cluster.alias_tag", lambda alias: alias[0])
    with pytest.raises(ConfigError) as caught:
        cluster_of(*(Node(alias, "http://x") for alias in ("a1", "b1", "a2", "b2")))
    assert [str(fault) for fault in caught.value.faults] == [
        "nodes: 'a2' and 'a1' cannot be told apart; rename one of them",
        "nodes: 'b2' and 'b1' cannot be told apart; rename one of them",
    ]
    cluster = cluster_of(Node("a1", "http://x"))
    with pytest.raises(Conflict):
        cluster.add(Node("a2", "http://x"))
    cluster.add(Node("c", "http://x"))
    assert cluster.node("c") is not None


async def test_a_failing_start_leaves_nothing_running() -> None:
    """Cancelled while it waits for the first answers."""
    async with fake_node() as node:
        node.answers["GET"] = hang
        cluster = cluster_of(Node("a", node.url))
        entering = asyncio.ensure_future(cluster.__aenter__())
        await until(lambda: node.received)
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("watch")]


class TestFindSession:
    """Bare ids: from the snapshots, else by asking the nodes."""

    @pytest.mark.parametrize("id", ["p", "v"])
    async def test_snapshots_answer_without_a_request(self, id: str) -> None:
        """Publishers and subscribers."""
        async with fake_node(streams=body(stream("x", ["p"], ["v"]))) as node:
            async with cluster_of(Node("a", node.url)) as cluster:
                assert await cluster.find_session("x", id) == cluster.node("a")
                assert node.asked("GET /api/streams/x") == 0

    async def test_nodes_are_asked_once_for_what_no_snapshot_has(self) -> None:
        """All at the same time, and those that hang or talk nonsense do not matter."""
        async with fake_node() as a, fake_node() as b, fake_node() as c, fake_node() as d:
            a.answers["GET /api/streams/x"] = hang
            b.answers["GET /api/streams/x"] = as_json(b"<html>")
            c.answers["GET /api/streams/x"] = as_json(body(stream("x", ["p"]))[1:-1])
            d.answers["GET /api/streams/x"] = as_json(body(stream("x", ["q"], ["v"]))[1:-1])
            async with cluster_of(
                *(Node(n, f.url) for n, f in zip("abcd", (a, b, c, d), strict=True))
            ) as cluster:
                assert await cluster.find_session("x", "v") == cluster.node("d")
                assert [each.asked("GET /api/streams/x") for each in (a, b, c, d)] == [1, 1, 1, 1]
                assert await cluster.find_session("x", "nobody") is None
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("look up")]

    async def test_nodes_that_are_down_are_not_asked(self) -> None:
        """There would be no answer."""
        async with fake_node() as a:
            a.answers["GET /api/streams/"] = as_json(b"{}")
            async with cluster_of(Node("a", a.url, mode="poll")) as cluster:
                await until(lambda: cluster.is_down("a"))
                assert await cluster.find_session("x", "p") is None
                assert a.asked("GET /api/streams/x") == 0


async def test_an_orphan_is_deleted_and_no_longer_counts() -> None:
    """The stream is given raw, as the client wrote it."""
    async with fake_node() as node, cluster_of(Node("a", node.url)) as cluster:
        cluster.session_created("a", "publish", "a b", "p")
        await cluster.delete_session("a", "a%20b", "p")
        assert node.asked("DELETE /session/a%20b/p") == 1
        assert cluster.nodes()[0].publishers == 0


async def test_an_orphan_that_cannot_be_deleted_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; a node that is not ours is passed over."""
    async with fake_node() as node, cluster_of(Node("a", node.url)) as cluster:
        node.answers["DELETE"] = b"garbage\r\n\r\n"
        await cluster.delete_session("a", "x", "p")
        await cluster.delete_session("z", "x", "p")
    assert "a session could not be deleted node=a stream=x" in caplog.text
