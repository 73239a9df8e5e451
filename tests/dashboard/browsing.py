"""A Liveman, at the root or below a prefix, and a client that asks for pages as browsers do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, CookieJar, web
from attrs import frozen

from auth.asking import HASH
from auth.issuing import SECRET
from liveman import create_app
from liveman.auth.gate import AskHost
from liveman.config import Account, Auth, Cluster, NodeConfig, Secret
from liveman.server import serving
from support.liveman import config_for

__all__ = ["CLOSED", "EVENTS", "HTML", "Got", "browsing", "get", "post"]

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
EVENTS = {"Accept": "text/event-stream"}
CLOSED = Auth(secret=Secret(SECRET), accounts=(Account("ann", Secret(HASH)),))


@asynccontextmanager
async def browsing(
    *nodes: str | NodeConfig, prefix: str = "", identity: AskHost | None = None, **sections: Any
) -> AsyncIterator[ClientSession]:
    sections.setdefault("cluster", Cluster(poll_interval_ms=200))
    app = create_app(config_for(*nodes, **sections), identity=identity)
    if prefix:
        host = web.Application()
        host.add_subapp(prefix, app)
        app = host
    async with serving(app, "127.0.0.1:0") as url:
        async with ClientSession(
            f"{url}{prefix}/", headers=HTML, cookie_jar=CookieJar(unsafe=True)
        ) as client:
            yield client


@frozen
class Got:
    """An answer; where it leads stands in its headers."""

    status: int
    headers: Any
    text: str


async def get(client: ClientSession, path: str, headers: Any = None, **options: Any) -> Got:
    async with client.get(path, headers=headers, allow_redirects=False, **options) as response:
        return Got(response.status, response.headers, await response.text())


async def post(client: ClientSession, path: str, headers: Any = None, **fields: str) -> Got:
    """A form."""
    async with client.post(path, data=fields, headers=headers, allow_redirects=False) as response:
        return Got(response.status, response.headers, await response.text())
