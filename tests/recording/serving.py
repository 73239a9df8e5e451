"""Clients that read an object at their own pace, and conditions to wait for."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from attrs import define

from support.liveman import request_bytes

__all__ = ["Reader", "open_files", "reading", "until"]


@define
class Reader:
    """A client that has got the head of an answer, and takes the body when it likes."""

    status: int
    length: int
    """What the head says that the body has."""
    head: str
    stream: asyncio.StreamReader
    writer: asyncio.StreamWriter
    taken: int = 0
    """How much of the body."""

    async def some(self, count: int) -> None:
        """Take so many bytes of the body."""
        await self.stream.readexactly(count)
        self.taken += count

    async def rest(self) -> bytes:
        """What is still to come of the body; less than was said when the connection is cut."""
        body = bytearray()
        async with asyncio.timeout(20):
            try:
                while len(body) < self.length - self.taken:
                    piece = await self.stream.read(self.length - self.taken - len(body))
                    if not piece:
                        break
                    body += piece
            except ConnectionError:
                pass
        return bytes(body)


@asynccontextmanager
async def reading(url: str, path: str, *lines: str, room: int = 64 * 1024) -> AsyncIterator[Reader]:
    """Ask for an object; ``room``: how much may come before it is read."""
    parts = urlsplit(url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
    stream, writer = await asyncio.open_connection(sock=sock, limit=room)
    try:
        writer.write(request_bytes("GET", f"/api/record/object/{path}", *lines))
        async with asyncio.timeout(20):
            head = (await stream.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"Content-Length: (\d+)", head)
        yield Reader(int(head.split()[1]), int(length[1]) if length else -1, head, stream, writer)
    finally:
        writer.transport.abort()


async def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def open_files() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))
