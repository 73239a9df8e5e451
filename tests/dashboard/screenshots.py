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

from dashboard.stage import opened, stage
from liveman.dashboard.history import KEPT, History
from support.webrtc import camera_browser

_DESK = {"width": 1280, "height": 800}
_LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": _DESK, "color_scheme": "light"},
    "dark": {"viewport": _DESK, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light", "is_mobile": True},
}
_MOST = {"publishers": 8, "viewers": 31, "bits_in": 9.1e6, "bits_out": 44e6}
_NAMES = ("<b>it's</b> 100% \u202e\"odd\"",)


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, patch.object(History, "values", _past):
        async with stage(Path(home), more=_NAMES) as shown, camera_browser() as browser:
            for look, options in _LOOKS.items():
                async with opened(browser, shown.url, **options) as looked:
                    for name, path in shown.pages.items():
                        await looked.page.goto(shown.url + path)
                        await looked.page.wait_for_timeout(300)
                        await looked.page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
                    print(f"{len(shown.pages)} pages, {look}, in {folder}")


def _past(_history: History, name: str) -> list[float]:
    """A quarter of an hour that has a story."""
    return [_MOST[name] * (0.5 + 0.3 * at / KEPT + 0.15 * math.sin(at / 17 + len(name))) for at in range(KEPT)]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/screenshots")))
