"""Headless Chromium with dash.js, for tests of what browsers make of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Page, async_playwright

__all__ = ["Player", "player_page", "recordings_server"]

DASH_JS = Path(__file__).parent.parent / "browser/node_modules/dashjs/dist/modern/umd/dash.all.min.js"
CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"]

_PAGE = """<!doctype html><title>Player</title><link rel="icon" href="data:,">
<video id="video" width="320"></video>
<script src="/dash.js"></script>
<script>
  const errors = [];
  const player = dashjs.MediaPlayer().create();
  player.on("error", event => errors.push(JSON.stringify(event.error)));
  player.initialize(video, new URLSearchParams(location.search).get("manifest"), true);
  // On a busy machine dash.js pauses around a seek, and stays so.
  video.addEventListener("pause", () => video.ended || video.play());
  function seen() {
    const quality = video.getVideoPlaybackQuality();
    return {
      at: video.currentTime, duration: video.duration, ended: video.ended, width: video.videoWidth,
      pictures: quality.totalVideoFrames - quality.droppedVideoFrames, sound: video.webkitAudioDecodedByteCount,
      errors: errors, paused: video.paused,
    };
  }
</script>"""


@asynccontextmanager
async def recordings_server(folder: Path) -> AsyncIterator[str]:
    """A file server as plain as they come: ``/recordings/…`` is the folder, ``/player?manifest=…`` plays."""
    if not DASH_JS.exists():
        raise AssertionError(f"{DASH_JS} is missing: `make test` installs it (npm ci in tests/browser)")

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def script(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(DASH_JS)

    app = web.Application()
    app.router.add_get("/player", page)
    app.router.add_get("/dash.js", script)
    app.router.add_static("/recordings", folder)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def player_page(server: str, manifest: str) -> AsyncIterator["Player"]:
    """A browser in which the manifest at this path of the server plays."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            page = await browser.new_page()
            await page.goto(f"{server}/player?manifest={manifest}")
            yield Player(page)
        finally:
            await browser.close()


class Player:
    """The page's player."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def seen(self) -> dict[str, Any]:
        """Where it is, what it has decoded so far, and the errors that it met."""
        return await self._page.evaluate("seen()")

    async def seek(self, seconds: float) -> None:
        await self._page.evaluate("seconds => player.seek(seconds)", seconds)

    async def reaches(self, condition: str) -> dict[str, Any]:
        """Wait until an expression over `seen` (as ``s``) holds; what is seen then."""
        try:
            await self._page.wait_for_function(f"(s => {condition})(seen())", timeout=30_000)
        except Exception as error:
            raise AssertionError(f"{condition} does not hold for {await self.seen()}") from error
        return await self.seen()
