"""A client that hangs up in the last moment."""

import socket
import struct

import pytest
from aiohttp import web

from liveman.proxy import forward
from support.liveman import OFFER, liveman, request_bytes
from support.raw_node import raw_node

pytestmark = pytest.mark.long


async def test_a_reset_that_only_the_answer_itself_meets_leaves_no_session(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes after Liveman has looked for it, and before the event loop tells of it."""
    look = forward.has_left

    def has_left(request: web.Request) -> bool:
        seen = look(request)
        client.close()
        return seen

    monkeypatch.setattr(forward, "has_left", has_left)
    async with raw_node() as node, liveman(node) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.send(request_bytes("POST", "/whip/cam", "Content-Type: application/sdp", body=OFFER))
            await node.wait_for(lambda n: n.targets("DELETE") == ["/session/cam/session-0"])
    assert not [record for record in caplog.records if record.exc_info]
