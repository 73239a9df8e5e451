"""The routes of a cluster on a real server, and one who reads its event streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock

from aiohttp import ClientResponse, ClientSession, web
from aiohttp.test_utils import TestServer

from liveman.access import ANYONE, Identity
from liveman.cluster import Cluster
from liveman.cluster.routes import routes
from liveman.guard import Guard
from liveman.middleware import mount

__all__ = ["message", "served", "told"]


@asynccontextmanager
async def served(
    cluster: Cluster, identity: Identity = ANYONE, good: Callable[[Identity], bool] = lambda _: True
) -> AsyncIterator[ClientSession]:
    """A client that asks for nothing by itself, such as a coding."""
    app = web.Application()
    mount(app, Guard(identify=AsyncMock(return_value=identity)), routes(cluster, good))
    app.on_shutdown.append(_end(cluster))
    async with (
        TestServer(app) as server,
        ClientSession(
            server.make_url("/"), auto_decompress=False, skip_auto_headers=["Accept-Encoding"]
        ) as client,
    ):
        yield client


def _end(cluster: Cluster) -> Any:
    async def end(_app: web.Application) -> None:
        cluster.lists.end_feeds()

    return end


async def message(stream: ClientResponse) -> bytes:
    """The next one of an event stream, as it came: a comment, or data."""
    async with asyncio.timeout(5):
        text = await stream.content.readuntil(b"\n\n")
    assert text, "the event stream has ended"
    return text.removesuffix(b"\n\n")


async def told(stream: ClientResponse) -> Any:
    """What the next message says."""
    while (text := await message(stream)).startswith(b":"):
        pass
    name, _, data = text.partition(b": ")
    assert name == b"data" and b"\n" not in data
    return json.loads(data)
