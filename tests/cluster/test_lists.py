"""How the lists are given over HTTP: entity tags, compression, in pieces."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from attrs import evolve, frozen

from cluster.fake import FAST, FakeNode, body, fake_node, stream, until
from cluster.serving import served
from liveman import config
from liveman.cluster import Cluster, Node, documents, listing

#: The nodes say nothing for long.
TIMING = evolve(FAST, silence=60.0)

LONG = "x" * 2_000
"""More than what is not worth compressing."""


@frozen
class Scene:
    """One node, Liveman, and a client."""

    node: FakeNode
    cluster: Cluster
    client: ClientSession

    async def say(self, *streams: object) -> None:
        """The node's list is another one, and Liveman knows it."""
        before = self.cluster.state.version
        self.node.streams = json.dumps(streams).encode()
        self.node.say(b"data: " + self.node.streams + b"\n\n")
        await until(lambda: self.cluster.state.version > before)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with fake_node(streams=body(stream("cam", ["p"], note=LONG)), sse=True) as node:
        nodes = [Node("a", node.url)]
        async with (
            Cluster(nodes, options=config.Cluster(), timing=FAST) as cluster,
            served(cluster) as client,
        ):
            yield Scene(node, cluster, client)


@pytest.mark.parametrize("path", ["/api/streams/", "/api/streams?nodes=a", "/api/nodes/"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_who_has_the_list_already_is_not_sent_it_again(scene: Scene, path: str, coding: str) -> None:
    """304 while nothing has changed, with the fields of the 200 that it stands for; then 200."""
    fields = {"Accept-Encoding": coding}
    async with scene.client.get(path, headers=fields) as response:
        assert response.status == 200
        tag = response.headers["ETag"]
        assert tag.startswith('"') and response.headers["Cache-Control"] == "no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        async with scene.client.get(path, headers={**fields, "If-None-Match": known}) as response:
            assert (response.status, await response.read()) == (304, b"")
            assert response.headers["ETag"] == tag
            assert response.headers["Cache-Control"] == "no-cache"
            assert response.headers["Vary"] == "Accept-Encoding"
            assert "Content-Type" not in response.headers and "Content-Length" not in response.headers
    await scene.say(stream("cam", ["p"], note=LONG), stream("other", ["q"]))
    async with scene.client.get(path, headers={**fields, "If-None-Match": tag}) as response:
        assert response.status == 200
        assert response.headers["ETag"] != tag


async def test_nobody_is_given_an_old_list(scene: Scene) -> None:
    """What a node says is in the next answer; a session that Liveman has just made in the next list of nodes."""
    async with scene.client.get("/api/streams/") as response:
        assert [row["id"] for row in await response.json()] == ["cam"]
    for number in range(20):
        await scene.say(stream(f"cam-{number}"))
        async with scene.client.get("/api/streams/") as response:
            assert [row["id"] for row in await response.json()] == [f"cam-{number}"]
    for number in range(1, 4):
        scene.cluster.session_created("a", "publish", "new", f"p{number}")
        async with scene.client.get("/api/nodes/") as response:
            assert [row["publishers"] for row in await response.json()] == [number]


async def test_a_node_that_goes_down_is_so_in_the_next_answer(scene: Scene) -> None:
    """Though it had no sessions."""
    async with scene.client.get("/api/nodes/") as response:
        assert [row["health"] for row in await response.json()] == ["up"]
    await scene.say()
    await scene.node.stop()
    for health in ("suspect", "down"):
        await until(lambda wanted=health: scene.cluster.nodes()[0].health.status == wanted)  # type: ignore[misc]
        async with scene.client.get("/api/nodes/") as response:
            assert [row["health"] for row in await response.json()] in ([health], ["down"])


async def test_compressed_is_the_same_list(scene: Scene) -> None:
    """Only for those who ask for it, with a tag of its own."""
    async with scene.client.get("/api/streams/") as response:
        plain, tag = await response.read(), response.headers["ETag"]
        assert "Content-Encoding" not in response.headers
        assert response.headers["Vary"] == "Accept-Encoding"
    async with scene.client.get("/api/streams/", headers={"Accept-Encoding": "br, gzip;q=0.1"}) as response:
        zipped = await response.read()
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["ETag"] != tag
    assert gzip.decompress(zipped) == plain
    assert len(zipped) < len(plain)
    async with scene.client.get("/api/streams/", headers={"Accept-Encoding": "gzip;q=0"}) as response:
        assert await response.read() == plain
    headers = {"Accept-Encoding": "gzip", "If-None-Match": tag}
    async with scene.client.get("/api/streams/", headers=headers) as response:
        assert response.status == 200


async def test_a_small_list_is_not_compressed(scene: Scene) -> None:
    """It would hardly be smaller."""
    async with scene.client.get("/api/nodes/", headers={"Accept-Encoding": "gzip"}) as response:
        assert "Content-Encoding" not in response.headers
        assert len(await response.json()) == 1


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_head_is_get_without_the_body(scene: Scene, coding: str) -> None:
    """With its length, and 304 too."""
    fields = {"Accept-Encoding": coding}
    async with scene.client.get("/api/streams/", headers=fields) as response:
        expected, size = response.headers.copy(), len(await response.read())
    async with scene.client.head("/api/streams/", headers=fields) as response:
        assert response.status == 200
        names = ("Content-Type", "Content-Length", "Content-Encoding", "ETag", "Cache-Control", "Vary")
        assert [response.headers.get(name) for name in names] == [expected.get(name) for name in names]
        assert response.headers["Content-Length"] == str(size)
    fields["If-None-Match"] = expected["ETag"]
    async with scene.client.head("/api/streams/", headers=fields) as response:
        assert response.status == 304


async def test_a_list_is_encoded_once_for_all_who_ask(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrowed one is not kept."""
    encoded = []
    encode = listing.StreamRows.encode
    monkeypatch.setattr(
        listing.StreamRows, "encode", lambda rows, streams: (encoded.append(1), encode(rows, streams))[1]
    )

    async def ask(query: str) -> int:
        async with scene.client.get(f"/api/streams/{query}") as response:
            return response.status

    assert set(await asyncio.gather(*(ask("") for _ in range(50)))) == {200}
    assert len(encoded) == 1
    assert await ask("?nodes=a") == await ask("?nodes=a") == 200
    assert len(encoded) == 3


def test_those_who_narrow_a_list_alike_share_it() -> None:
    """While they wait for it; nodes that do not exist make no difference."""
    lists = Cluster([Node("a", "http://a"), Node("b", "http://b")], options=config.Cluster()).lists
    one = lists.streams(["a", "b"])
    assert lists.streams(["b", "a", "nobody"]) is one
    assert lists.streams(["a"]) is not one
    assert lists.streams(["nobody"]) is not lists.streams()
    assert lists.streams() is lists.streams([])
    del one
    assert len(lists._narrowed) == 0


async def test_a_large_list_comes_whole(scene: Scene) -> None:
    """In as many pieces as it takes."""
    note = "".join(map(str, range(300_000)))
    await scene.say(stream("cam", note=note), stream("z"))
    async with scene.client.get("/api/streams/") as response:
        assert int(response.headers["Content-Length"]) > 10 * documents.PIECE
        assert [row.get("note") for row in await response.json()] == [note, None]
    async with scene.client.get("/api/streams/", headers={"Accept-Encoding": "gzip"}) as response:
        found = json.loads(gzip.decompress(await response.read()))
        assert found[0]["note"] == note
    async with scene.client.head("/api/streams/") as response:
        assert int(response.headers["Content-Length"]) > 10 * documents.PIECE
    async with scene.client.get("/api/nodes/") as response:
        assert response.status == 200


async def test_who_takes_nothing_of_a_list_is_cut_off(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """And others are served meanwhile."""
    monkeypatch.setattr(documents, "STALLED_SECONDS", 0.2)
    await scene.say(stream("cam", note="x" * 14_000_000))
    url = scene.client._base_url
    assert url is not None
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (url.host, url.port))
        await loop.sock_sendall(sock, b"GET /api/streams/ HTTP/1.1\r\nHost: h\r\n\r\n")
        async with scene.client.get("/api/streams/", headers={"Accept-Encoding": "gzip"}) as response:
            assert response.status == 200
        async with asyncio.timeout(10):
            await asyncio.sleep(0.5)
            size = 0
            while piece := await loop.sock_recv(sock, 1 << 20):
                size += len(piece)
        assert 0 < size < 14_000_000
