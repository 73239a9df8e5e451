"""Relays in a storm: made, ended and mended all the time, on nodes that die, stop, crawl, are drained and go."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout
from attrs import define, field

from liveman.config import Cascade, NodeConfig
from liveman.demo.client import Publisher, SignallingFailed, publish, watching_peer
from liveman.demo.pictures import MovingPicture
from long.storm import LIMIT, Node, Record, ask, free_port, hang_up, live_sessions
from support.liveman import liveman
from support.nodes import get_json, settled

pytestmark = pytest.mark.long

STORM_SECONDS = 60.0
SUB_MAX = 2
STREAMS = ("one", "two")
VIEWERS = 4
"""Of each stream, in the storm; they come and go."""
EXTRA = "extra"
"""The node that is added and removed while Liveman runs."""
CASCADE = {"check_tick_time": 300, "maximum_idle_time": 1000}
SETTLED_SECONDS = 25.0
"""For a relay to be found lost, to be made anew, and to be ended; less than clients have to connect."""


@define
class Scene:
    """All that takes part. ``nodes`` by alias."""

    nodes: dict[str, Node]
    chance: random.Random
    offer: str
    """A viewer's; its media never connects."""
    url: str = ""
    record: Record = field(factory=Record)
    over: asyncio.Event = field(factory=asyncio.Event)
    done: list[str] = field(factory=list)
    """What the storm did."""

    async def manage(self, method: str, path: str, body: Any = None) -> None:
        async with ClientSession(self.url) as client, client.request(method, path, json=body) as response:
            assert response.status in (200, 201, 204), (path, response.status, await response.text())

    async def add_extra(self) -> None:
        body = {"alias": EXTRA, "url": self.nodes[EXTRA].url, "sub_max": SUB_MAX}
        await self.manage("POST", "/api/nodes/", body)

    # What the nodes say, beside what Liveman says.

    async def difference(self) -> str:
        """Where Liveman's lists are not as the nodes'; "" when they are."""
        rows = {row["alias"]: row for row in await get_json(f"{self.url}/api/nodes/")}
        if found := {alias: row["health"] for alias, row in rows.items() if row["health"] != "up"}:
            return f"not up: {found}"
        said = {alias: await get_json(f"{node.url}/api/streams/") for alias, node in self.nodes.items()}
        merged = await get_json(f"{self.url}/api/streams/")
        names = {stream["id"] for streams in said.values() for stream in streams}
        if {stream["id"] for stream in merged} != names:
            return f"streams {merged}, nodes {said}"
        everywhere = set().union(*(live_sessions(streams) for streams in said.values()))
        if live_sessions(merged) != everywhere:
            return f"sessions {live_sessions(merged)}, nodes {everywhere}"
        for name in names:
            shown = await get_json(f"{self.url}/api/streams/{name}")
            for alias, streams in said.items():
                there = live_sessions([stream for stream in streams if stream["id"] == name])
                if live_sessions([shown[alias]] if alias in shown else []) != there:
                    return f"{name} on {alias}: {shown.get(alias)}, the node: {there}"
        for alias, streams in said.items():
            counted = counts(streams, said)
            if counted != (rows[alias]["publishers"], rows[alias]["subscribers"]):
                return f"{alias}: {rows[alias]}, the node: {counted} {streams}"
        return ""

    async def leftovers(self) -> str:
        """What is on the nodes; "" when nothing is."""
        said = {alias: await get_json(f"{node.url}/api/streams/") for alias, node in self.nodes.items()}
        left = {alias: streams for alias, streams in said.items() if live_sessions(streams)}
        return str(left) if left else ""

    async def relays(self) -> str:
        """The relays by the nodes' own words; "" when there are none."""
        said = {alias: await get_json(f"{node.url}/api/streams/") for alias, node in self.nodes.items()}
        left = {alias: live_sessions(streams) & relayed(said) for alias, streams in said.items()}
        return str(left) if any(left.values()) else ""


def counts(streams: list[Any], everywhere: dict[str, list[Any]]) -> tuple[int, int]:
    """Publishers and subscribers by a node's own words, without the ends of relays."""
    relays = relayed(everywhere)
    publishers, subscribers = (
        sum(
            not session["leaveAt"] and session["id"] not in relays
            for stream in streams
            for session in stream[side]["sessions"]
        )
        for side in ("publish", "subscribe")
    )
    return publishers, subscribers


def relayed(everywhere: dict[str, list[Any]]) -> set[str]:
    """The sessions at both ends of all relays."""
    told = {
        session["id"]: session["cascade"]["sessionUrl"]
        for streams in everywhere.values()
        for stream in streams
        for side in ("publish", "subscribe")
        for session in stream[side]["sessions"]
        if "cascade" in session and not session["leaveAt"]
    }
    return told.keys() | {url.rpartition("/")[2].partition(".")[0] for url in told.values()}


async def until_empty(ask: Callable[[], Awaitable[str]], scene: Scene) -> None:
    """Ask until nothing is said; what was said last, when that takes too long."""
    end = time.monotonic() + SETTLED_SECONDS
    while said := await ask():
        assert time.monotonic() < end, f"{said}\n{scene.record}\n{scene.done[-20:]}"
        await asyncio.sleep(0.2)


async def storm(scene: Scene) -> None:
    chance = scene.chance
    end = time.monotonic() + STORM_SECONDS
    while time.monotonic() < end:
        alias, node = chance.choice(list(scene.nodes.items()))
        doing = chance.choice(("kill", "kill", "pause", "slow", "drain", "remove"))
        scene.done.append(f"{doing} {alias}")
        if doing == "kill":
            await node.kill()
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await node.start()
        elif doing == "pause":
            await node.pause(chance.uniform(0.2, 2.0))
        elif doing == "slow":
            await node.slow(chance.uniform(0.5, 2.0))
        elif doing == "drain":
            path = f"/api/nodes/{alias}/drain"
            await scene.manage("PUT", path, {"deadline": chance.choice((None, 1)), "close": True})
            await asyncio.sleep(chance.uniform(0.5, 2.0))
            await scene.manage("DELETE", path)
        else:
            await scene.manage("DELETE", f"/api/nodes/{EXTRA}")
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await scene.add_extra()
        await asyncio.sleep(chance.uniform(0.5, 3.0))


async def publisher(scene: Scene, stream: str) -> None:
    """Publishes for some seconds, with media, again and again."""
    async with ClientSession(scene.url, timeout=ClientTimeout(total=LIMIT + 5)) as client:
        while not scene.over.is_set():
            start = time.monotonic()
            try:
                session = await publish(f"{scene.url}/whip/{stream}", [MovingPicture()])
            except SignallingFailed as error:
                scene.record.statuses[f"WHIP {error.answer_status}"] += 1
                await asyncio.sleep(0.3)
                continue
            finally:
                scene.record.slowest = max(scene.record.slowest, time.monotonic() - start)
            scene.record.statuses["WHIP 201"] += 1
            await waited(scene, scene.chance.uniform(3, 10))
            await left(scene, client, session.session_url.removeprefix(scene.url))
            await session.disconnect()


async def viewer(scene: Scene, stream: str) -> None:
    """Comes for a moment, again and again; sometimes to one node alone, sometimes gone before the answer."""
    chance = scene.chance
    async with ClientSession(scene.url, timeout=ClientTimeout(total=LIMIT + 5)) as client:
        while not scene.over.is_set():
            path = f"/whep/{stream}"
            if chance.random() < 0.2:
                path += f"?nodes={chance.choice(list(scene.nodes))}"
            if chance.random() < 0.1:
                if made := await hang_up(scene.url, path, scene.offer, chance.uniform(0, 0.5)):
                    scene.record.undeleted.add(made)
                continue
            status, location = await ask(client, scene.record, "POST", path, scene.offer)
            if status == 201:
                await waited(scene, chance.uniform(0.2, 3))
                await left(scene, client, location)
            else:
                await asyncio.sleep(0.2)


async def waited(scene: Scene, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await scene.over.wait()
    except TimeoutError:
        pass


async def left(scene: Scene, client: ClientSession, location: str) -> None:
    status, _ = await ask(client, scene.record, "DELETE", location)
    if status != 204:
        scene.record.undeleted.add(location)


async def delete_again(scene: Scene) -> None:
    """What could not be deleted in the storm: its node is back, with or without it."""
    async with ClientSession(scene.url) as client:
        for location in scene.record.undeleted:
            async with client.delete(location) as response:
                assert response.status in (204, 404), (location, await response.text())


@asynccontextmanager
async def audience(scene: Scene) -> AsyncIterator[None]:
    """A publisher and five viewers of each stream, more than two nodes have places for. When the viewers have
    left, so have the relays; then the publishers go."""
    made: list[str] = []
    publishers: list[Publisher] = []
    async with ClientSession(scene.url) as client:
        try:
            for stream in STREAMS:
                publishers.append(await publish(f"{scene.url}/whip/{stream}", [MovingPicture()]))
                await publishers[-1].wait_connected()
                for _ in range(2 * SUB_MAX + 1):
                    status, location = await ask(client, scene.record, "POST", f"/whep/{stream}", scene.offer)
                    assert status == 201, (stream, scene.record)
                    made.append(location)
            yield
            for location in made:
                async with client.delete(location) as response:
                    assert response.status in (204, 404)
            await until_empty(scene.relays, scene)
        finally:
            for each in publishers:
                await each.close()


@asynccontextmanager
async def scenery(seed: int, mode: str) -> AsyncIterator[Scene]:
    aliases = ("a", "b", "c", EXTRA)
    peer = await watching_peer(["video"])
    offer = peer.localDescription.sdp
    nodes = {alias: Node(free_port(), SUB_MAX) for alias in aliases}
    scene = Scene(nodes, random.Random(seed), offer)
    try:
        await asyncio.gather(*(node.start() for node in nodes.values()))
        declared = [NodeConfig(alias, nodes[alias].url, sub_max=SUB_MAX) for alias in aliases[:-1]]
        async with liveman(*declared, cascade=Cascade(mode=mode, **CASCADE)) as scene.url:  # type: ignore[arg-type]
            await scene.add_extra()
            yield scene
    finally:
        await peer.close()
        await asyncio.gather(*(node.stop() for node in nodes.values()))


@pytest.mark.parametrize(("mode", "seed"), [("push", 1), ("pull", 2)])
async def test_relays_are_as_the_nodes_say_after_a_storm(
    mode: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No request hangs, every list is as the nodes', no session and no relay outlives its clients."""
    async with scenery(seed, mode) as scene:
        clients = [asyncio.create_task(publisher(scene, stream)) for stream in STREAMS]
        clients += [asyncio.create_task(viewer(scene, stream)) for stream in STREAMS for _ in range(VIEWERS)]
        await storm(scene)
        scene.over.set()
        await asyncio.gather(*clients)
        record = scene.record
        decisions = await get_json(f"{scene.url}/api/decisions?limit=1000")
        relays = [str(each["outcome"]) for each in decisions if each["action"] == "cascade"]
        assert record.slowest < LIMIT and not record.failures, record
        assert record.numbers <= {201, 204, 404, 409, 502, 503, 504}, record
        assert record.statuses["POST 201"] > 50, record
        assert sum("connected after" in each for each in relays) > 5
        # A node that has just been started may still be down for Liveman.
        await until_empty(scene.difference, scene)
        await delete_again(scene)
        await until_empty(scene.leftovers, scene)
        await until_empty(scene.difference, scene)
        async with audience(scene):
            assert await scene.relays()
            await until_empty(scene.difference, scene)
        async with audience(scene):
            for alias in scene.nodes:
                if await get_json(f"{scene.nodes[alias].url}/api/streams/"):
                    await scene.nodes[alias].kill()
                    await scene.nodes[alias].start()
                    await until_empty(scene.difference, scene)
        await until_empty(scene.leftovers, scene)
        await until_empty(scene.difference, scene)
    faults = [each for each in caplog.records if each.exc_info or each.levelno >= logging.ERROR]
    assert not faults, (faults[0].name, faults[0].getMessage(), faults[0].exc_text)
    assert await settled() == set()
