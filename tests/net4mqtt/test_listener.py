"""SOCKS5 through mosquitto to a node, and everything else refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp_socks import ProxyConnector

from liveman.net4mqtt import bridge
from liveman.net4mqtt import listener as module
from liveman.net4mqtt.listener import Listener
from liveman.net4mqtt.socks import reply
from support.mosquitto import Mosquitto, holds, mosquitto
from support.net4mqtt import Seen, agent, http_target, local, pattern

GREETING = b"\x05\x01\x00"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
async def side(broker: Mosquitto) -> AsyncIterator[Seen]:
    async with local(broker.url) as running:
        yield running


@pytest.fixture
async def listener(side: Seen) -> AsyncIterator[Listener]:
    async with Listener("127.0.0.1", 0, domain="net4mqtt.local", dial=side.create_connection) as running:
        yield running


async def talk(port: int, *words: bytes) -> bytes:
    """Say them, one after another, and give what is answered until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for word in words:
        writer.write(word)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


def connect(host: bytes, command: int = 1) -> bytes:
    return bytes((5, command, 0, 3, len(host))) + host + b"\x00\x50"


async def test_a_client_reaches_the_node_by_its_name(
    broker: Mosquitto, side: Seen, listener: Listener
) -> None:
    body = pattern(0, 300_000)
    async with http_target() as target, agent(broker.url, target):
        proxy = ProxyConnector.from_url(f"socks5://127.0.0.1:{listener.port}", rdns=True)
        async with aiohttp.ClientSession(connector=proxy) as client:
            for _ in range(2):
                async with client.post("http://node.net4mqtt.local:7777/echo", data=body) as answer:
                    assert await answer.read() == body
        await holds(lambda: len(side._carrier) == 0)


async def test_bytes_that_follow_the_request_at_once_are_not_lost(
    broker: Mosquitto, listener: Listener
) -> None:
    request = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"
    async with http_target() as target, agent(broker.url, target):
        answer = await talk(listener.port, GREETING + connect(b"node.net4mqtt.local") + request)
    assert answer.startswith(b"\x05\x00" + reply(0) + b"HTTP/1.1 200")
    assert answer.endswith(b"abc")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ((GREETING, connect(b"example.org")), b"\x05\x00" + reply(2)),
        ((GREETING, connect(b"127.0.0.1")), b"\x05\x00" + reply(2)),
        ((GREETING, b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"), b"\x05\x00" + reply(2)),
        ((GREETING, b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50"), b"\x05\x00" + reply(2)),
        ((GREETING, connect(b"a.net4mqtt.local.example.org")), b"\x05\x00" + reply(2)),
        ((GREETING, connect(b"node.net4mqtt.local", 2)), b"\x05\x00" + reply(7)),
        ((GREETING, connect(b"node.net4mqtt.local", 3)), b"\x05\x00" + reply(7)),
        ((GREETING, connect(b"a+b.net4mqtt.local")), b"\x05\x00" + reply(4)),
        ((b"\x05\x01\x02",), b"\x05\xff"),
        ((b"GET / HTTP/1.1\r\n\r\n",), b""),
        ((b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",), b""),
    ],
)
async def test_everything_else_is_refused_with_the_reason(
    side: Seen, listener: Listener, words: tuple[bytes, ...], answer: bytes
) -> None:
    assert await talk(listener.port, *words) == answer
    assert len(side._carrier) == 0


async def test_without_the_broker_the_host_cannot_be_reached(
    broker: Mosquitto, side: Seen, listener: Listener
) -> None:
    await broker.stop()
    await holds(lambda: not side.broker.connected)
    assert await talk(listener.port, GREETING + connect(b"node.net4mqtt.local")) == b"\x05\x00" + reply(4)


async def test_a_client_that_says_nothing_is_sent_away(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GREETING_SECONDS", 0.1)
    for words in ((), (b"\x05",), (GREETING, b"\x05\x01\x00")):
        try:
            assert await talk(listener.port, *words) in (b"", b"\x05\x00")
        except ConnectionResetError:
            pass
    await holds(lambda: len(listener._clients) == 0)


async def test_there_are_not_more_clients_than_a_limit(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CLIENTS", 1)
    _, first = await asyncio.open_connection("127.0.0.1", listener.port)
    await holds(lambda: len(listener._clients) == 1)
    reader, second = await asyncio.open_connection("127.0.0.1", listener.port)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 5)
        raise ConnectionResetError
    await holds(lambda: len(listener._clients) == 1)
    first.close()
    second.close()


async def test_a_client_that_leaves_closes_its_connection(
    broker: Mosquitto, side: Seen, listener: Listener
) -> None:
    async with http_target() as target, agent(broker.url, target) as far:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(GREETING + connect(b"node.net4mqtt.local") + b"POST ")
        await reader.readexactly(12)
        await holds(lambda: len(side._carrier) == len(far._carrier) == 1)
        writer.close()
        await holds(lambda: len(side._carrier) == len(far._carrier) == 0)


async def test_a_client_that_never_reads_is_let_go_after_the_node(
    broker: Mosquitto, side: Seen, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left for it cannot be sent, so it would stay for good."""
    monkeypatch.setattr(bridge, "LINGER_SECONDS", 0.1)
    request = b"GET /bytes/20000000 HTTP/1.1\r\nHost: x\r\n\r\n"
    async with http_target() as target, agent(broker.url, target):
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1024)
        writer.write(GREETING + connect(b"node.net4mqtt.local") + request)
        await holds(lambda: any(not each.is_reading() for each in side._carrier))
    await holds(lambda: len(side._carrier) == 0)
    await holds(lambda: not listener._clients)
    writer.close()
