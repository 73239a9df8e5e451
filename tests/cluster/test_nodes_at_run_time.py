"""Nodes that are added and removed while Liveman runs, over HTTP and across restarts."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock

import pytest
from aiohttp import ClientSession, TCPConnector, web
from aiohttp.test_utils import TestServer
from yarl import URL

from cluster.fake import FAST, FakeNode, as_json, body, fake_node, hang, stream, until
from liveman import config
from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Identity
from liveman.cluster import Cluster, Node
from liveman.cluster.client import Client
from liveman.cluster.operations import routes
from liveman.cluster.registry import Registry
from liveman.cluster.store import Store
from liveman.config import Database, NodeConfig, Secret
from liveman.database import open_database
from liveman.errors import Conflict, DatabaseError, NotFound
from liveman.guard import Guard
from liveman.middleware import mount
from support.databases import connected
from support.liveman import liveman


@asynccontextmanager
async def client_of(database_url: str, *nodes: str | NodeConfig) -> AsyncIterator[ClientSession]:
    """Liveman on this database."""
    database = Database(url=Secret(database_url))
    async with liveman(*nodes, database=database) as url, ClientSession(url) as client:
        yield client


async def listed(client: ClientSession) -> dict[str, Any]:
    async with client.get("/api/nodes/") as response:
        return {row["alias"]: row for row in await response.json()}


async def add(client: ClientSession, node: FakeNode | str, alias: str = "new", **members: Any) -> None:
    url = node if isinstance(node, str) else node.url
    async with client.post("/api/nodes/", json={"alias": alias, "url": url, **members}) as response:
        assert response.status == 201, await response.text()


async def gone(client: ClientSession, path: str) -> tuple[int, str]:
    """What a DELETE is answered with."""
    async with client.delete(path) as response:
        return response.status, await response.text()


async def test_a_node_is_added(database_url: str) -> None:
    """201 with its row and where it is; it is asked at once, and takes its place in the cluster."""
    async with fake_node(streams=body(stream("cam", ["p"]))) as node, client_of(database_url) as client:
        wanted = {"alias": "Ünï 1", "url": node.url + "/", "token": "s3cret", "pub_max": 3, "sub_max": 4}
        async with client.post("/api/nodes", json={**wanted, "mode": "poll"}) as response:
            assert response.status == 201
            assert response.headers["Location"] == "/api/nodes/%C3%9Cn%C3%AF%201"
            text = await response.text()
            assert "s3cret" not in text
            row = json.loads(text)
        assert (row["alias"], row["url"], row["kind"]) == ("Ünï 1", node.url, "api")
        assert (row["pub_max"], row["sub_max"], row["draining"]) == (3, 4, False)
        await until(lambda: node.asked("GET /api/info"))
        assert node.fields("GET /api/streams/")["authorization"] == "Bearer s3cret"
        assert not node.asked("GET /api/sse/streams")
        assert (await listed(client))["Ünï 1"]["health"] == "up"
        async with client.get("/api/streams/cam") as response:
            assert list(await response.json()) == ["Ünï 1"]
        assert (await gone(client, "/api/nodes/%C3%9Cn%C3%AF%201"))[0] == 204


async def test_a_new_node_that_hangs_does_not_make_liveman_unready(database_url: str) -> None:
    """Whoever balances load would send everyone away."""
    async with fake_node() as node, client_of(database_url) as client:
        node.answers["GET"] = hang
        await add(client, node)
        await until(lambda: node.received)
        async with client.get("/readyz") as response:
            assert response.status == 200


async def test_what_was_added_survives_a_restart_and_what_was_removed_stays_away(database_url: str) -> None:
    """With all that was said of it; its streams are known before anyone is served."""
    async with fake_node(streams=body(stream("cam", ["p"]))) as node:
        async with client_of(database_url) as client:
            await add(client, node, "kept", token="s3cret", mode="poll", pub_max=3, sub_max=4)
            await add(client, node, "dropped")
            assert await gone(client, "/api/nodes/dropped") == (204, "")
            before = await listed(client)
        node.received.clear()
        async with client_of(database_url) as client:
            after = await listed(client)
            async with client.get("/api/streams/cam") as response:
                assert list(await response.json()) == ["kept"]
        assert list(after) == ["kept"]
        assert node.fields("GET /api/streams/")["authorization"] == "Bearer s3cret"
        for key in ("url", "pub_max", "sub_max", "kind"):
            assert after["kept"][key] == before["kept"][key]


@pytest.mark.parametrize(
    ("document", "status", "said"),
    [
        (b"", 400, ["not JSON"]),
        (b"{", 400, ["not JSON"]),
        (b'{"alias": "\xff"}', 400, ["not JSON"]),
        (b"[" * 50_000, 400, ["nested too deeply"]),
        (b"[]", 400, ["must be a JSON object"]),
        (b'"a"', 400, ["must be a JSON object"]),
        ({}, 422, ["alias: is missing", "url: is missing"]),
        (
            {"alias": "a/b", "url": "ftp://x", "pub_max": "5", "mode": "quick", "token": 7},
            422,
            [
                "alias: stands in URLs",
                "url: must begin with http",
                "pub_max: must be a whole number",
                'mode: must be one of "auto", "sse", "poll"',
                "token: must be a text",
            ],
        ),
        (
            {"alias": "a", "url": "http://x", "sub_mx": 1},
            422,
            ['sub_mx: is no known key; did you mean "sub_max"?'],
        ),
        ({"alias": "a", "url": "http://x", "token": "a b"}, 422, ["token: must be printable ASCII"]),
        ({"alias": "a", "url": "http://u:s3cret@x"}, 422, ["a token belongs into the key token"]),
        ({"alias": "a", "url": "http://x", "pub_max": 65_536}, 422, ["from 0 to 65535"]),
        ({"alias": "\ud800", "url": "http://x"}, 400, ["not JSON"]),
        ({"alias": "..", "url": "http://x"}, 422, ["alias: stands in URLs"]),
        ({"alias": "n0", "url": "http://x"}, 409, ["a node named 'n0' already"]),
        (b" " * 70_000, 413, ["64 KiB"]),
    ],
)
async def test_what_cannot_be_added(database_url: str, document: Any, status: int, said: list[str]) -> None:
    """A problem that names every fault with its place, never a value; nothing is kept."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    async with fake_node() as node, client_of(database_url, node.url) as client:
        async with client.post(
            "/api/nodes/", data=data, headers={"Content-Type": "application/json"}
        ) as response:
            problem = await response.json(content_type="application/problem+json")
            assert (response.status, problem["status"]) == (status, status)
        for words in said:
            assert words in problem["detail"]
        assert "s3cret" not in str(problem)
        if status == 422:
            assert [f"{each['path']}: {each['problem']}" for each in problem["faults"]] == problem[
                "detail"
            ].split("\n")
        assert list(await listed(client)) == ["n0"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_a_body_of_another_type_is_refused(database_url: str, kind: str | None) -> None:
    """415, whatever stands in it."""
    async with client_of(database_url) as client:
        headers = {"Content-Type": kind} if kind else {}
        async with client.post(
            "/api/nodes/",
            data=b'{"alias": "a", "url": "http://x"}',
            headers=headers,
            skip_auto_headers=["Content-Type"],
        ) as response:
            assert response.status == 415
            assert (
                "application/json" in (await response.json(content_type="application/problem+json"))["detail"]
            )
        assert await listed(client) == {}


async def test_an_endless_body_is_refused(database_url: str) -> None:
    """In pieces, of no declared length."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    async with client_of(database_url) as client:
        headers = {"Content-Type": "application/json; charset=utf-8"}
        async with client.post("/api/nodes/", data=pieces(), headers=headers) as response:
            assert response.status == 413


async def test_two_nodes_that_session_ids_cannot_tell_apart(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """409 at run time; the first one stays."""
    monkeypatch.setattr("liveman.cluster.cluster.alias_tag", lambda alias: alias[0])
    async with client_of(database_url, NodeConfig("a1", "http://127.0.0.1:1")) as client:
        async with client.post("/api/nodes/", json={"alias": "a2", "url": "http://x"}) as response:
            assert response.status == 409
            assert "'a2' and 'a1' cannot be told apart" in await response.text()
        assert list(await listed(client)) == ["a1"]


async def test_what_is_removed_is_gone_at_once(database_url: str) -> None:
    """Its row, its streams, its sessions' routes, and the watching."""
    async with (
        fake_node(streams=body(stream("cam", ["p"])), sse=True) as node,
        client_of(database_url) as client,
    ):
        await add(client, node)
        await until(lambda: node.listeners and node.asked("GET /api/info"))
        assert await gone(client, "/api/nodes/new") == (204, "")
        assert await listed(client) == {}
        async with client.get("/api/streams/cam") as response:
            assert await response.json() == {}
        assert (await gone(client, "/session/cam/p"))[0] == 404
        await until(lambda: all(writer.transport.is_closing() for writer in node.listeners))
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "watch new"]


@pytest.mark.parametrize(
    ("alias", "status", "words"),
    [
        ("n0", 409, "Node n0 is declared in the configuration"),
        ("nobody", 404, "There is no node named 'nobody'"),
        ("n%30", 409, "Node n0 is declared in the configuration"),
        ("%FF", 400, "not valid UTF-8"),
    ],
)
async def test_what_cannot_be_removed(database_url: str, alias: str, status: int, words: str) -> None:
    """A node of the configuration would be back after a restart."""
    async with fake_node() as node, client_of(database_url, node.url) as client:
        async with client.delete(URL(f"/api/nodes/{alias}", encoded=True)) as response:
            assert response.status == status
            assert words in (await response.json(content_type="application/problem+json"))["detail"]
        assert list(await listed(client)) == ["n0"]


async def test_the_configuration_wins_over_the_database(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And says so; without its node the one of the database is back."""
    async with fake_node() as kept, fake_node() as declared:
        async with client_of(database_url) as client:
            await add(client, kept, "a")
        async with client_of(database_url, NodeConfig("a", declared.url)) as client:
            row = (await listed(client))["a"]
            assert (row["url"], row["kind"]) == (declared.url, "config")
            assert "a node in the database gives way to one that is declared node=a" in caplog.text
            assert (await gone(client, "/api/nodes/a"))[0] == 409
        async with client_of(database_url) as client:
            assert (await listed(client))["a"]["url"] == kept.url


async def test_a_row_that_cannot_be_a_node_is_passed_over(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As when somebody wrote it by hand; the others are there, and it can be added anew."""
    async with fake_node() as node:
        async with client_of(database_url) as client:
            await add(client, node, "a")
            await add(client, node, "b")
        async with connected(database_url) as database:
            await database.execute(
                "UPDATE cluster_nodes SET mode = 'odd', token = 's3 cret' WHERE alias = 'a'"
            )
        async with client_of(database_url) as client:
            assert list(await listed(client)) == ["b"]
            assert "a node in the database cannot be used node=a" in caplog.text
            assert "s3 cret" not in caplog.text
            await add(client, node, "a")
        async with client_of(database_url) as client:
            assert list(await listed(client)) == ["a", "b"]


async def test_no_log_shows_a_token(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nor the debug lines of what lies below."""
    caplog.set_level("DEBUG")
    async with fake_node() as node, client_of(database_url) as client:
        await add(client, node, token="s3cret")
        await until(lambda: node.asked("GET /api/info"))
        await gone(client, "/api/nodes/new")
    assert "s3cret" not in caplog.text


# Below HTTP


@asynccontextmanager
async def registry_of(*nodes: Node) -> AsyncIterator[tuple[Cluster, Registry]]:
    cluster = Cluster(nodes, options=config.Cluster(), timing=FAST)
    registry = Registry(cluster)
    async with open_database("sqlite::memory:") as database:
        await registry.load(Store(database))
        async with cluster, registry:
            yield cluster, registry


async def test_a_dead_node_that_is_added_again_is_asked_at_once() -> None:
    """Whatever pause the old one had come to."""
    async with registry_of() as (cluster, registry), fake_node() as node:
        await node.stop()
        await registry.add(Node("a", node.url, kind="api"))
        await until(lambda: cluster.is_down("a"))
        await registry.remove("a")
        await node.start()
        node.received.clear()
        await registry.add(Node("a", node.url, kind="api"))
        assert not cluster.is_down("a")
        await until(lambda: cluster.nodes()[0].health.status == "up")


@pytest.mark.parametrize("path", ["/api/streams/", "/api/sse/streams", "/api/strategy/"])
async def test_a_node_may_be_removed_in_the_middle_of_anything(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was being asked of it is forgotten, also when another one has its name by then."""
    async with registry_of() as (cluster, registry), fake_node() as old, fake_node() as new:
        old.answers[f"GET {path}"] = hang
        new.answers["GET /api/strategy/"] = as_json(b'{"each_stream_max_sub": 3}')
        for _ in range(3):
            old.received.clear()
            await registry.add(Node("a", old.url, kind="api"))
            await until(lambda: old.asked(f"GET {path}"))
            await registry.remove("a")
            assert cluster.nodes() == []
            await registry.add(Node("a", new.url, kind="api"))
            await until(lambda: cluster.nodes()[0].sub_max == 3)
            await registry.remove("a")
    assert "a background task failed" not in caplog.text


async def test_an_answer_in_the_moment_of_the_removal_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has come, but nobody has read it yet."""
    come = asyncio.get_running_loop().create_future()

    async def info(self: Client, node: Node) -> None:
        await come

    monkeypatch.setattr(Client, "info", info)
    async with fake_node() as node, registry_of(Node("a", node.url)) as (cluster, _):
        assert cluster.unasked() == ["a"]
        come.set_result(None)
        cluster.remove("a")
        await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "watch a"])
    assert "a background task failed" not in caplog.text


async def test_connections_of_a_removed_node_are_closed() -> None:
    """Where each node has a way of its own."""
    made: list[TCPConnector] = []

    def connector(node: Node) -> TCPConnector:
        made.append(TCPConnector())
        return made[-1]

    async with fake_node() as node:
        cluster = Cluster([], options=config.Cluster(), timing=FAST, connector=connector)
        async with cluster:
            cluster.add(Node("a", node.url, kind="api"))
            await until(lambda: node.received)
            cluster.remove("a")
            await until(lambda: made[0].closed)


class _Broken(Store):
    """A database that takes nothing."""

    async def put_node(self, node: Node) -> None:
        raise DatabaseError

    async def remove_node(self, alias: str) -> None:
        raise DatabaseError

    put_drain = put_node  # type: ignore[assignment]


async def test_what_the_database_refuses_is_not_done() -> None:
    """So that no node comes, goes or is drained until the next restart only."""
    async with registry_of() as (cluster, registry):
        await registry.add(Node("b", "http://127.0.0.1:1", kind="api"))
        registry._store = _Broken(registry._kept._database)
        with pytest.raises(DatabaseError):
            await registry.add(Node("a", "http://127.0.0.1:1", kind="api"))
        with pytest.raises(DatabaseError):
            await registry.remove("b")
        with pytest.raises(DatabaseError):
            await registry.drain("b", seconds=None, close=False)
        assert [(node.node.alias, node.draining) for node in cluster.nodes()] == [("b", False)]


@pytest.mark.parametrize("kind", ["config", "demo", "net4mqtt"])
async def test_only_nodes_that_were_added_can_be_removed(kind: Any) -> None:
    """The others have another source, and each says which."""
    async with registry_of(Node("a", "http://127.0.0.1:1", kind=kind)) as (cluster, registry):
        with pytest.raises(Conflict):
            await registry.remove("a")
        with pytest.raises(NotFound):
            await registry.remove("b")
        assert cluster.node("a") is not None


ALL = MANAGE | PUBLISH | SUBSCRIBE


@pytest.mark.parametrize(
    ("identity", "nodes", "cam", "other"),
    [
        (Identity("x", "*", MANAGE), True, True, True),
        (Identity("x", "*", PUBLISH | SUBSCRIBE), False, False, False),
        (Identity("x", "cam", ALL), False, True, False),
        (Identity("x", "cam", PUBLISH | SUBSCRIBE), False, False, False),
    ],
)
async def test_who_may_change_what(identity: Identity, nodes: bool, cam: bool, other: bool) -> None:
    """Nodes: who may manage all streams; a stream: who may manage it."""
    table = [
        ("POST", "/api/nodes/", nodes),
        ("DELETE", "/api/nodes/a", nodes),
        ("PUT", "/api/nodes/a/drain", nodes),
        ("GET", "/api/nodes/a/drain", nodes),
        ("DELETE", "/api/nodes/a/drain", nodes),
        *(
            (method, path.format(name), may)
            for name, may in (("cam", cam), ("other", other))
            for method, path in (
                ("POST", "/api/streams/{}"),
                ("DELETE", "/api/streams/{}"),
                ("DELETE", "/api/streams/{}/sessions/s"),
            )
        ),
    ]
    async with registry_of() as (cluster, registry):
        app = web.Application()
        mount(app, Guard(identify=AsyncMock(return_value=identity)), routes(cluster, registry))
        async with TestServer(app) as server, ClientSession(server.make_url("/")) as client:
            for method, path, may in table:
                async with client.request(method, path) as response:
                    assert (response.status != 403) == may, (method, path)
