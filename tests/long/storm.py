"""What a storm is made of: nodes that are killed, paused and slowed, clients that ask, and what came of it."""

import asyncio
import os
import re
import signal
import socket
import struct
import time
from collections import Counter
from contextlib import AsyncExitStack

from aiohttp import ClientError, ClientSession
from attrs import define, field

from liveman.demo.nodes import buildin_nodes

__all__ = ["LIMIT", "Node", "Record", "ask", "free_port", "hang_up", "id_of", "live_sessions"]

#: A POST may take 45 s at a node that is silent; pauses here are far shorter.
LIMIT = 20.0
SDP_TYPE = {"Content-Type": "application/sdp"}


@define
class Node:
    """A built-in node that keeps its port through all its lives."""

    port: int
    sub_max: int = 65_535
    url: str = ""
    pid: int = 0
    stack: AsyncExitStack = field(factory=AsyncExitStack)

    async def start(self) -> None:
        self.stack = AsyncExitStack()
        running = buildin_nodes(1, address=f"127.0.0.1:{self.port}", sub_max=self.sub_max)
        nodes = await self.stack.enter_async_context(running)
        self.url, self.pid = nodes[0].url, nodes[0].pid

    async def stop(self) -> None:
        await self.stack.aclose()

    async def kill(self) -> None:
        """All that it knew is gone."""
        os.kill(self.pid, signal.SIGKILL)
        await self.stop()

    async def pause(self, seconds: float) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(self.pid, signal.SIGCONT)

    async def slow(self, seconds: float) -> None:
        """It runs for a fifth of the time."""
        for _ in range(int(seconds / 0.05)):
            await self.pause(0.04)
            await asyncio.sleep(0.01)


@define
class Record:
    statuses: Counter = field(factory=Counter)
    slowest: float = 0.0
    undeleted: set[str] = field(factory=set, repr=False)
    """Sessions, by the path of their Location, whose DELETE nobody confirmed."""

    @property
    def numbers(self) -> set[int]:
        return {int(key.split()[1]) for key in self.statuses if key.split()[1].isdigit()}

    @property
    def failures(self) -> list[str]:
        """Requests without any answer."""
        return [key for key in self.statuses if not key.split()[1].isdigit()]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def ask(
    client: ClientSession, record: Record, method: str, path: str, offer: str = ""
) -> tuple[int, str]:
    start = time.monotonic()
    headers = SDP_TYPE if offer else {}
    try:
        async with client.request(method, path, data=offer or None, headers=headers) as response:
            status, location = response.status, response.headers.get("Location", "")
    except (ClientError, TimeoutError) as error:
        status, location = type(error).__name__, ""
    record.statuses[f"{method} {status}"] += 1
    record.slowest = max(record.slowest, time.monotonic() - start)
    return status, location


async def hang_up(url: str, path: str, offer: str, after: float) -> str | None:
    """Leave while the offer is under way; the session's path, if its answer had come already."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.setblocking(False)
        sock.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n".encode())
        sock.send(f"Content-Length: {len(offer)}\r\n\r\n{offer}".encode())
        await asyncio.sleep(after)
        try:
            answer = sock.recv(65536)
        except (BlockingIOError, ConnectionError):
            answer = b""
        # Closed hard: what is still on its way meets a reset.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made = re.search(rb"Location: (\S+)", answer)
    return made[1].decode() if made else None


def id_of(path: str) -> str:
    """The node's own id of a session."""
    return path.rpartition("/")[2].rpartition(".")[0]


def live_sessions(streams: list) -> set[str]:
    return {
        session["id"]
        for stream in streams
        for side in ("publish", "subscribe")
        for session in stream[side]["sessions"]
        if not session["leaveAt"]
    }
