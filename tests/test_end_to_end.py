"""The main job with real media: a publisher, Liveman, built-in nodes, viewers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from liveman.config import Database, ExtraIce, Liveion, NodeConfig, Secret
from liveman.demo.client import SignallingFailed, publish, subscribe
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture, Quadrants, Tone, quadrant_colours
from support.liveman import liveman
from support.nodes import alike, until

THREE = Liveion(count=3, sub_max=1)


async def get(url: str, path: str):
    async with ClientSession(url) as client, client.get(path) as response:
        assert response.status == 200
        return await response.json()


def sessions(stream: dict, side: str) -> list[str]:
    return [each["state"] for each in stream[side]["sessions"] if not each.get("leaveAt")]


@pytest.fixture
async def cluster() -> AsyncIterator[str]:
    """Liveman with the three nodes of the seeds' example."""
    async with liveman(liveion=THREE) as url:
        yield url


async def test_a_picture_crosses_the_cluster_and_the_session_ends_cleanly(cluster: str) -> None:
    """Publish, watch, trickle, leave; then no node lists anything."""
    publisher = await publish(f"{cluster}/whip/cam", [Quadrants(), Tone()])
    viewer = await subscribe(f"{cluster}/whep/cam")
    await viewer.wait_for_picture(lambda frame: alike(quadrant_colours(frame)), timeout=20)
    await viewer.wait_for_audio(10)
    assert await publisher.trickle() == 204
    assert await viewer.trickle() == 204

    async def listed() -> bool:
        stream = await get(cluster, "/api/streams/cam")
        return [sessions(each, "subscribe") for each in stream.values()] == [["connected"]]

    await until(listed)
    assert await viewer.close() == 204
    assert await publisher.close() == 204

    async def empty() -> bool:
        return await get(cluster, "/api/streams/") == []

    await until(empty)
    for node in await get(cluster, "/api/nodes/"):
        assert await get(node["url"], "/api/streams/") == []


async def test_the_nodes_are_listed_as_the_seeds_show_them(cluster: str) -> None:
    rows = await get(cluster, "/api/nodes/")
    assert [(row["alias"], row["pub_max"], row["sub_max"], row["status"]) for row in rows] == [
        (f"buildin-{i}", 65535, 1, "running") for i in range(3)
    ]
    assert {row["kind"] for row in rows} == {"demo"}


async def test_a_stream_has_as_many_places_as_sub_max_on_each_node(cluster: str) -> None:
    """Three viewers on three nodes; the next is told to try again, and finds the place of one who left."""
    async with await publish(f"{cluster}/whip/cam", [MovingPicture()]), AsyncExitStack() as watching:
        first = await subscribe(f"{cluster}/whep/cam", kinds=["video"])
        for _ in range(2):
            viewer = await subscribe(f"{cluster}/whep/cam", kinds=["video"])
            await watching.enter_async_context(viewer)
            await viewer.wait_for_frames(1, timeout=20)
        with pytest.raises(SignallingFailed) as caught:
            await subscribe(f"{cluster}/whep/cam", kinds=["video"])
        assert caught.value.answer_status == 503
        await first.close()
        second = await subscribe(f"{cluster}/whep/cam", kinds=["video"])
        await second.wait_for_frames(1, timeout=20)
        await second.close()


async def test_publishers_spread_over_the_nodes_at_once(cluster: str) -> None:
    """Three in a row take three nodes, though no node has said anything of them yet; a viewer finds each."""
    names = ["a", "b", "c"]
    publishers = [await publish(f"{cluster}/whip/{name}", [Quadrants()]) for name in names]
    try:

        async def all_listed() -> bool:
            return len(await get(cluster, "/api/streams/")) == 3

        await until(all_listed)
        homes = [list(await get(cluster, f"/api/streams/{name}")) for name in names]
        assert sorted(homes) == [["buildin-0"], ["buildin-1"], ["buildin-2"]]
        with pytest.raises(SignallingFailed) as caught:
            await publish(f"{cluster}/whip/a", [Quadrants()])
        assert caught.value.answer_status == 409
    finally:
        for publisher in publishers:
            await publisher.close()


async def test_a_viewer_of_nothing_gets_404(cluster: str) -> None:
    with pytest.raises(SignallingFailed) as caught:
        await subscribe(f"{cluster}/whep/nothing")
    assert caught.value.answer_status == 404


async def test_any_instance_serves_a_session_also_after_a_restart(tmp_path: Path) -> None:
    """Sessions carry their route: another Liveman with the same nodes needs no memory of them."""
    database = Database(url=Secret(f"sqlite://{tmp_path}/liveman.db?mode=rwc"))
    async with buildin_nodes(2, token=Secret("node-token")) as nodes:
        declared = [NodeConfig(node.alias, node.url, token=Secret("node-token")) for node in nodes]
        async with liveman(*declared, database=database) as url:
            publisher = await publish(f"{url}/whip/cam", [Quadrants()])
            await publisher.wait_connected(20)
        async with liveman(*declared, database=database) as url:
            publisher.session_url = url + urlsplit(publisher.session_url).path
            assert await publisher.trickle() == 204
            async with await subscribe(f"{url}/whep/cam", kinds=["video"]) as viewer:
                await viewer.wait_for_picture(lambda frame: alike(quadrant_colours(frame)), timeout=20)
            assert await publisher.close() == 204


async def test_the_client_gathers_with_the_servers_of_its_own_201() -> None:
    coturn = ExtraIce(
        providers={"coturn": {"secret": "s" * 16, "urls": ["turn:turn.example.org:3478?transport=udp"]}}
    )
    async with (
        liveman(liveion=Liveion(count=1), extra_ice=coturn) as url,
        await publish(f"{url}/whip/cam", [Quadrants()]) as publisher,
    ):
        (server,) = publisher.ice_servers
        assert server.urls == ["turn:turn.example.org:3478?transport=udp"]
        assert server.username.partition(":")[0].isdigit()
        assert server.credential
