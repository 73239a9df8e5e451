"""An access service that says exactly the bytes that a test wants, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field, frozen

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@frozen
class Asked:
    """One request."""

    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def question(self) -> dict[str, Any]:
        return json.loads(self.body)


@define
class AccessService:
    url: str = ""
    reply: bytes | Script = b""
    """What it says; a script writes to the connection itself, and closes it when it ends it."""
    asked: list[Asked] = field(factory=list)
    gate: asyncio.Event = field(factory=asyncio.Event)
    """Closed: answers wait for it."""
    most_at_once: int = 0
    _at_once: int = 0
    _connections: int = 0

    def says(self, answer: object = None, status: int = 200, *headers: str) -> None:
        """From now on: this JSON document (None: no body) with this status."""
        self.reply = http(status, b"" if answer is None else json.dumps(answer).encode(), *headers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._connections = self._connections, self._connections + 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:-2])}
                body = await reader.readexactly(int(headers["content-length"]))
                self.asked.append(Asked(head[0].split()[1], headers, body, number))
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                try:
                    await self.gate.wait()
                    if isinstance(self.reply, bytes):
                        writer.write(self.reply)
                        await writer.drain()
                    else:
                        await self.reply(writer)
                finally:
                    self._at_once -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def http(status: int, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@asynccontextmanager
async def access_service() -> AsyncIterator[AccessService]:
    """It runs while the context lasts, and allows everything until it is told otherwise."""
    service = AccessService()
    service.gate.set()
    service.says({"allow": True})
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(service.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    service.url = f"http://{host}:{port}/access/"
    try:
        yield service
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
