"""Relays as viewers meet them, over HTTP: they come while one is made, when it failed, or when it has ended."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from cluster.fake import until
from cluster.relaying import RelayNode, relay_nodes
from liveman.config import Cascade, NodeConfig
from support.liveman import OFFER, liveman
from support.nodes import get_json

SDP_TYPE = {"Content-Type": "application/sdp"}
pytestmark = pytest.mark.parametrize("mode", ["push", "pull"])


@pytest.fixture
async def nodes() -> AsyncIterator[list[RelayNode]]:
    """Node a has the stream x, and no place left; b has nothing, and two places."""
    async with relay_nodes("a", "b") as both:
        both[0].has("x", ["p"], ["v"])
        yield both


def declared(nodes: list[RelayNode]) -> list[NodeConfig]:
    return [NodeConfig(each.alias, each.url, sub_max=1 if each.alias == "a" else 9) for each in nodes]


async def watch(url: str) -> tuple[int, str]:
    """The status that a viewer gets, and after which time he may come again."""
    async with ClientSession() as client:
        async with client.post(f"{url}/whep/x", data=OFFER, headers=SDP_TYPE) as answer:
            return answer.status, answer.headers.get("Retry-After", "")


def viewers(node: RelayNode) -> int:
    return sum(1 for each in node.sessions("x", "subscribe") if each["id"].startswith("o"))


def connect(node: RelayNode) -> None:
    for each in node.sessions("x", "publish"):
        each["state"] = "connected"


async def test_whoever_comes_while_a_relay_is_made_is_held_until_it_is_connected(
    nodes: list[RelayNode], mode: str
) -> None:
    """Also when its destination has the session already, and tells so."""
    a, b = nodes
    b.state = "connecting"
    options = Cascade(mode=mode, check_attempts=10)  # type: ignore[arg-type]
    async with liveman(*declared(nodes), cascade=options) as url:
        first = asyncio.create_task(watch(url))
        await until(lambda: b.sessions("x", "publish") and len(a.sessions("x", "subscribe")) == 2)

        async def told() -> bool:
            return "b" in await get_json(f"{url}/api/streams/x")

        async with asyncio.timeout(5):
            while not await told():
                await asyncio.sleep(0.01)
        second = asyncio.create_task(watch(url))
        row: dict[str, Any] = await get_json(f"{url}/api/placement?stream=x&kind=whep&nodes=b")
        assert row["action"] == "refuse", "nothing comes to b yet"
        assert viewers(b) == 0 and not first.done() and not second.done()
        connect(b)
        await b.changed()
        assert [await first, await second] == [(201, "")] * 2
        assert (viewers(b), len(a.asked) + len(b.asked)) == (2, 1)


async def test_who_comes_after_a_relay_failed_or_ended_gets_a_new_one(
    nodes: list[RelayNode], mode: str
) -> None:
    """And is not left in front of a node where the stream does not come any more."""
    a, b = nodes
    b.state = "connecting"
    options = Cascade(mode=mode, check_attempts=1, maximum_idle_time=0, check_tick_time=50)  # type: ignore[arg-type]
    async with liveman(*declared(nodes), cascade=options) as url:
        assert await watch(url) == (503, "2")
        await until(lambda: not b.sessions("x", "publish") and len(a.sessions("x", "subscribe")) == 1)
        b.has("x")
        await b.changed()
        b.state = "connected"
        for _ in range(2):
            assert await watch(url) == (201, "")
            assert b.sessions("x", "publish") and viewers(b) == 1
            b.sessions("x", "subscribe").clear()
            await b.changed()
            await until(lambda: not b.sessions("x", "publish"))
