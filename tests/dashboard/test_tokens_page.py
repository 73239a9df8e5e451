"""Tokens are made in the browser, shown once, and work as the texts beside them say."""

import asyncio
import json
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from attrs import define, field
from playwright.async_api import Browser, Page, async_playwright

from auth.issuing import SECRET, native
from liveman.auth.claims import fingerprint
from liveman.config import Account, Auth, Http, Liveion, Secret
from liveman.dashboard.snippets import SNIPPETS
from liveman.demo.client import publish
from liveman.demo.pictures import MovingPicture, Tone
from recording.buckets import faulty
from support.browser import CHROMIUM, OPTIONS
from support.liveman import liveman

CLOSED = Auth(secret=Secret(SECRET), accounts=(Account("ann", Secret("her password")),))
STREAM = "a $(b) 'c' \"d\" `e` 100%"
WORDS = {"token", "whip", "whep", "watch", "publish"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@define
class Site:
    """A Liveman with one node, and one who is logged in there with a browser."""

    url: str
    page: Page
    login: str
    asked: list[str] = field(factory=list)
    """What the browser has asked for: method, URL, what it was sent with."""
    complaints: list[str] = field(factory=list)

    async def make(self, stream: str = "", *, bits: tuple[str, ...] = ("watch",)) -> str:
        """A token by the page, for one stream or for all."""
        await self.page.goto(f"{self.url}/tokens/")
        if stream:
            await self.page.get_by_label("Stream", exact=True).fill(stream)
        else:
            await self.page.get_by_label("all streams").check()
        for name in ("watch", "publish", "manage"):
            await self.page.get_by_role("checkbox", name=name).set_checked(name in bits)
        await self.page.get_by_label("How long").fill("2")
        await self.page.get_by_role("button", name="Make token").click()
        await self.page.get_by_role("heading", name="The token").wait_for()
        return await self.page.locator("#token").inner_text()

    async def texts(self) -> dict[str, str]:
        """All that there is to copy, by the element's name."""
        return await self.page.locator("#texts pre").evaluate_all(
            "all => Object.fromEntries(all.map(each => [each.id, each.textContent]))"
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        options = [*OPTIONS, "--allow-loopback-in-peer-connection"]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def liveman_url() -> AsyncIterator[str]:
    async with liveman(auth=CLOSED, liveion=Liveion(count=1), http=Http(cors=True)) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def site(browser: Browser, liveman_url: str) -> AsyncIterator[Site]:
    async with ClientSession(liveman_url) as client:
        credentials = {"username": "ann", "password": "her password"}
        async with client.post("/api/login", json=credentials) as response:
            login = (await response.json())["access_token"]
    async with await browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        await context.add_cookies([{"name": "liveman", "value": login, "url": liveman_url}])
        page = await context.new_page()
        shown = Site(liveman_url, page, login)
        page.on("request", lambda request: shown.asked.append(f"{request.method} {request.url}"))
        page.on("console", lambda said: shown.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        yield shown


async def ask(site: Site, method: str, path: str, token: str, **more: Any) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with ClientSession(site.url, headers=headers) as client:
        async with client.request(method, path, **more) as response:
            return response.status


async def test_a_token_is_made_and_works_and_is_in_no_address(site: Site) -> None:
    """For its stream and for what was ticked, and for nothing else; it is not kept in the browser either."""
    secret = await site.make("cam", bits=("watch",))
    assert await ask(site, "GET", "/api/playback/cam", secret) == 200
    assert await ask(site, "GET", "/api/playback/other", secret) == 403
    assert await ask(site, "POST", "/api/record/cam", secret) == 403
    assert site.complaints == []
    assert "POST " + site.url + "/api/token" in site.asked
    assert not [each for each in site.asked if secret in each or "token=" in each]
    kept = await site.page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert secret not in kept
    await site.page.reload()
    assert secret not in await site.page.content()


async def test_a_token_is_for_all_streams_when_that_is_ticked(site: Site) -> None:
    secret = await site.make(bits=("watch", "manage"))
    assert await ask(site, "GET", "/api/playback/other", secret) == 200
    assert await ask(site, "GET", "/api/storage/ping", secret) == 200
    await site.page.get_by_label("Stream in the texts below").fill("lobby")
    assert "/watch/lobby#token=" in (await site.texts())["text-watch"]
    assert not await site.page.get_by_text("OBS Studio").is_visible()


async def test_a_token_lives_as_long_as_was_said(site: Site) -> None:
    before = await site.page.evaluate("Date.now() / 1000")
    await site.make("cam")
    ends = await site.page.evaluate(
        "JSON.parse(atob(document.getElementById('token').textContent.split('.')[1])).exp"
    )
    assert ends - before == pytest.approx(2 * 3600, abs=60)


async def test_a_name_that_means_something_elsewhere_is_only_a_name(site: Site) -> None:
    """In the addresses of every text, and on the page."""
    secret = await site.make(STREAM, bits=("watch", "publish"))
    texts = await site.texts()
    whip, whep = (f"{site.url}/{kind}/{quote(STREAM, safe='')}" for kind in ("whip", "whep"))
    assert texts["text-obs-2"] == whip and texts["text-obs-3"] == secret
    assert texts["text-watch"] == f"{site.url}/watch/{quote(STREAM, safe='')}#token={secret}"
    command = shlex.split(texts["text-ffmpeg-1"].replace("\\\n", " "))
    assert command[-2:] == [secret, whip]
    for name, address in (("publish", whip), ("watch", whep)):
        command = shlex.split(texts[f"text-gstreamer-{name}-1"].replace("\\\n", " "))
        assert {f"signaller::auth-token={secret}"} < set(command)
        assert [word for word in command if word.endswith(f"-endpoint={address}")]
    assert not [text for text in texts.values() if re.search(r"\{\w+\}", text)]
    assert await ask(site, "GET", f"/api/playback/{quote(STREAM, safe='')}", secret) == 200
    assert site.complaints == []


async def test_the_code_is_of_the_link_and_nobody_is_asked_for_it(site: Site) -> None:
    """The picture is as dark as the link's own code, and the only file that it needed is Liveman's."""
    await site.make("cam")
    picture = site.page.get_by_role("img", name="QR code of the link to watch")
    await picture.wait_for()
    link = (await site.texts())["text-watch"]
    url = next(each.split()[1] for each in site.asked if each.endswith("/qr.js"))
    wanted = await site.page.evaluate(
        "async ([url, link]) => (await import(url)).encode(link, { ecc: 'L', border: 4 }).data.flat()"
        ".filter(Boolean).length",
        [url, link],
    )
    drawn = await picture.locator("path").get_attribute("d")
    assert drawn is not None and drawn.count("M") == wanted > 500
    assert {each.split("/")[2] for each in site.asked} == {site.url.removeprefix("http://")}


async def test_without_the_bundle_there_is_no_code_and_all_else_is_there(site: Site) -> None:
    await site.page.route("**/qr.js", lambda route: route.abort())
    secret = await site.make("cam")
    await site.page.get_by_text("make dashboard").wait_for()
    assert secret in (await site.texts())["text-watch"]


async def test_texts_are_copied(site: Site) -> None:
    secret = await site.make("cam")
    await site.page.get_by_role("button", name="Copy").first.click()
    await site.page.get_by_text("Copied.").wait_for()
    assert await site.page.evaluate("navigator.clipboard.readText()") == secret


async def test_the_script_plays_the_stream_in_a_page_of_another_site(site: Site, browser: Browser) -> None:
    """As it is, pasted into a page with a <video>."""
    maker = native({"id": "*", "exp": 2**32, "mode": 7})
    async with await publish(f"{site.url}/whip/cam", [MovingPicture(), Tone()], token=maker):
        await site.make("cam")
        script = (await site.texts())["text-script-1"]
        page = f'<!doctype html><video></video><script type="module">{script}</script>'.encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
        async with faulty(head + page) as other, await browser.new_context() as context:
            shown = await context.new_page()
            await shown.goto(other.url)
            await shown.wait_for_function("document.querySelector('video').videoWidth === 320")


async def test_a_token_is_revoked_by_its_id_or_by_itself(site: Site) -> None:
    """It is not sent for that; where it has no id of its own, the same one is made out as Liveman does."""
    page = site.page
    foreign = native({"id": "cam", "exp": 2**32, "mode": 4})
    for secret, shown in ((await site.make("cam"), False), (await site.make("cam"), True), (foreign, True)):
        assert await ask(site, "GET", "/api/playback/cam", secret) == 200
        if shown:
            await page.get_by_label("Its id, or the token itself").fill(secret)
        else:
            # What was made last is named already, so this is the one before.
            claims = json.loads(await page.evaluate("token => atob(token.split('.')[1])", secret))
            await page.get_by_label("Its id, or the token itself").fill(claims["jti"])
        await page.get_by_role("button", name="Revoke").click()
        async with page.expect_response("**/api/tokens/*") as answer:
            await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        assert (await answer.value).status == 204
        await page.get_by_text("It is revoked").wait_for()
        assert await ask(site, "GET", "/api/playback/cam", secret) == 401
        assert not [each for each in site.asked if secret in each]
    id = fingerprint(foreign.rpartition(".")[0].encode())
    assert f"DELETE {site.url}/api/tokens/{id}" in site.asked
    assert not await page.get_by_role("heading", name="The token").is_visible()


async def test_what_cannot_be_made_is_said_beside_the_form(site: Site) -> None:
    page = site.page
    await page.goto(f"{site.url}/tokens/")
    await page.get_by_label("Stream", exact=True).fill("a/b")
    await page.get_by_role("button", name="Make token").click()
    await page.get_by_role("alert").filter(has_text="the name of a stream").wait_for()
    await page.get_by_label("Stream", exact=True).fill("cam")
    await page.get_by_role("spinbutton", name="How long").fill("2")
    await page.get_by_label("Unit").select_option("days")
    await page.get_by_role("button", name="Make token").click()
    await page.get_by_role("alert").filter(has_text="cannot outlive").wait_for()
    await page.get_by_label("watch").uncheck()
    await page.get_by_role("button", name="Make token").click()
    message = "document.querySelector('[name=admin]').validationMessage"
    assert "would permit nothing" in await page.evaluate(message)
    assert not await page.get_by_role("heading", name="The token").is_visible()


async def test_a_link_may_name_the_stream(site: Site) -> None:
    await site.page.goto(f"{site.url}/tokens/?stream={quote(STREAM, safe='')}")
    assert await site.page.get_by_label("Stream", exact=True).input_value() == STREAM


async def test_the_page_is_for_those_who_may_make_tokens(site: Site) -> None:
    for claims, status in (({"id": "cam", "mode": 7}, 403), ({"id": "*", "mode": 6}, 403)):
        assert await ask(site, "GET", "/tokens/", native({"exp": 2**32, **claims})) == status
    headers = {"Authorization": f"Bearer {native({'id': '*', 'exp': 2**32, 'mode': 5})}"}
    async with ClientSession(site.url, headers=headers) as client, client.get("/tokens/") as response:
        text = await response.text()
        assert 'name="subscribe"' in text and 'name="publish"' not in text


async def test_every_text_names_only_what_the_page_fills_in() -> None:
    """And puts it between double quotes where a shell, HTML or JavaScript reads it."""
    for snippet in SNIPPETS:
        for each in snippet.fields:
            words = re.findall(r"\{(\w+)\}", each.text)
            assert set(words) <= WORDS
            if "\n" in each.text:
                assert len(re.findall(r'"[^"]*\{\w+\}"', each.text)) == len(words) > 0


async def test_ffmpeg_sends_the_token_as_its_text_says(tmp_path: Path) -> None:
    """By FFmpeg's own library, with the options of the text; the address arrives byte for byte."""
    command = next(each for each in SNIPPETS if each.name == "ffmpeg").fields[0].text
    async with faulty(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as server:
        whip = f"{server.url}/whip/{quote(STREAM, safe='')}"
        text = command.replace("{token}", "to-k.e_n").replace("{whip}", whip)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FFMPEG, *shlex.split(text.replace("\\\n", " "))
        )
        assert await process.wait() == 0
    assert server.heads[0].startswith(f"POST /whip/{quote(STREAM, safe='')} HTTP/1.1")
    assert "\r\nAuthorization: Bearer to-k.e_n\r\n" in server.heads[0]
    assert "\r\nContent-Type: application/sdp\r\n" in server.heads[0]


#: The end of its command line; the library keeps Python's lock while it asks.
FFMPEG = """
import sys, av
words = sys.argv[1:]
at = words.index("-f")
more = words[at + 2 : -1]
options = {name[1:]: value for name, value in zip(more[::2], more[1::2])}
output = av.open(words[-1], "w", format=words[at + 1], options=options)
video = output.add_stream("libx264", rate=30, options={"profile": "baseline", "bf": "0"})
video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
output.add_stream("libopus", rate=48000, layout="stereo")
try:
    output.start_encoding()
except av.error.HTTPForbiddenError:
    sys.exit(0)
sys.exit(1)
"""
