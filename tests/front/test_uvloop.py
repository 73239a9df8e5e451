"""Liveman on uvloop, whose transports and connections are not asyncio's."""

import asyncio
import re

import pytest
import uvloop

from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import raw_node

CLOSE = "Connection: close"


@pytest.mark.parametrize("way", [(), ("X: 1", "X: 1")], ids=["its own protocol", "aiohttp"])
@pytest.mark.parametrize("body", [OFFER, OFFER + b"a=x\r\n" * 100_000], ids=["short", "long"])
def test_a_session_from_its_offer_to_its_end(way: tuple[str, ...], body: bytes) -> None:
    """On kept connections to the node, too."""

    async def main() -> None:
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        async with raw_node() as node, liveman(node) as url:
            for _ in range(3):
                offer = request_bytes(
                    "POST", "/whip/cam", "Content-Type: application/sdp", CLOSE, *way, body=body
                )
                made = await exchange(url, offer)
                assert made.startswith(b"HTTP/1.1 201 ")
                path = re.search(rb"\r\nLocation: (\S+)", made)[1].decode()
                for method in ("PATCH", "DELETE"):
                    said = await exchange(url, request_bytes(method, path, CLOSE, *way))
                    assert said.startswith(b"HTTP/1.1 204 ")
            assert [len(node.targets(method)) for method in ("POST", "PATCH", "DELETE")] == [3, 3, 3]
            assert len({each.connection for each in node.received}) < 9

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
