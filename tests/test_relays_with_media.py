"""Relays with real media: what viewers see on nodes that nobody publishes to."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from liveman.config import Cascade, Liveion, NodeConfig
from liveman.demo.client import publish, subscribe, watching_peer
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture, Quadrants, quadrant_colours
from support.liveman import liveman
from support.nodes import alike, get_json, until

FAST_END = {"check_tick_time": 200, "maximum_idle_time": 500}


@pytest.mark.parametrize("mode", ["push", "pull"])
async def test_viewers_on_every_node_see_the_picture_and_idle_relays_end(mode: str) -> None:
    options = Cascade(mode=mode, **FAST_END)  # type: ignore[arg-type]
    async with liveman(liveion=Liveion(count=3, sub_max=1), cascade=options) as url, AsyncExitStack() as all:
        publisher = await publish(f"{url}/whip/cam", [Quadrants()])
        await all.enter_async_context(publisher)
        viewers = [await subscribe(f"{url}/whep/cam", kinds=["video"]) for _ in range(3)]
        for viewer in viewers:
            await viewer.wait_for_picture(lambda frame: alike(quadrant_colours(frame)), timeout=20)
        rows = await get_json(f"{url}/api/nodes/")
        assert sorted(row["publishers"] for row in rows) == [0, 0, 1], "relays take no place"
        assert [row["subscribers"] for row in rows] == [1, 1, 1]
        decisions = await get_json(f"{url}/api/decisions?stream=cam&limit=9")
        assert [each["action"] for each in decisions].count("cascade") == 2
        for viewer in viewers:
            await viewer.close()

        async def alone() -> bool:
            return len(await get_json(f"{url}/api/streams/cam")) == 1

        await until(alone, within=20)


@pytest.mark.parametrize("mode", ["push", "pull"])
async def test_fifty_viewers_within_a_second_at_a_full_node_get_one_relay(mode: str) -> None:
    """All are answered with 201, and who has media sees the picture."""
    options = Cascade(mode=mode, **FAST_END)  # type: ignore[arg-type]
    async with buildin_nodes(3) as nodes:
        declared = [
            NodeConfig(node.alias, node.url, sub_max=most)
            for node, most in zip(nodes, (1, 100, 100), strict=True)
        ]
        signalling = await watching_peer(["video"])
        offer = signalling.localDescription.sdp
        async with (
            liveman(*declared, cascade=options) as url,
            ClientSession(url) as client,
            await publish(f"{url}/whip/cam?nodes={nodes[0].alias}", [MovingPicture()]),
        ):

            async def watch(delay: float) -> int:
                await asyncio.sleep(delay)
                headers = {"Content-Type": "application/sdp"}
                async with client.post("/whep/cam", data=offer, headers=headers) as response:
                    return response.status

            assert await watch(0) == 201
            waiting = asyncio.gather(*(watch(number / 50) for number in range(49)))
            viewer = await subscribe(f"{url}/whep/cam", kinds=["video"])
            assert await waiting == [201] * 49
            await viewer.wait_for_frames(2, timeout=20)
            decisions = await get_json(f"{url}/api/decisions?stream=cam&limit=1000")
            assert [each["action"] for each in decisions].count("cascade") == 1
            rows = await get_json(f"{url}/api/nodes/")
            assert sorted(row["subscribers"] for row in rows) == [0, 1, 50]
            assert len(await get_json(f"{url}/api/streams/cam")) == 2
            await viewer.close()
        await signalling.close()


async def test_a_picture_passes_two_relays_and_comes_back_when_the_middle_node_dies() -> None:
    async with buildin_nodes(3) as nodes:
        declared = [NodeConfig(node.alias, node.url) for node in nodes]
        first, middle, last = nodes
        async with (
            liveman(*declared, cascade=Cascade(**FAST_END)) as url,
            ClientSession() as client,
            await publish(f"{url}/whip/cam?nodes={first.alias}", [MovingPicture()]),
        ):
            for source, target in ((first, middle), (middle, last)):
                told = {"token": "", "targetUrl": f"{target.url}/whip/cam"}
                async with client.post(f"{source.url}/api/cascade/cam", json=told) as response:
                    assert response.status == 200

                async def arrived(at: str = target.url) -> bool:
                    found = await get_json(f"{at}/api/streams/cam")
                    return bool(found) and [s["state"] for s in found["publish"]["sessions"]] == ["connected"]

                await until(arrived, within=20)

            async def known() -> bool:
                return len(await get_json(f"{url}/api/streams/cam")) == 3

            await until(known)
            viewer = await subscribe(f"{url}/whep/cam?nodes={last.alias}", kinds=["video"])
            await viewer.wait_for_frames(5, timeout=20)
            rows = {row["alias"]: row for row in await get_json(f"{url}/api/nodes/")}
            assert [rows[each.alias]["publishers"] for each in nodes] == [1, 0, 0]
            os.kill(middle.pid, signal.SIGKILL)
            await viewer.close()

            async def gone() -> bool:
                """What the dead node has left at the last one."""
                return list(await get_json(f"{url}/api/streams/cam")) == [first.alias]

            await until(gone, within=30)
            again = await subscribe(f"{url}/whep/cam?nodes={last.alias}&nodes={first.alias}", kinds=["video"])
            await again.wait_for_frames(5, timeout=20)
            await again.close()
