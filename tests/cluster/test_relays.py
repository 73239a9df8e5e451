"""Relays carried out: made once while viewers wait, ended when nobody needs them, mended when they break."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from attrs import evolve

from cluster.fake import session, until
from cluster.relaying import PATIENT, RelayNode, relay_nodes, relaying
from liveman.cluster import Cluster, Relays, relay
from liveman.cluster.cascade import depths
from liveman.errors import NodeUnreachable, NoPlace
from liveman.secret import verify_relay_token

pytestmark = pytest.mark.parametrize("mode", ["push", "pull"])


@pytest.fixture
async def three() -> AsyncIterator[list[RelayNode]]:
    """Node a has the stream x, and no place left; b and c have nothing."""
    async with relay_nodes("a", "b", "c") as nodes:
        nodes[0].has("x", ["p"], ["v"])
        yield nodes


async def extend(relays: Relays, seconds: float = 5.0, **given: Any) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    await relays.extend("x", **{"nodes": (), "deadline": deadline, **given})


def asked(nodes: list[RelayNode]) -> list[tuple[str, dict[str, Any]]]:
    return [(node.alias, each) for node in nodes for each in node.asked]


async def test_the_relaying_node_is_told_once_with_the_right_token(three: list[RelayNode], mode: str) -> None:
    """A push shows Liveman a token that is good for that node and stream alone; a pull shows the source its
    own. Liveman itself shows the node's own."""
    async with relaying(three, mode=mode, token="node-token") as (cluster, relays):
        await extend(relays, nodes=["b"])
        ((who, told),) = asked(three)
        assert three[0].token or three[1].token == "Bearer node-token"
        if mode == "push":
            assert (who, told["targetUrl"]) == ("a", "http://live.example/api/whip/b/x")
            shown = told["token"].removeprefix("Bearer ")
            issued = verify_relay_token(relays.secret, shown, alias="b", kind="p", stream="x")
            assert issued is not None and abs(issued - time.time()) < 60
        else:
            assert (who, told["sourceUrl"]) == ("b", f"{three[0].url}/whep/x")
            assert told["token"] == "Bearer node-token"
        decision = cluster.place("subscribe", "x")
        assert decision.target == cluster.node("b")


@pytest.mark.parametrize("sse", [True, False], ids=["told by events", "asked"])
async def test_fifty_viewers_wait_for_one_relay(three: list[RelayNode], mode: str, sse: bool) -> None:
    for node in three:
        node.sse = sse
        node.slow = asyncio.Event()
    async with relaying(three, mode=mode, sub_max=50) as (cluster, relays):
        viewers = [asyncio.create_task(extend(relays, nodes=["b"])) for _ in range(50)]
        await until(lambda: asked(three))
        for node in three:
            assert node.slow is not None
            node.slow.set()
        await asyncio.gather(*viewers)
        assert len(asked(three)) == 1
        assert cluster.place("subscribe", "x", nodes=["b"]).target == cluster.node("b")


async def test_more_viewers_than_one_node_takes_get_another_relay(three: list[RelayNode], mode: str) -> None:
    for node in three:
        node.slow = asyncio.Event()
    async with relaying(three, mode=mode, sub_max=2) as (_, relays):
        viewers = [asyncio.create_task(extend(relays)) for _ in range(4)]
        await until(lambda: len(asked(three)) == 2)
        for node in three:
            assert node.slow is not None
            node.slow.set()
        await asyncio.gather(*viewers)
        assert len(three[1].sessions("x", "publish")) == len(three[2].sessions("x", "publish")) == 1


async def test_a_relay_that_is_not_ready_in_time_is_removed_and_the_viewer_told(
    three: list[RelayNode], mode: str
) -> None:
    for node in three:
        node.state = "connecting"
    async with relaying(three[:2], mode=mode) as (cluster, relays):
        with pytest.raises(NoPlace) as caught:
            await extend(relays, 1.5)
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "2")
        await until(lambda: not three[1].sessions("x", "publish"))
        if mode == "push":
            await until(lambda: len(three[0].sessions("x", "subscribe")) == 1)
        assert "not ready in time" in cluster.journal.newest()[0]["outcome"]


@pytest.mark.parametrize("status", [404, 500, 401])
async def test_a_refusal_is_said_with_its_reason(three: list[RelayNode], mode: str, status: int) -> None:
    for node in three:
        node.status = status
    async with relaying(three[:2], mode=mode) as (_, relays):
        with pytest.raises(NoPlace, match=str(status)):
            await extend(relays)
        assert not three[1].streams


async def test_another_destination_is_tried_when_one_refuses(three: list[RelayNode], mode: str) -> None:
    """A pull is the destination's to make. A source that refuses to push is not asked for each destination."""
    refusing = three[0 if mode == "push" else 1]
    refusing.status = 500
    three[1].has("y")
    three[2].has("y", ["p"], ["busier"])
    async with relaying(three, mode=mode, sub_max=9) as (cluster, relays):
        assert cluster.plan_relay("x").target == cluster.node("b")
        if mode == "push":
            with pytest.raises(NoPlace, match="500"):
                await extend(relays)
            assert [who for who, _ in asked(three)] == ["a"]
        else:
            await extend(relays)
            assert [who for who, _ in asked(three)] == ["b", "c"]


async def test_another_instance_s_relay_will_do_as_well(three: list[RelayNode], mode: str) -> None:
    """The node answers 409, since somebody else was faster; then the relay connects."""
    for node in three:
        node.status = 409
    async with relaying(three, mode=mode) as (_, relays):
        viewer = asyncio.create_task(extend(relays, nodes=["b"]))
        await until(lambda: asked(three))
        await three[0].relay("x", three[0], three[1], mode == "pull")
        await viewer


async def test_a_viewer_who_leaves_disturbs_nobody(three: list[RelayNode], mode: str) -> None:
    for node in three:
        node.slow = asyncio.Event()
    async with relaying(three, mode=mode, sub_max=9) as (_, relays):
        first = asyncio.create_task(extend(relays, nodes=["b"]))
        second = asyncio.create_task(extend(relays, nodes=["b"]))
        await until(lambda: asked(three))
        first.cancel()
        for node in three:
            assert node.slow is not None
            node.slow.set()
        await second
        assert first.cancelled() and len(asked(three)) == 1


async def test_an_idle_relay_ends_at_both_ends_and_not_before_its_time(
    three: list[RelayNode], mode: str
) -> None:
    async with relaying(three, mode=mode, maximum_idle_time=300) as (_, relays):
        await extend(relays, nodes=["b"])
        made = time.monotonic()
        three[1].sessions("x", "subscribe").append(session("viewer"))
        await three[1].changed()
        (there,) = (each["id"] for each in three[1].sessions("x", "publish"))
        await asyncio.sleep(0.5)
        assert three[1].deleted == [], "somebody watches"
        three[1].sessions("x", "subscribe").clear()
        await three[1].changed()
        await until(lambda: there in three[1].deleted)
        assert time.monotonic() - made > 0.5
        await until(lambda: len(three[0].deleted) == 1)
        await until(lambda: [each["id"] for each in three[0].sessions("x", "subscribe")] == ["v"])


async def test_only_where_it_leads_idle_relays_are_ended(three: list[RelayNode], mode: str) -> None:
    """And their time counts from then on: what was seen of them before may be old."""
    async with relaying(three, mode=mode, maximum_idle_time=300) as (_, relays):
        await extend(relays, nodes=["b"])
        (there,) = (each["id"] for each in three[1].sessions("x", "publish"))
        await until(lambda: relays._since.get("idle"))
        relays.leadership.stand_back()
        await asyncio.sleep(0.6)
        assert three[1].deleted == []
        begun = time.monotonic()
        relays.leadership.lead()
        await until(lambda: there in three[1].deleted)
        assert time.monotonic() - begun > 0.3


async def test_a_relay_that_feeds_another_is_not_idle(three: list[RelayNode], mode: str) -> None:
    async with relaying(three, mode=mode, maximum_idle_time=0, check_tick_time=50) as (_, relays):
        three[1].has("x")
        for source, target in ((three[0], three[1]), (three[1], three[2])):
            await source.relay("x", source, target, mode == "pull")
        three[2].sessions("x", "subscribe").append(session("viewer"))
        await three[2].changed()
        three[0].has("y", ["p"], ["v"])
        await three[0].relay("y", three[0], three[1], mode == "pull")
        await until(lambda: three[1].deleted)
        assert "x" in three[1].streams and "y" not in three[1].streams
        assert relays is not None


async def test_what_a_relay_leaves_behind_is_ended_and_built_anew(
    three: list[RelayNode], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The middle of a chain comes back empty; its viewers' node gets the stream from where it still is."""
    monkeypatch.setattr(relay, "LOST_SECONDS", 0.1)
    async with relaying(three, mode=mode, sub_max=1, maximum_idle_time=60_000) as (cluster, relays):
        for source, target in ((three[0], three[1]), (three[1], three[2])):
            await source.relay("x", source, target, mode == "pull")
        three[2].sessions("x", "subscribe").append(session("viewer"))
        (old,) = (each["id"] for each in three[2].sessions("x", "publish"))
        for node in three:
            await node.changed()
        await until(lambda: depths(cluster.state, "x") == {"a": 0, "b": 1, "c": 2})
        three[1].streams.clear()
        three[0].sessions("x", "subscribe")[:] = [session("v")]
        for node in three:
            await node.changed()
        await until(lambda: three[2].deleted == [old])
        await until(lambda: asked(three))
        await until(lambda: three[2].sessions("x", "publish"))
        assert three[2].sessions("x", "publish")[0]["id"] != old
        assert relays is not None


async def test_a_relay_whose_publisher_left_is_removed(
    three: list[RelayNode], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "LOST_SECONDS", 0.1)
    async with relaying(three, mode=mode, maximum_idle_time=60_000) as (cluster, relays):
        await extend(relays, nodes=["b"])
        three[1].sessions("x", "subscribe").append(session("viewer"))
        await three[1].changed()
        (there,) = (each["id"] for each in three[1].sessions("x", "publish"))
        three[0].streams.clear()
        await three[0].changed()
        await until(lambda: three[1].deleted == [there])
        await until(lambda: "a" not in cluster.state.streams.get("x", {}))
        assert len(asked(three)) == 1, "there is nothing to build it from"


async def test_a_relay_is_not_lost_before_both_its_nodes_were_polled(
    three: list[RelayNode], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However seldom that is."""
    monkeypatch.setattr(relay, "LOST_SECONDS", 0.02)
    for node in three:
        node.sse = False
    async with relaying(three, mode=mode, timing=evolve(PATIENT, poll=0.5), maximum_idle_time=60_000) as (
        cluster,
        relays,
    ):
        await extend(relays, nodes=["b"])
        await until(lambda: depths(cluster.state, "x") == {"a": 0, "b": 1})
        assert not [node.deleted for node in three if node.deleted]


async def test_what_feeds_a_relay_that_its_destination_has_lost_is_ended(
    three: list[RelayNode], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destination came back empty; the source would go on sending until it notices by itself."""
    monkeypatch.setattr(relay, "LOST_SECONDS", 0.1)
    async with relaying(three, mode=mode, maximum_idle_time=60_000) as (cluster, relays):
        await extend(relays, nodes=["b"])
        (fed,) = (each["id"] for each in three[0].sessions("x", "subscribe") if each["id"] != "v")
        await until(lambda: depths(cluster.state, "x") == {"a": 0, "b": 1})
        three[1].streams.clear()
        await three[1].changed()
        await until(lambda: three[0].deleted == [fed] and cluster.state.nodes["a"].relays == 0)


async def test_the_source_s_other_subscribers_are_closed_where_that_is_asked_for(
    three: list[RelayNode], mode: str
) -> None:
    """After a push; a pull leaves them alone."""
    async with relaying(three, mode=mode, close_other_sub=True) as (_, relays):
        await extend(relays, nodes=["b"])
        if mode == "push":
            await until(lambda: three[0].deleted == ["v"])
        assert len(three[0].sessions("x", "subscribe")) == (1 if mode == "push" else 2)


async def test_nothing_goes_on_after_the_end_and_no_log_holds_a_token(
    three: list[RelayNode], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for node in three:
        node.slow = asyncio.Event()
    async with relaying(three, mode=mode, token="node-token") as (_, relays):
        viewer = asyncio.create_task(extend(relays))
        await until(lambda: asked(three))
    with pytest.raises(NoPlace):
        await viewer
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in names if "relay" in name]
    assert "node-token" not in caplog.text and "relay-1" not in caplog.text
    assert "node-token" not in repr(relays) and "kkk" not in repr(relays)


async def test_after_a_restart_the_relays_are_looked_after_as_before(
    three: list[RelayNode], mode: str
) -> None:
    async with relaying(three, mode=mode) as (_, relays):
        await extend(relays, nodes=["b"])
    async with relaying(three, mode=mode, maximum_idle_time=0) as (cluster, _):
        assert isinstance(cluster, Cluster)
        await until(lambda: not three[1].streams)
        await until(lambda: [each["id"] for each in three[0].sessions("x", "subscribe")] == ["v"])


async def test_a_node_that_cannot_be_told_is_suspect_and_another_takes_the_relay(
    three: list[RelayNode], mode: str
) -> None:
    """The destination of a pull; a push needs its source."""
    gone = three[0 if mode == "push" else 1]
    three[2].has("y", ["p"], ["busier"])
    async with relaying(three, mode=mode, sub_max=9) as (cluster, relays):
        assert cluster.plan_relay("x").target == cluster.node("b")

        async def refused(*_: object) -> object:
            raise NodeUnreachable("POST /api/cascade/x: refused")

        told = cluster.client.cascade
        cluster.client.cascade = (  # type: ignore[method-assign]
            lambda node, *given: refused() if node.alias == gone.alias else told(node, *given)  # type: ignore[assignment,return-value]
        )
        failed: list[str] = []
        cluster.node_failed = lambda alias, reason: failed.append(alias)  # type: ignore[method-assign]
        if mode == "push":
            with pytest.raises(NoPlace, match="refused"):
                await extend(relays)
        else:
            await extend(relays)
            assert [who for who, _ in asked(three)] == ["c"]
        assert failed == [gone.alias]


async def test_the_half_of_a_relay_that_never_arrived_is_removed_and_nobody_else_s_session(
    three: list[RelayNode], mode: str
) -> None:
    """The relaying node has a session for what it was told, and the other side none that it knows."""
    teller = three[0 if mode == "push" else 1]
    teller.state = "never"
    async with relaying(three[:2], mode=mode) as (_, relays):
        viewer = asyncio.create_task(extend(relays, 1.5))
        await until(lambda: teller.asked)
        told = {key: value for key, value in teller.asked[0].items() if key != "token"}
        other = dict.fromkeys(told, "http://elsewhere/whip/x")
        side = "subscribe" if mode == "push" else "publish"
        if mode == "pull":
            teller.has("x")
        teller.sessions("x", side).extend(
            [
                session("half", state="connecting", cascade=told),
                session("far", state="connecting", cascade=other),
            ]
        )
        await teller.changed()
        with pytest.raises(NoPlace):
            await viewer
        await until(lambda: teller.deleted == ["half"])
        assert "far" in {each["id"] for each in teller.sessions("x", side)}


async def test_a_relay_that_was_lost_is_not_taken_for_the_new_one(
    three: list[RelayNode], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one is connected when the node says so of its session, whatever the old one was."""
    monkeypatch.setattr(relay, "LOST_SECONDS", 0.1)
    async with relaying(three[:2], mode=mode, maximum_idle_time=60_000) as (cluster, relays):
        await extend(relays, nodes=["b"])
        three[1].sessions("x", "subscribe").append(session("viewer"))
        await three[1].changed()
        await until(lambda: depths(cluster.state, "x") == {"a": 0, "b": 1})
        for node in three:
            node.state = "connecting"
        three[0].has("x", ["p"], ["v"])
        await three[0].changed()
        await until(lambda: len(cluster.journal.newest()) == 2)
        await until(lambda: cluster.journal.newest()[0]["outcome"] != "under way")
        assert "not ready in time" in cluster.journal.newest()[0]["outcome"]
