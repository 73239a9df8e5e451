"""A node that only an MQTT broker reaches: signalling and a large body through it, and many agents at once.

net4mqtt.py [--rounds 5] [--seconds 2] [--connections 16] [--rate 50] [--mb 20] [--agents 100]

Liveman reaches a stub node by mosquitto and `liveman agent`, which share a CPU with the node and the load. As
many POSTs and DELETEs as go through; then so many pairs a second, and beside them as many straight to the
node; then a response's body. At last agents announce themselves all at once, from one process: how long until
all are listed, from the connecting of the first. The best of the rounds counts, as other work on the machine
only slows down. Exits with 1 when it is not as wanted.
"""

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientSession, ClientTimeout, TCPConnector
from parts import ANSWER, Peer, agent, liveman, load, mosquitto, parser, stub_nodes

from liveman.config import Secret
from liveman.net4mqtt.address import parse_broker_url
from liveman.net4mqtt.agent import Agent

TOML = '[net4mqtt]\nmqtt_url = "{url}"\nlisten = ""\n'
HEADERS = {"Content-Type": "application/sdp"}
PAIRS = 300.0
"""POST and DELETE, a second, at the least."""
P99_MS = 50.0
BODY_MB = 10.0
"""Megabytes a second, at the least."""
LISTED_SECONDS = 2.0


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--connections", type=int, default=16)
    arguments.add_argument("--rate", type=int, default=50)
    arguments.add_argument("--mb", type=int, default=20)
    arguments.add_argument("--agents", type=int, default=100)
    options = arguments.parse_args()
    with TemporaryDirectory(prefix="liveman-bench-") as root, mosquitto() as broker:
        # nginx may be another user.
        Path(root).chmod(0o755)
        Path(root, "body").write_bytes(bytes(options.mb * 1_000_000))
        with (
            stub_nodes(1, root=root) as nodes,
            liveman([], extra=TOML.format(url=broker.url)) as peer,
        ):
            with agent(nodes[0], broker, alias="edge"):
                good = asyncio.run(measure(peer, nodes[0], options))
            good &= asyncio.run(announced(peer, broker, nodes[0], options.agents))
    sys.exit(0 if good else 1)


async def measure(peer: Peer, node: Peer, options: Namespace) -> bool:
    async with asking(peer) as client, asking(node) as straight:
        await until(client, lambda rows: [row["health"] for row in rows] == ["up"])
        pairs, failed = await flood(peer, options)
        print(
            f"POST and DELETE: {pairs:.0f} pairs a second, {failed} failed; wanted: at least {PAIRS:.0f}, 0"
        )
        (p50, p99), least = await asyncio.gather(steady(client, options), steady(straight, options))
        print(
            f"at {options.rate} pairs a second: p50 {p50:.1f} ms, p99 {p99:.1f} ms; wanted: p99 under "
            f"{P99_MS:.0f}; straight to the node p50 {least[0]:.1f} ms, p99 {least[1]:.1f} ms"
        )
        rate = await body(client, options)
        print(f"a body of {options.mb} MB: {rate:.1f} MB/s; wanted: at least {BODY_MB:.0f}")
    return pairs >= PAIRS and not failed and p99 < P99_MS and rate >= BODY_MB


def asking(peer: Peer) -> ClientSession:
    return ClientSession(peer.url, connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60))


async def flood(peer: Peer, options: Namespace) -> tuple[float, int]:
    """Pairs a second, and how many requests failed in all."""
    seen = [
        await asyncio.to_thread(load, peer.url, seconds=options.seconds, connections=options.connections)
        for _ in range(options.rounds)
    ]
    return max(each.per_second for each in seen) / 2, sum(each.failed for each in seen)


async def steady(client: ClientSession, options: Namespace) -> tuple[float, float]:
    """p50 and p99 of all requests in ms, of the best round. They begin whether or not those before ended."""
    loop = asyncio.get_running_loop()
    rounds = []
    for _ in range(options.rounds):
        took: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            start = loop.time()
            for number in range(options.rate * options.seconds):
                await asyncio.sleep(start + number / options.rate - loop.time())
                tasks.create_task(pair(client, number, took))
        took.sort()
        rounds.append((took[len(took) // 2], took[len(took) * 99 // 100]))
    return min(rounds, key=lambda each: each[1])


async def pair(client: ClientSession, number: int, took: list[float]) -> None:
    begin = time.perf_counter()
    session = await publish(client, f"steady-{number}")
    between = time.perf_counter()
    async with client.delete(session) as response:
        response.raise_for_status()
    took += [(between - begin) * 1000, (time.perf_counter() - between) * 1000]


async def publish(client: ClientSession, stream: str) -> str:
    """The new session's path."""
    async with client.post(f"/whip/{stream}", data=ANSWER, headers=HEADERS) as response:
        response.raise_for_status()
        await response.read()
        return urlsplit(response.headers["Location"]).path


async def body(client: ClientSession, options: Namespace) -> float:
    """MB a second, of the best round."""
    session = await publish(client, "large")
    rates = []
    for _ in range(options.rounds):
        begin, size = time.perf_counter(), 0
        async with client.get(f"{session}/body") as response:
            response.raise_for_status()
            async for piece in response.content.iter_any():
                size += len(piece)
        if size != options.mb * 1_000_000:
            raise SystemExit(f"{size} bytes came instead of {options.mb} MB")
        rates.append(options.mb / (time.perf_counter() - begin))
    return max(rates)


async def announced(peer: Peer, broker: Peer, node: Peer, count: int) -> bool:
    parts = urlsplit(node.url)
    assert parts.hostname and parts.port
    async with ClientSession(peer.url) as client, AsyncExitStack() as stack:
        await until(client, lambda rows: all(row["status"] == "stopped" for row in rows))
        begin = time.perf_counter()
        for number in range(count):
            address = parse_broker_url(Secret(broker.url), client_id=f"announced-{number}")
            one = Agent(address, alias=f"agent-{number}", target=(parts.hostname, parts.port))
            await stack.enter_async_context(one)

        def there(rows: list[Any]) -> list[Any]:
            return [row for row in rows if row["alias"].startswith("agent-")]

        await until(client, lambda rows: len(there(rows)) == count)
        listed = time.perf_counter() - begin
        await until(client, lambda rows: all(row["health"] == "up" for row in there(rows)))
        used = time.perf_counter() - begin
    print(
        f"{count} agents: all listed after {listed:.2f} s, all in use after {used:.2f} s; "
        f"wanted: listed in under {LISTED_SECONDS:.0f}"
    )
    return listed < LISTED_SECONDS


async def until(client: ClientSession, condition: Callable[[list[Any]], bool]) -> None:
    """Wait until it holds for the rows of the list of nodes."""
    for _ in range(1000):
        async with client.get("/api/nodes/") as response:
            if condition(await response.json()):
                return
        await asyncio.sleep(0.02)
    raise SystemExit("the nodes do not become what they should")


if __name__ == "__main__":
    main()
