"""What the pages' own scripts do in a browser: updates in place, lost connections, expired logins, actions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright, expect

from auth.asking import bearer
from cluster.fake import body, fake_node, stream
from dashboard.browsing import CLOSED
from liveman import create_app
from liveman.access import Identity
from liveman.dashboard import live as live_module
from liveman.server import serving
from support.browser import CHROMIUM, OPTIONS
from support.liveman import config_for

#: For the browser another host, which is not its own and has no https.
ELSEWHERE = "live.test"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        options = [*OPTIONS, f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        await started.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(live_module, "WAIT_SECONDS", 0.1)


@asynccontextmanager
async def opened(browser: Browser, url: str) -> AsyncIterator[Page]:
    """A page that does nothing it may not, and asks nobody else."""
    context = await browser.new_context()
    page = await context.new_page()
    wrong: list[str] = []
    page.on(
        "console", lambda message: wrong.append(message.text) if "Security Policy" in message.text else None
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(url) else wrong.append(request.url))
    page.set_default_timeout(10_000)
    await page.goto(url)
    yield page
    await context.close()
    assert not wrong


def figure(page: Page, name: str) -> str:
    return f"dl.cards .card:has(dt:text-is('{name}')) dt + dd"


async def test_a_page_follows_the_cluster_and_keeps_the_focus(browser: Browser) -> None:
    async with fake_node(streams=body(stream("x", ["p"])), sse=True) as node:
        async with (
            serving(create_app(config_for(node.url)), "127.0.0.1:0") as url,
            opened(browser, url) as page,
        ):
            link = page.get_by_role("link", name="Streams", exact=True).last
            await link.focus()
            element = await link.element_handle()
            for names in ("xy", "xyz"):
                node.say(b"data: " + body(*(stream(name, [f"p-{name}"]) for name in names)) + b"\n\n")
                await expect(page.locator(figure(page, "Publishers"))).to_have_text(str(len(names)))
            assert await page.evaluate("element => document.activeElement === element", element)


async def test_a_lost_connection_is_told_and_the_page_catches_up(browser: Browser) -> None:
    async with fake_node(streams=body(stream("x", ["p"])), sse=True) as node:
        config = config_for(node.url)
        async with serving(create_app(config), "127.0.0.1:0") as url:
            context = opened(browser, url)
            page = await context.__aenter__()
            await expect(page.locator(figure(page, "Publishers"))).to_have_text("1")
        await expect(page.get_by_role("status")).to_contain_text("Connection lost")
        node.streams = body(stream("x", ["p"]), stream("y", ["q"]))
        async with serving(create_app(config), url.removeprefix("http://")):
            await expect(page.locator(figure(page, "Publishers"))).to_have_text("2", timeout=15_000)
            await expect(page.get_by_role("status")).not_to_contain_text("Connection lost")
            await context.__aexit__(None, None, None)


async def test_who_is_logged_in_no_more_logs_in_and_is_back(browser: Browser) -> None:
    """As at the end of a login's day, and after `/api/logout` in another tab."""
    config = config_for(auth=CLOSED)
    async with serving(create_app(config), "127.0.0.1:0") as url:
        context = opened(browser, url)
        page = await context.__aenter__()
        await log_in(page, wanted=f"{url}/")
        await page.goto(f"{url}/?from=here")
        await page.context.clear_cookies()
    async with serving(create_app(config), url.removeprefix("http://")):
        await page.wait_for_url("**/login?**", timeout=15_000)
        await log_in(page, wanted=f"{url}/?from=here")
        await context.__aexit__(None, None, None)


async def log_in(page: Page, wanted: str) -> None:
    await page.get_by_label("Name").fill("ann")
    await page.get_by_label("Password").fill("her password")
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(wanted)
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()


async def test_without_https_one_logs_in_acts_and_logs_out_but_not_by_pages_of_others(
    browser: Browser,
) -> None:
    """Then a browser tells by Origin alone whose page a form is on."""
    async with serving(create_app(config_for(auth=CLOSED)), "127.0.0.1:0") as url:
        there = url.replace("127.0.0.1", ELSEWHERE)
        async with opened(browser, there) as page:
            assert not await page.evaluate("isSecureContext")
            await log_in(page, wanted=f"{there}/")
            answer = await page.evaluate(
                "fetch('api/tokens/some', {method: 'DELETE'}).then(({status}) => status)"
            )
            assert answer == 204
            stranger = await page.context.new_page()
            for name in ("logout", "api/logout"):
                await stranger.set_content(
                    f'<form method="post" action="{there}/{name}"><button>Go</button></form>'
                )
                async with stranger.expect_response(f"{there}/{name}") as refused:
                    await stranger.get_by_role("button").click()
                assert (await refused.value).status == 403
                await stranger.goto("about:blank")
            assert await page.context.cookies()
            await page.get_by_role("button", name="Log out").click()
            await page.wait_for_url(f"{there}/login")
            assert not await page.context.cookies()


async def test_a_link_of_another_site_finds_who_is_logged_in(browser: Browser) -> None:
    """Browsers keep the cookie back from such links, so the login page looks for itself."""
    async with serving(create_app(config_for(auth=CLOSED)), "127.0.0.1:0") as url:
        async with opened(browser, url) as page:
            await log_in(page, wanted=f"{url}/")
            await page.goto(f"{url}/login?next=/%3Ffrom=elsewhere")
            await page.wait_for_url(f"{url}/?from=elsewhere")


async def test_who_may_not_see_a_page_logs_in_as_somebody_who_may(browser: Browser) -> None:
    async with serving(create_app(config_for(auth=CLOSED)), "127.0.0.1:0") as url:
        async with opened(browser, url) as page:
            await page.get_by_text("With a token instead").click()
            await page.get_by_label("Token").fill(bearer("cam", 4)["Authorization"].split()[1])
            await page.get_by_role("button", name="Log in with a token").click()
            await page.wait_for_url(f"{url}/streams/cam")
            await page.goto(f"{url}/nodes/")
            await page.get_by_role("link", name="Log in").click()
            await page.wait_for_load_state("networkidle")
            await page.get_by_label("Name").fill("ann")
            await page.get_by_label("Password").fill("her password")
            await page.get_by_role("button", name="Log in", exact=True).click()
            await expect(page.get_by_role("heading", name="Nodes", exact=True)).to_be_visible()


async def test_an_action_of_who_is_logged_in_no_more_leads_to_where_the_host_sends_him(
    browser: Browser,
) -> None:
    """A host's way to log in is a redirect, which no action can follow."""

    def who_asks(request: web.Request) -> Identity:
        if gone:
            raise web.HTTPFound("/login")
        return Identity("guest", mode=7)

    gone: list[bool] = []
    app = create_app(config_for(), identity=who_asks)
    async with serving(app, "127.0.0.1:0") as url, opened(browser, url) as page:
        await page.evaluate(FORM, {"method": "DELETE", "action": "./api/nodes/none"})
        gone.append(True)
        await page.get_by_role("button", name="Go").click()
        await page.wait_for_url(f"{url}/login")


@pytest.mark.parametrize("scripts", ["off", "late"])
async def test_an_action_without_its_script_sends_nothing(browser: Browser, scripts: str) -> None:
    """A browser would put the fields into the address: there is a node's token among them."""
    async with serving(create_app(config_for()), "127.0.0.1:0") as url:
        context = await browser.new_context(java_script_enabled=scripts == "late")
        page = await context.new_page()
        await page.route("**/actions.js", lambda route: route.abort())
        await page.goto(f"{url}/nodes/")
        go = page.get_by_role("button", name="Add node")
        if scripts == "off":
            await expect(page.locator("#add noscript p")).to_be_visible()
            await expect(go).to_be_hidden()
        else:
            for name, value in {"Alias": "a", "URL": "http://127.0.0.1:9", "Token": "s3cret"}.items():
                await page.get_by_label(name, exact=True).fill(value)
            await go.click()
            await expect(page).to_have_url(f"{url}/nodes/")
        await context.close()


#: What an action is tried with: a form as pages have them, whose fields are JSON for `POST /api/nodes/`.
FORM = """(values) => {
  const form = document.createElement("form");
  form.dataset.api = values.method;
  form.dataset.done = "It is done.";
  if (values.confirm) form.dataset.confirm = values.confirm;
  form.setAttribute("action", values.action);
  form.innerHTML = '<input name="alias" required><input name="url"><input name="token">'
    + '<input name="sub_max" type="number"><button>Go</button>';
  if (!values.fields) form.innerHTML = "<button>Go</button>";
  for (const [name, value] of Object.entries(values.fields ?? {})) form.elements[name].value = value;
  document.getElementById("still").replaceChildren(form);
}"""

#: Makes a part of a page, and then another one of it; gives what is there in the end.
MORPH = """async ([root, before, after]) => {
  const { morph } = await import(root);
  const place = document.createElement("div");
  document.body.append(place);
  place.innerHTML = before;
  const marked = [...place.querySelectorAll("[id]")];
  place.querySelector("details")?.setAttribute("open", "");
  const wanted = document.createElement("template");
  wanted.innerHTML = after;
  morph(place, wanted.content);
  const same = marked.filter((each) => each === document.getElementById(each.id)).map((each) => each.id);
  const html = place.innerHTML;
  place.remove();
  return [html, same];
}"""


async def test_an_action_says_what_is_wrong_beside_itself_and_what_is_done_below(browser: Browser) -> None:
    async with serving(create_app(config_for()), "127.0.0.1:0") as url, opened(browser, url) as page:
        go = page.get_by_role("button", name="Go")
        await page.evaluate(
            FORM, {"method": "POST", "action": "./api/nodes/", "fields": {"alias": "a", "url": "x"}}
        )
        await go.click()
        await expect(page.get_by_role("alert")).to_contain_text("url")
        await expect(go).to_be_enabled()
        await page.locator("[name=url]").fill("http://127.0.0.1:9")
        await page.locator("[name=sub_max]").fill("7")
        await go.click()
        await expect(page.get_by_role("status")).to_have_text("It is done.")
        await expect(page.get_by_role("alert")).to_be_hidden()
        (row,) = await page.evaluate("async () => (await fetch('./api/nodes/')).json()")
        assert (row["alias"], row["sub_max"]) == ("a", 7)


async def test_an_action_may_ask_first(browser: Browser) -> None:
    async with serving(create_app(config_for()), "127.0.0.1:0") as url, opened(browser, url) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.method))
        await page.evaluate(
            FORM, {"method": "DELETE", "action": "./api/nodes/none", "confirm": "Remove the node?"}
        )
        dialog = page.get_by_role("dialog", name="Remove the node?")
        for answer in ("Cancel", "Go"):
            await page.locator("#still button").click()
            await dialog.get_by_role("button", name=answer).click()
            await expect(dialog).to_have_count(0)
        await expect(page.get_by_role("alert")).to_contain_text("none")
        assert asked.count("DELETE") == 1


#: What is there, what is to be there, and which elements with an id are the same then.
CHANGES = [
    ("<p>a</p>", "<p>b</p>", []),
    ("<p>a</p><p>b</p>", "<p>a</p>", []),
    ("", "<p>a</p>text", []),
    (
        '<i id="a">1</i><i id="b">2</i><i id="c">3</i>',
        '<i id="c">3</i><i id="a">4</i><i id="d">5</i>',
        ["a", "c"],
    ),
    ('<i id="a" class="x">1</i>', '<i id="a" title="y">1</i>', ["a"]),
    ('<i id="a">1</i>', '<b id="a">1</b>', []),
    ("<p>a</p>", "<div>a<br></div>", []),
    ('<p id="a">a</p><p>b</p>', "<p>b</p>", []),
    (
        '<table><tbody><tr id="r"><td>1</td></tr></tbody></table>',
        '<table><tbody><tr id="q"><td>0</td></tr><tr id="r"><td>2</td></tr></tbody></table>',
        ["r"],
    ),
    ('<svg><path d="M0 0"></path></svg>', '<svg><path d="M1 1"></path></svg>', []),
]
#: What is there, what is to be there, and what is there then: ``<details>`` were opened, some are to be kept.
KEPT = [
    (
        '<details id="d"><summary>s</summary>1</details>',
        '<details id="d"><summary>s</summary>2</details>',
        '<details id="d" open=""><summary>s</summary>2</details>',
    ),
    (
        '<form id="f"><button>Go</button><p data-keep="">wrong</p></form>',
        '<form id="f"><button>On</button><i>x</i></form>',
        '<form id="f"><button>On</button><p data-keep="">wrong</p><i>x</i></form>',
    ),
    (
        '<b>1</b><u data-keep="">mine</u>',
        '<b>2</b><u data-keep="">yours</u>',
        '<b>2</b><u data-keep="">mine</u>',
    ),
    (
        '<u id="u" data-keep="">mine</u>',
        '<b>2</b><u id="u">yours</u>',
        '<b>2</b><u id="u" data-keep="">mine</u>',
    ),
]


async def test_one_part_becomes_another_in_place(browser: Browser) -> None:
    """What has an id stays the same element, and what is somebody's who looks at the page stays as it is."""
    async with serving(create_app(config_for()), "127.0.0.1:0") as url, opened(browser, url) as page:
        source = await page.locator("script[src$='live.js']").evaluate("script => script.src")
        morph = source.replace("live.js", "morph.js")
        for before, after, same in CHANGES:
            assert await page.evaluate(MORPH, [morph, before, after]) == [after, same]
        for before, after, then in KEPT:
            assert (await page.evaluate(MORPH, [morph, before, after]))[0] == then
