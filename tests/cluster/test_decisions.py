"""Decisions over HTTP: what would be decided now, and what was."""

import logging
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from cluster.fake import FAST, body, fake_node, stream
from cluster.serving import served
from liveman import config
from liveman.cluster import Cluster, Node
from liveman.cluster.journal import KEPT, Journal
from liveman.secret import build_relay_token
from support.liveman import OFFER, liveman
from support.raw_node import answer, raw_node

SDP_TYPE = {"Content-Type": "application/sdp"}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Node a has the stream cam with its one viewer; b has nothing."""
    async with fake_node(streams=body(stream("cam", ["p"], ["v"]))) as a, fake_node() as b:
        nodes = [Node("a", a.url, sub_max=1, pub_max=1), Node("b", b.url, pub_max=7)]
        async with Cluster(nodes, options=config.Cluster(), timing=FAST) as cluster:
            yield cluster


@pytest.mark.parametrize(
    ("query", "action", "target", "rejected"),
    [
        ("stream=new&kind=whip", "place", "b", {"b": None}),
        ("stream=cam&kind=whip", "existing", "a", {"a": None}),
        ("stream=cam&kind=whep", "cascade", "b", {"b": None, "a": "it has the stream"}),
        ("stream=cam&kind=whep&nodes=a", "refuse", None, {"a": "it has the stream", "b": "not asked for"}),
        ("stream=new&kind=whip&nodes=a", "refuse", None, {"a": "full"}),
        ("stream=new&kind=whep", "refuse", None, {}),
    ],
)
async def test_a_placement_is_shown_without_being_carried_out(
    cluster: Cluster, query: str, action: str, target: str | None, rejected: dict[str, str | None]
) -> None:
    async with served(cluster) as client:
        for _ in range(2):
            async with client.get(f"/api/placement?{query}") as response:
                row = await response.json()
            assert (row["action"], row["target"]) == (action, target)
            assert {each["alias"]: each["rejected"] for each in row["candidates"]} == rejected
            assert row["reason"]
        async with client.get("/api/decisions") as response:
            assert await response.json() == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/placement",
        "/api/placement?stream=cam",
        "/api/placement?stream=cam&kind=publish",
        "/api/placement?kind=whip",
        "/api/placement?stream=..&kind=whip",
        "/api/placement?stream=a%2Fb&kind=whip",
        "/api/decisions?limit=0",
        "/api/decisions?limit=1001",
        "/api/decisions?limit=-1",
        "/api/decisions?limit=²",
        "/api/decisions?limit=" + "9" * 5000,
    ],
)
async def test_what_cannot_be_asked_is_400(cluster: Cluster, path: str) -> None:
    async with served(cluster) as client, client.get(path) as response:
        assert response.status == 400


async def test_the_last_decisions_are_told_with_what_came_of_them(caplog: pytest.LogCaptureFixture) -> None:
    """The newest first, failover included; and each has its line in the log."""
    caplog.set_level(logging.INFO, logger="liveman.decisions")
    async with (
        raw_node(answer("503 Service Unavailable")) as busy,
        raw_node() as good,
        liveman(busy, good) as url,
        ClientSession(url) as client,
    ):
        for path in ("/whip/cam", "/whep/nothing"):
            async with client.post(path, data=OFFER, headers=SDP_TYPE):
                pass

        async def told(query: str) -> list[tuple[str, str, str | None, str]]:
            async with client.get(f"/api/decisions{query}") as response:
                rows = await response.json()
            assert all(row["at"] > 1_700_000_000 and row["reason"] for row in rows)
            return [(row["stream"], row["kind"], row["target"], row["outcome"]) for row in rows]

        first = ("cam", "whip", "n0", "answered with 503")
        second = ("cam", "whip", "n1", "answered with 201")
        assert await told("") == [("nothing", "whep", None, "refused"), second, first]
        assert await told("?stream=cam") == [second, first]
        assert await told("?stream=cam&limit=1") == [second]
        assert await told("?stream=unknown") == []
    lines = [record.getMessage() for record in caplog.records if record.name == "liveman.decisions"]
    assert [line.partition(",")[0] for line in lines] == [
        "publish stream='cam': place to n0",
        "publish stream='cam': place to n1",
        "subscribe stream='nothing': refuse to nowhere",
    ]


async def test_a_thousand_decisions_are_kept(cluster: Cluster) -> None:
    journal = Journal()
    decision = cluster.place("publish", "x")
    for index in range(KEPT + 5):
        journal.record("publish", f"x{index}", decision)
    rows = journal.newest()
    assert (len(rows), rows[0]["stream"], rows[-1]["stream"]) == (1000, "x1004", "x5")


async def test_a_session_made_by_a_relay_s_token_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the direct route, within a minute; with any other token it is a publisher's."""
    secret = b"k" * 32

    async def cluster_secret(*_: object) -> bytes:
        return secret

    monkeypatch.setattr("liveman.app.cluster_secret", cluster_secret)
    options = config.Cluster(poll_interval_ms=3_600_000)
    async with raw_node() as node, liveman(node, cluster=options) as url:
        async with ClientSession(url) as client:
            now = int(time.time())
            for alias, age, publishers in (("n0", 0, 0), ("n0", 50, 0), ("n0", 90, 1), ("n1", 0, 2)):
                token = build_relay_token(secret, alias=alias, kind="p", stream="cam", issued=now - age)
                headers = {**SDP_TYPE, "Authorization": f"Bearer {token}"}
                async with client.post("/api/whip/n0/cam", data=OFFER, headers=headers) as response:
                    assert response.status == 201
                async with client.get("/api/nodes/") as response:
                    (row,) = await response.json()
                assert row["publishers"] == publishers
