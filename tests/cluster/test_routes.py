"""The lists over HTTP, through the whole of what stands before a handler."""

import json
from collections.abc import AsyncIterator

import pytest

from cluster.fake import FAST, body, data, fake_node, stream
from cluster.serving import served
from liveman import config
from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Identity
from liveman.cluster import Cluster, Node
from liveman.config import Secret


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Two nodes: a source `b` that pushes the stream `cam` to `a`, which has another one too."""
    (relayed,) = json.loads(data("push_destination.json"))
    async with (
        fake_node(streams=body(relayed, stream("Ünï cödé", ["p"]))) as a,
        fake_node(streams=data("push_source.json"), sse=True) as b,
    ):
        nodes = [Node("b", b.url, Secret("s3cret")), Node("a", a.url, Secret("s3cret"), pub_max=7)]
        async with Cluster(nodes, options=config.Cluster(), timing=FAST) as cluster:
            yield cluster


@pytest.mark.parametrize("path", ["/api/nodes/", "/api/nodes"])
async def test_nodes_are_listed_by_alias(cluster: Cluster, path: str) -> None:
    """With what is known of them, and never a token."""
    async with served(cluster) as client, client.get(path) as response:
        text = await response.text()
        assert response.content_type == "application/json"
    assert "s3cret" not in text
    a, b = json.loads(text)
    assert (a["alias"], a["pub_max"], a["status"], a["health"]) == ("a", 7, "running", "up")
    assert (b["alias"], b["kind"], b["draining"], b["duration"]) == ("b", "config", False, "-")
    assert a["duration"].endswith("ms")
    assert (a["publishers"], a["subscribers"], b["publishers"], b["subscribers"]) == (1, 0, 1, 1)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/streams/", ["cam", "Ünï cödé"]),
        ("/api/streams", ["cam", "Ünï cödé"]),
        ("/api/streams/?nodes=b", ["cam"]),
        ("/api/streams/?nodes=a&nodes=b", ["cam", "Ünï cödé"]),
        ("/api/streams/?nodes=nobody", []),
    ],
)
async def test_streams_are_listed_and_merged(cluster: Cluster, path: str, expected: list[str]) -> None:
    """All of them, or those of some nodes."""
    async with served(cluster) as client, client.get(path) as response:
        assert [row["id"] for row in await response.json()] == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/streams/cam", ["a", "b"]),
        ("/api/streams/%C3%9Cn%C3%AF%20c%C3%B6d%C3%A9", ["a"]),
        ("/api/streams/nobody", []),
    ],
)
async def test_one_stream_is_listed_by_node(cluster: Cluster, path: str, expected: list[str]) -> None:
    """200 and nothing when nobody has it."""
    async with served(cluster) as client, client.get(path) as response:
        assert response.status == 200
        assert list(await response.json()) == expected


ALL = MANAGE | PUBLISH | SUBSCRIBE


@pytest.mark.parametrize(
    ("identity", "lists", "cam", "other"),
    [
        (Identity("x", "*", MANAGE), 200, 403, 403),
        (Identity("x", "*", PUBLISH), 200, 403, 403),
        (Identity("x", "*", SUBSCRIBE), 200, 200, 200),
        (Identity("x", "cam", SUBSCRIBE), 403, 200, 403),
        (Identity("x", "cam", PUBLISH), 403, 403, 403),
        (Identity("x", "cam", ALL), 403, 200, 403),
        (Identity("x", "*", 0), 403, 403, 403),
    ],
)
async def test_who_may_read(cluster: Cluster, identity: Identity, lists: int, cam: int, other: int) -> None:
    """Lists: any bit for all streams; one stream: who may watch it."""
    async with served(cluster, identity) as client:
        statuses = []
        for path in ("nodes/", "streams/", "sse/nodes", "sse/streams", "streams/cam", "streams/other"):
            async with client.get(f"/api/{path}") as response:
                statuses.append(response.status)
    assert statuses == [lists, lists, lists, lists, cam, other]


async def test_a_scoped_caller_learns_no_session_ids(cluster: Cluster) -> None:
    """They are capabilities at the node."""
    async with (
        served(cluster, Identity("x", "cam", SUBSCRIBE)) as client,
        client.get("/api/streams/cam") as response,
    ):
        text = await response.text()
    for said in json.loads(data("push_source.json")) + json.loads(data("push_destination.json")):
        for session in said["publish"]["sessions"] + said["subscribe"]["sessions"]:
            assert session["id"] not in text
    assert json.loads(text)["b"]["subscribe"]["sessions"][0]["state"] == "connected"


@pytest.mark.parametrize(("method", "path"), [("PUT", "/api/nodes/"), ("PATCH", "/api/streams/")])
async def test_other_methods_are_refused(cluster: Cluster, method: str, path: str) -> None:
    """405 names those that there are."""
    async with served(cluster) as client, client.request(method, path) as response:
        assert response.status == 405
        assert "GET" in response.headers["Allow"]
