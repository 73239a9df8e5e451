"""A real node is killed: clients do not notice, and it is soon out of the lists."""

import asyncio
import os
import signal
from typing import Literal
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from liveman.config import Cluster, NodeConfig
from liveman.demo.client import publishing_peer
from liveman.demo.nodes import BuildinNode, buildin_nodes
from liveman.demo.pictures import MovingPicture
from support.liveman import liveman
from support.nodes import get_json, until

SDP_TYPE = {"Content-Type": "application/sdp"}


@pytest.mark.parametrize("mode", ["sse", "poll"])
async def test_a_hundred_offers_while_one_of_three_nodes_is_killed(mode: Literal["sse", "poll"]) -> None:
    """None fails, also where nothing but a refused connection tells of the death: long before the next poll
    the node is down, and its streams are gone from the lists."""
    peer = await publishing_peer([MovingPicture()])
    offer = peer.localDescription.sdp
    answers: list[int] = []
    async with buildin_nodes(3) as nodes:
        # The one that dies has more places than the others: it is asked first.
        declared = [NodeConfig(each.alias, each.url, mode=mode, pub_max=900) for each in nodes[1:]]
        declared.append(NodeConfig(nodes[0].alias, nodes[0].url, mode=mode, pub_max=1000))
        slow = Cluster(poll_interval_ms=60_000)
        async with liveman(*declared, cluster=slow) as url, ClientSession(url) as client:

            async def publish(number: int) -> None:
                async with client.post(f"/whip/s{number}", data=offer, headers=SDP_TYPE) as response:
                    answers.append(response.status)

            async def is_out() -> bool:
                rows = {row["alias"]: row["health"] for row in await get_json(f"{url}/api/nodes/")}
                return rows[nodes[0].alias] == "down"

            for first in range(0, 100, 10):
                if first == 30:
                    await kill(nodes[0])
                await asyncio.gather(*(publish(number) for number in range(first, first + 10)))
            assert answers == [201] * 100
            await until(is_out, within=5)
            shown = {stream["id"] for stream in await get_json(f"{url}/api/streams/")}
            assert not shown & {f"s{number}" for number in range(30)}
    await peer.close()


async def kill(node: BuildinNode) -> None:
    """Until it refuses connections; an offer in its hands would be lost with it."""
    os.kill(node.pid, signal.SIGKILL)

    async def is_dead() -> bool:
        address = urlsplit(node.url)
        try:
            _, writer = await asyncio.open_connection(address.hostname, address.port)
        except ConnectionRefusedError:
            return True
        except ConnectionError:
            return False
        writer.close()
        return False

    await until(is_dead)
