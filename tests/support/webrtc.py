"""Headless Chromium with a camera that is not there, for tests of the pages that watch and publish."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Frame, Page, async_playwright, expect

from support.browser import CHROMIUM

__all__ = ["camera_browser", "is_live", "new_page", "playing", "reaches", "says"]

#: Its rules for playing with sound are those that everyone's browser has.
OPTIONS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
]

Seen = dict[str, Any]

#: What one of the pages makes of media.
_SEEN = """() => {
  const video = document.querySelector("video");
  const {totalVideoFrames, droppedVideoFrames} = video.getVideoPlaybackQuality();
  return {
    frames: totalVideoFrames - droppedVideoFrames, width: video.videoWidth, muted: video.muted,
    paused: video.paused, is: document.getElementById("state").dataset.is,
    says: document.getElementById("state").innerText,
  };
}"""


@asynccontextmanager
async def camera_browser() -> AsyncIterator[Browser]:
    # What is expected comes in the end, also on a busy machine.
    expect.set_options(timeout=20_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def new_page(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """A page in a context of its own. What its scripts throw, or the policy forbids, fails the test."""
    wrong: list[str] = []
    context = await browser.new_context(**options)
    try:
        page = await context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if _is_wrong(said.text) else None)
        await page.goto(url)
        yield page
    finally:
        await context.close()
    assert not wrong


def _is_wrong(text: str) -> bool:
    return "Content Security Policy" in text


async def reaches(page: Page | Frame, good: Callable[[Seen], bool], within: float = 30) -> Seen:
    """Wait until what is seen is good; what that is. The pages' policy keeps the browser from waiting itself."""
    deadline = time.monotonic() + within
    while not good(seen := await page.evaluate(_SEEN)):
        assert time.monotonic() < deadline, f"after {within} s there is {seen}"
        await asyncio.sleep(0.05)
    return seen


async def playing(page: Page | Frame, *, frames: int = 5, within: float = 30) -> Seen:
    """Wait until it says that it is live, and so many pictures have been shown since."""
    first = (await reaches(page, is_live, within))["frames"]
    return await reaches(page, lambda seen: is_live(seen) and seen["frames"] >= first + frames, within)


def is_live(seen: Seen) -> bool:
    return bool(seen["is"] == "live")


async def says(page: Page, text: str) -> None:
    """Wait until the state has this text."""
    await expect(page.locator("#state")).to_contain_text(text, timeout=20_000)
