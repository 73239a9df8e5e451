"""What the tests of watching share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cluster.fake import EVENTS_HEAD, FAST, body, stream
from liveman import config
from liveman.cluster import Cluster, Node
from liveman.cluster.state import NodeState
from liveman.cluster.watch import Timing

X = body(stream("x", ["p"]))


@asynccontextmanager
async def watched(*nodes: Node, timing: Timing = FAST) -> AsyncIterator[Cluster]:
    async with Cluster(nodes, options=config.Cluster(), timing=timing) as cluster:
        yield cluster


def known(cluster: Cluster, alias: str) -> NodeState:
    return cluster.state.nodes[alias]


def status(cluster: Cluster, alias: str) -> str:
    return known(cluster, alias).health.status


async def closing(writer: asyncio.StreamWriter) -> None:
    writer.close()


def events(*chunks: bytes, then: str = "close", drop: bytes = b"x") -> Callable[[asyncio.StreamWriter], Any]:
    """An event stream that says these, and then ends, hangs, or drips."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS_HEAD + b"".join(chunks))
        if then == "close":
            writer.close()
        while then == "drip":
            writer.write(drop)
            await asyncio.sleep(0.01)

    return script
