"""The page of the ICE providers: how they do, and which servers work from a browser, against a real TURN server."""

import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from attrs import evolve
from playwright.async_api import Browser, expect

from auth.issuing import SECRET as TOKEN_SECRET
from auth.issuing import compact, hs256
from liveman.access import MANAGE, PUBLISH, SUBSCRIBE
from liveman.config import Auth, ExtraIce, Secret
from liveman.dashboard.ice import row
from liveman.ice.pool import Counts
from liveman.ice.source import Status
from support.liveman import liveman
from support.webrtc import new_page
from test_coturn import SECRET, coturn, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATUS = Status("acme", "Acme", "asked", True, "", None, Counts(fetched=1), None, 0.0)


@pytest.mark.parametrize(
    ("change", "state", "note"),
    [
        ({}, "works", ""),
        ({"counts": Counts()}, "idle", "Nobody has needed it yet."),
        ({"works": False}, "failing", "The last lease did not come."),
        (
            {"works": False, "held": 3},
            "failing",
            "The last lease did not come. Sessions still get the 3 that wait.",
        ),
        ({"works": False, "wait": 61.0}, "paused", "After failures in a row it is asked again in 1 min 1 s."),
        ({"works": False, "started": False}, "off", "Its start failed"),
    ],
)
async def test_how_a_provider_does_is_told_in_a_word_and_what_follows(
    change: dict[str, Any], state: str, note: str
) -> None:
    shown = row(evolve(STATUS, **change))
    assert shown["state"] == state
    assert shown["note"].startswith(note) and bool(shown["note"]) == bool(note)


async def test_a_failure_is_shown_with_its_time() -> None:
    shown = row(evolve(STATUS, problem="down", problem_at=1_800_000_000.0))
    assert (shown["problem"], shown["problem_at"]) == ("down", "2027-01-15 08:00:00Z")


async def test_the_page_is_for_those_who_may_manage_and_shows_no_secret() -> None:
    """Others are refused; who is not known is sent to the login."""

    def token(mode: int) -> dict[str, str]:
        claims = {"id": "*", "exp": int(time.time()) + 600, "mode": mode}
        return {"Authorization": f"Bearer {compact({'alg': 'HS256'}, claims, hs256(TOKEN_SECRET))}"}

    providers = {"coturn": {"secret": SECRET, "urls": ["turn:t.test"]}}
    closed = Auth(secret=Secret(TOKEN_SECRET))
    html = {"Accept": "text/html"}
    async with (
        liveman(auth=closed, extra_ice=ExtraIce(providers=providers)) as url,
        ClientSession() as client,
    ):
        async with client.get(f"{url}/ice/", headers=token(MANAGE) | html) as response:
            page = await response.text()
            assert response.status == 200
            assert "coturn" in page and SECRET not in page
        async with client.get(f"{url}/ice/", headers=token(PUBLISH | SUBSCRIBE) | html) as response:
            assert response.status == 403
        async with client.get(f"{url}/ice/", headers=html, allow_redirects=False) as response:
            assert response.status == 303


async def test_a_browser_says_which_servers_work(browser: Browser, tmp_path: Path) -> None:
    """Of each kind one that does, one that nobody listens at, and one that knows another secret."""
    nowhere = f"turn:127.0.0.1:{free_port()}?transport=tcp"
    async with coturn(tmp_path) as port:
        udp, tcp = (f"turn:127.0.0.1:{port}?transport={name}" for name in ("udp", "tcp"))
        providers = {
            "coturn": {"secret": SECRET, "urls": [f"stun:127.0.0.1:{port}", udp, tcp, nowhere]},
            "other": {"provider": "coturn", "secret": "not the server's", "urls": [udp]},
        }
        async with (
            liveman(extra_ice=ExtraIce(providers=providers)) as url,
            new_page(browser, f"{url}/ice/") as page,
        ):
            await page.get_by_role("button", name="Test the servers").click()
            await expect(page.locator("#test-state")).to_have_text("3 of 5 work from here.", timeout=30_000)
            findings = [
                [cell.strip() for cell in await each.locator("td > div").all_inner_texts()]
                for each in await page.locator("#findings tr").all()
            ]
            said = {(where, result): words for where, _, result, words in findings}
            assert said["This browser", "works"].startswith("In its own network this browser has ")
            assert said[f"stun:127.0.0.1:{port}", "works"].startswith("Works: ")
            for server in (udp, tcp):
                assert "media can be relayed by 127.0.0.1:" in said[server, "works"]
            assert "it cannot be reached" in said[nowhere, "fails"]
            assert "it refuses the username and credential" in said[udp, "fails"]
            # It is known now how that one does, and shown by itself.
            await expect(page.locator("#provider-1")).to_contain_text("works")
