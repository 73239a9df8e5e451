"""Nodes that have much to say: each at a path of its own, and all their lists change once a second, together.

reporters.py PORT SESSIONS BYTES

Each has so many sessions in 100 streams, but two have a list of nearly so many bytes: /one-stream in one
stream, /small-streams in streams of five sessions.
"""

import asyncio
import sys
import time
from functools import cache
from http import HTTPStatus

from aiohttp import web
from placement import snapshot

PORT, SESSIONS, BYTES = map(int, sys.argv[1:])
CHANGES = "0000000000"
"""What stands in every list for the time, as a session's id."""


async def alive(_request: web.Request) -> web.Response:
    return web.Response(status=HTTPStatus.OK)


async def listed(request: web.Request) -> web.Response:
    return web.Response(body=now(request.match_info["node"]), content_type="application/json")


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(b"data: " + now(request.match_info["node"]) + b"\n\n")
        await asyncio.sleep(1 - time.time() % 1)


def now(node: str) -> bytes:
    """What this node has to say in this second."""
    return template(node).replace(CHANGES.encode(), b"%010d" % time.time())


@cache
def template(node: str) -> bytes:
    if node not in ("one-stream", "small-streams"):
        return snapshot(SESSIONS, last=CHANGES, name=node)
    each = 1000 if node == "one-stream" else 5
    sessions = BYTES * 980 // len(snapshot(1000, last=CHANGES, streams=1000 // each, name=node))
    return snapshot(sessions, last=CHANGES, streams=1 if node == "one-stream" else sessions // 5, name=node)


app = web.Application()
app.add_routes(
    [
        web.get("/", alive),
        web.get("/{node}/api/streams/", listed),
        web.get("/{node}/api/sse/streams", events),
    ]
)
web.run_app(app, host="127.0.0.1", port=PORT, access_log=None, print=None, shutdown_timeout=0.1)
