"""Liveman itself, served on a free port; and raw bytes to send to it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve

from liveman import create_app
from liveman.config import Cluster, Config, Database, NodeConfig, Secret
from liveman.server import serving
from support.raw_node import RawNode

__all__ = ["OFFER", "config_for", "exchange", "liveman", "request_bytes"]

OFFER = b"v=0\r\no=- 4 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


def config_for(*nodes: RawNode | str | NodeConfig, **sections: Any) -> Config:
    """A configuration with these nodes (aliases n0, n1, …), a database in memory, and the sections named.

    Each node has a place less than the one before, so that it is known where something new goes.
    """
    declared = tuple(
        node
        if isinstance(node, NodeConfig)
        else NodeConfig(
            f"n{i}", node if isinstance(node, str) else node.url, pub_max=1000 - i, sub_max=1000 - i
        )
        for i, node in enumerate(nodes)
    )
    config = Config(nodes=declared, database=Database(url=Secret("sqlite::memory:")))
    return evolve(config, **sections)


@asynccontextmanager
async def liveman(*nodes: RawNode | str | NodeConfig, **sections: Any) -> AsyncIterator[str]:
    """Liveman in front of these nodes, as `liveman` serves it; gives its URL."""
    sections.setdefault("cluster", Cluster(poll_interval_ms=200))
    async with serving(create_app(config_for(*nodes, **sections)), "127.0.0.1:0") as url:
        yield url


def request_bytes(method: str, target: str, *lines: str, body: bytes = b"") -> bytes:
    head = [f"{method} {target} HTTP/1.1", "Host: live.example", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


async def exchange(url: str, data: bytes | Sequence[bytes], *, timeout: float = 10.0) -> bytes:
    """Send bytes over a connection of their own and read until the other side closes it.

    `Connection: close` is the caller's to send, where the answer would keep the connection.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with asyncio.timeout(timeout):
            for piece in [data] if isinstance(data, bytes) else data:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    finally:
        writer.close()
