"""A day with the dashboard, in a browser: one Liveman with accounts, below a prefix, with real nodes and media."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web
from attrs import frozen
from playwright.async_api import BrowserContext, Page, expect

from auth.asking import HASH
from auth.issuing import SECRET, native
from liveman import create_app
from liveman.config import (
    Account,
    Auth,
    Cluster,
    Config,
    Database,
    FsStorage,
    Liveion,
    Recorder,
    RecordSync,
    Secret,
)
from liveman.dashboard import live
from liveman.demo.nodes import buildin_nodes
from liveman.server import serving
from support.link import Link
from support.nodes import until
from support.webrtc import camera_browser, is_live, playing, reaches

BUILT_IN = "buildin-0"


@frozen
class Place:
    """Where it happens."""

    url: str
    """Of the root, with a slash at its end."""
    late: str
    """The URL of a node that Liveman does not know yet."""
    recordings: Path
    link: Link
    """What browsers come by."""


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    config = Config(
        auth=Auth(secret=Secret(SECRET), accounts=(Account("ann", Secret(HASH)),)),
        database=Database(url=Secret(f"sqlite://{folder}/liveman.db")),
        recorder=Recorder(storage=FsStorage(root=str(folder / "storage"))),
        liveion=Liveion(count=1),
        cluster=Cluster(poll_interval_ms=200),
        record_sync=RecordSync(enabled=True, tick_ms=100),
    )
    host = web.Application()
    host.add_subapp("/live", create_app(config))
    async with (
        buildin_nodes(1) as late,
        serving(host, "127.0.0.1:0") as url,
        Link.to(int(url.rpartition(":")[2])) as link,
    ):
        yield Place(f"http://127.0.0.1:{link.port}/live/", late[0].url, folder / "storage", link)


async def test_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log in, add a node, publish, watch, record, play, give a token, drain, lose the connection and the login."""
    monkeypatch.setattr(live, "PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(live, "WAIT_SECONDS", 0.2)
    wrong: list[str] = []
    async with place(tmp_path) as at, camera_browser() as browser:

        async def someone() -> BrowserContext:
            context = await browser.new_context()
            context.set_default_timeout(20_000)
            context.on("weberror", lambda error: wrong.append(str(error.error)))
            context.on("console", lambda said: wrong.append(said.text) if "Security" in said.text else None)
            context.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
            return context

        asked: set[str] = set()
        ann = await someone()
        page = await ann.new_page()
        await page.goto(at.url + "nodes/?sort=-alias")
        await log_in(page, at.url + "nodes/?sort=-alias")
        await add_a_node(page, at)

        publisher, viewer = await ann.new_page(), await ann.new_page()
        await publish(publisher, at)
        await viewer.goto(at.url + "watch/cam")
        assert (await playing(viewer, frames=20))["width"] == 640

        await record(page, at)
        await play(page)
        guest = await (await someone()).new_page()
        await guest.goto(await link_for_a_guest(page, at))
        await playing(guest)
        await guest.goto(at.url + "streams/cam")
        await expect(guest).to_have_title("Log in · Liveman")

        await drain(page, at, publisher, [viewer, guest])
        await lose_the_connection(page, at)
        await lose_the_login(page, ann, at)
    assert wrong == []
    assert {name for name in asked if name} == {urlsplit(at.url).netloc}


async def does(page: Page, button: str) -> None:
    """Something that loads the page again."""
    async with page.expect_navigation():
        await page.get_by_role("button", name=button, exact=True).click()


async def log_in(page: Page, back: str) -> None:
    await page.get_by_label("Name").fill("ann")
    await page.get_by_label("Password").fill("her password")
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(back)


async def add_a_node(page: Page, at: Place) -> None:
    """It has less room than the built-in one, so that nobody is sent to it."""
    await page.get_by_role("link", name="Add a node").click()
    await page.get_by_label("Alias").fill("eu-9")
    await page.get_by_label("URL").fill(at.late)
    await page.get_by_label("Publishers", exact=True).fill("5")
    await does(page, "Add node")
    await expect(page.get_by_role("row", name="eu-9")).to_contain_text("0 of 5")
    await expect(page.get_by_role("row", name="eu-9")).to_contain_text("up")


async def publish(page: Page, at: Place) -> None:
    await page.goto(at.url + "publish/cam")
    await page.get_by_role("button", name="Start").click()
    await reaches(page, is_live)


async def record(page: Page, at: Place) -> None:
    """From the list of streams, where it appears, to a recording of some seconds."""
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Streams").click()
    await page.get_by_role("link", name="cam", exact=True).click()
    await does(page, "Record")
    await expect(page.get_by_text("recording", exact=True)).to_be_visible()

    async def some() -> bool:
        return len(list(at.recordings.glob("**/*.m4s"))) >= 4

    await until(some, within=30)
    await does(page, "Stop recording")
    await expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()


async def play(page: Page) -> None:
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Recordings").click()
    await page.get_by_role("link", name="cam", exact=True).click()
    await page.get_by_role("link", name="Play the recording").click()
    await expect(page.locator("#facts")).to_contain_text(BUILT_IN)

    async def moves() -> bool:
        return bool(
            await page.evaluate(
                "video.currentTime > 0.5 && video.getVideoPlaybackQuality().totalVideoFrames > 10"
            )
        )

    await until(moves, within=30)


async def link_for_a_guest(page: Page, at: Place) -> str:
    await page.goto(at.url + "tokens/?stream=cam")
    await page.get_by_role("button", name="Make token").click()
    link = await page.locator("#text-watch").inner_text()
    assert link.startswith(at.url + "watch/cam#token=")
    return link


async def drain(page: Page, at: Place, publisher: Page, viewers: list[Page]) -> None:
    """Progress is shown, as it happens, until it is empty; then the node serves again."""
    await page.goto(f"{at.url}nodes/{BUILT_IN}")
    await page.get_by_text("Drain it").click()
    await does(page, "Drain")
    await expect(page.get_by_label("Drain", exact=True)).to_contain_text("Left: 1 publisher, 1 viewer")
    for each in viewers:
        await each.close()
    await expect(page.get_by_label("Drain", exact=True)).to_contain_text("Left: 1 publisher, 0 viewers")
    await publisher.get_by_role("button", name="Stop").click()
    await expect(page.get_by_label("Drain", exact=True)).to_contain_text("It is empty.")
    await does(page, "Put back into service")
    await expect(page.get_by_label("Drain", exact=True)).not_to_be_visible()


async def lose_the_connection(page: Page, at: Place) -> None:
    """It is said; what has happened meanwhile is shown once it is back, by itself."""
    await page.goto(at.url + "nodes/")
    await expect(page.get_by_role("row", name="eu-9")).to_be_visible()
    await page.context.set_offline(True)
    # Streams that are open stay so for Chromium.
    at.link.cut()
    await expect(page.get_by_role("status")).to_contain_text("Connection lost")
    claims = {"id": "*", "exp": int(time.time()) + 600, "mode": 7}
    headers = {"Authorization": f"Bearer {native(claims)}"}
    async with ClientSession() as other, other.delete(at.url + "api/nodes/eu-9", headers=headers) as answer:
        assert answer.status < 300
    await page.context.set_offline(False)
    await expect(page.get_by_role("row", name="eu-9")).to_have_count(0)
    await expect(page.get_by_role("status")).not_to_contain_text("Connection lost")


async def lose_the_login(page: Page, context: BrowserContext, at: Place) -> None:
    """What is shown ends with the session: to the login, and back to where one was."""
    # Tokens are good for a minute more than they say: for clocks that differ.
    claims = {"id": "*", "sub": "ann", "exp": int(time.time()) - 57, "mode": 7}
    cookie = {"name": "liveman", "value": native(claims), "domain": "127.0.0.1", "path": "/"}
    await context.add_cookies([cookie])
    here = f"{at.url}nodes/{BUILT_IN}?sort=-name"
    await page.goto(here)
    await page.wait_for_url("**/login?next=*")
    await log_in(page, here)
    await expect(page.get_by_role("heading", name=BUILT_IN)).to_be_visible()
