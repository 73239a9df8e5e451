"""A vendor of TURN credentials in Cloudflare's words, with moods: what `ice.py` puts behind Liveman.

vendor.py PORT

POST /mood/{slow,failing,silent} sets it: an answer after 2 s, a 500 at once, none at all. GET / counts.
"""

import asyncio
import sys

from aiohttp import web

SLOW = 2.0
mood = "slow"
asked = {"slow": 0, "failing": 0, "silent": 0}


async def credentials(_request: web.Request) -> web.Response:
    asked[mood] += 1
    number = sum(asked.values())
    if mood == "failing":
        return web.Response(status=500)
    await asyncio.sleep(SLOW if mood == "slow" else 3600)
    urls = [f"turn:turn.example.org:3478?transport={each}" for each in ("udp", "tcp")]
    servers = [
        {"urls": ["stun:stun.example.org:3478"]},
        {"urls": urls, "username": f"user-{number}", "credential": "measured"},
    ]
    return web.json_response({"iceServers": servers}, status=201)


async def change(request: web.Request) -> web.Response:
    global mood
    mood = request.match_info["mood"]
    return web.Response()


async def counts(_request: web.Request) -> web.Response:
    return web.json_response(asked)


app = web.Application()
app.router.add_get("/", counts)
app.router.add_post("/mood/{mood:slow|failing|silent}", change)
app.router.add_post("/v1/turn/keys/measured/credentials/generate-ice-servers", credentials)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, shutdown_timeout=0.1)
