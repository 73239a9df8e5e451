"""Headless Chromium plays recordings through the dashboard's own page, under its Content-Security-Policy."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from attrs import define, field
from playwright.async_api import Browser, Page, async_playwright, expect

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
    Playback,
    Recorder,
    RecordSync,
    Secret,
    Storage,
)
from liveman.demo.client import Publisher, publish
from liveman.demo.pictures import MovingPicture, Tone
from liveman.server import serving
from recording.buckets import bucket_at, faulty
from support.browser import CHROMIUM, OPTIONS
from support.dash import grown
from support.nodes import until

STATIC = Path(__file__).parent.parent.parent / "src/liveman/dashboard/static"
CLOSED = Auth(secret=Secret(SECRET), accounts=(Account("ann", Secret("her password")),))
#: What the player shows.
SEEN = """(() => { const video = document.getElementById("video"); return {
  at: video.currentTime, duration: video.duration, ended: video.ended, width: video.videoWidth,
  pictures: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount,
  why: document.getElementById("why").textContent,
  words: document.getElementById("facts").innerText,
}; })()"""


@define
class Tab:
    """A page, and what it has asked for and complained of."""

    page: Page
    asked: list[str] = field(factory=list)
    complaints: list[str] = field(factory=list)

    async def reaches(self, condition: Callable[[Any], Any]) -> Any:
        """What is seen once the condition holds for it."""
        seen: Any = None

        async def look() -> Any:
            nonlocal seen
            seen = await self.page.evaluate(SEEN)
            return seen if condition(seen) else None

        try:
            return await until(look, within=30)
        except AssertionError:
            raise AssertionError(f"{seen} {self.complaints} {self.asked[-8:]}") from None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    assert (STATIC / "dash.js").exists(), "`make dashboard` makes what the page plays with"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def tab(browser: Browser, url: str, path: str, *, cookie: str = "") -> AsyncIterator[Tab]:
    """A page of Liveman's, seen by one who has nothing but this cookie."""
    async with await browser.new_context() as context:
        if cookie:
            await context.add_cookies([{"name": "liveman", "value": cookie, "url": url}])
        page = await context.new_page()
        shown = Tab(page)
        page.on("request", lambda request: shown.asked.append(request.url))
        page.on("console", lambda said: shown.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        await page.goto(url + path)
        yield shown


def token(stream: str = "cam", mode: int = 4) -> str:
    return native({"id": stream, "exp": int(time.time()) + 600, "mode": mode})


def config(folder: Path, storage: Storage, **sections: Any) -> Config:
    return Config(
        auth=CLOSED,
        database=Database(url=Secret(f"sqlite://{folder}/liveman.db")),
        recorder=Recorder(storage=storage),
        **sections,
    )


@define
class Recorded:
    """A Liveman that has a recording, and records another stream."""

    url: str
    folder: Path
    """Of the storage."""
    row: dict[str, Any]
    """Of the recording that has ended, as the API lists it."""
    day: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recorded]:
    """``cam`` was recorded for some seconds, ``now`` is published."""
    home = tmp_path_factory.mktemp("recorded")
    storage = home / "storage"
    made = config(
        home,
        FsStorage(root=str(storage)),
        liveion=Liveion(count=1),
        cluster=Cluster(poll_interval_ms=200),
        record_sync=RecordSync(enabled=True, tick_ms=100),
    )
    headers = {"Authorization": f"Bearer {token('*', 7)}"}
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(create_app(made), "127.0.0.1:0"))
        api = await stack.enter_async_context(ClientSession(url, headers=headers))
        async with await published(url, "cam"):
            path = Path(await begun(api, "cam"))
            await grown(storage / path.parent, 2)
            async with api.delete("/api/record/cam") as response:
                assert response.status == 200

        async def ended() -> Any:
            async with api.get("/api/playback/cam") as response:
                rows = await response.json()
                return rows[0] if rows and rows[0]["status"] == "Completed" else None

        row = await until(ended, within=20)
        await stack.enter_async_context(await published(url, "now"))
        yield Recorded(url, storage, row, "{year:04d}-{month:02d}-{day:02d}".format(**row))


async def published(url: str, stream: str) -> Publisher:
    return await publish(f"{url}/whip/{stream}", [MovingPicture(), Tone()], token=token(stream, 2))


async def begun(api: ClientSession, stream: str) -> str:
    """Record a stream; its manifest."""

    async def start() -> Any:
        async with api.post(f"/api/record/{stream}") as response:
            return await response.json() if response.status == 200 else None

    return (await until(start))["mpd_path"]


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_recording_is_found_played_and_sought_in_by_one_who_is_logged_in(
    browser: Browser, recorded: Recorded
) -> None:
    """From the list of the day to the player; nothing foreign is asked for, and no policy is broken."""
    async with tab(browser, recorded.url, "/recordings/cam", cookie=token("*", 7)) as shown:
        await shown.page.get_by_role("link", name="Play the recording").click()
        first = await shown.reaches(lambda s: s["at"] > 0.5 and s["pictures"] > 10 and s["sound"] > 1000)
        assert first["width"] == 320
        assert first["duration"] == pytest.approx(recorded.row["duration_ms"] / 1000, abs=1.5)
        goal = first["duration"] - 0.7
        await shown.page.evaluate(f"video.currentTime = {goal}; void video.play()")
        last = await shown.reaches(lambda s: s["ended"])
        assert last["at"] == pytest.approx(first["duration"], abs=0.4)
        assert recorded.row["node"] in last["words"]
        assert shown.complaints == []
        assert {urlsplit(each).netloc for each in shown.asked if each.startswith("http")} == {
            urlsplit(recorded.url).netloc
        }


async def test_one_who_has_a_token_in_the_fragment_plays_without_sending_it_in_an_address(
    browser: Browser,
    recorded: Recorded,
) -> None:
    shown_path = f"/recordings/cam/play?day={recorded.day}&mpd={quote(recorded.row['mpd_path'], safe='')}"
    secret = token()
    async with tab(browser, recorded.url, f"{shown_path}#token={secret}") as shown:
        seen = await shown.reaches(lambda s: s["at"] > 0.5 and s["words"])
        assert recorded.row["node"] in seen["words"]
        assert shown.complaints == []
        # Playwright shows the page's own address with its fragment, which is not sent.
        assert not [each for each in shown.asked if secret in each.partition("#")[0]]


async def test_shared_links_of_the_original_play(browser: Browser, recorded: Recorded) -> None:
    async with tab(browser, recorded.url, "/publish/", cookie=token("*", 4)) as shown:
        for form in ("{path}", "/api/record/object/{path}", "{url}/api/record/object/{path}"):
            manifest = form.format(path=recorded.row["mpd_path"], url=recorded.url)
            await shown.page.goto(f"{recorded.url}/tools/dash.html?mpd={quote(manifest, safe='')}")
            await shown.reaches(lambda s: s["at"] > 0.2 and s["pictures"] > 2)
        assert shown.complaints == []


async def test_a_recording_plays_below_a_prefix(browser: Browser, recorded: Recorded, tmp_path: Path) -> None:
    host = web.Application()
    host.add_subapp("/live", create_app(config(tmp_path, FsStorage(root=str(recorded.folder)))))
    async with serving(host, "127.0.0.1:0") as url, tab(browser, url, "/live/publish/") as shown:
        for form in ("{path}", "/live/api/record/object/{path}"):
            manifest = quote(form.format(path=recorded.row["mpd_path"]), safe="")
            await shown.page.goto(f"{url}/live/play?mpd={manifest}#token={token('*')}")
            await shown.reaches(lambda s: s["at"] > 0.2 and s["pictures"] > 2)
        assert shown.complaints == []


#: What is asked for, and the words that it gets.
UNPLAYABLE = [
    ("{foreign}/live/manifest.mpd", "this server alone"),
    ("//{host}/api/record/object/live/manifest.mpd", "this server alone"),
    ("javascript:alert(1)", "this server alone"),
    ("/api/nodes/", "names no recording"),
    ("../../../nodes", "names no recording"),
    ("/api/record/object/%2e%2e/%2e%2e/nodes/", "names no recording"),
    ("", "names no recording"),
    ("nobody/manifest.mpd", "is not there"),
]


async def test_what_cannot_be_played_is_said_in_words(browser: Browser, recorded: Recorded) -> None:
    """And what is not ours is not asked for."""
    async with (
        faulty(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as elsewhere,
        tab(browser, recorded.url, "/publish/", cookie=token("*", 7)) as shown,
    ):
        for mpd, words in UNPLAYABLE:
            mpd = quote(mpd.format(foreign=elsewhere.url, host=urlsplit(elsewhere.url).netloc), safe="")
            await shown.page.goto(f"{recorded.url}/play?mpd={mpd}")
            await expect(shown.page.locator("#why")).to_contain_text(words)
            assert not await shown.page.get_by_role("button", name="Log in").is_visible()
        assert elsewhere.heads == []
        assert not [each for each in shown.asked if "/api/nodes" in each]


async def test_who_is_not_known_is_led_to_the_login(browser: Browser, recorded: Recorded) -> None:
    async with tab(browser, recorded.url, "/play?mpd=nobody%2Fmanifest.mpd") as shown:
        await expect(shown.page.locator("#why")).to_contain_text("log in")
        assert await shown.page.get_by_role("button", name="Log in").is_visible()


async def test_a_stream_is_recorded_and_watched_from_its_page(browser: Browser, recorded: Recorded) -> None:
    """Begun by the button, played while it grows, ended by the button; no foreign clock is asked."""
    async with tab(browser, recorded.url, "/recordings/now", cookie=token("*", 7)) as shown:
        page = shown.page
        await page.get_by_role("button", name="Record").click()
        await page.get_by_text("recording since").wait_for()
        await page.get_by_role("link", name="Play the recording").wait_for()

        async def begun() -> Path | None:
            return next((path.parent for path in recorded.folder.glob("now/**/*.mpd")), None)

        await grown(await until(begun) or Path(), 1)
        await page.get_by_role("link", name="Play the recording").click()
        await shown.reaches(lambda s: s["at"] > 2 and s["pictures"] > 5)
        await page.get_by_role("slider", name="Position").fill("1")
        await shown.reaches(lambda s: 1 <= s["at"] < 2)
        await shown.reaches(lambda s: s["at"] > 2.5)
        await page.go_back()
        await page.get_by_role("button", name="Stop recording").click()
        await page.get_by_role("button", name="Record", exact=True).wait_for()
        assert shown.complaints == []
        assert {urlsplit(each).netloc for each in shown.asked if each.startswith("http")} == {
            urlsplit(recorded.url).netloc
        }


async def test_one_who_may_only_watch_sees_no_buttons(browser: Browser, recorded: Recorded) -> None:
    async with tab(browser, recorded.url, "/recordings/now", cookie=token("now", 4)) as shown:
        assert await shown.page.get_by_role("heading", name="Recordings of now").is_visible()
        assert await shown.page.get_by_role("button", name="Record").count() == 0


@asynccontextmanager
async def bucket(folder: Path) -> AsyncIterator[tuple[str, list[tuple[str, str, dict[str, str]]]]]:
    """A bucket ``b`` with the files of a folder, for pages of any site; and what it was asked."""
    asked = []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.append((request.method, request.path, {k.lower(): v for k, v in request.headers.items()}))
        file = folder / request.match_info["path"]
        if not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file, headers={"Access-Control-Allow-Origin": "*"})

    app = web.Application()
    app.router.add_route("*", "/b/{path:.+}", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def test_segments_come_from_the_bucket_which_gets_no_token(
    browser: Browser, recorded: Recorded, tmp_path: Path
) -> None:
    """By signed redirects, which the page's policy permits to that origin; the manifest comes from Liveman.
    What the bucket is asked needs no preflight, so that it must permit no more than GET."""
    async with bucket(recorded.folder) as (origin, asked):
        made = config(tmp_path, bucket_at(origin, "b"), playback=Playback(signed_redirect=True))
        secret = token("*")
        path = f"/play?mpd={quote(recorded.row['mpd_path'], safe='')}#token={secret}"
        async with (
            serving(create_app(made), "127.0.0.1:0") as url,
            tab(browser, url, path) as shown,
        ):
            await shown.reaches(lambda s: s["at"] > 0.5 and s["pictures"] > 10 and s["sound"] > 1000)
            assert shown.complaints == []
            segments = [each for each in asked if not each[1].endswith(".mpd")]
            assert len(segments) >= 4
            for method, _, headers in segments:
                assert method == "GET" and headers["origin"] == url
                assert "authorization" not in headers and "cookie" not in headers
                assert secret not in str(headers)
