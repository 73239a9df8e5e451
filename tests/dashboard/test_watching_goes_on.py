"""What the pages to watch and to publish do when what they need is not there, no more, or there again."""

import asyncio
import os
import signal
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from dashboard.players import start
from liveman.config import NodeConfig
from liveman.demo.client import publish
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture
from support.liveman import liveman
from support.nodes import get_json
from support.webrtc import is_live, new_page, playing, reaches, says

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_who_comes_too_early_waits_and_then_sees(browser: Browser, url: str) -> None:
    async with new_page(browser, f"{url}/watch/early") as viewer:
        await says(viewer, "Not live yet")
        async with await publish(f"{url}/whip/early", [MovingPicture()]):
            await playing(viewer)


class Pausing(MovingPicture):
    """One that sends nothing while it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.goes = asyncio.Event()
        self.goes.set()

    async def recv(self) -> Any:
        await self.goes.wait()
        return await super().recv()


async def test_a_publisher_who_pauses_is_waited_for(browser: Browser, url: str) -> None:
    picture = Pausing()
    async with (
        await publish(f"{url}/whip/paused", [picture]),
        new_page(browser, f"{url}/watch/paused") as viewer,
    ):
        await playing(viewer)
        picture.goes.clear()
        await says(viewer, "Nothing arrives")
        picture.goes.set()
        await playing(viewer)


#: A browser that calls a connection connected also when the other side has closed it, as Firefox does for
#: seconds; and what the page says, one after another.
LATE = """
  Object.defineProperty(RTCPeerConnection.prototype, "connectionState", {get() {
    return this.iceConnectionState === "new" ? "new" : "connected";
  }});
  window.said = [];
  addEventListener("DOMContentLoaded", () => new MutationObserver(() => said.push(state.dataset.is))
    .observe(document.getElementById("state"), {attributeFilter: ["data-is"]}));
"""


async def test_who_is_kicked_is_back_before_the_browser_calls_it_lost(browser: Browser, url: str) -> None:
    async with (
        await publish(f"{url}/whip/kicked", [MovingPicture()]),
        new_page(browser, "about:blank") as viewer,
    ):
        await viewer.add_init_script(LATE)
        await viewer.goto(f"{url}/watch/kicked")
        await playing(viewer)
        (stream,) = [each for each in await get_json(f"{url}/api/streams/") if each["id"] == "kicked"]
        (session,) = stream["subscribe"]["sessions"]
        await viewer.evaluate("said.length = 0")
        answer = await viewer.request.delete(f"{url}/session/kicked/{session['id']}")
        assert answer.status == 204
        await reaches(viewer, lambda seen: not is_live(seen))
        await playing(viewer)
        assert await viewer.evaluate("said") == ["lost", "connecting", "live"]


async def test_when_its_node_is_killed_all_come_back_on_another(browser: Browser) -> None:
    async with buildin_nodes(2) as nodes:
        declared = [NodeConfig(each.alias, each.url, pub_max=900 + i) for i, each in enumerate(nodes)]
        async with (
            liveman(*declared) as url,
            new_page(browser, f"{url}/publish/cam") as publisher,
            new_page(browser, f"{url}/watch/cam") as viewer,
        ):
            await start(publisher)
            await playing(viewer)
            os.kill(nodes[1].pid, signal.SIGKILL)
            await reaches(viewer, lambda seen: not is_live(seen))
            await reaches(publisher, lambda seen: not is_live(seen))
            await playing(viewer, within=60)
            await reaches(publisher, is_live)


async def test_a_server_that_goes_away_is_said_and_its_return_is_seen(browser: Browser, url: str) -> None:
    """By itself, and at once where somebody asks for it."""
    async with new_page(browser, f"{url}/watch/nobody") as viewer:
        await says(viewer, "Not live yet")
        await viewer.context.set_offline(True)
        await says(viewer, "The server cannot be reached")
        await viewer.context.set_offline(False)
        await viewer.get_by_role("button", name="Try now").click()
        await says(viewer, "Not live yet")


async def test_a_browser_without_webrtc_is_told(browser: Browser, url: str) -> None:
    """And what else there is on the page works."""
    async with new_page(browser, "about:blank") as page:
        await page.add_init_script("delete window.RTCPeerConnection; delete window.RTCRtpSender;")
        await page.goto(f"{url}/watch/nobody")
        await says(page, "It has no WebRTC")
        await page.goto(f"{url}/publish/nobody")
        await expect(page.get_by_label("To watch")).to_have_value(f"{url}/watch/nobody")
        await page.get_by_role("button", name="Start").click()
        await says(page, "It has no WebRTC")


async def test_addresses_are_copied_or_selected_where_pages_may_not_copy(browser: Browser, url: str) -> None:
    async with new_page(
        browser, f"{url}/publish/shared", permissions=["clipboard-read", "clipboard-write"]
    ) as page:
        copy = page.get_by_role("button", name="“To watch”")
        await copy.click()
        await expect(page.get_by_text("Copied.")).to_be_visible()
        assert await page.evaluate("navigator.clipboard.readText()") == f"{url}/watch/shared"
        await page.evaluate("delete Navigator.prototype.clipboard")
        await copy.click()
        await expect(page.get_by_text("Selected: copy it")).to_be_visible()
        assert await page.evaluate("getSelection().toString()") == f"{url}/watch/shared"
