"""Nodes with many sessions, each under a path of its own: what they tell, and changes of it.

told.py PORT NODES STREAMS SESSIONS

A POST to /change gives one session of one node another id, and lets a viewer of it come, or go again, on one
node after another.
"""

import json
import random
import sys
from asyncio import sleep
from collections import defaultdict
from http import HTTPStatus
from itertools import cycle
from uuid import UUID

from aiohttp import web

PORT, NODES, STREAMS, SESSIONS = map(int, sys.argv[1:])
LISTENERS: dict[int, list[web.StreamResponse]] = defaultdict(list)
DICE = random.Random(0)


def session() -> dict[str, object]:
    return {
        "id": str(UUID(int=DICE.getrandbits(128))),
        "createdAt": 1_719_326_206_862,
        "leaveAt": 0,
        "state": "connected",
        "hasDataChannel": False,
    }


def stream(node: int, number: int, viewers: int = SESSIONS - 1) -> dict[str, object]:
    stats = {"bytes": 123_456_789, "packets": 123_456, "bitrate": 2_500_000}
    return {
        "id": f"stream-{node}-{number}",
        "createdAt": 1_719_326_206_862,
        "publish": {"leaveAt": 0, "sessions": [session()]},
        "subscribe": {"leaveAt": 0, "sessions": [session() for _ in range(viewers)]},
        "codecs": [{"kind": "video", "codec": "VP8", "fmtp": ""}],
        "provisioned": False,
        "onDemand": False,
        "stats": {"publish": stats, "subscribe": stats},
        "statsScope": "node",
    }


TOLD = [[stream(node, number) for number in range(STREAMS)] for node in range(NODES)]
MORE = [0] * NODES
"""Viewers that have come to a node and not gone yet."""
TURNS = cycle(range(NODES))


def event(node: int) -> bytes:
    return b"data: " + json.dumps(TOLD[node], separators=(",", ":")).encode() + b"\n\n"


async def alive(_request: web.Request) -> web.Response:
    return web.Response(status=HTTPStatus.OK)


async def events(request: web.Request) -> web.StreamResponse:
    node = int(request.match_info["node"])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(event(node))
    LISTENERS[node].append(response)
    while True:
        await sleep(10)
        await response.write(b":\n\n")


async def change(_request: web.Request) -> web.Response:
    node = next(TURNS)
    MORE[node] = 1 - MORE[node]
    TOLD[node][0] = stream(node, 0, SESSIONS - 1 + MORE[node])
    for response in LISTENERS[node]:
        await response.write(event(node))
    return web.Response(status=HTTPStatus.NO_CONTENT)


app = web.Application()
app.add_routes([web.get("/", alive), web.get("/{node}/api/sse/streams", events), web.post("/change", change)])
web.run_app(
    app,
    host="127.0.0.1",
    port=PORT,
    access_log=None,
    print=None,
    shutdown_timeout=0.1,
    handler_cancellation=True,
)
