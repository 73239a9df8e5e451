"""The pages to watch and to publish, in a browser, with built-in nodes."""

import logging
import re
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from playwright.async_api import Browser, Response, Route, expect

from auth.issuing import SECRET, compact, hs256
from dashboard.players import mounted, start
from liveman.access import PUBLISH, SUBSCRIBE
from liveman.config import Account, Auth, Secret
from liveman.demo.client import publish
from liveman.demo.pictures import MovingPicture
from liveman.server import serving
from support.liveman import liveman
from support.nodes import get_json, until
from support.webrtc import new_page, playing, reaches, says
from test_coturn import coturn, with_coturn

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: HTML, quotes, an escape that is none, a right-to-left override, and a slash's look-alike.
ODD = '<b>"it\'s" %41\u202e\u2215&amp;'
CLOSED = Auth(secret=Secret(SECRET), accounts=(Account("ann", Secret("her password")),))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed_url() -> AsyncIterator[str]:
    """The same, where one must say who one is."""
    async with mounted(auth=CLOSED) as url:
        yield url


async def sessions(url: str, name: str, kind: str) -> int:
    streams = [each for each in await get_json(f"{url}/api/streams/") if each["id"] == name]
    return sum(not each["leaveAt"] for stream in streams for each in stream[kind]["sessions"])


def token(stream: str, mode: int) -> str:
    claims = {"id": stream, "exp": int(time.time()) + 600, "mode": mode}
    return compact({"alg": "HS256", "typ": "JWT"}, claims, hs256(SECRET))


async def test_what_one_page_publishes_another_shows(
    browser: Browser, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Under any name; and who leaves says so, so that nothing stays behind at the node."""
    caplog.set_level(logging.INFO, "liveman.access")
    name = quote(ODD, safe="")

    async def leaves() -> int:
        return sum(line.startswith("DELETE ") for line in caplog.messages)

    async def all_have_left() -> bool:
        return await leaves() == 3

    async with (
        new_page(browser, f"{url}/publish/{name}") as publisher,
        new_page(browser, f"{url}/watch/{name}") as viewer,
    ):
        assert await viewer.locator("h1").inner_text() == ODD
        assert await publisher.locator("h1").inner_text() == f"Publish {ODD}"
        await start(publisher)
        seen = await playing(viewer)
        assert seen["width"] == 640
        await viewer.get_by_role("button", name="Statistics").click()
        figures = viewer.locator("#stats")
        await expect(figures).to_contain_text("640 \u00d7 480")
        await expect(figures).to_contain_text("VP8")
        await expect(figures).to_contain_text("host → host")
        await expect(publisher.locator("#stats")).to_contain_text("640 \u00d7 480")
        shared = await publisher.get_by_label("To watch").input_value()
        assert shared == f"{url}/watch/{name}".replace("'", "%27")

        assert await sessions(url, ODD, "publish") == await sessions(url, ODD, "subscribe") == 1
        await viewer.reload()
        await until(leaves)
        await playing(viewer)
        await publisher.get_by_role("button", name="Stop").click()
        await until(lambda: is_none(sessions(url, ODD, "publish")))
        await says(viewer, "The stream has ended")
        await until(all_have_left)


async def is_none(counting: Coroutine[Any, Any, int]) -> bool:
    return await counting == 0


NOTE_LIMITS = """
  window.limits = [];
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (track, options) {
    limits.push(...(options.sendEncodings ?? []));
    return add.call(this, track, options);
  };
"""


async def test_a_test_pattern_is_published_as_it_was_chosen(browser: Browser, url: str) -> None:
    """With codec, size and bitrate."""

    async def codecs() -> set[str]:
        streams = await get_json(f"{url}/api/streams/")
        return {codec["codec"].upper() for each in streams if each["id"] == "a b" for codec in each["codecs"]}

    async with new_page(browser, f"{url}/publish/") as publisher:
        await publisher.add_init_script(NOTE_LIMITS)
        await publisher.get_by_label("Name of the stream").fill("a b")
        await publisher.get_by_role("button", name="Go on").click()
        await publisher.wait_for_url("**/publish/a%20b")
        await publisher.get_by_label("Test pattern").check()
        await publisher.get_by_label("Resolution").select_option("640 \u00d7 360")
        await publisher.get_by_label("Video codec").select_option("H264")
        await publisher.get_by_label("Bitrate").select_option("500 kbit/s")
        await start(publisher)
        assert await until(codecs) >= {"H264"}
        await expect(publisher.locator("#stats")).to_contain_text("640 \u00d7 360")
        assert await publisher.evaluate("limits") == [{"maxBitrate": 500_000}]


#: A browser that cannot reach a node but by TURN.
ONLY_RELAY = """
  const Peer = RTCPeerConnection;
  RTCPeerConnection = function (options) { return new Peer({...options, iceTransportPolicy: "relay"}); };
"""
FRAGMENT = re.compile(
    r"a=ice-ufrag:\S+\r\na=ice-pwd:\S+\r\nm=video [^\r\n]+\r\na=mid:0\r\n(a=candidate:[^\r\n]+ typ relay [^\r\n]+\r\n)+"
)


async def test_media_comes_by_the_turn_server_of_the_answer(browser: Browser, tmp_path: Path) -> None:
    """Candidates are gathered with what the 201 offers, and follow to the session, which takes them."""
    sent: list[tuple[str, int]] = []

    def note(response: Response) -> None:
        if response.request.method == "PATCH":
            sent.append((response.request.post_data or "", response.status))

    async with coturn(tmp_path) as port, mounted(extra_ice=with_coturn(port)) as url:
        async with (
            await publish(f"{url}/whip/cam", [MovingPicture()]),
            new_page(browser, f"{url}/publish/") as page,
        ):
            page.on("response", note)
            await page.add_init_script(ONLY_RELAY)
            await page.goto(f"{url}/watch/cam")
            await playing(page)
            await page.get_by_role("button", name="Statistics").click()
            await expect(page.locator("#stats")).to_contain_text("relay over udp")
    assert sent and all(FRAGMENT.fullmatch(text) and status == 204 for text, status in sent)


async def test_a_token_in_the_fragment_opens_the_stream_and_goes_nowhere_else(
    browser: Browser, closed_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No URL that is asked for has it, nor any log; without it the page says what is missing."""
    caplog.set_level(logging.INFO)
    url = closed_url
    good, other = token("cam", SUBSCRIBE), token("other", SUBSCRIBE)
    async with await publish(f"{url}/whip/cam", [MovingPicture()], token=token("cam", PUBLISH)):
        async with new_page(browser, f"{url}/watch/cam") as viewer:
            await says(viewer, "A token is needed")
            assert await viewer.get_by_role("link", name="Log in").is_visible()
            asked: list[str] = []
            viewer.on("request", lambda request: asked.append(request.url))
            for shown, words in [
                ("wrong", "The token is not accepted"),
                (other, "This token is not for this stream"),
                (good, "Live"),
            ]:
                # The page starts anew by itself.
                await viewer.evaluate("token => location.hash = `token=${token}`", shown)
                await says(viewer, words)
            await playing(viewer)
    assert f"{url}/session/cam/" in " ".join(asked)
    assert not [each for each in asked if good in each.partition("#")[0]]
    assert good not in caplog.text and "/watch/cam" in caplog.text


async def test_who_logs_in_publishes_and_watches_without_a_token(browser: Browser, closed_url: str) -> None:
    """From the page that wants a token there is a way to the login and back."""
    async with new_page(browser, f"{closed_url}/publish/hers") as page:
        await page.get_by_role("button", name="Start").click()
        await says(page, "A token is needed")
        await page.get_by_role("link", name="Log in").click()
        await page.get_by_label("Name").fill("ann")
        await page.get_by_label("Password").fill("her password")
        await page.get_by_role("button", name="Log in").click()
        await page.wait_for_url("**/publish/hers")
        await start(page)
        viewer = await page.context.new_page()
        await viewer.goto(f"{closed_url}/watch/hers")
        await playing(viewer)


async def test_another_sites_frame_plays_silently_until_somebody_wants_sound(
    browser: Browser, closed_url: str
) -> None:
    """No cookie goes there, so the token in the fragment is what opens it."""
    watched = f"/watch/framed#token={token('framed', SUBSCRIBE)}"

    async def page(_request: web.Request) -> web.Response:
        frame = (
            f'<iframe src="{closed_url}{watched}" allow="autoplay; fullscreen" width=640 height=360></iframe>'
        )
        return web.Response(text=f"<!doctype html><title>Elsewhere</title>{frame}", content_type="text/html")

    other = web.Application()
    other.router.add_get("/", page)
    async with serving(other, "127.0.0.1:0") as elsewhere:
        async with await publish(
            f"{closed_url}/whip/framed", [MovingPicture()], token=token("framed", PUBLISH)
        ):
            elsewhere = elsewhere.replace("127.0.0.1", "localhost")
            async with new_page(browser, f"{elsewhere}/") as host:
                frame = host.frames[1]
                seen = await playing(frame)
                assert seen["muted"] and not seen["paused"]
                await frame.get_by_role("button", name="Unmute").click()
                assert not (await reaches(frame, lambda seen: not seen["paused"]))["muted"]


async def test_a_layer_can_be_chosen_where_the_node_offers_some(browser: Browser, url: str) -> None:
    """The built-in nodes have none, so the answers are a node's with simulcast."""
    chosen: list[Any] = []

    async def made(route: Route) -> None:
        response = await route.fetch()
        if response.status == 201:
            layer = f'<{response.headers["location"]}/layer>; rel="urn:ietf:params:whep:ext:core:layer"'
            await route.fulfill(response=response, headers={**response.headers, "link": layer})
        else:
            await route.fulfill(response=response)

    async def layers(route: Route) -> None:
        if route.request.method == "GET":
            await route.fulfill(json=[{"encodingId": "q"}, {"encodingId": "<b>"}])
        else:
            chosen.append(route.request.post_data_json)
            await route.fulfill(body="")

    async with new_page(browser, f"{url}/watch/layered") as viewer:
        assert not await viewer.get_by_label("Quality").is_visible()
        await viewer.route("**/whep/layered", made)
        await viewer.route("**/layer", layers)
        async with await publish(f"{url}/whip/layered", [MovingPicture()]):
            await viewer.get_by_label("Quality").select_option("<b>", timeout=20_000)

            async def was_chosen() -> list[Any]:
                return chosen

            assert await until(was_chosen) == [{"encodingId": "<b>"}]


async def test_the_page_has_no_data_and_only_the_one_to_watch_may_be_framed() -> None:
    """Whoever asks gets the same, also where a token is wanted for everything."""
    async with liveman(auth=CLOSED) as url, ClientSession() as client:
        for path, framed in [("/watch/cam", "*"), ("/publish/cam", "'none'"), ("/publish/", "'none'")]:
            async with client.get(url + path) as response:
                assert response.status == 200
                assert f"frame-ancestors {framed}" in response.headers["Content-Security-Policy"]
                assert response.headers["Referrer-Policy"] == "same-origin"


#: A refusal's status, whose it is, whether there was a token, whether it had been live → state, and words.
REFUSALS = [
    (401, "whep", False, False, "refused", "A token is needed"),
    (401, "whip", True, False, "refused", "The token is not accepted"),
    (403, "whep", True, False, "refused", "This token is not for this stream"),
    (403, "whip", False, False, "refused", "You may not do this"),
    (404, "whep", False, False, "waiting", "Not live yet"),
    (404, "whep", False, True, "waiting", "The stream has ended"),
    (404, "whip", False, False, "refused", "This stream cannot be published"),
    (409, "whip", False, False, "refused", "Somebody publishes this stream already"),
    (409, "whip", False, True, "lost", "The stream is still taken"),
    (429, "whep", False, False, "lost", "Too many requests"),
    (503, "whep", False, False, "lost", "No place is free"),
    (502, "whep", False, False, "lost", "The media server does not answer"),
    (500, "whip", False, False, "refused", "The server refuses (500)"),
    (500, "whep", False, False, "lost", "The server failed"),
    (418, "whep", False, False, "refused", "The server refuses (418)"),
]

#: A Link field, and the ICE servers in it.
LINKS = [
    ("", []),
    ('<stun:s.test>; rel="ice-server"', [{"urls": "stun:s.test"}]),
    (
        '<turn:t.test?transport=udp>; rel="ice-server"; username="a,b"; credential="c;\\"d\\\\"; '
        'credential-type="password", <stun:s.test>;rel=ice-server, </session/x/y/layer>; rel="urn:x"',
        [
            {"urls": "turn:t.test?transport=udp", "username": "a,b", "credential": 'c;"d\\'},
            {"urls": "stun:s.test"},
        ],
    ),
    ('<turn:t.test>; Rel="other ICE-Server"', [{"urls": "turn:t.test"}]),
    ("nonsense; rel=ice-server", []),
]


async def test_what_was_refused_is_said_in_words_and_links_are_read(browser: Browser) -> None:
    async with liveman() as url, new_page(browser, f"{url}/publish/") as page:
        scripts = await page.locator("script[src]").first.evaluate("each => each.src")
        for status, kind, has_token, was_live, state, title in REFUSALS:
            told = await page.evaluate(
                """async ([scripts, status, kind, hasToken, wasLive]) => {
                  const {judge} = await import(new URL("words.js", scripts));
                  const {Refusal} = await import(new URL("signalling.js", scripts));
                  return judge(new Refusal(status, "why", null), {kind, hasToken, wasLive});
                }""",
                [scripts, status, kind, has_token, was_live],
            )
            assert (told["is"], told["title"]) == (state, title)
            assert (told["wait"] is None) == (state == "refused")
        for text, servers in LINKS:
            found = await page.evaluate(
                """async ([scripts, field]) => {
                  const {iceServers, parseLinks} = await import(new URL("signalling.js", scripts));
                  return iceServers(parseLinks(field));
                }""",
                [scripts, text],
            )
            assert found == servers
