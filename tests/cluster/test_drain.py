"""Emptying nodes: what is closed when, over HTTP, and across restarts."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession

from cluster.fake import FAST, FakeNode, body, fake_node, session, stream, until
from liveman import config
from liveman.cluster import Cluster, Node
from liveman.cluster.drain import Drain, Drains, drain_row, next_to_close
from liveman.cluster.placement import place
from liveman.cluster.registry import Registry
from liveman.cluster.state import State
from liveman.cluster.store import Store
from liveman.config import Database, NodeConfig, Secret
from liveman.database import Leadership, open_database
from support.liveman import OFFER, liveman

SDP_TYPE = {"Content-Type": "application/sdp"}
RELAY = {"targetUrl": "http://elsewhere/whip/x", "sessionUrl": "http://elsewhere/session/x/far"}


def state_of(**nodes: Any) -> State:
    """Nodes by alias with what they have: a list of streams, or (sub_max, list)."""
    state = State()
    for alias, has in nodes.items():
        sub_max, streams = has if isinstance(has, tuple) else (10, has)
        state.add(Node(alias, f"http://{alias}", sub_max=sub_max))
        state.apply(alias, body(*streams))
        state.happened(alias, "success")
    return state


X = stream("x", ["p"], ["v1", "v2"])


@pytest.mark.parametrize(
    ("elsewhere", "expected"),
    [
        ({}, None),
        ({"b": [stream("y", ["p"])]}, None),
        ({"b": [stream("x", ["p2"])]}, ("x", "v1")),
        ({"b": [stream("x", [session("p2", cascade={"sourceUrl": "http://a/whep/x"})])]}, ("x", "v1")),
        ({"b": [stream("x", [session("p2", state="connecting")])]}, None),
        ({"b": [stream("x")]}, None),
        ({"b": [stream("x", [session("p2", leaveAt=5)])]}, None),
        ({"b": (1, [stream("x", ["p2"], ["w"])])}, None),
        ({"b": (1, [stream("x", ["p2"], ["w"])]), "c": (2, [stream("x", ["p3"], ["u"])])}, ("x", "v1")),
    ],
    ids=[
        "nobody else",
        "another stream",
        "connected",
        "a relay",
        "connecting",
        "no publisher",
        "he has left",
        "full",
        "one of two is full",
    ],
)
def test_a_subscriber_is_closed_only_where_he_can_come_back(elsewhere: Any, expected: Any) -> None:
    """To a node in service that has the stream, plays it, and has a free place."""
    state = state_of(a=[X], **elsewhere)
    state.drain("a", True)
    assert next_to_close(state, "a", returning={}, failed=()) == expected


def test_nobody_is_sent_to_a_node_that_is_draining_or_down() -> None:
    """He would not get in."""
    state = state_of(a=[X], b=[stream("x", ["p2"])], c=[stream("x", ["p3"])])
    for alias in ("a", "b"):
        state.drain(alias, True)
    for _ in range(3):
        state.happened("c", "failure")
    assert next_to_close(state, "a", returning={}, failed=()) is None
    state.drain("b", False)
    assert next_to_close(state, "a", returning={}, failed=()) == ("x", "v1")


def test_those_on_their_way_have_their_places_kept() -> None:
    """Two places elsewhere are for two; who could not be closed is passed over."""
    state = state_of(a=[X, stream("y", ["p"], ["w"])], b=(2, [stream("x", ["p2"])]), c=[stream("y", ["p2"])])
    state.drain("a", True)
    assert next_to_close(state, "a", returning={"x": 1}, failed=()) == ("x", "v1")
    assert next_to_close(state, "a", returning={"x": 2}, failed=()) == ("y", "w")
    assert next_to_close(state, "a", returning={"x": 1}, failed={("x", "v1")}) == ("x", "v2")
    assert next_to_close(state, "a", returning={}, failed={("x", "v1"), ("x", "v2"), ("y", "w")}) is None


def test_relays_and_sessions_in_the_making_are_left_alone() -> None:
    """A relay belongs to its keeper, a session that a node is asked for has no id yet."""
    state = state_of(a=[stream("x", ["p"], [session("r", cascade=RELAY)])], b=[stream("x", ["p2"])])
    state.drain("a", True)
    state.reserve("a", "subscribe", "x", "reserved 1")
    assert next_to_close(state, "a", returning={}, failed=()) is None
    state.session_created("a", "subscribe", "x", "v", 0.0, "reserved 1")
    assert next_to_close(state, "a", returning={}, failed=()) == ("x", "v")


@pytest.mark.parametrize(
    ("streams", "counts", "done"),
    [
        ([], (0, 0, 0), True),
        ([stream("x")], (0, 0, 0), True),
        ([X], (1, 2, 0), False),
        ([stream("x", [], [session("r", cascade=RELAY)])], (0, 0, 1), False),
        ([stream("x", [session("p", leaveAt=1)], [session("v", leaveAt=1)])], (0, 0, 0), True),
    ],
)
def test_a_drain_is_done_when_no_session_is_left(streams: Any, counts: Any, done: bool) -> None:
    """Streams without sessions do not matter, relays do."""
    row = drain_row(Drain("a", 5.0), state_of(a=streams))
    assert (row["publishers"], row["subscribers"], row["relays"]) == counts
    assert row["done"] is done


def test_a_node_that_was_not_heard_of_yet_is_not_done() -> None:
    """Right after a restart nothing is known of its sessions; one that is down has none."""
    state = State()
    state.add(Node("a", "http://a"))
    assert drain_row(Drain("a", 5.0), state)["done"] is False
    for _ in range(3):
        state.happened("a", "failure")
    assert drain_row(Drain("a", 5.0), state)["done"] is True


class TestPlacement:
    """New sessions keep away from a draining node."""

    @pytest.mark.parametrize(
        ("kind", "streams", "other", "target", "reason"),
        [
            ("publish", [], [], "b", None),
            ("publish", [X], [], "a", None),
            ("publish", [stream("x", [], ["v"])], [], "b", None),
            ("publish", [stream("x", [session("p", leaveAt=1)], ["v"])], [stream("x")], "b", "draining"),
            ("subscribe", [X], [stream("x", ["p2"])], "b", "draining"),
            ("subscribe", [X], [], None, "draining"),
        ],
    )
    def test_where_sessions_go(
        self, kind: Any, streams: Any, other: Any, target: str | None, reason: str | None
    ) -> None:
        """A publisher only meets the one who is there already."""
        state = state_of(a=streams, b=other)
        state.drain("a", True)
        decision = place(state, kind, "x", at=0.0, random=lambda n: 0)
        assert (decision.target.alias if decision.target else None) == target
        rejected = {each.alias: each.rejected for each in decision.candidates}
        if reason:
            assert rejected["a"] == reason

    def test_where_no_node_is_left(self) -> None:
        """It is refused as when none is up."""
        state = state_of(a=[])
        state.drain("a", True)
        for kind in ("publish", "subscribe"):
            assert place(state, kind, "x", at=0.0, random=lambda n: 0).refusal == "no_node"  # type: ignore[arg-type]


# The tasks, in front of nodes that list whatever was not yet deleted


def serves(node: FakeNode, *streams: dict[str, Any]) -> None:
    """Let the node have these streams, and lose their sessions as they are deleted."""
    left = {(each["id"], s["id"]) for each in streams for side in _SIDES for s in each[side]["sessions"]}

    def snapshot() -> bytes:
        deleted = {
            tuple(line.split("/")[2:]) for line, _ in node.received if line.startswith("DELETE /session/")
        }
        return body(
            *(
                {
                    **each,
                    **{
                        side: {
                            "leaveAt": 0,
                            "sessions": [
                                s for s in each[side]["sessions"] if (each["id"], s["id"]) in left - deleted
                            ],
                        }
                        for side in _SIDES
                    },
                }
                for each in streams
            )
        )

    async def answer(writer: asyncio.StreamWriter) -> None:
        text = snapshot()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        writer.write(head.encode() + text)

    node.answers["GET /api/streams/"] = answer


_SIDES = ("publish", "subscribe")


def deleted(node: FakeNode) -> list[str]:
    return [line.removeprefix("DELETE ") for line, _ in node.received if line.startswith("DELETE ")]


@asynccontextmanager
async def draining(*nodes: Node) -> AsyncIterator[tuple[Cluster, Drains]]:
    async with Cluster(nodes, options=config.Cluster(poll_interval_ms=20), timing=FAST) as cluster:
        leadership = Leadership()
        leadership.lead()
        async with Drains(cluster, leadership, pause=0.01) as drains:
            yield cluster, drains


async def test_subscribers_are_closed_one_by_one_and_the_rest_stays() -> None:
    """Those of streams that live elsewhere; no publisher, no relay, nobody of a stream that is here alone."""
    async with fake_node() as a, fake_node(streams=body(stream("x", ["p2"]))) as b:
        serves(
            a,
            stream("x", ["p"], ["v1", "v2", "v3", session("r", cascade=RELAY)]),
            stream("only here", ["q"], ["w"]),
        )
        async with draining(Node("a", a.url), Node("b", b.url)) as (cluster, drains):
            drains.start(Drain("a", time.time(), close=True))
            await until(lambda: len(deleted(a)) == 3)
            await until(lambda: cluster.state.nodes["a"].subscribers == 1)
            assert deleted(a) == ["/session/x/v1", "/session/x/v2", "/session/x/v3"]
            assert (cluster.state.nodes["a"].publishers, cluster.state.nodes["a"].relays) == (2, 1)
            # A place that appears later is used as well.
            b.streams = body(stream("x", ["p2"]), stream("only here", ["p3"]))
            await until(lambda: "/session/only%20here/w" in deleted(a))


async def test_without_close_nobody_is_closed_before_the_deadline() -> None:
    """Then everyone is: publishers, subscribers, ends of relays."""
    async with fake_node() as a, fake_node(streams=body(stream("x", ["p2"]))) as b:
        serves(a, stream("x", ["p"], ["v", session("r", cascade=RELAY)]), stream("é/", ["q"]))
        async with draining(Node("a", a.url), Node("b", b.url)) as (cluster, drains):
            drains.start(Drain("a", time.time()))
            seen = cluster.changes.count
            await until(lambda: cluster.changes.count > seen + 5)
            assert deleted(a) == []
            drains.start(Drain("a", time.time(), deadline=time.time() - 1))
            await until(lambda: len(deleted(a)) == 4)
            assert sorted(deleted(a)) == [
                "/session/%C3%A9%2F/q",
                "/session/x/p",
                "/session/x/r",
                "/session/x/v",
            ]
            await until(lambda: drain_row(Drain("a", 0.0), cluster.state)["done"])


async def test_what_comes_after_the_deadline_is_closed_too() -> None:
    """As by a direct route."""
    async with fake_node() as a:
        async with draining(Node("a", a.url)) as (_, drains):
            drains.start(Drain("a", time.time(), deadline=time.time()))
            await until(lambda: a.asked("GET /api/streams/") > 2)
            a.streams = body(stream("late", ["p"]))
            await until(lambda: "/session/late/p" in deleted(a))


async def test_who_cannot_be_closed_holds_up_nobody() -> None:
    """The node refuses one DELETE; the next subscriber follows."""
    async with fake_node() as a, fake_node(streams=body(stream("x", ["p2"]))) as b:
        serves(a, stream("x", ["p"], ["v1", "v2"]))
        a.answers["DELETE /session/x/v1"] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
        async with draining(Node("a", a.url), Node("b", b.url)) as (_, drains):
            drains.start(Drain("a", time.time(), close=True))
            await until(lambda: "/session/x/v2" in deleted(a))
            assert Counter(deleted(a))["/session/x/v1"] == 1


async def test_two_drains_share_the_places_that_are_left() -> None:
    """One place for two viewers, each on a node of its own."""
    async with fake_node() as a, fake_node() as b, fake_node(streams=body(stream("x", ["p3"]))) as c:
        serves(a, stream("x", ["p1"], ["v1"]))
        serves(b, stream("x", ["p2"], ["v2"]))
        nodes = [Node("a", a.url), Node("b", b.url), Node("c", c.url, sub_max=1)]
        async with draining(*nodes) as (cluster, drains):
            drains.start(Drain("a", time.time(), close=True))
            await until(lambda: deleted(a))
            drains.start(Drain("b", time.time(), close=True))
            seen = cluster.changes.count
            await until(lambda: cluster.changes.count > seen + 10)
            assert (len(deleted(a)), deleted(b)) == (1, [])


async def test_an_ended_drain_closes_nobody_and_the_node_is_back() -> None:
    """Its task is gone."""
    async with fake_node() as a:
        serves(a, stream("x", ["p"], ["v"]))
        async with draining(Node("a", a.url)) as (cluster, drains):
            drains.start(Drain("a", time.time(), deadline=time.time() + 0.3))
            assert cluster.place("subscribe", "x").target is None
            drains.end("a")
            assert cluster.place("subscribe", "x").target == cluster.node("a")
            await until(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "drain a"])
            assert deleted(a) == []


# Over HTTP


@asynccontextmanager
async def client_of(database_url: str, *nodes: str | NodeConfig) -> AsyncIterator[ClientSession]:
    database = Database(url=Secret(database_url))
    async with liveman(*nodes, database=database) as url, ClientSession(url) as client:
        yield client


async def ask(client: ClientSession, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with client.request(method, path, **options) as response:
        return response.status, json.loads(await response.text() or "null")


async def test_a_drain_from_its_beginning_to_the_way_back(database_url: str) -> None:
    """PUT, GET, PUT again, DELETE: the same row each time; new sessions go elsewhere meanwhile."""
    async with fake_node() as a, fake_node() as b, client_of(database_url, a.url, b.url) as client:
        serves(a, stream("x", ["p"], ["v"]))
        await until(lambda: a.asked("GET /api/streams/") > 2)
        now = time.time()
        status, row = await ask(client, "PUT", "/api/nodes/n0/drain", json={"deadline": None, "close": False})
        assert status == 200
        assert abs(row.pop("since") - now) < 60
        assert row == {
            "alias": "n0",
            "deadline": None,
            "publishers": 1,
            "subscribers": 1,
            "relays": 0,
            "done": False,
        }
        assert (await ask(client, "GET", "/api/nodes/n0/drain"))[1]["done"] is False
        assert (await ask(client, "GET", "/api/nodes/"))[1][0]["draining"] is True
        b.answers["POST /whip/new"] = (
            b"HTTP/1.1 201 Created\r\nLocation: /session/new/s\r\nContent-Length: 0\r\n\r\n"
        )
        async with client.post("/whip/new", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status == 201
        async with client.post("/whep/x", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status == 503
        status, row = await ask(client, "PUT", "/api/nodes/n0/drain", json={"deadline": 3600.5})
        assert status == 200
        assert row["deadline"] == pytest.approx(row["since"] + 3600.5)
        status, row = await ask(client, "DELETE", "/api/nodes/n0/drain")
        assert (status, row["subscribers"]) == (200, 1)
        assert (await ask(client, "GET", "/api/nodes/n0/drain"))[0] == 404
        assert (await ask(client, "GET", "/api/nodes/"))[1][0]["draining"] is False


async def test_a_drain_ends_at_its_deadline(database_url: str) -> None:
    """All sessions are deleted at the node, and it is done."""
    async with fake_node() as a, client_of(database_url, a.url) as client:
        serves(a, stream("x", ["p"], ["v"]))
        await ask(client, "PUT", "/api/nodes/n0/drain", json={"deadline": 0.05, "close": True})
        await until(lambda: len(set(deleted(a))) == 2)

        async with asyncio.timeout(5):
            while not (await ask(client, "GET", "/api/nodes/n0/drain"))[1]["done"]:
                await asyncio.sleep(0.02)


async def test_a_drain_survives_a_restart_with_its_deadline(database_url: str) -> None:
    """The node gets nothing new from the first moment; the deadline is the one that was."""
    async with fake_node() as a:
        serves(a, stream("x", ["p"], ["v"]))
        async with client_of(database_url, a.url) as client:
            _, before = await ask(client, "PUT", "/api/nodes/n0/drain", json={"deadline": 3600})
        async with client_of(database_url, a.url) as client:
            assert (await ask(client, "GET", "/api/nodes/"))[1][0]["draining"] is True
            _, after = await ask(client, "GET", "/api/nodes/n0/drain")
            assert (after["since"], after["deadline"]) == (before["since"], before["deadline"])
            await ask(client, "PUT", "/api/nodes/n0/drain", json={"deadline": 0.5})
        assert deleted(a) == []
        async with client_of(database_url, a.url) as client:
            await until(lambda: len(set(deleted(a))) == 2)
            await ask(client, "DELETE", "/api/nodes/n0/drain")
        async with client_of(database_url, a.url) as client:
            assert (await ask(client, "GET", "/api/nodes/"))[1][0]["draining"] is False


async def test_a_node_that_is_down_can_be_drained(database_url: str) -> None:
    """So that it gets nothing when it is back."""
    async with fake_node() as a, client_of(database_url, NodeConfig("n0", a.url, mode="poll")) as client:
        await a.stop()
        async with asyncio.timeout(10):
            while (await ask(client, "GET", "/api/nodes/"))[1][0]["health"] != "down":
                await asyncio.sleep(0.02)
        status, row = await ask(client, "PUT", "/api/nodes/n0/drain", json={})
        assert (status, row["done"]) == (200, True)
        await a.start()
        await until(lambda: a.received)


async def test_a_removed_node_takes_its_drain_along(database_url: str) -> None:
    """A new one of its name is in service, also after a restart."""
    async with fake_node() as a:
        new = {"alias": "new", "url": a.url}
        async with client_of(database_url) as client:
            await ask(client, "POST", "/api/nodes/", json=new)
            await ask(client, "PUT", "/api/nodes/new/drain", json={})
            assert (await ask(client, "DELETE", "/api/nodes/new"))[0] == 204
            assert not [
                task
                for task in asyncio.all_tasks()
                if task.get_name() == "drain new" and not task.cancelling()
            ]
            status, row = await ask(client, "POST", "/api/nodes/", json=new)
            assert (status, row["draining"]) == (201, False)
        async with client_of(database_url) as client:
            assert (await ask(client, "GET", "/api/nodes/new/drain"))[0] == 404


async def test_the_drain_of_a_removed_node_is_forgotten(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No restart hears of it."""
    async with client_of(database_url) as client:
        await ask(client, "POST", "/api/nodes/", json={"alias": "new", "url": "http://127.0.0.1:1"})
        await ask(client, "PUT", "/api/nodes/new/drain", json={})
        await ask(client, "DELETE", "/api/nodes/new")
    async with client_of(database_url):
        assert "not there" not in caplog.text


async def test_a_new_node_does_not_inherit_the_drain_of_a_declared_one(database_url: str) -> None:
    """Which left the configuration while it was drained."""
    async with fake_node() as a:
        async with client_of(database_url, a.url) as client:
            await ask(client, "PUT", "/api/nodes/n0/drain", json={})
        async with client_of(database_url) as client:
            await ask(client, "POST", "/api/nodes/", json={"alias": "n0", "url": a.url})
        async with client_of(database_url) as client:
            assert (await ask(client, "GET", "/api/nodes/n0/drain"))[0] == 404


async def test_a_drain_of_a_node_that_is_not_there_waits(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It left the configuration, and may be back."""
    async with fake_node() as a:
        async with client_of(database_url, a.url) as client:
            await ask(client, "PUT", "/api/nodes/n0/drain", json={})
        async with client_of(database_url) as client:
            assert "a node that is being drained is not there node=n0" in caplog.text
            assert (await ask(client, "GET", "/api/nodes/n0/drain"))[0] == 404
        async with client_of(database_url, a.url) as client:
            assert (await ask(client, "GET", "/api/nodes/n0/drain"))[0] == 200


@pytest.mark.parametrize(
    ("method", "alias", "document", "status", "words"),
    [
        ("PUT", "nobody", {}, 404, "There is no node named 'nobody'"),
        ("GET", "nobody", None, 404, "There is no node named 'nobody'"),
        ("DELETE", "nobody", None, 404, "There is no node named 'nobody'"),
        ("GET", "n0", None, 404, "Node n0 is not being drained"),
        ("DELETE", "n0", None, 404, "Node n0 is not being drained"),
        ("PUT", "n0", {"deadline": -1}, 422, "deadline: must be seconds, from 0"),
        ("PUT", "n0", {"deadline": 1e12}, 422, "deadline: must be seconds, from 0"),
        ("PUT", "n0", {"deadline": "5"}, 422, "deadline: must be a number"),
        ("PUT", "n0", {"deadline": True}, 422, "deadline: must be a number"),
        ("PUT", "n0", {"close": 1, "dedline": 5}, 422, 'did you mean "deadline"?'),
        ("PUT", "n0", {"close": None}, 422, "close: must be true or false"),
        ("PUT", "n0", [], 400, "must be a JSON object"),
        ("PUT", "n0", None, 415, "application/json"),
        ("POST", "n0", {}, 405, "not supported"),
    ],
)
async def test_what_cannot_be_drained(
    database_url: str, method: str, alias: str, document: Any, status: int, words: str
) -> None:
    """Each with a problem that says why; nothing is drained then."""
    async with fake_node() as a, client_of(database_url, a.url) as client:
        options = {} if document is None else {"json": document}
        got, problem = await ask(client, method, f"/api/nodes/{alias}/drain", **options)
        assert (got, problem["status"]) == (status, status)
        assert words in problem["detail"]
        assert (await ask(client, "GET", "/api/nodes/n0/drain"))[0] == 404


async def test_shutting_down_ends_drains_at_once() -> None:
    """Whatever they are doing."""
    async with fake_node() as a, open_database("sqlite::memory:") as database:
        cluster = Cluster([Node("a", a.url)], options=config.Cluster(), timing=FAST)
        registry = Registry(cluster)
        await registry.load(Store(database))
        async with cluster, registry:
            await registry.drain("a", seconds=3600, close=True)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "drain a"]
