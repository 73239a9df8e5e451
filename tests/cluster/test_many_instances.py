"""Two instances on one PostgreSQL: what is changed at one is known at the other, and one of them acts."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession

from cluster.fake import body, fake_node, stream, until
from cluster.test_drain import deleted, serves
from liveman.cluster.store import Store
from liveman.config import Auth, Database, NodeConfig, Secret
from liveman.database.notices import Notices
from support.liveman import liveman
from support.postgres import Postgres


@asynccontextmanager
async def instance(
    url: str, *nodes: str | NodeConfig, auth: Auth | None = None
) -> AsyncIterator[ClientSession]:
    database = Database(url=Secret(url), connect_timeout=5)
    async with liveman(*nodes, database=database, auth=auth or Auth()) as address:
        async with ClientSession(address) as client:
            yield client


async def ask(client: ClientSession, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with client.request(method, path, **options) as response:
        return response.status, json.loads(await response.text() or "null")


async def nodes(client: ClientSession) -> dict[str, Any]:
    return {row["alias"]: row for row in (await ask(client, "GET", "/api/nodes/"))[1]}


async def sees(client: ClientSession, condition: Any) -> None:
    """Wait until the list of nodes is so."""
    async with asyncio.timeout(5):
        while not condition(await nodes(client)):
            await asyncio.sleep(0.01)


async def test_a_node_comes_and_goes_at_both(postgres_url: str) -> None:
    """With all that was said of it; it is asked by both, and routed to by both."""
    async with fake_node(streams=body(stream("cam", ["p"]))) as node:
        async with instance(postgres_url) as one, instance(postgres_url) as two:
            new = {"alias": "new", "url": node.url, "token": "t", "mode": "poll", "pub_max": 3, "sub_max": 4}
            assert (await ask(one, "POST", "/api/nodes/", json=new))[0] == 201
            await sees(two, lambda rows: "new" in rows and rows["new"]["publishers"] == 1)
            row = (await nodes(two))["new"]
            assert (row["pub_max"], row["sub_max"], row["kind"]) == (3, 4, "api")
            assert (await ask(two, "DELETE", "/api/nodes/new"))[0] == 204
            await sees(one, lambda rows: rows == {})


async def test_what_was_changed_at_one_can_be_changed_at_the_other_at_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the notice of it has come, as behind a load balancer."""
    monkeypatch.setattr(Store, "changes", lambda self: Notices().subscribe("nothing"))
    async with fake_node() as node, instance(postgres_url) as one, instance(postgres_url) as two:
        new = {"alias": "new", "url": node.url}
        for here, there in ((one, two), (two, one)) * 5:
            assert (await ask(here, "POST", "/api/nodes/", json=new))[0] == 201
            assert (await ask(there, "PUT", "/api/nodes/new/drain", json={}))[0] == 200
            assert (await ask(here, "DELETE", "/api/nodes/new/drain"))[0] == 200
            assert (await ask(there, "DELETE", "/api/nodes/new"))[0] == 204
            assert (await ask(here, "POST", "/api/nodes/", json=new))[0] == 201
            status, problem = await ask(there, "POST", "/api/nodes/", json=new)
            assert (status, "named 'new' already" in problem["detail"]) == (409, True)
            assert (await ask(here, "DELETE", "/api/nodes/new"))[0] == 204
            assert (await ask(there, "POST", "/api/nodes/", json=new))[0] == 201
            assert (await ask(here, "DELETE", "/api/nodes/new"))[0] == 204


async def test_a_node_that_was_put_in_the_place_of_another_is_the_new_one_at_both(postgres_url: str) -> None:
    async with fake_node() as old, fake_node() as new:
        async with instance(postgres_url) as one, instance(postgres_url) as two:
            for node in (old, new):
                await ask(one, "DELETE", "/api/nodes/a")
                assert (await ask(one, "POST", "/api/nodes/", json={"alias": "a", "url": node.url}))[0] == 201
            await sees(two, lambda rows: "a" in rows and rows["a"]["url"] == new.url)


async def test_a_drain_is_known_at_both_and_one_of_them_closes_sessions(postgres_url: str) -> None:
    """Whichever was asked for it; each session is closed once."""
    async with fake_node() as a:
        serves(a, stream("x", ["p"], ["v1", "v2", "v3"]))
        async with instance(postgres_url, a.url) as one, instance(postgres_url, a.url) as two:
            for client in (one, two):
                await sees(client, lambda rows: rows["n0"]["subscribers"] == 3)
            assert (await ask(two, "PUT", "/api/nodes/n0/drain", json={"deadline": 0.5}))[0] == 200
            await sees(one, lambda rows: rows["n0"]["draining"])
            assert (await ask(one, "GET", "/api/nodes/n0/drain"))[0] == 200
            await until(lambda: len(set(deleted(a))) == 4)
            assert max(Counter(deleted(a)).values()) == 1
            assert (await ask(one, "DELETE", "/api/nodes/n0/drain"))[0] == 200
            await sees(two, lambda rows: not rows["n0"]["draining"])


async def test_what_was_changed_while_one_was_cut_off_is_known_there_later(
    postgres: Postgres, postgres_url: str
) -> None:
    """Its connections are lost, and with them the notice."""
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'liveman'"
    async with fake_node() as node, instance(postgres_url) as one, instance(postgres_url) as two:
        await asyncio.to_thread(postgres.sql, kill)
        async with asyncio.timeout(5):
            while (await ask(one, "POST", "/api/nodes/", json={"alias": "a", "url": node.url}))[0] != 201:
                await asyncio.sleep(0.01)
        await sees(two, lambda rows: "a" in rows)


async def test_while_the_database_is_away_nothing_changes_and_signalling_goes_on(
    postgres: Postgres, postgres_url: str
) -> None:
    """503 for what must be kept; not ready; and all is well when it is back."""
    async with (
        fake_node(streams=body(stream("cam", ["p"]))) as node,
        instance(postgres_url, node.url) as client,
    ):
        await asyncio.to_thread(postgres.stop)
        try:
            status, problem = await ask(client, "POST", "/api/nodes/", json={"alias": "a", "url": node.url})
            assert status == 503
            assert "cannot be reached" in problem["detail"]
            assert "liveman@" not in problem["detail"]
            assert (await ask(client, "PUT", "/api/nodes/n0/drain", json={}))[0] == 503
            assert (await ask(client, "GET", "/readyz"))[0] == 503
            assert list(await nodes(client)) == ["n0"]
            assert (await nodes(client))["n0"]["draining"] is False
            assert list((await ask(client, "GET", "/api/streams/cam"))[1]) == ["n0"]
        finally:
            await asyncio.to_thread(postgres.start)
        assert (await ask(client, "POST", "/api/nodes/", json={"alias": "a", "url": node.url}))[0] == 201
        assert (await ask(client, "GET", "/readyz"))[0] == 200


async def test_instances_that_start_at_once_share_a_secret(postgres_url: str) -> None:
    """A session that one has made is found by the other."""
    answer = b"HTTP/1.1 201 Created\r\nLocation: /session/new/s\r\nContent-Length: 0\r\n\r\n"
    async with fake_node() as node:
        node.answers["POST /whip/new"] = answer
        starts = [instance(postgres_url, node.url) for _ in range(2)]
        one, two = await asyncio.gather(*(start.__aenter__() for start in starts))
        try:
            headers = {"Content-Type": "application/sdp"}
            async with one.post("/whip/new", data=b"v=0\r\n", headers=headers) as response:
                assert response.status == 201
                location = response.headers["Location"]
            node.received.clear()
            await ask(two, "DELETE", location)
            assert deleted(node) == ["/session/new/s"]
        finally:
            for start in starts:
                await start.__aexit__(None, None, None)


async def test_a_token_that_was_revoked_at_one_is_refused_at_both(postgres_url: str) -> None:
    auth = Auth(secret=Secret("k" * 40), tokens=(Secret("root"),))
    root = {"Authorization": "Bearer root"}
    async with instance(postgres_url, auth=auth) as one, instance(postgres_url, auth=auth) as two:
        wanted = {"id": "*", "duration": 3600, "admin": True}
        status, made = await ask(one, "POST", "/api/token", json=wanted, headers=root)
        assert status == 200, made
        claims = made["access_token"].split(".")[1]
        jti = json.loads(base64.urlsafe_b64decode(claims + "=="))["jti"]
        headers = {"Authorization": f"Bearer {made['access_token']}"}
        assert (await ask(two, "GET", "/api/nodes/", headers=headers))[0] == 200
        assert (await ask(one, "DELETE", f"/api/tokens/{jti}", headers=root))[0] == 204
        async with asyncio.timeout(5):
            while (await ask(two, "GET", "/api/nodes/", headers=headers))[0] != 401:
                await asyncio.sleep(0.01)
