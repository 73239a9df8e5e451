"""A reverse proxy on aiohttp that does nothing but forward: what Liveman is measured against.

floor.py PORT NODE_URL …
"""

import sys
from collections.abc import AsyncIterator
from itertools import cycle

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from yarl import URL

PORT, NODES = int(sys.argv[1]), cycle(sys.argv[2:])
CLIENT = web.AppKey("client", ClientSession)
OWN = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


async def forward(request: web.Request) -> web.Response:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in OWN}
    body = await request.read() if request.can_read_body else None
    url = URL(next(NODES) + request.raw_path, encoded=True)
    async with request.app[CLIENT].request(
        request.method,
        url,
        headers=headers,
        data=body,
        allow_redirects=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    ) as answer:
        passed = {name: value for name, value in answer.headers.items() if name.lower() not in OWN}
        content = await answer.read() if answer.status != 204 else None
        return web.Response(status=answer.status, body=content, headers=passed)


async def client(app: web.Application) -> AsyncIterator[None]:
    connector = TCPConnector(limit=0)
    async with ClientSession(
        connector=connector, auto_decompress=False, cookie_jar=DummyCookieJar()
    ) as session:
        app[CLIENT] = session
        yield


app = web.Application()
app.cleanup_ctx.append(client)
app.router.add_route("*", "/{path:.*}", forward)
web.run_app(app, host="127.0.0.1", port=PORT, access_log=None, print=None)
