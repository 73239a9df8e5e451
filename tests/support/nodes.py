"""Nodes for tests: built-in ones in processes of their own, and bare signalling in this process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import pytest_asyncio
from aiohttp import web
from aiortc import MediaStreamTrack
from aiortc.codecs import get_capabilities

from liveman.demo.client import Publisher
from liveman.demo.nodes import BuildinNode, buildin_nodes
from liveman.demo.peers import new_peer
from liveman.demo.pictures import QUADRANTS, Colour
from liveman.demo.routes import NodeSettings, create_node_app

__all__ = [
    "alike",
    "get_json",
    "local_node",
    "local_runner",
    "publish_h264",
    "settled",
    "shared_node",
    "stream_of",
    "until",
]

T = TypeVar("T")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_node() -> AsyncIterator[BuildinNode]:
    """One built-in node for the whole run; use stream names of your own."""
    async with buildin_nodes(1, sub_max=2) as nodes:
        yield nodes[0]


@asynccontextmanager
async def local_runner(settings: NodeSettings = NodeSettings()) -> AsyncIterator[web.AppRunner]:  # noqa: B008
    """A node's HTTP side in this process, so that a test can turn its clocks; it does not forward media."""
    runner = web.AppRunner(create_node_app(settings), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner
    finally:
        await runner.cleanup()


@asynccontextmanager
async def local_node(settings: NodeSettings = NodeSettings()) -> AsyncIterator[str]:  # noqa: B008
    """The same, as its URL."""
    async with local_runner(settings) as runner:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"


async def publish_h264(url: str, tracks: Sequence[MediaStreamTrack]) -> Publisher:
    """Publish with H.264 for the picture; without a preference it is VP8."""
    peer = new_peer()
    for track in tracks:
        transceiver = peer.addTransceiver(track, direction="sendonly")
        if track.kind == "video":
            h264 = [codec for codec in get_capabilities("video").codecs if codec.name == "H264"]
            transceiver.setCodecPreferences(h264)
    await peer.setLocalDescription()
    publisher = Publisher(url, peer, None)
    await publisher.start()
    return publisher


async def until(ask: Callable[[], Awaitable[T]], within: float = 10.0) -> T:
    """Ask again and again until the answer is truthy; that answer. Fails after so many seconds."""
    deadline = time.monotonic() + within
    while not (answer := await ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {within} s")
        await asyncio.sleep(0.02)
    return answer


def alike(found: Sequence[Colour], wanted: Sequence[Colour] = QUADRANTS) -> bool:
    """Whether colours are the same but for what a codec loses."""
    return all(
        abs(a - b) < 40
        for one, other in zip(found, wanted, strict=True)
        for a, b in zip(one, other, strict=True)
    )


async def get_json(url: str) -> Any:
    """What a GET answers, as JSON; None for anything but 200."""
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return await response.json() if response.status == 200 else None


async def stream_of(node_url: str, name: str) -> Any:
    """A stream as a node lists it, or None."""
    return await get_json(f"{node_url}/api/streams/{name}")


async def settled() -> set[str]:
    """The names of this loop's other tasks, once those that were ending have ended."""

    async def others() -> bool:
        return len(asyncio.all_tasks()) == 1

    try:
        await until(others, within=1.0)
    except AssertionError:
        pass
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}
