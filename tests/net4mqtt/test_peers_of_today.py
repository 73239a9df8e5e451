"""Peers that know the protocol of today and nothing else, in both roles: small ones, to the letter of it.

They share no code with ours, understand no topic but their own, and fail the test at anything that they would
not take.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import aiomqtt
import pytest

from liveman.config import Net4mqtt, NodeConfig, Secret
from support.liveman import liveman
from support.mosquitto import Mosquitto, holds, mosquitto
from support.net4mqtt import agent, bare, http_target, local, pattern, session
from support.nodes import get_json, until
from support.raw_node import raw_node

SIZE = 5 * 1024 * 1024


class Today:
    """What both roles do: one TCP connection for each source."""

    def __init__(self, client: aiomqtt.Client, name: str, hears: str, says: str) -> None:
        """``hears`` and ``says``: the labels of the directions."""
        self.client = client
        self.name = name
        self.hears, self.says = hears, says
        self.writers: dict[tuple[str, str], asyncio.StreamWriter] = {}
        """By the peer and the source."""
        self.heard: set[str] = set()
        """The labels of all messages."""
        self.wrong: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def topic(self, peer: str, source: str) -> str:
        agent, local = (peer, self.name) if self.says == "i" else (self.name, peer)
        return f"test/{agent}/{local}/{self.says}/tcp/{source}/-"

    async def listen(self) -> None:
        async for message in self.client.messages:
            payload = message.payload
            assert isinstance(payload, bytes)
            parts = message.topic.value.split("/")
            self.heard.add(parts[3])
            if parts[3] == self.hears:
                await self.traffic(parts, payload)
            else:
                self.other(parts, payload)

    async def traffic(self, parts: list[str], payload: bytes) -> None:
        if len(parts) != 7 or parts[4] != "tcp" or parts[6] != "-" or len(payload) > 4096:
            self.wrong.append(f"{parts}: {len(payload)} bytes")
            return
        own, peer = (parts[1], parts[2]) if self.hears == "i" else (parts[2], parts[1])
        assert own == self.name
        writer = self.writers.get((peer, parts[5])) or await self.unknown(peer, parts[5], payload)
        if writer is None:
            return
        if payload:
            writer.write(payload)
            await writer.drain()
        else:
            del self.writers[peer, parts[5]]
            writer.close()

    async def unknown(self, peer: str, source: str, payload: bytes) -> asyncio.StreamWriter | None:
        raise NotImplementedError

    def other(self, parts: list[str], payload: bytes) -> None:
        self.wrong.append(str(parts))

    async def carry(self, peer: str, source: str, reader: asyncio.StreamReader) -> None:
        """What comes from the TCP connection, to its end."""
        try:
            while data := await reader.read(4096):
                await self.client.publish(self.topic(peer, source), data)
        except ConnectionError:
            pass
        if (peer, source) in self.writers:
            self.writers.pop((peer, source)).close()
            await self.client.publish(self.topic(peer, source), b"")


class TodaysAgent(Today):
    """In front of one target."""

    target = 0

    async def unknown(self, peer: str, source: str, payload: bytes) -> asyncio.StreamWriter | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.writers[peer, source] = writer
        self.tasks.append(asyncio.create_task(self.carry(peer, source, reader)))
        return writer


class TodaysLocal(Today):
    """Each connection to its port goes to one agent."""

    def __init__(self, client: aiomqtt.Client, name: str, hears: str, says: str) -> None:
        super().__init__(client, name, hears, says)
        self.present: dict[str, bool] = {}
        self.port = 0
        self.counter = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counter += 1
        source = f"127.0.0.1:{self.counter}"
        self.writers["node", source] = writer
        await self.carry("node", source, reader)

    async def unknown(self, peer: str, source: str, payload: bytes) -> asyncio.StreamWriter | None:
        if payload:
            self.wrong.append(f"bytes for {source}, which is closed")
        return None

    def other(self, parts: list[str], payload: bytes) -> None:
        if parts[2:] == ["-", "v", "-"]:
            self.present[parts[1]] = len(payload) > 5
        else:
            super().other(parts, payload)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


@asynccontextmanager
async def running(side: Today, *topics: str) -> AsyncIterator[None]:
    await side.client.subscribe([(topic, 0) for topic in topics])
    listening = asyncio.create_task(side.listen())
    try:
        yield
        assert not listening.done(), listening.exception()
    finally:
        for task in (listening, *side.tasks):
            task.cancel()
        await asyncio.gather(listening, *side.tasks, return_exceptions=True)
    assert not side.wrong


@asynccontextmanager
async def todays_agent(
    broker: Mosquitto, target: int, *, announced: bool = True
) -> AsyncIterator[TodaysAgent]:
    will = aiomqtt.Will("test/node/-/v/-", b"{}", retain=True)
    async with aiomqtt.Client("127.0.0.1", broker.port, will=will) as client:
        side = TodaysAgent(client, "node", "i", "o")
        side.target = target
        async with running(side, "test/node/+/i/#"):
            if announced:
                await client.publish("test/node/-/v/-", b'{"online":true}', retain=True)
            yield side


@asynccontextmanager
async def todays_local(broker: Mosquitto) -> AsyncIterator[TodaysLocal]:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        side = TodaysLocal(client, "old", "o", "i")
        server = await asyncio.start_server(side.accept, "127.0.0.1", 0)
        side.port = server.sockets[0].getsockname()[1]
        async with server, running(side, "test/+/old/o/#", "test/+/+/v/#", "test/+/+/x/#"):
            yield side


async def exercise(client: aiohttp.ClientSession) -> None:
    """Requests one after another and at once, and large bodies both ways."""
    for size in (0, 1, 4096, 4097, 100_000):
        async with client.post("/echo", data=pattern(0, size)) as answer:
            assert await answer.read() == pattern(0, size)

    async def one(number: int) -> None:
        body = b"%d " % number * 700
        async with client.post("/echo", data=body) as answer:
            assert await answer.read() == body

    await asyncio.gather(*map(one, range(30)))
    async with client.get(f"/bytes/{SIZE}") as answer:
        assert await answer.read() == pattern(0, SIZE)
    async with client.post("/echo", data=pattern(0, SIZE)) as answer:
        assert await answer.read() == pattern(0, SIZE)


async def test_an_agent_of_today_serves_us(broker: Mosquitto) -> None:
    async with http_target() as target, todays_agent(broker, target) as far, local(broker.url) as side:
        await holds(lambda: side.agents == {"node"})
        async with session(side) as client:
            await exercise(client)
            assert far.writers
        await holds(lambda: not far.writers)
        assert far.heard == {"i"}


@pytest.mark.parametrize("announced", [True, False])
async def test_a_declared_node_whose_agent_comes_late_is_up_soon(broker: Mosquitto, announced: bool) -> None:
    """As after a restart of the broker. What was asked before it came has no answer, but must not be waited
    for."""
    declared = NodeConfig("roof", "http://node.net4mqtt.local")
    over = Net4mqtt(mqtt_url=Secret(f"{broker.url}/test"), alias="ours", listen="")

    async def up() -> bool:
        return (await get_json(f"{url}/api/nodes/"))[0]["health"] == "up"

    async with raw_node() as node, bare(broker.url, "test/node/ours/i/#") as ear:
        async with liveman(declared, net4mqtt=over) as url:
            await holds(lambda: ear.messages)
            port = int(node.url.rpartition(":")[2])
            async with todays_agent(broker, port, announced=announced):
                await until(up, within=6)


async def test_we_serve_a_local_of_today(broker: Mosquitto) -> None:
    async with http_target() as target, todays_local(broker) as side:
        async with agent(broker.url, target) as far:
            await holds(lambda: side.present == {"node": True})
            base, timeout = f"http://127.0.0.1:{side.port}", aiohttp.ClientTimeout(total=20)
            async with aiohttp.ClientSession(base, timeout=timeout) as client:
                await exercise(client)
                assert len(far._carrier)
            await holds(lambda: not side.writers and not len(far._carrier))
        await holds(lambda: side.present == {"node": False})
        assert side.heard == {"o", "v"}


async def test_what_our_two_roles_say_to_one_another_reaches_none_of_today(broker: Mosquitto) -> None:
    """Marks are on their way, too."""
    async with http_target() as target, todays_local(broker) as old:
        async with agent(broker.url, target, "other") as far, local(broker.url) as side:
            async with todays_agent(broker, target) as idle, session(side, "other") as client:
                await exercise(client)
                assert [each.answers for each in far._carrier._windows.values()] == [True]
                assert not idle.heard
        assert old.heard == {"v"}
