"""The event streams of all stub nodes: each says once that the node has no streams, then only lives.

events.py PORT
"""

import sys
from asyncio import sleep
from http import HTTPStatus

from aiohttp import web

EVENTS = "/api/sse/streams"


async def alive(_request: web.Request) -> web.Response:
    return web.Response(status=HTTPStatus.OK)


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: []\n\n")
    while True:
        await sleep(10)
        await response.write(b":\n\n")


app = web.Application()
app.add_routes([web.get("/", alive), web.get(EVENTS, events)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, shutdown_timeout=0.1)
