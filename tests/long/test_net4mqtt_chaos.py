"""A broker that is killed, frozen and started again, and agents that die, under load: service is back at once,
nothing hangs, nothing passes for whole that is not, and nothing is left behind."""

import asyncio
import gc
import itertools
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout
from attrs import define, field

from liveman.config import Net4mqtt, Secret
from liveman.demo.client import publish, publishing_peer, subscribe, watching_peer
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture
from liveman.net4mqtt.carrier import Carrier
from liveman.net4mqtt.link import Link
from liveman.net4mqtt.local import Local
from liveman.net4mqtt.transport import TunnelTransport
from liveman.net4mqtt.tunnel import Tunnel
from liveman.net4mqtt.window import Window
from long.storm import LIMIT, SDP_TYPE, Record, ask, hang_up, live_sessions
from support.liveman import OFFER, liveman
from support.mosquitto import Mosquitto, holds, mosquitto
from support.net4mqtt import pattern
from support.nodes import get_json, settled, until
from support.raw_node import Received, answer, raw_node

pytestmark = pytest.mark.long

EVENTS = 16
BACK_SECONDS = 5.0
BODY = pattern(0, 3_000_000)
CHUNKED = itertools.cycle((True, False))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"


@define
class AgentProcess:
    """`liveman agent` in a process of its own, in front of the node at a port."""

    broker: Mosquitto
    alias: str
    target: str
    process: asyncio.subprocess.Process | None = None
    said: asyncio.Task[None] | None = None
    connected: asyncio.Event = field(factory=asyncio.Event)
    log: list[str] = field(factory=list, repr=False)

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    async def start(self) -> None:
        """Until it says that it has reached the broker."""
        self.connected.clear()
        url = f"{self.broker.url}/test"
        options = ("--target", self.target, "--url", url, "--alias", self.alias)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "liveman", "agent", *options, stderr=asyncio.subprocess.PIPE
        )
        self.said = asyncio.create_task(self._listen(self.process), name=f"log of {self.alias}")
        async with asyncio.timeout(30):
            await self.connected.wait()

    async def kill(self) -> None:
        assert self.process and self.said
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self.said

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr
        while line := await process.stderr.readline():
            self.log.append(line.decode())
            if b"the broker is connected" in line:
                self.connected.set()

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@define
class Scene:
    broker: Mosquitto
    agents: list[AgentProcess]
    """The first is killed now and then. In front of the first and second are nodes with real media, the last
    one's gives large bodies."""
    chance: random.Random
    offers: tuple[str, str]
    """A publisher's and a viewer's, whose media never connect."""
    url: str = ""
    record: Record = field(factory=Record)
    over: asyncio.Event = field(factory=asyncio.Event)
    done: list[str] = field(factory=list)
    unsure: set[str] = field(factory=set)
    """Streams of offers whose answers got lost: what the node made of them, nobody can know."""
    bodies: Counter[str] = field(factory=Counter)
    calm: bool = True
    """Whether nothing has happened since service was back."""

    # What happens.

    async def storm(self) -> None:
        for number in range(EVENTS):
            event = (self.kill_broker, self.freeze_broker, self.kill_agent, self.freeze_agent)[number % 4]
            self.calm = False
            await event()
            since = time.monotonic()
            async with asyncio.timeout(BACK_SECONDS):
                for agent in self.agents:
                    await self.serves(agent.alias, f"back-{number}-{agent.alias}")
            self.calm = True
            self.done[-1] += f", back after {time.monotonic() - since:.1f} s"
            await asyncio.sleep(self.chance.uniform(0.1, 1.0))

    async def kill_broker(self) -> None:
        seconds = self.chance.choice((0.0, 0.5, 1.0, 4.0))
        self.done.append(f"broker killed for {seconds} s")
        await self.broker.stop()
        await asyncio.sleep(seconds)
        await self.broker.start()

    async def freeze_broker(self) -> None:
        seconds = self.chance.choice((0.5, 1.5, 6.0))
        self.done.append(f"broker frozen for {seconds} s")
        self.broker.freeze()
        await asyncio.sleep(seconds)
        self.broker.thaw()

    async def kill_agent(self) -> None:
        self.done.append("agent killed")
        await self.agents[0].kill()
        await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        await self.agents[0].start()

    async def freeze_agent(self) -> None:
        seconds = self.chance.uniform(0.5, 2.0)
        self.done.append(f"agent frozen for {seconds:.1f} s")
        agent = self.chance.choice(self.agents)
        os.kill(agent.pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(agent.pid, signal.SIGCONT)

    async def serves(self, alias: str, stream: str) -> None:
        """Until an offer reaches this node."""
        async with ClientSession(self.url, timeout=ClientTimeout(total=LIMIT)) as client:
            while True:
                status, location = await self.post(client, f"/whip/{stream}?nodes={alias}", self.offers[0])
                if status == 201:
                    await self.delete(client, location)
                    return
                await asyncio.sleep(0.2)

    # Who asks.

    async def signal(self, number: int) -> None:
        """Streams published, watched and ended, one after another; some hang up."""
        chance = random.Random(number)
        nodes = "&".join(f"nodes={agent.alias}" for agent in self.agents[:2])
        async with ClientSession(self.url, timeout=ClientTimeout(total=LIMIT + 5)) as client:
            turn = 0
            while not self.over.is_set():
                turn += 1
                stream = f"s{number}-{turn}"
                if chance.random() < 0.1:
                    await self.leave(client, stream, nodes, chance.uniform(0, 0.02))
                    continue
                status, publisher = await self.post(client, f"/whip/{stream}?{nodes}", self.offers[0])
                if status != 201:
                    await asyncio.sleep(0.2)
                    continue
                status, viewer = await self.post(client, f"/whep/{stream}", self.offers[1])
                if status == 201:
                    await self.delete(client, viewer)
                await self.delete(client, publisher)

    async def leave(self, client: ClientSession, stream: str, nodes: str, after: float) -> None:
        """Hang up. Liveman ends the session then, unless it never hears of it either."""
        calm, number = self.calm, len(self.done)
        if made := await hang_up(self.url, f"/whip/{stream}?{nodes}", self.offers[0], after):
            await self.delete(client, made)
            return
        await asyncio.sleep(0.5)
        if not (calm and self.calm and number == len(self.done)):
            self.unsure.add(stream)

    async def post(self, client: ClientSession, path: str, offer: str) -> tuple[int | str, str]:
        status, location = await ask(client, self.record, "POST", path, offer)
        if status not in (201, 404, 503):
            self.unsure.add(path.split("/")[2].partition("?")[0])
        return status, location

    async def delete(self, client: ClientSession, path: str) -> None:
        """Until it is confirmed: no session may be out of its client's reach for long."""
        async with asyncio.timeout(LIMIT + 5):
            while (await ask(client, self.record, "DELETE", path))[0] not in (200, 204, 404):
                await asyncio.sleep(0.2)

    async def list(self) -> None:
        """They are there whatever happens to the broker."""
        async with ClientSession(self.url) as client:
            while not self.over.is_set():
                for path in ("/api/streams/", "/api/nodes/"):
                    await ask(client, self.record, "GET", path)
                await asyncio.sleep(0.1)

    async def download(self) -> None:
        """A body comes whole or is broken off."""
        async with ClientSession(self.url, timeout=ClientTimeout(total=LIMIT + 5)) as client:
            session = ""
            while not self.over.is_set():
                if not session:
                    async with client.post(
                        "/whip/large?nodes=edge-2", data=OFFER, headers=SDP_TYPE
                    ) as response:
                        session = urlsplit(response.headers.get("Location", "")).path
                    await asyncio.sleep(0.1)
                    continue
                try:
                    async with client.get(session) as response:
                        body = await response.read()
                except ClientError:
                    self.bodies["broken off"] += 1
                else:
                    assert response.status in (200, 502, 503, 504), response.status
                    if response.status == 200:
                        assert body == BODY, f"{len(body)} bytes passed for {len(BODY)}"
                    else:
                        await asyncio.sleep(0.1)
                    self.bodies[str(response.status)] += 1


async def large(received: Received, writer: asyncio.StreamWriter) -> None:
    """A node that gives a large body, framed in both ways in turn."""
    if received.method != "GET":
        made = answer(
            "201 Created", "Location: /session/large/1", "Content-Type: application/sdp", body=OFFER
        )
        writer.write(made if received.method == "POST" else answer("204 No Content"))
        return
    chunked = next(CHUNKED)
    writer.write(
        HEAD + (b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: 3000000\r\n\r\n")
    )
    for begin in range(0, len(BODY), 60_000):
        piece = BODY[begin : begin + 60_000]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        try:
            await writer.drain()
        except ConnectionError:
            return
    if chunked:
        writer.write(b"0\r\n\r\n")


def of_the_tunnel() -> Counter[str]:
    """What there is in this process, which is Liveman's, of connections to the broker and through it."""
    gc.collect()
    kinds = (Local, Link, Carrier, TunnelTransport, Tunnel, Window)
    return Counter(kind.__name__ for each in gc.get_objects() for kind in kinds if isinstance(each, kind))


@asynccontextmanager
async def scene(broker: Mosquitto, seed: int) -> AsyncIterator[tuple[Scene, list[str]]]:
    """All but Liveman, and the URLs of the two nodes with real media."""
    publisher, viewer = await publishing_peer([MovingPicture()]), await watching_peer(["video"])
    offers = (publisher.localDescription.sdp, viewer.localDescription.sdp)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(publisher.close)
        stack.push_async_callback(viewer.close)
        nodes = await stack.enter_async_context(buildin_nodes(2))
        store = await stack.enter_async_context(raw_node(large))
        urls = [*(node.url for node in nodes), store.url]
        agents = [AgentProcess(broker, f"edge-{number}", url) for number, url in enumerate(urls)]
        for agent in agents:
            stack.push_async_callback(agent.kill)
            await agent.start()
        yield Scene(broker, agents, random.Random(seed), offers), urls[:2]


@pytest.mark.parametrize("seed", [1])
async def test_nothing_is_left_of_a_storm(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with mosquitto(tmp_path) as broker, scene(broker, seed) as (here, nodes):
        tasks = await settled()
        files = [agent.open_files() for agent in here.agents]
        section = Net4mqtt(mqtt_url=Secret(f"{broker.url}/test"), listen="")
        async with liveman(net4mqtt=section) as here.url:
            for agent in here.agents:
                await here.serves(agent.alias, f"first-{agent.alias}")
            async with (
                await publish(f"{here.url}/whip/live?nodes=edge-1", [MovingPicture()]) as publisher,
                await subscribe(f"{here.url}/whep/live") as viewer,
            ):
                await viewer.wait_for_frames(10, 20)
                await rough(here)
                # Media do not go through the broker, and their sessions are still there.
                await viewer.wait_for_frames(viewer.frames + 10, 20)
                assert await publisher.trickle() == await viewer.trickle() == 204
            await nothing_is_left(here, nodes)
            await both_sides_agree(here, files)
        assert await settled() == tasks
        await holds(lambda: not of_the_tunnel())
        await holds(lambda: [agent.open_files() for agent in here.agents] == files)
    ours = [each for each in caplog.records if each.name.startswith(("liveman", "asyncio"))]
    assert not [each.getMessage() for each in ours if each.levelno >= logging.ERROR]
    assert not [line for agent in here.agents for line in agent.log if "rror" in line]


async def rough(here: Scene) -> None:
    """The storm, with load."""
    workers = [
        asyncio.create_task(work) for work in (here.signal(1), here.signal(2), here.list(), here.download())
    ]
    try:
        await here.storm()
    finally:
        here.over.set()
        await asyncio.gather(*workers)
        print(here.done, here.record, here.bodies)
    assert here.record.slowest < LIMIT, here
    assert here.record.numbers <= {200, 201, 204, 404, 409, 502, 503, 504}, here
    assert not here.record.failures, here
    assert here.record.statuses["POST 201"] > 100, here
    assert {status for status in here.record.statuses if status.startswith("GET")} == {"GET 200"}, here
    assert here.bodies["200"] > 10 and here.bodies["broken off"] > 0, here


async def nothing_is_left(here: Scene, nodes: list[str]) -> None:
    """But what came of offers whose answers were lost, which the nodes themselves give up after 30 s."""

    async def left() -> set[str]:
        said = [await get_json(f"{node}/api/streams/") for node in nodes]
        return {stream["id"] for streams in said for stream in streams if live_sessions([stream])}

    async def sure_ones_gone() -> bool:
        nonlocal sure
        sure = await left() - here.unsure
        return not sure

    async def all_gone() -> bool:
        return not await left() and await get_json(f"{here.url}/api/streams/") == []

    sure: set[str] = set()
    try:
        await until(sure_ones_gone, 5)
    except AssertionError:
        raise AssertionError(f"{sure} were left, {here}") from None
    await until(all_gone, 45)


async def both_sides_agree(here: Scene, files: list[int]) -> None:
    """There is no connection that only one side knows, and one to the broker."""

    async def known_to_both() -> bool:
        counts = of_the_tunnel()
        at_agents = sum(agent.open_files() for agent in here.agents) - sum(files)
        assert counts["Link"] == 1 and counts["Window"] <= len(here.agents), counts
        return counts["TunnelTransport"] == counts["Tunnel"] == at_agents

    await until(known_to_both)
