"""What viewers and publishers notice when the cluster changes under them; with real nodes and real media.

cluster.py [--viewers 50] [--publishers 100]

A node is killed (SIGKILL) while publishers come one after another: how many fail, and how soon it is out of
the lists. (An offer that is in a node's hands when that dies is a 502: nobody knows what became of it, and it
is not sent twice.) Then all viewers come within a second to a stream whose node is full: how many fail, how
long the last one waits, and how many relays were made. Exits with 1 when it is not as wanted.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import ClientSession, ClientTimeout

from liveman.demo.client import publish, publishing_peer, watching_peer
from liveman.demo.nodes import BuildinNode, buildin_nodes
from liveman.demo.pictures import MovingPicture

SDP_TYPE = {"Content-Type": "application/sdp"}
EJECTED_MS = 1000.0
CONFIG = """
[http]
listen = "127.0.0.1:{port}"
[log]
level = "error"
[database]
url = "sqlite::memory:"
"""
NODE = '[[nodes]]\nalias = "{alias}"\nurl = "{url}"\nsub_max = {sub_max}\n'


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--viewers", type=int, default=50)
    arguments.add_argument("--publishers", type=int, default=100)
    options = arguments.parse_args()
    good = asyncio.run(measure(options.viewers, options.publishers))
    sys.exit(0 if good else 1)


async def measure(viewers: int, publishers: int) -> bool:
    async with buildin_nodes(3) as nodes, liveman(nodes, [65_535] * 3) as client:
        failed, ejected = await killed(client, nodes, publishers)
    print(f"{publishers} POSTs while one of three nodes is killed: {failed} failed; wanted: 0")
    print(f"out of the lists {ejected:.0f} ms after the first refusal; wanted: under {EJECTED_MS:.0f}")
    async with buildin_nodes(3) as nodes, liveman(nodes, [1, viewers, viewers]) as client:
        statuses, last, relays = await crowd(client, viewers)
    print(f"{viewers} viewers at a full node: {dict(statuses)}, the last after {last:.2f} s, {relays} relays")
    print(f"wanted: {viewers} times 201, 1 relay")
    return not failed and ejected < EJECTED_MS and statuses == {201: viewers} and relays == 1


async def killed(client: ClientSession, nodes: list[BuildinNode], count: int) -> tuple[int, float]:
    peer = await publishing_peer([MovingPicture()])
    offer = peer.localDescription.sdp
    failed, refused_at, ejected = 0, 0.0, float("inf")
    for index in range(count):
        if index == count // 3:
            await kill(nodes[0].pid)
            refused_at = time.monotonic()
        async with client.post(f"/whip/stream-{index}", data=offer, headers=SDP_TYPE) as response:
            failed += response.status != 201
        if refused_at and ejected == float("inf") and await is_down(client, "n0"):
            ejected = (time.monotonic() - refused_at) * 1000
    while ejected == float("inf") and time.monotonic() - refused_at < 5:
        if await is_down(client, "n0"):
            ejected = (time.monotonic() - refused_at) * 1000
    await peer.close()
    return failed, ejected


async def kill(pid: int) -> None:
    """End a node, and wait until its connections are closed."""
    os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            await asyncio.sleep(0.001)


async def is_down(client: ClientSession, alias: str) -> bool:
    rows = await get(client, "/api/nodes/")
    return any(row["alias"] == alias and row["health"] == "down" for row in rows)


async def crowd(client: ClientSession, count: int) -> tuple[Counter[int], float, int]:
    """One viewer fills the publisher's node; then all others come within a second."""
    base = str(client._base_url).rstrip("/")
    async with await publish(f"{base}/whip/cam?nodes=n0", [MovingPicture()]):
        watching = await watching_peer(["video"])
        offer = watching.localDescription.sdp

        async def watch(delay: float) -> tuple[int, float]:
            await asyncio.sleep(delay)
            start = time.monotonic()
            async with client.post("/whep/cam", data=offer, headers=SDP_TYPE) as response:
                return response.status, time.monotonic() - start

        await watch(0)
        answers = await asyncio.gather(*(watch(index / count) for index in range(count)))
        streams = await get(client, "/api/streams/cam")
        await watching.close()
    relays = sum(1 for stream in streams.values() if stream["publish"]["sessions"]) - 1
    return Counter(status for status, _ in answers), max(took for _, took in answers), relays


async def get(client: ClientSession, path: str) -> Any:
    async with client.get(path) as response:
        return await response.json()


@asynccontextmanager
async def liveman(nodes: list[BuildinNode], sub_max: list[int]) -> AsyncIterator[ClientSession]:
    """Liveman in a process of its own, in front of these nodes (n0, n1, …), and a client of it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    declared = [
        NODE.format(alias=f"n{i}", url=node.url, sub_max=most)
        for i, (node, most) in enumerate(zip(nodes, sub_max, strict=True))
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(CONFIG.format(port=port) + "".join(declared))
        file.flush()
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "liveman", "-c", file.name)
        try:
            async with ClientSession(f"http://127.0.0.1:{port}", timeout=ClientTimeout(total=60)) as client:
                await ready(client)
                yield client
        finally:
            process.terminate()
            await process.wait()


async def ready(client: ClientSession) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            async with client.get("/readyz") as response:
                if response.status == 200:
                    return
        except OSError:
            pass
        await asyncio.sleep(0.05)
    raise SystemExit("Liveman does not get ready")


if __name__ == "__main__":
    main()
