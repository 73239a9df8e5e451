"""Pages as a browser gets them, at the root and below a prefix."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from auth.issuing import SECRET
from liveman import create_app
from liveman.config import Account, Auth, Secret
from liveman.server import serving
from support.liveman import config_for

HTML = {"Accept": "text/html,application/xhtml+xml"}
CLOSED = Auth(secret=Secret(SECRET), accounts=(Account("ann", Secret("her password")),))


@asynccontextmanager
async def browser(prefix: str = "", auth: Auth | None = None) -> AsyncIterator[ClientSession]:
    """A client that follows no redirects, and asks for pages."""
    app = create_app(config_for(auth=auth or Auth()))
    if prefix:
        host = web.Application()
        host.add_subapp(prefix, app)
        app = host
    async with serving(app, "127.0.0.1:0") as url, ClientSession(url + prefix + "/", headers=HTML) as client:
        yield client


@pytest.mark.parametrize("prefix", ["", "/live", "/a/b"])
async def test_the_overview_and_all_that_it_names_are_there(prefix: str) -> None:
    """Nothing in it is absolute, so it holds below any prefix."""
    async with browser(prefix) as client:
        async with client.get("") as response:
            page = await response.text()
            assert response.status == 200 and response.content_type == "text/html"
        links = re.findall(r'(?:src|href)="([^"#]*)"', page)
        assert any(link.endswith("base.css") for link in links)
        for link in links:
            assert link.startswith("./")
        for link in (link for link in links if "/assets/" in link):
            async with client.get(link[2:]) as response:
                assert response.status == 200 and "immutable" in response.headers["Cache-Control"]


@pytest.mark.parametrize("prefix", ["/live", "/a/b"])
async def test_below_a_prefix_the_root_is_found_without_its_slash(prefix: str) -> None:
    async with browser(prefix) as client:
        async with client.get(f"http://127.0.0.1:{client._base_url.port}{prefix}") as response:
            assert response.status == 200 and response.url.path == f"{prefix}/"
            assert "<h1>Overview</h1>" in await response.text()
