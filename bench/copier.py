"""An aiohttp server that only copies what another server has: what Liveman is measured against.

copier.py PORT URL
"""

import sys
from collections.abc import AsyncIterator

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

PORT, ORIGIN = int(sys.argv[1]), sys.argv[2]
CLIENT = web.AppKey("client", ClientSession)


async def copy(request: web.Request) -> web.StreamResponse:
    headers = {"Range": request.headers["Range"]} if "Range" in request.headers else {}
    url = URL(ORIGIN + request.raw_path, encoded=True)
    async with request.app[CLIENT].get(url, headers=headers) as answer:
        response = web.StreamResponse(status=answer.status)
        response.content_length = answer.content_length
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def client(app: web.Application) -> AsyncIterator[None]:
    async with ClientSession(
        connector=TCPConnector(limit=0), auto_decompress=False, timeout=ClientTimeout(total=None)
    ) as session:
        app[CLIENT] = session
        yield


app = web.Application()
app.cleanup_ctx.append(client)
app.router.add_get("/{path:.*}", copy)
web.run_app(app, host="127.0.0.1", port=PORT, access_log=None, print=None)
