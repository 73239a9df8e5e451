"""Liveman in front of scripted nodes, and one who looks at its pages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urljoin

from aiohttp import ClientSession
from attrs import frozen

from auth.issuing import SECRET, compact, hs256
from cluster.fake import FakeNode, body, fake_node
from cluster.fake import stream as stream_at
from dashboard.html import Element, parse
from liveman import create_app
from liveman.config import Account, Auth, Cluster, NodeConfig, Secret
from liveman.server import serving
from support.liveman import config_for

__all__ = ["ALL", "CLOSED", "DASH", "NAMES", "Browser", "bearer", "looking", "rows_of", "saying"]

#: What people, and those who mean harm, call streams.
NAMES = [
    "plain",
    "<script>alert(1)<script>",
    '"><img src=x onerror=alert(1)>',
    "a'b\"c`d",
    "{{ 7 * 7 }}{% raw %}",
    "<!--x--><b>]]>",
    "&lt;b&gt; &amp;",
    "100%",
    "%41%2F",
    "a b  c",
    "a+b&c=d;e",
    "?q=1#there",
    "javascript:alert(1)",
    "\u202egpj.cam",
    "\u200fcam\u200e",
    "שלום",
    "ü" * 127,
    "x" * 255,
    "😀",
    "...",
]

CLOSED = Auth(secret=Secret(SECRET), accounts=(Account("ann", Secret("her password")),))
#: What stands for "not known".
DASH = "\N{EN DASH}"

#: The mode of one who may do everything.
ALL = 7


def bearer(stream: str, mode: int) -> dict[str, str]:
    """The header of a token for a stream, or ``*``."""
    claims = {"id": stream, "exp": 4_000_000_000, "mode": mode}
    token = compact({"alg": "HS256", "typ": "JWT"}, claims, hs256())
    return {"Authorization": f"Bearer {token}"}


@frozen
class Browser:
    client: ClientSession
    nodes: list[FakeNode]

    async def see(self, path: str, status: int = 200, headers: dict[str, str] | None = None) -> Element:
        """A page, which is well-formed, and in which nothing can be executed."""
        async with self.client.get(path, headers=headers, allow_redirects=False) as response:
            page = parse(await response.text())
            assert response.status == status, page.words
        for each in page.every():
            assert not [name for name in each.attributes if name == "style" or name.startswith("on")]
            assert each.tag != "style" and (each.tag != "script" or each["src"])
            # Without its script an action is none: no browser sends it somewhere as it stands.
            assert "data-api" not in each.attributes or each["method"] == "dialog", each.attributes
            for name in ("href", "src", "action"):
                assert ":" not in each.attributes.get(name, "").partition("/")[0], each.attributes
        return page

    async def click(self, path: str, href: str) -> Element:
        """What a link of a page leads to."""
        return await self.see(urljoin("/" + path, href).removeprefix("/"))

    async def api(self, method: str, path: str, **more: Any) -> Any:
        async with self.client.request(method, path, **more) as response:
            assert response.status < 300, await response.text()
            return await response.json() if response.content_type == "application/json" else None

    async def comes(self, path: str, seen: Callable[[Element], object]) -> Element:
        """Look again and again until a page shows something; that page."""
        async with asyncio.timeout(5):
            while not seen(page := await self.see(path)):
                await asyncio.sleep(0.02)
        return page


@asynccontextmanager
async def looking(
    *told: bytes | dict[str, Any], aliases: list[str] | None = None, auth: Auth | None = None, **limits: int
) -> AsyncIterator[Browser]:
    """A node for each list of streams, or for each that says more; ``limits`` are of all."""
    async with AsyncExitStack() as stack:
        members = [{"streams": each} if isinstance(each, bytes) else each for each in told]
        nodes = [await stack.enter_async_context(fake_node(sse=True, **each)) for each in members]
        names = aliases or [f"n{at}" for at in range(len(nodes))]
        declared = [NodeConfig(alias, node.url, **limits) for alias, node in zip(names, nodes, strict=True)]
        config = config_for(*declared, auth=auth or Auth(), cluster=Cluster(poll_interval_ms=200))
        url = await stack.enter_async_context(serving(create_app(config), "127.0.0.1:0"))
        headers = {"Accept": "text/html"}
        client = await stack.enter_async_context(ClientSession(url + "/", headers=headers))
        yield Browser(client, nodes)


def saying(*names: str) -> bytes:
    """A list of streams with a publisher and a viewer each."""
    return body(*(stream_at(name, [f"p{at}"], [f"v{at}"]) for at, name in enumerate(names)))


def rows_of(page: Element) -> list[list[str]]:
    """The cells of the first table."""
    table = page.first("tbody")
    return [[cell.words for cell in row.every("td")] for row in table.every("tr")]
