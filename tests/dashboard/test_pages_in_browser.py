"""All pages in a browser, below a prefix: for everyone, with any name, and without JavaScript."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from dashboard.looking import NAMES
from dashboard.stage import ALIAS, ODD, PAGES, Looked, opened, stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

_AXE = Path(__file__).parent.parent / "browser/node_modules/axe-core/axe.min.js"
#: They do harm where a script forgets what they are; the others are the lists' matter.
HOSTILE = [name for name in NAMES if set(name) & set("\"':\u202e") or name == "%41%2F" or len(name) == 255]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with stage(tmp_path_factory.mktemp("stage"), NAMES) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ann(browser: Browser, url: str) -> AsyncIterator[Looked]:
    """What one sees who is logged in."""
    async with opened(browser, url, color_scheme="light", reduced_motion="reduce") as looked:
        await looked.page.context.add_init_script(path=_AXE)
        yield looked


async def faults(page: Page, *rules: str) -> list[str]:
    """What keeps people from using what is shown now (axe-core), where it is serious or critical."""
    violations: list[dict[str, Any]] = await page.evaluate(
        """async (rules) => {
          const options = {resultTypes: ["violations"], ...(rules.length && {runOnly: rules})};
          return (await axe.run(options)).violations;
        }""",
        rules,
    )
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in violations
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES)
async def test_everyone_can_use_a_page_which_asks_nobody_else(ann: Looked, url: str, name: str) -> None:
    """In light and in dark, with all that opens open, on a phone too; no policy is broken."""
    page = ann.page
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.emulate_media(color_scheme="light")
    await page.goto(url + PAGES[name])
    await page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert await faults(page) == []
    await page.emulate_media(color_scheme="dark")
    assert await faults(page, "color-contrast") == []
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360, "it is wider than a phone"
    await ann.well()


async def test_names_and_rates_are_whole_on_a_tablet(ann: Looked, url: str) -> None:
    page = ann.page
    await page.set_viewport_size({"width": 800, "height": 1100})
    lines = """each => { const range = new Range(); range.selectNodeContents(each);
      return new Set(Array.from(range.getClientRects(), (rect) => rect.top)).size; }"""
    await page.goto(url + "streams/")
    assert await page.get_by_role("link", name="conference", exact=True).evaluate(lines) == 1
    await page.goto(url + "streams/cam-1")
    for name in ("Comes in", "Goes out"):
        assert await page.locator(".card", has_text=name).locator("dd").evaluate(lines) == 1


async def test_everyone_can_log_in(browser: Browser, url: str) -> None:
    async with opened(browser, url, logged=False, color_scheme="dark") as looked:
        await looked.page.context.add_init_script(path=_AXE)
        await looked.page.goto(url + "nodes/")
        await expect(looked.page).to_have_title("Log in · Liveman")
        assert await faults(looked.page) == []
        await looked.well()


async def test_hostile_names_are_shown_as_they_are_and_never_executed(ann: Looked, url: str) -> None:
    """In lists, where they come by events too."""
    page = ann.page
    await page.add_init_script(
        """addEventListener("DOMContentLoaded", () => document.getElementById("live")
          .addEventListener("live", () => { document.documentElement.dataset.events = "some"; }));"""
    )
    for path, within in [("streams/", "#live"), ("nodes/eu-1", "#live"), ("recordings/", "#live")]:
        await page.goto(url + path)
        await page.locator("html[data-events]").wait_for(state="attached")
        shown = set(await page.locator(f"{within} td bdi").all_text_contents())
        assert {*NAMES, ODD} <= shown
        await ann.well()
    await page.goto(url)
    await page.locator("html[data-events]").wait_for(state="attached")
    await expect(page.locator("#problems")).to_contain_text(f"Node {ALIAS} is down")
    await expect(page.locator("#problems")).to_contain_text("The ICE provider <b>cloud<b> fails")
    await ann.well()


@pytest.mark.parametrize("name", HOSTILE)
async def test_the_pages_of_a_hostile_name_show_it_as_it_is(ann: Looked, url: str, name: str) -> None:
    """Where scripts make something of it, and in the question before it is deleted."""
    page, quoted = ann.page, quote(name, safe="")
    escaped = quoted.replace("'", "%27")
    await page.goto(f"{url}streams/{quoted}")
    assert await page.locator("h1").text_content() == name
    await page.get_by_role("button", name="Delete stream").click()
    await expect(page.get_by_role("dialog")).to_contain_text(f"Delete {name}?", use_inner_text=False)
    await page.get_by_role("button", name="Cancel").click()
    await ann.well()
    await page.get_by_role("link", name="Watch").click()
    assert await page.locator("h1").text_content() == name
    assert await page.title() == f"Watch {name} · Liveman"
    await ann.well()
    await page.goto(f"{url}publish/{quoted}")
    await expect(page.get_by_label("To watch")).to_have_value(f"{url}watch/{escaped}")
    await ann.well()
    await page.goto(f"{url}tokens/?stream={quoted}")
    await expect(page.get_by_label("Stream", exact=True)).to_have_value(name)
    await page.get_by_role("spinbutton").fill("5")
    await page.get_by_label("Unit").select_option("minutes")
    await page.get_by_role("button", name="Make token").click()
    link = page.locator("#text-watch")
    await expect(link).to_contain_text(f"{url}watch/{escaped}#token=")
    await page.get_by_label("Its id, or the token itself").fill(name)
    await page.get_by_role("button", name="Revoke").click()
    async with page.expect_response(lambda response: response.request.method == "DELETE") as revoked:
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    told = "#status" if (await revoked.value).ok else "#revoke [role=alert]"
    await expect(page.locator(told)).to_contain_text("id" if told != "#status" else "It is revoked")
    await ann.well()


async def test_what_is_not_there_is_told_with_its_name_as_it_is(ann: Looked, url: str) -> None:
    for name in (ALIAS, "%41", "javascript:alert(1)"):
        await ann.page.goto(f"{url}nodes/{quote('x' + name, safe='')}")
        await expect(ann.page.get_by_role("main")).to_contain_text(f"x{name}")
        await ann.well()


async def test_without_scripts_one_logs_in_and_reads_every_page(browser: Browser, url: str) -> None:
    async with opened(browser, url, logged=False, java_script_enabled=False) as looked:
        page = looked.page
        await page.goto(url + "streams/?sort=-viewers")
        await page.get_by_label("Name").fill("ann")
        await page.get_by_label("Password").fill("her password")
        await page.get_by_role("button", name="Log in").click()
        assert page.url == url + "streams/?sort=-viewers"
        await page.get_by_label("Search").fill("cam-1")
        await page.get_by_role("button", name="Apply").click()
        await page.get_by_role("link", name="cam-1", exact=True).click()
        for words in ("publisher, 1 viewer", "viewer-0-0", "most free places"):
            await expect(page.get_by_role("main")).to_contain_text(words)
        for name, path in PAGES.items():
            answer = await page.goto(url + path)
            assert answer is not None and answer.status == (404 if name == "error" else 200)
            assert await page.locator("h1").is_visible()
            if name in ("watch", "publish", "publish-named", "play", "tokens"):
                assert "JavaScript" in await page.locator("noscript").first.inner_text(), name
        await page.goto(url)
        await page.get_by_role("button", name="Log out").click()
        assert page.url == url + "login"
        assert looked.wrong == []
