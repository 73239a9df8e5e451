"""A Liveman with a node of its own, for the pages that watch and publish."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from playwright.async_api import Page

from liveman import create_app
from liveman.config import Cluster, Liveion
from liveman.server import serving
from support.liveman import config_for
from support.webrtc import is_live, reaches

__all__ = ["mounted", "start"]


@asynccontextmanager
async def mounted(**sections: Any) -> AsyncIterator[str]:
    """Liveman with a built-in node, below a prefix of another application."""
    host = web.Application()
    sections = {"liveion": Liveion(count=1), "cluster": Cluster(poll_interval_ms=200), **sections}
    host.add_subapp("/live", create_app(config_for(**sections)))
    async with serving(host, "127.0.0.1:0") as url:
        yield f"{url}/live"


async def start(page: Page) -> None:
    """Publish the camera."""
    await page.get_by_role("button", name="Start").click()
    await reaches(page, is_live)
