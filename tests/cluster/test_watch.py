"""Watching nodes: how, how often, and what follows from what they do."""

import asyncio
import time
from typing import Any

import pytest
from attrs import evolve

from cluster.fake import (
    EVENTS_HEAD,
    FAST,
    NOT_FOUND,
    FakeNode,
    answer,
    as_json,
    body,
    data,
    fake_node,
    hang,
    stream,
    until,
)
from cluster.watching import X, closing, events, known, status, watched
from liveman.cluster import Node
from liveman.cluster.watch import Timing


async def test_a_refused_connection_ejects_a_node_and_one_answer_brings_it_back() -> None:
    """As when its process ends and is started again; another node is not disturbed."""
    async with fake_node(streams=X) as node, fake_node() as good:
        async with watched(Node("a", node.url), Node("good", good.url)) as cluster:
            await until(lambda: status(cluster, "a") == "up")
            await node.stop()
            await until(lambda: cluster.is_down("a"))
            assert cluster.state.streams == {}
            assert status(cluster, "good") == "up"
            node.streams = b"[]"
            await node.start()
            await until(lambda: status(cluster, "a") == "up")
            assert cluster.state.streams == {}


async def test_a_node_with_events_is_listened_to_and_not_polled() -> None:
    """Each message is a snapshot; comments change nothing."""
    async with fake_node(streams=X, sse=True) as node, watched(Node("a", node.url)) as cluster:
        assert set(cluster.state.streams) == {"x"}
        node.say(b":\n\ndata: " + body(stream("y", ["q"])) + b"\n\n")
        await until(lambda: set(cluster.state.streams) == {"y"})
        node.say(b"data: " + body(stream("1")) + b"\n\ndata: " + body(stream("2")) + b"\n\n")
        await until(lambda: set(cluster.state.streams) == {"2"})
        assert node.asked("GET /api/streams/") == 0
        assert node.asked("GET /api/sse/streams") == 1
        assert known(cluster, "a").polled is None


async def test_a_real_event_stream_is_followed() -> None:
    """As captured."""
    async with fake_node() as node:
        node.answers["GET /api/sse/streams"] = events(data("events.txt"), then="hang")
        async with watched(Node("a", node.url)) as cluster:
            assert cluster.state.find("cam", "1ad54a3c-284d-46d1-8258-4614b4823d69") == "a"


@pytest.mark.parametrize(
    "lacking",
    [
        NOT_FOUND,
        answer("405 Method Not Allowed"),
        answer("501 Not Implemented"),
        answer("200 OK", "Content-Type: text/html", body=b"<html>"),
    ],
)
async def test_a_node_without_events_is_polled(lacking: bytes) -> None:
    """It is asked for them once, and stays up."""
    async with fake_node(streams=X) as node:
        node.answers["GET /api/sse/streams"] = lacking
        async with watched(Node("a", node.url)) as cluster:
            assert status(cluster, "a") == "up"
            await until(lambda: node.asked("GET /api/streams/") >= 3)
            assert node.asked("GET /api/sse/streams") == 1
            took = known(cluster, "a").polled
            assert took is not None and 0 < took < 5


async def test_a_node_that_was_down_is_asked_for_events_again() -> None:
    """It may have come back as a newer one."""
    async with fake_node() as node, watched(Node("a", node.url)) as cluster:
        await until(lambda: node.asked("GET /api/streams/") >= 1)
        await node.stop()
        await until(lambda: cluster.is_down("a"))
        node.sse, node.streams = True, X
        await node.start()
        await until(lambda: status(cluster, "a") == "up" and bool(node.listeners))


@pytest.mark.parametrize(("mode", "never"), [("poll", "GET /api/sse/streams"), ("sse", "GET /api/streams/")])
async def test_a_mode_can_be_forced(mode: Any, never: str) -> None:
    """Then the other one is not tried."""
    async with fake_node(sse=mode == "poll") as node:
        async with watched(Node("a", node.url, mode=mode)) as cluster:
            await until(lambda: status(cluster, "a") == ("up" if mode == "poll" else "down"))
        assert node.asked(never) == 0


@pytest.mark.parametrize("then", ["hang", "drip"])
async def test_a_silent_event_stream_makes_a_node_suspect_and_is_opened_anew(then: str) -> None:
    """The connection may be dead, or never end a line; the snapshot stands meanwhile."""
    timing = evolve(FAST, silence=0.1, quick=(0.1, 0.1))
    async with fake_node() as node:
        node.answers["GET /api/sse/streams"] = events(b"data: " + X + b"\n\n", then=then)
        await _silent(node, timing)


async def _silent(node: FakeNode, timing: Timing) -> None:
    async with watched(Node("a", node.url), timing=timing) as cluster:
        await until(lambda: status(cluster, "a") == "suspect")
        assert set(cluster.state.streams) == {"x"}
        await until(lambda: status(cluster, "a") == "up")
        assert node.asked("GET /api/sse/streams") >= 2


async def test_comments_keep_an_event_stream_open() -> None:
    """They come when nothing changes."""

    async def commenting(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS_HEAD + b"data: []\n\n")
        for _ in range(20):
            await asyncio.sleep(0.02)
            writer.write(b":\n\n")

    async with fake_node() as node:
        node.answers["GET /api/sse/streams"] = commenting
        async with watched(Node("a", node.url), timing=evolve(FAST, silence=0.2)) as cluster:
            seen = set()
            end = time.monotonic() + 0.35
            await until(lambda: seen.add(status(cluster, "a")) or time.monotonic() > end)
            assert seen == {"up"}
            assert node.asked("GET /api/sse/streams") == 1


@pytest.mark.parametrize("sse", [True, False])
async def test_a_failed_request_is_followed_by_a_probe_at_once(sse: bool) -> None:
    """Long before the next poll would come; the probe finds that all is well."""
    timing = evolve(FAST, poll=60.0, silence=60.0)
    async with fake_node(streams=X, sse=sse) as node, watched(Node("a", node.url), timing=timing) as cluster:
        await until(lambda: status(cluster, "a") == "up")
        line = "GET /api/sse/streams" if sse else "GET /api/streams/"
        asked = node.asked(line)
        cluster.node_failed("a", "refused")
        assert status(cluster, "a") == "suspect"
        await until(lambda: status(cluster, "a") == "up")
        assert node.asked(line) == asked + 1


async def test_many_failed_requests_at_once_are_one_failure() -> None:
    """A node that cut fifty connections is not down before a probe has failed."""
    timing = evolve(FAST, poll=60.0)
    async with fake_node() as node, watched(Node("a", node.url), timing=timing) as cluster:
        await until(lambda: status(cluster, "a") == "up")
        for _ in range(50):
            cluster.node_failed("a", "reset")
        assert status(cluster, "a") == "suspect"
        await node.stop()
        await until(lambda: cluster.is_down("a"))


async def test_a_request_that_is_answered_brings_a_node_back(caplog: pytest.LogCaptureFixture) -> None:
    """A suspect one at once; one that is down is asked for its streams first thing."""
    timing = evolve(FAST, backoff=(60.0, 60.0), poll=60.0)
    async with fake_node(streams=X) as node, watched(Node("a", node.url), timing=timing) as cluster:
        await until(lambda: status(cluster, "a") == "up")
        cluster.node_failed("a", "refused")
        cluster.node_answered("a")
        assert status(cluster, "a") == "up"
        await node.stop()
        cluster.node_failed("a", "refused")
        await until(lambda: cluster.is_down("a"))
        await node.start()
        cluster.node_answered("a")
        assert not cluster.is_down("a")
        await until(lambda: "x" in cluster.state.streams)


async def test_answered_requests_do_not_hurry_the_watching_of_a_broken_node() -> None:
    """One that signals well and lists garbage is not asked more often for each client."""
    timing = evolve(FAST, quick=(0.05, 0.05), backoff=(60.0, 60.0))
    async with fake_node() as node:
        node.answers["GET /api/streams/"] = as_json(b"{}")
        async with watched(Node("a", node.url, mode="poll"), timing=timing) as cluster:
            end = time.monotonic() + 0.3
            await until(lambda: cluster.node_answered("a") or time.monotonic() > end)
        assert node.asked("GET /api/streams/") <= 4


async def test_a_node_that_comes_and_goes_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Until a snapshot of it is good again."""
    timing = evolve(FAST, backoff=(0.01, 0.01))
    async with fake_node() as node:
        node.answers["GET /api/streams/"] = as_json(b"{}")
        async with watched(Node("a", node.url, mode="poll"), timing=timing) as cluster:
            for _ in range(3):
                await until(lambda: cluster.is_down("a"))
                cluster.node_answered("a")
    told = [record.getMessage().partition(" node=")[0] for record in caplog.records]
    assert told == ["node is suspect", "node is down"]


async def test_a_node_that_refuses_does_not_delay_the_start() -> None:
    """It was asked, and that is enough."""
    async with fake_node() as node:
        await node.stop()
        async with (
            asyncio.timeout(5),
            watched(Node("a", node.url), timing=evolve(FAST, first=60.0)) as cluster,
        ):
            assert cluster.unasked() == []
        await node.start()


async def test_requests_that_fail_and_succeed_in_turns_do_not_stop_the_watching() -> None:
    """Each failure asks for a probe soon; none puts off the one that is due, and they do not pile up."""
    timing = evolve(FAST, quick=(0.05, 0.05), backoff=(0.1, 0.1), poll=60.0)
    async with fake_node(sse=True) as node, watched(Node("a", node.url), timing=timing) as cluster:
        start = time.monotonic()

        def flap() -> int:
            cluster.node_failed("a", "answered 503")
            cluster.node_answered("a")
            return node.asked("GET /api/sse/streams")

        await until(lambda: flap() >= 5)
        assert node.asked("GET /api/sse/streams") <= 3 + (time.monotonic() - start) / 0.1


async def test_strategy_and_version_are_read_when_a_node_comes_up() -> None:
    """And again when it comes back."""
    async with fake_node() as node:
        node.answers["GET /api/strategy/"] = as_json(data("strategy.json"))
        node.answers["GET /api/info"] = as_json(data("info.json"))
        async with watched(Node("a", node.url)) as cluster:
            assert known(cluster, "a").sub_max == 2
            assert known(cluster, "a").version == "v0.9.0-108-g42205144"
            await node.stop()
            await until(lambda: cluster.is_down("a"))
            node.answers["GET /api/strategy/"] = as_json(b'{"each_stream_max_sub": 3}')
            del node.answers["GET /api/info"]
            await node.start()
            await until(lambda: known(cluster, "a").sub_max == 3)
            assert known(cluster, "a").version is None
        assert node.asked("GET /api/strategy/") == 2


@pytest.mark.parametrize(
    "bad", [NOT_FOUND, as_json(b"<html>"), answer("500 Internal Server Error"), as_json(b"[]")]
)
async def test_a_node_need_not_describe_itself(bad: bytes) -> None:
    """It is asked once, and used without."""
    async with fake_node(streams=X) as node:
        node.answers["GET /api/strategy/"] = node.answers["GET /api/info"] = bad
        async with watched(Node("a", node.url)) as cluster:
            asked = node.asked("GET /api/streams/")
            await until(lambda: node.asked("GET /api/streams/") > asked + 2)
            assert status(cluster, "a") == "up"
            assert (known(cluster, "a").strategy, known(cluster, "a").version) == (None, None)
        assert node.asked("GET /api/strategy/") == 1


async def test_a_description_that_failed_on_its_way_is_asked_for_again() -> None:
    """Otherwise a limit would stay unknown for as long as the node runs."""
    async with fake_node() as node:
        node.answers["GET /api/strategy/"] = closing
        async with watched(Node("a", node.url)) as cluster:
            await until(lambda: node.asked("GET /api/strategy/") >= 2)
            node.answers["GET /api/strategy/"] = as_json(b'{"each_stream_max_sub": 3}')
            await until(lambda: known(cluster, "a").sub_max == 3)


async def test_a_hanging_node_never_delays_another() -> None:
    """Nor the start for longer than its limit."""
    timing = evolve(FAST, first=0.1, total=60.0)
    async with fake_node() as hanging, fake_node(streams=X) as good:
        hanging.answers["GET"] = hang
        start = time.monotonic()
        async with watched(Node("a", hanging.url), Node("b", good.url), timing=timing) as cluster:
            assert time.monotonic() - start < 5
            assert set(cluster.state.streams) == {"x"}
            assert cluster.unasked() == ["a"]
            assert status(cluster, "a") == "suspect"
            asked = good.asked("GET /api/streams/")
            await until(lambda: good.asked("GET /api/streams/") > asked + 2)


async def test_leaving_ends_all_requests_and_connections() -> None:
    """Nothing is asked any more, listeners are let go, kept connections are closed."""
    async with fake_node(sse=True) as one, fake_node() as other:
        async with watched(Node("a", one.url), Node("b", other.url)):
            (writer,) = one.listeners
            assert other.connected
        await until(writer.is_closing)
        await until(lambda: not other.connected)
        received = len(other.received)
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert len(other.received) == received
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("watch", "describe"))]
