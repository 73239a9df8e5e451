"""Nodes that say everything but what they should, each beside a good one."""

import asyncio
from typing import Any

import pytest
from attrs import evolve

from cluster.fake import (
    EVENTS_HEAD,
    FAST,
    FakeNode,
    answer,
    as_json,
    body,
    fake_node,
    hang,
    stream,
    until,
)
from cluster.watching import X, closing, events, status, watched
from liveman.cluster import Node, snapshot
from liveman.cluster.wire import MAX_BYTES


async def half(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
    writer.close()


async def dripping(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.01)


BAD_POLLS = {
    "garbage": b"garbage\r\n\r\n",
    "HTML": answer("200 OK", "Content-Type: text/html", body=b"<!doctype html><h1>It works</h1>"),
    "another JSON": as_json(b'{"error": "no"}'),
    "half a body": half,
    "a header of 5 MB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5_000_000 + b"\r\n\r\n",
    "closed at once": closing,
    "nothing at all": hang,
    "drop by drop": dripping,
    "redirect": answer("302 Found", "Location: /login"),
    "refused token": answer("401 Unauthorized"),
    "compressed": answer("200 OK", "Content-Encoding: gzip", body=b"\x1f\x8b\x08\x00junk"),
    "twice the same stream": as_json(body(stream("x"), stream("x"))),
}

BAD_EVENTS = {
    "garbage": b"garbage\r\n\r\n",
    "HTML": events(b"data: <html>\n\n"),
    "broken JSON": events(b'data: [{"id": 1}]\n\n'),
    "cut at once": events(),
    "cut in a message": events(b"data: [{"),
    "a header of 5 MB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5_000_000 + b"\r\n\r\n",
    "nothing at all": hang,
    "a head, and nothing": events(then="hang"),
    "comments alone": events(then="drip", drop=b":\n\n"),
    "drop by drop": events(b"data: [", then="drip"),
    "refused token": answer("401 Unauthorized"),
    "too large": events(b"data: " + b"x" * (17 * 1024 * 1024)),
}


@pytest.mark.parametrize("bad", BAD_POLLS.values(), ids=BAD_POLLS)
async def test_a_polled_node_that_misbehaves(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Its last good snapshot stands until it is down, and one good answer brings it back."""
    async with fake_node(streams=X) as node:
        await _misbehave(node, "poll", "GET /api/streams/", bad, caplog)


@pytest.mark.parametrize("bad", BAD_EVENTS.values(), ids=BAD_EVENTS)
async def test_a_node_whose_event_stream_misbehaves(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The same, for one that is listened to."""
    async with fake_node(streams=X, sse=True) as node:
        await _misbehave(node, "sse", "GET /api/sse/streams", bad, caplog)


@pytest.mark.parametrize("mode", ["poll", "sse"])
async def test_a_list_over_the_limit_is_refused_and_told_of(
    mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection that brings it is closed; one of just the limit is taken in."""
    timing = evolve(FAST, total=10.0, silence=10.0)
    most = X.ljust(MAX_BYTES)
    gone = asyncio.Event()

    async def too_large(writer: asyncio.StreamWriter) -> None:
        head = EVENTS_HEAD + b"data: " if mode == "sse" else b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        writer.write(head + most + b" ")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.01)
        gone.set()

    said = events(b"data: " + most + b"\n\n", then="hang") if mode == "sse" else as_json(most)
    async with fake_node() as node:
        line = "GET /api/sse/streams" if mode == "sse" else "GET /api/streams/"
        node.answers[line] = said
        async with watched(Node("a", node.url, mode=mode), timing=timing) as cluster:
            await until(lambda: "x" in cluster.state.streams)
            node.answers[line] = too_large
            cluster.node_failed("a", "reset")
            await asyncio.wait_for(gone.wait(), 10)
            await until(lambda: f"than {MAX_BYTES} bytes" in caplog.text)


@pytest.mark.parametrize("mode", ["poll", "sse"])
async def test_a_mistake_of_our_own_does_not_end_the_watching(
    mode: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, counts as a failure of the node, and ends by itself; other nodes are not touched."""
    read = snapshot.read

    def mistaken(body: bytes) -> snapshot.Snapshot:
        if b"strange" in body:
            raise RuntimeError("a mistake")
        return read(body)

    monkeypatch.setattr(snapshot, "read", mistaken)
    async with fake_node(streams=X, sse=True) as node, fake_node() as good:
        nodes = [Node("bad", node.url, mode=mode), Node("good", good.url, mode="poll")]
        async with watched(*nodes) as cluster:
            node.streams = body(stream("strange"))
            for writer in node.listeners:
                writer.close()
            await until(lambda: cluster.is_down("bad"))
            assert status(cluster, "good") == "up"
            node.streams = X
            await until(lambda: status(cluster, "bad") == "up")
            assert set(cluster.state.streams) == {"x"}
    assert "a mistake" in caplog.text


async def _misbehave(
    node: FakeNode, mode: Any, line: str, bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_node() as good:
        nodes = [Node("bad", node.url, mode=mode), Node("good", good.url, mode="poll")]
        async with watched(*nodes) as cluster:
            await until(lambda: status(cluster, "bad") == "up")
            caplog.clear()
            caplog.set_level("INFO")
            node.answers[line] = bad
            for writer in node.listeners:
                writer.close()
            await until(lambda: status(cluster, "bad") != "up")
            assert ("x" in cluster.state.streams) is (status(cluster, "bad") == "suspect")
            # Meanwhile the other one goes on being watched.
            good.streams = body(stream("y", ["q"]))
            await until(lambda: "y" in cluster.state.streams)
            await until(lambda: status(cluster, "bad") == "down")
            assert set(cluster.state.streams) == {"y"}
            asked = node.asked(line)
            await until(lambda: node.asked(line) >= asked + 2)
            assert status(cluster, "good") == "up"
            del node.answers[line]
            await until(lambda: status(cluster, "bad") == "up")
            assert set(cluster.state.streams) == {"x", "y"}
        about = [record for record in caplog.records if "node=bad" in record.getMessage()]
        assert [record.getMessage().partition(" node=")[0] for record in about] == [
            "node is suspect",
            "node is down",
            "node is up",
        ]
        assert "reason=" in about[0].getMessage()
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
