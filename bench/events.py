"""The event streams of all stub nodes; and by itself a node whose sessions have event streams too.

events.py PORT

A node's stream says once that the node has no streams; a session's says once that it is open. Then they only
live. What is POSTed to /say is an event of all the sessions' streams.
"""

import sys
from asyncio import sleep
from http import HTTPStatus
from uuid import uuid4

from aiohttp import web

NODE_EVENTS = "/api/sse/streams"
SESSION_EVENTS = "/session/{stream}/{session}/events"
OPEN: set[web.StreamResponse] = set()
"""The sessions' streams."""


async def alive(_request: web.Request) -> web.Response:
    return web.Response(status=HTTPStatus.OK)


async def node_events(request: web.Request) -> web.StreamResponse:
    response = await begun(request, b"[]")
    return await living(response)


async def publish(request: web.Request) -> web.Response:
    location = f"/session/{request.match_info['stream']}/{uuid4()}"
    headers = {"Location": location, "Content-Type": "application/sdp"}
    return web.Response(status=HTTPStatus.CREATED, headers=headers, body=await request.read())


async def session_events(request: web.Request) -> web.StreamResponse:
    response = await begun(request, b"open")
    OPEN.add(response)
    try:
        return await living(response)
    finally:
        OPEN.discard(response)


async def say(request: web.Request) -> web.Response:
    words = await request.read()
    for response in list(OPEN):
        await response.write(event(words))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def begun(request: web.Request, words: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(event(words))
    return response


async def living(response: web.StreamResponse) -> web.StreamResponse:
    """To the end of its connection."""
    while True:
        await sleep(10)
        await response.write(b":\n\n")


def event(words: bytes) -> bytes:
    return b"data: " + words + b"\n\n"


app = web.Application()
app.add_routes(
    [
        web.get("/", alive),
        web.get(NODE_EVENTS, node_events),
        web.post("/whip/{stream}", publish),
        web.get(SESSION_EVENTS, session_events),
        web.post("/say", say),
    ]
)
web.run_app(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    access_log=None,
    print=None,
    shutdown_timeout=0.1,
    handler_cancellation=True,
    backlog=4096,
)
