"""Nodes that are killed, paused and restarted under load: nothing hangs, nothing is left behind."""

import asyncio
import random
import time

import pytest
from aiohttp import ClientSession, ClientTimeout

from liveman.demo.client import publishing_peer, watching_peer
from liveman.demo.pictures import MovingPicture
from long.storm import LIMIT, Node, Record, ask, free_port, hang_up, id_of, live_sessions
from support.liveman import liveman
from support.nodes import get_json

pytestmark = pytest.mark.long

STORM_SECONDS = 40


async def storm(nodes: list[Node], chance: random.Random) -> None:
    end = time.monotonic() + STORM_SECONDS
    while time.monotonic() < end:
        node = chance.choice(nodes)
        if chance.random() < 0.5:
            await node.pause(chance.uniform(0.2, 1.5))
        else:
            await node.kill()
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await node.start()
        await asyncio.sleep(chance.uniform(0.2, 1.0))


async def load(
    url: str, number: int, offers: tuple[str, str], record: Record, done: asyncio.Event, chance: random.Random
) -> None:
    publish, watch = offers
    async with ClientSession(url, timeout=ClientTimeout(total=LIMIT + 5)) as client:
        turn = 0
        while not done.is_set():
            turn += 1
            stream = f"s{number}-{turn}"
            if chance.random() < 0.2:
                if made := await hang_up(url, f"/whip/{stream}", publish, chance.uniform(0, 0.02)):
                    record.undeleted.add(made)
                continue
            locations = []
            for path, offer in ((f"/whip/{stream}", publish), (f"/whep/{stream}", watch)):
                status, location = await ask(client, record, "POST", path, offer)
                if status == 201:
                    locations.append(location)
            for location in reversed(locations):
                status, _ = await ask(client, record, "DELETE", location)
                if status not in (200, 204, 404):
                    record.undeleted.add(location)


@pytest.mark.parametrize("seed", [1])
async def test_after_a_storm_all_is_as_the_nodes_say(seed: int) -> None:
    chance = random.Random(seed)
    nodes = [Node(free_port()) for _ in range(3)]
    publisher, viewer = await publishing_peer([MovingPicture()]), await watching_peer(["video"])
    offers = (publisher.localDescription.sdp, viewer.localDescription.sdp)
    record, done = Record(), asyncio.Event()
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        async with liveman(*(node.url for node in nodes)) as url:
            workers = [asyncio.create_task(load(url, i, offers, record, done, chance)) for i in range(3)]
            await storm(nodes, chance)
            done.set()
            await asyncio.gather(*workers)
            assert record.slowest < LIMIT, (seed, record)
            assert record.numbers <= {201, 204, 404, 409, 502, 503, 504}, record
            assert not record.failures, (seed, record)
            assert record.statuses["POST 201"] > 100, record
            undeleted = {id_of(path) for path in record.undeleted}
            # The nodes give up on clients that never connect after 30 s; Liveman must be quicker.
            async with asyncio.timeout(15):
                while True:
                    rows = await get_json(f"{url}/api/nodes/")
                    said = [await get_json(f"{node.url}/api/streams/") for node in nodes]
                    merged = await get_json(f"{url}/api/streams/")
                    left = set().union(*(live_sessions(streams) for streams in said)) - undeleted
                    up = all(row["health"] == "up" for row in rows)
                    same = {s["id"] for s in merged} == {s["id"] for streams in said for s in streams}
                    if up and same and not left:
                        break
                    await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"seed {seed}: {rows} {merged} left behind: {left} {record}") from None
    finally:
        await publisher.close()
        await viewer.close()
        await asyncio.gather(*(node.stop() for node in nodes))
