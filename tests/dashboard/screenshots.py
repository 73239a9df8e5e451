"""Pictures of every page, for people to look at: light, dark, and on a phone.

python -m dashboard.screenshots [folder]; by default build/screenshots, as `make screenshots` does.
"""

import asyncio
import math
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from playwright.async_api import Page

from dashboard.stage import PAGES, opened, stage
from liveman.dashboard.history import KEPT, History
from support.webrtc import camera_browser

_DESK = {"width": 1280, "height": 800}
_LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": _DESK, "color_scheme": "light"},
    "dark": {"viewport": _DESK, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light", "is_mobile": True},
}
_MOST = {"publishers": 8, "viewers": 31, "bits_in": 9.1e6, "bits_out": 44e6}


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, patch.object(History, "values", _past):
        async with stage(Path(home)) as url, camera_browser() as browser:
            for look, options in _LOOKS.items():
                async with (
                    opened(browser, url, **options) as known,
                    opened(browser, url, logged=False, **options) as nobody,
                ):
                    await _take(nobody.page, url + "login", folder / f"login-{look}.png")
                    for name, path in PAGES.items():
                        await _take(known.page, url + path, folder / f"{name}-{look}.png")
                    await _take_token(known.page, url, folder / f"token-{look}.png")
                    print(f"{len(PAGES)} pages, {look}, in {folder}")


async def _take(page: Page, url: str, file: Path) -> None:
    await page.goto(url)
    await page.wait_for_timeout(300)  # For what players say.
    await page.screenshot(path=file, full_page=True)


async def _take_token(page: Page, url: str, file: Path) -> None:
    """What is shown of a token that was made."""
    await page.goto(url + "tokens/?stream=cam-1")
    await page.get_by_label("publish", exact=True).check()
    await page.get_by_role("spinbutton", name="How long").fill("5")
    await page.get_by_role("combobox", name="Unit").select_option("minutes")
    await page.get_by_role("button", name="Make token").click()
    await page.get_by_role("heading", name="The token").wait_for()
    await page.screenshot(path=file, full_page=True)


def _past(_history: History, name: str) -> list[float]:
    """A quarter of an hour that has a story."""
    return [
        _MOST[name] * (0.5 + 0.3 * at / KEPT + 0.15 * math.sin(at / 17 + len(name))) for at in range(KEPT)
    ]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/screenshots")))
