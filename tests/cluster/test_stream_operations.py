"""Streams made and deleted, sessions kicked: over HTTP, in front of nodes that refuse, hang and disappear."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from cluster.fake import FAST, FakeNode, answer, body, fake_node, hang, stream, until
from liveman import config
from liveman.cluster import Cluster, Node
from liveman.cluster.state import PENDING_SECONDS, State
from liveman.cluster.streams import create_stream
from liveman.config import NodeConfig
from liveman.errors import Conflict, NodeTimeout
from liveman.tasks import TaskOwner
from support.liveman import liveman
from support.nodes import local_node

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@asynccontextmanager
async def client_of(*nodes: str | NodeConfig) -> AsyncIterator[ClientSession]:
    """Liveman, which hears nothing new of the nodes after its start."""
    options = config.Cluster(poll_interval_ms=3_600_000)
    async with liveman(*nodes, cluster=options) as url, ClientSession(url) as client:
        yield client


async def ask(client: ClientSession, method: str, path: str) -> tuple[int, Any]:
    """The status, and the problem if it is one."""
    async with client.request(method, URL(path, encoded=True)) as response:
        problem = response.content_type == "application/problem+json"
        return response.status, json.loads(await response.text()) if problem else await response.text()


async def offered(client: ClientSession, node: FakeNode, name: str) -> str:
    """The first line that the node gets for a viewer's offer."""
    node.received.clear()
    async with client.post(f"/whep/{name}", data=b"v=0", headers={"Content-Type": "application/sdp"}):
        return node.received[0][0] if node.received else "nothing"


# Making


async def test_a_stream_is_made_where_a_publisher_would_go_and_counts_at_once() -> None:
    """204; a subscriber finds it there before the node has told of it, and it cannot be made twice."""
    async with fake_node(streams=body(stream("x", ["p"]))) as a, fake_node() as b:
        b.answers["POST /api/streams/a%20b"] = NO_CONTENT
        async with client_of(a.url, NodeConfig("n1", b.url, pub_max=9)) as client:
            assert await ask(client, "POST", "/api/streams/a%20b?nodes=n1") == (204, "")
            assert await offered(client, b, "a%20b") == "POST /whep/a%20b"
            status, problem = await ask(client, "POST", "/api/streams/a%20b")
            assert (status, problem["detail"]) == (409, "The stream 'a b' is there already, on n1.")
            status, problem = await ask(client, "POST", "/api/streams/x?nodes=n1")
            assert (status, problem["detail"]) == (409, "The stream 'x' is there already, on n0.")


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", "n1"), ("?nodes=n0", "n0"), ("?nodes=n2&nodes=n0", "n0"), ("?nodes=n2", None)],
)
async def test_nodes_narrow_the_choice(query: str, expected: str | None) -> None:
    """Without them it is the node with most free places."""
    async with fake_node() as a, fake_node() as b:
        for node in (a, b):
            node.answers["POST"] = NO_CONTENT
        async with client_of(a.url, NodeConfig("n1", b.url)) as client:
            status, _ = await ask(client, "POST", f"/api/streams/new{query}")
        assert status == (204 if expected else 503)
        assert [a.asked("POST"), b.asked("POST")] == [int(expected == "n0"), int(expected == "n1")]


@pytest.mark.parametrize(
    ("said", "status", "detail"),
    [
        (answer("409 Conflict", body=b"resource already exists"), 409, "Node n0: resource already exists"),
        (answer("404 Not Found"), 404, "Node n0: it answered with 404"),
        (answer("507 Insufficient Storage", body=b" x" * 9999), 507, "Node n0: " + ("x " * 512).strip()),
        (answer("500 Oh", body=b"\xff"), 500, "Node n0: \ufffd"),
        (answer("599 Odd", body=b"odd"), 502, "Node n0: odd"),
        (answer("302 Found", "Location: /elsewhere"), 502, "Node n0: it answered with 302"),
        (answer("401 Unauthorized"), 502, "Node n0: it refused Liveman's own token"),
        (answer("403 Forbidden", body=b"Don't permission"), 502, "Node n0: it refused Liveman's own token"),
        (b"garbage\r\n\r\n", 502, None),
    ],
)
async def test_a_nodes_refusal_is_passed_on(said: bytes, status: int, detail: str | None) -> None:
    """Its status and its words; nothing of the stream stays here."""
    async with fake_node() as node, client_of(node.url) as client:
        node.answers["POST"] = said
        got, problem = await ask(client, "POST", "/api/streams/x")
        assert (got, problem["status"]) == (status, status)
        if detail is not None:
            assert problem["detail"] == detail
        node.answers["POST"] = NO_CONTENT
        assert await ask(client, "POST", "/api/streams/x") == (204, "")


async def test_a_node_that_cannot_be_reached_is_passed_over() -> None:
    """Nothing was made there; without another one it is an error that names it."""
    async with fake_node() as a, fake_node() as b:
        b.answers["POST"] = NO_CONTENT
        async with client_of(a.url, NodeConfig("n1", b.url, pub_max=9)) as client:
            await a.stop()
            status, problem = await ask(client, "POST", "/api/streams/x?nodes=n0")
            assert (status, problem["detail"][:9]) == (502, "Node n0: ")
            assert await ask(client, "POST", "/api/streams/x") == (204, "")
            assert b.asked("POST") == 1
            await a.start()


async def test_a_stream_in_the_making_cannot_be_made_elsewhere() -> None:
    """Nor is it there any more when nothing comes of it."""
    async with fake_node() as node:
        node.answers["POST"] = hang
        async with Cluster([Node("a", node.url)], options=config.Cluster(), timing=FAST) as cluster:
            async with TaskOwner() as owner:
                first = owner.start("first", create_stream(cluster, "x"))
                await until(lambda: node.asked("POST"))
                with pytest.raises(Conflict):
                    await create_stream(cluster, "x")
                with pytest.raises(NodeTimeout):
                    await first
            assert "x" not in cluster.state.streams


class TestPendingStreams:
    """A stream that was made, in the state."""

    def made(self) -> State:
        state = State()
        state.add(Node("a", "http://a"))
        state.session_created("a", "made", "x", "", 0.0)
        return state

    def test_it_takes_no_place_and_is_no_session(self) -> None:
        state = self.made()
        node = state.nodes["a"]
        assert (node.publishers, node.load, state.sessions("a", "x")) == (0, 0, [])

    def test_it_outlives_snapshots_without_it_for_a_while(self) -> None:
        state = self.made()
        state.apply("a", body(stream("y")))
        assert set(state.streams) == {"x", "y"}
        state.expire(PENDING_SECONDS - 0.1)
        assert set(state.streams) == {"x", "y"}
        state.expire(PENDING_SECONDS)
        assert set(state.streams) == {"y"}

    def test_a_snapshot_with_it_settles_it(self) -> None:
        state = self.made()
        state.apply("a", body(stream("x")))
        state.apply("a", b"[]")
        assert state.streams == {}
        state.expire(PENDING_SECONDS)

    def test_a_snapshot_may_be_faster_than_the_answer(self) -> None:
        state = State()
        state.add(Node("a", "http://a"))
        state.reserve("a", "made", "x", "reserved 1")
        state.apply("a", body(stream("x")))
        state.session_created("a", "made", "x", "", 0.0, "reserved 1")
        state.session_deleted("a", "x", "reserved 1")
        state.apply("a", b"[]")
        assert state.streams == {}

    @pytest.mark.parametrize("sessions", [None, 0, 1])
    def test_a_deleted_one_is_gone_with_its_sessions(self, sessions: int | None) -> None:
        """Listed with so many sessions of either side, or not listed yet."""
        state = self.made()
        snapshot = body(stream("x", ["p"][:sessions], ["v"][:sessions]))
        if sessions is not None:
            state.apply("a", snapshot)
        state.session_created("a", "subscribe", "x", "w", 0.0)
        state.stream_deleted("a", "x")
        node = state.nodes["a"]
        assert (state.streams, node.publishers, node.subscribers) == ({}, 0, 0)
        state.expire(PENDING_SECONDS)
        # The node still has it after all, in the very words that it used before.
        state.apply("a", snapshot)
        assert set(state.streams) == {"x"}
        assert node.publishers == node.subscribers == (0 if sessions == 0 else 1)


# Deleting


async def test_a_stream_is_deleted_wherever_it_is() -> None:
    """204 when every node that had it said so, or has it no more; the others are not asked."""
    x = stream("é", ["p"], ["v"])
    async with (
        fake_node(streams=body(x)) as a,
        fake_node(streams=body(x)) as b,
        fake_node() as c,
        client_of(a.url, b.url, c.url) as client,
    ):
        b.answers["DELETE"] = answer("404 Not Found")
        assert await ask(client, "DELETE", "/api/streams/%C3%A9") == (204, "")
        assert [node.asked("DELETE /api/streams/%C3%A9") for node in (a, b, c)] == [1, 1, 0]
        assert (await ask(client, "DELETE", "/api/streams/%C3%A9"))[0] == 404
        async with client.get("/api/streams/") as response:
            assert await response.json() == []
        async with client.get("/api/nodes/") as response:
            assert [row["publishers"] + row["subscribers"] for row in await response.json()] == [0, 0, 0]


async def test_nodes_that_fail_are_named() -> None:
    """502 with what each said; where it worked the stream is gone, elsewhere it stays."""
    x = stream("x", ["p"])
    async with (
        fake_node(streams=body(x)) as a,
        fake_node(streams=body(x)) as b,
        fake_node(streams=body(x)) as c,
        client_of(a.url, b.url, c.url) as client,
    ):
        b.answers["DELETE"] = answer("409 Conflict", body=b"provisioned stream")
        await c.stop()
        status, problem = await ask(client, "DELETE", "/api/streams/x")
        assert status == 502
        refused, unreachable = problem["failed"]
        assert refused == {"alias": "n1", "status": 409, "detail": "provisioned stream"}
        assert (unreachable["alias"], unreachable["status"]) == ("n2", None)
        assert "n1: provisioned stream; n2: DELETE /api/streams/x: " in problem["detail"]
        async with client.get("/api/streams/x") as response:
            assert "n0" not in await response.json()
        await c.start()


async def test_a_stream_that_nobody_has_cannot_be_deleted() -> None:
    async with fake_node() as node, client_of(node.url) as client:
        status, problem = await ask(client, "DELETE", "/api/streams/x")
        assert (status, problem["detail"]) == (404, "No node has the stream 'x'.")
        assert node.asked("DELETE") == 0


# Kicking


async def test_a_session_is_kicked() -> None:
    """By the id in the listing, at the node that has it; it counts no more."""
    async with (
        fake_node(streams=body(stream("x", ["p"]))) as a,
        fake_node(streams=body(stream("x", ["r"], ["v-1"]))) as b,
        client_of(a.url, b.url) as client,
    ):
        assert await ask(client, "DELETE", "/api/streams/x/sessions/v-1") == (204, "")
        assert [a.asked("DELETE"), b.asked("DELETE /session/x/v-1")] == [0, 1]
        async with client.get("/api/nodes/") as response:
            assert [row["subscribers"] for row in await response.json()] == [0, 0]


async def test_a_session_that_no_snapshot_has_is_looked_up() -> None:
    """Once, at the nodes."""
    async with fake_node() as node, client_of(node.url) as client:
        node.answers["GET /api/streams/x"] = answer("200 OK", body=body(stream("x", ["p"]))[1:-1])
        assert await ask(client, "DELETE", "/api/streams/x/sessions/p") == (204, "")
        assert node.asked("DELETE /session/x/p") == 1


@pytest.mark.parametrize("session", ["nobody", "", "v%2F", "v.aaaaaaaasaaaaaaaa"])
async def test_who_is_not_there_cannot_be_kicked(session: str) -> None:
    async with fake_node(streams=body(stream("x", ["p"], ["v"]))) as node, client_of(node.url) as client:
        status, problem = await ask(client, "DELETE", f"/api/streams/x/sessions/{session}")
        assert (status, problem["detail"]) == (404, "No node has this session.")
        assert node.asked("DELETE") == 0


@pytest.mark.parametrize(
    ("said", "status", "detail"),
    [
        (answer("404 Not Found"), 204, None),
        (answer("500 Oh", body=b"broken"), 500, "Node n0: broken"),
        (answer("401 Unauthorized"), 502, "Node n0: it refused Liveman's own token"),
        (b"garbage\r\n\r\n", 502, None),
    ],
)
async def test_what_a_node_may_say_to_a_kick(said: bytes, status: int, detail: str | None) -> None:
    """404 is as good as gone; what fails is told once, without trying again."""
    async with fake_node(streams=body(stream("x", ["p"], ["v"]))) as node, client_of(node.url) as client:
        node.answers["DELETE"] = said
        got, problem = await ask(client, "DELETE", "/api/streams/x/sessions/v")
        assert got == status
        assert detail is None or problem["detail"] == detail
        assert node.asked("DELETE") == 1


@pytest.mark.parametrize("name", ["%2F", "..%2F", "%FF", "a%00"])
async def test_bad_names_are_refused(name: str) -> None:
    async with client_of() as client:
        for method, path in (
            ("POST", "/api/streams/{}"),
            ("DELETE", "/api/streams/{}"),
            ("DELETE", "/api/streams/{}/sessions/x"),
        ):
            assert (await ask(client, method, path.format(name)))[0] == 400


async def test_with_a_node_that_is_one() -> None:
    """Made, made again, deleted at a built-in node, which reaps nothing meanwhile."""
    async with local_node() as node, liveman(node) as url, ClientSession(url) as client:
        assert await ask(client, "POST", "/api/streams/a%20b") == (204, "")
        assert (await ask(client, "POST", "/api/streams/a%20b"))[0] == 409
        assert await ask(client, "DELETE", "/api/streams/a%20b") == (204, "")
        assert (await ask(client, "DELETE", "/api/streams/a%20b"))[0] == 404
        assert await ask(client, "POST", "/api/streams/a%20b") == (204, "")
