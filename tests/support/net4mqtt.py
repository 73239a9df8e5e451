"""Both roles of net4mqtt, a target behind an agent, and a client that sees the broker's bare messages."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from liveman.forms import Secret
from liveman.net4mqtt.address import BrokerAddress, parse_broker_url
from liveman.net4mqtt.agent import Agent
from liveman.net4mqtt.broker import Broker
from liveman.net4mqtt.connector import TunnelConnector
from liveman.net4mqtt.link import Session
from liveman.net4mqtt.local import Local, Reports
from support.mosquitto import holds

__all__ = ["Bare", "agent", "bare", "http_target", "local", "session"]


def address(url: str) -> BrokerAddress:
    return parse_broker_url(Secret(f"{url}/test"), client_id=secrets.token_hex(4))


class Seen(Local):
    """A local that remembers what it reported."""

    def __init__(self, url: str, alias: str) -> None:
        self.events: list[tuple[str, str]] = []
        self.snapshots: dict[str, bytes] = {}
        reports = Reports(
            lambda agent: self.events.append(("appear", agent)),
            lambda agent: self.events.append(("vanish", agent)),
            lambda agent, snapshot: self.snapshots.update({agent: snapshot}),
            lambda: None,
        )
        token = secrets.token_bytes(3)
        super().__init__(address(url), alias=alias, domain="net4mqtt.local", reports=reports, token=token)


@asynccontextmanager
async def local(url: str, alias: str = "manager") -> AsyncIterator[Seen]:
    async with Seen(url, alias) as side:
        await holds(lambda: side.broker.connected)
        yield side


@asynccontextmanager
async def agent(url: str, target: int, alias: str = "node") -> AsyncIterator[Agent]:
    """An agent of the target on this port of the loopback."""
    async with Agent(address(url), alias=alias, target=("127.0.0.1", target)) as side:
        await holds(lambda: side.broker.connected)
        yield side


@asynccontextmanager
async def session(side: Local, alias: str = "node") -> AsyncIterator[aiohttp.ClientSession]:
    """A client whose requests all go to the agent."""
    connector = TunnelConnector(lambda factory: side.create_connection(factory, alias))
    timeout = aiohttp.ClientTimeout(total=20)
    base = f"http://{alias}.net4mqtt.local"
    async with aiohttp.ClientSession(base, connector=connector, timeout=timeout) as client:
        yield client


@asynccontextmanager
async def http_target() -> AsyncIterator[int]:
    """An HTTP server's port: ``/echo`` gives a body back, ``/bytes/N`` so many, ``/stuck`` half of it."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def many(request: web.Request) -> web.StreamResponse:
        count = int(request.match_info["count"])
        answer = web.StreamResponse(headers={"Content-Length": str(count)})
        await answer.prepare(request)
        for begin in range(0, count, 65536):
            await answer.write(pattern(begin, min(65536, count - begin)))
        return answer

    async def stuck(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"half")
        await asyncio.sleep(60)
        return answer

    app = web.Application(client_max_size=2**30)
    app.router.add_post("/echo", echo)
    app.router.add_get("/bytes/{count}", many)
    app.router.add_get("/stuck", stuck)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def pattern(begin: int, count: int) -> bytes:
    """Bytes of which each says where it stands, so that a hole shows."""
    words = range(begin // 8, (begin + count) // 8 + 1)
    data = b"".join(word.to_bytes(8, "big") for word in words)
    return data[begin % 8 : begin % 8 + count]


class Bare:
    """A client of the broker that speaks in bare messages, as any program may."""

    def __init__(self, url: str, *topics: str) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.broker = Broker(address(url), Session(topics or ("nothing",)), self)

    def connected(self) -> None: ...

    def disconnected(self) -> None: ...

    def resumed(self) -> None: ...

    def received(self, topic: str, payload: bytes, retained: bool) -> None:
        self.messages.append((topic, payload))


@asynccontextmanager
async def bare(url: str, *topics: str) -> AsyncIterator[Bare]:
    client = Bare(url, *topics)
    async with client.broker:
        await holds(lambda: client.broker.connected)
        yield client
