"""What the dashboard costs a browser: the first paint of the overview, and one update of pages that are open.

browsing.py [--nodes 1000] [--streams 20] [--sessions 3] [--updates 8]

Headless Chromium looks at pages over all nodes and streams, of which so many change that every update moves
rows. An update is all that its main thread does for it: reading, changing the page, styles, layout and
painting, in processor time, as other work on the machine is none of it. Exits with 1 when it is more than
wanted. The median is told, and the worst.
"""

import asyncio
import sys
import time
from statistics import median

from parts import liveman, parser, telling_nodes
from playwright.async_api import Browser, async_playwright

PAINT_MS = 500.0
UPDATE_MS = 50.0
CHROMIUM = "/usr/bin/chromium"
#: The streams that change, one of each node.
PAGES = ["", "nodes/?sort=-viewers", "streams/?q=-0"]
PAINTS = 5
#: What the browser's main thread has done so far, seconds.
TASKS = "TaskDuration"

_PAINT = """async () => {
  const painted = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
  while (!painted()) await new Promise((wait) => setTimeout(wait, 20));
  return painted();
}"""
_COUNT = """addEventListener("DOMContentLoaded", () => document.getElementById("live")
  .addEventListener("live", () => { window.updates = (window.updates ?? 0) + 1; }));"""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=1000)
    arguments.add_argument("--streams", type=int, default=20)
    arguments.add_argument("--sessions", type=int, default=3)
    arguments.add_argument("--updates", type=int, default=8)
    options = arguments.parse_args()
    with (
        telling_nodes(options.nodes, streams=options.streams, sessions=options.sessions) as nodes,
        liveman(nodes, mode="sse") as peer,
    ):
        paints, updates = asyncio.run(look(peer.url + "/", nodes[0].url, options.updates))
    missed = median(paints) >= PAINT_MS
    print(
        f"{options.nodes} nodes and {options.nodes * options.streams} streams: first paint of the overview "
        f"{median(paints):.0f} ms (worst {max(paints):.0f}), wanted: under {PAINT_MS:g}"
    )
    for page, each in updates.items():
        missed |= median(each) >= UPDATE_MS
        print(f"an update of /{page}: {median(each):.1f} ms (worst {max(each):.1f}), wanted: < {UPDATE_MS:g}")
    sys.exit(missed)


async def look(url: str, node: str, count: int) -> tuple[list[float], dict[str, list[float]]]:
    """Milliseconds of first paints, and of updates by page."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        paints = [await first_paint(browser, url) for _ in range(PAINTS)]
        changing = asyncio.create_task(change(node))
        updates = {page: await costs(browser, url + page, count) for page in PAGES}
        if changing.done():
            raise SystemExit(f"nothing changes any more: {changing.exception()}")
        changing.cancel()
        await browser.close()
    return paints, updates


async def first_paint(browser: Browser, url: str) -> float:
    """With nothing kept from before."""
    async with await browser.new_context() as context:
        page = await context.new_page()
        await page.goto(url)
        return float(await page.evaluate(_PAINT))


async def costs(browser: Browser, url: str, count: int) -> list[float]:
    """Of so many updates."""
    async with await browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = await context.new_page()
        await page.add_init_script(_COUNT)
        await page.goto(url)
        told = await context.new_cdp_session(page)
        await told.send("Performance.enable", {"timeDomain": "threadTicks"})

        async def state() -> tuple[int, float]:
            metrics = (await told.send("Performance.getMetrics"))["metrics"]
            spent = next(each["value"] for each in metrics if each["name"] == TASKS)
            return await page.evaluate("window.updates ?? 0"), spent * 1000

        found: list[float] = []
        seen, spent = await state()
        deadline = time.monotonic() + 20 * count
        while len(found) < count + 1:
            if time.monotonic() > deadline:
                raise SystemExit(f"{url} is not updated")
            await asyncio.sleep(0.5)
            now, then = await state()
            if now > seen:
                found.append((then - spent) / (now - seen))
            seen, spent = now, then
        # The first has what loading the page leaves.
        return found[1:]


async def change(node: str) -> None:
    """Fifty times a second, so that an update has more rows that are others than not."""
    host, port = node.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    while True:
        writer.write(b"POST /change HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    main()
