"""What the files that look at pages in a browser share, each for itself."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from dashboard.players import mounted
from support.webrtc import camera_browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium with a camera."""
    async with camera_browser() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    """Liveman with a node, for all of a file that use stream names of their own."""
    async with mounted() as url:
        yield url
