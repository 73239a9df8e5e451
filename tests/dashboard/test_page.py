"""Pages as a browser gets them, at the root and below a prefix."""

import re
from html.parser import HTMLParser

import pytest

from auth.asking import bearer
from dashboard.browsing import CLOSED, EVENTS, HTML, browsing, get, post
from dashboard.html import parse
from liveman.access import ANYONE, Identity
from liveman.dashboard.page import Asked

PREFIXES = ["", "/live", "/a/b"]


def asked(root: str = "../", identity: Identity = ANYONE, **segments: str) -> Asked:
    return Asked("/streams/x", segments, {}, identity, root)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_the_overview_and_all_that_it_names_are_there(prefix: str) -> None:
    """Nothing in it is absolute, so it holds below any prefix."""
    async with browsing(prefix=prefix) as client:
        page = await get(client, "")
        assert page.status == 200
        links = re.findall(r'(?:src|href|action)="([^"#]*)"', page.text)
        assert any(link.endswith("base.css") for link in links)
        assert all(link.startswith("./") for link in links)
        for link in (link for link in links if "/assets/" in link):
            assert (await get(client, link[2:])).status == 200


@pytest.mark.parametrize("prefix", PREFIXES[1:])
async def test_below_a_prefix_the_root_is_found_without_its_slash(prefix: str) -> None:
    async with browsing(prefix=prefix) as client:
        async with client.get(f"http://127.0.0.1:{client._base_url.port}{prefix}") as response:
            assert response.status == 200
            assert response.url.path == f"{prefix}/"
            assert "<h1>Overview</h1>" in await response.text()


async def test_a_page_may_load_nothing_but_its_own_scripts_styles_and_pictures() -> None:
    async with browsing() as client:
        headers = (await get(client, "")).headers
        policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Vary"] == "Accept"


async def test_no_page_has_a_script_or_a_style_in_it() -> None:
    """They would be refused by its own policy."""

    class Look(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            names = {name for name, _ in attrs}
            assert tag != "style" and "style" not in names
            assert tag != "script" or "src" in names
            assert not {name for name in names if name.startswith("on")}

    async with browsing(auth=CLOSED) as client:
        for path, headers in (("", bearer()), ("login", {}), ("nowhere", {})):
            Look().feed((await get(client, path, headers)).text)


async def test_who_must_say_who_he_is_is_sent_to_the_login_and_back() -> None:
    async with browsing(auth=CLOSED, prefix="/live") as client:
        answer = await get(client, "?a=1&b=%26")
        assert (answer.status, answer.headers["Location"]) == (303, "./login?next=%2F%3Fa%3D1%26b%3D%2526")
        events = await get(client, "", EVENTS)
        assert (events.status, events.headers["Location"]) == (303, "./login?next=%2F")


async def test_programs_get_problems_and_no_pages() -> None:
    """What asks for no page is refused as everywhere."""
    async with browsing(auth=CLOSED) as client:
        for path, status in (("", 401), ("nowhere", 404)):
            answer = await get(client, path, {"Accept": "*/*"})
            assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")


@pytest.mark.parametrize(("method", "path"), [("GET", "logout"), ("POST", "nodes/"), ("PUT", "login")])
async def test_what_cannot_be_done_at_a_page_is_told_in_one(method: str, path: str) -> None:
    """As to who comes to an address at which a form was refused."""
    async with browsing() as client:
        for accept, kind in ((HTML["Accept"], "text/html"), ("*/*", "application/problem+json")):
            async with client.request(method, path, headers={"Accept": accept}) as answer:
                assert (answer.status, answer.content_type) == (405, kind)
                assert "OPTIONS" in answer.headers["Allow"]


async def test_who_may_not_is_told_so_in_a_page() -> None:
    async with browsing(auth=CLOSED) as client:
        answer = await get(client, "", {**HTML, **bearer("cam", 4)})
        assert (answer.status, answer.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
        assert "You may not see this" in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_who_may_see_one_stream_alone_is_led_there_and_not_to_the_overview() -> None:
    async with browsing(auth=CLOSED) as client:
        for path in ("", "nodes/n0", "nowhere"):
            page = parse((await get(client, path, {**HTML, **bearer("a b", 4)})).text)
            links = [each["href"] for each in page.first("main").every("a", class_="primary")]
            # At a path that is nowhere nobody is asked who he is.
            assert [link.lstrip("./") for link in links] == ([""] if path == "nowhere" else ["streams/a%20b"])


@pytest.mark.parametrize(("mode", "home"), [(4, "streams/a%20b"), (6, "streams/a%20b"), (2, "publish/a%20b")])
async def test_who_has_a_token_for_one_stream_begins_where_that_opens_something(mode: int, home: str) -> None:
    token = bearer("a b", mode)["Authorization"].partition(" ")[2]
    async with browsing(auth=CLOSED) as client:
        assert (await post(client, "login", token=token)).headers["Location"] == f"./{home}"
        assert (await get(client, home)).status == 200
        refused = parse((await get(client, "nodes/")).text)
        assert refused.first("a", class_="primary")["href"] == f"../{home}"
        assert refused.first("a", class_="brand")["href"] == f"../{home}"


async def test_nothing_is_shown_as_a_page_too_and_without_what_was_asked_for_as_markup() -> None:
    async with browsing() as client:
        answer = await get(client, "no/such/%3Cscript%3E")
        assert answer.status == 404
        assert "There is nothing here" in answer.text
        assert "<script>" not in answer.text
        assert 'href="../../"' in answer.text, "the way back to the overview"


async def test_without_authentication_every_page_warns_and_says_what_to_do() -> None:
    async with browsing() as client:
        for path in ("", "login", "nowhere"):
            text = (await get(client, path)).text
            assert "No authentication is configured" in text
            assert "[[auth.accounts]]" in text
    async with browsing(auth=CLOSED) as client:
        assert "No authentication" not in (await get(client, "", bearer())).text


async def test_what_one_may_not_change_is_not_offered() -> None:
    async with browsing(auth=CLOSED) as client:
        assert ">Tokens</a>" in (await get(client, "", bearer(mode=1))).text
        assert ">Tokens</a>" not in (await get(client, "", bearer(mode=4))).text


async def test_whoever_asks_is_named_as_text() -> None:
    """Also one whose name no text could hold."""
    async with browsing(auth=CLOSED) as client:
        assert "<bdi>&lt;img src=x&gt;</bdi>" in (await get(client, "", bearer(sub="<img src=x>"))).text
        assert (await get(client, "", bearer(sub="\ud800"))).status in (200, 303)


@pytest.mark.parametrize(
    ("segments", "query", "expected"),
    [
        (("nodes", ""), {}, "../nodes/"),
        (("streams", "a b/c?d#e%"), {}, "../streams/a%20b%2Fc%3Fd%23e%25"),
        (("streams", '"><x'), {}, "../streams/%22%3E%3Cx"),
        (("streams", "\N{RIGHT-TO-LEFT OVERRIDE}é"), {}, "../streams/%E2%80%AE%C3%A9"),
        (("streams", ""), {"q": "a&b", "page": 2}, "../streams/?q=a%26b&page=2"),
    ],
)
def test_whatever_a_stream_is_called_its_address_is_right(
    segments: tuple[str, ...], query: dict[str, object], expected: str
) -> None:
    assert asked().href(*segments, **query) == expected


def test_who_manages_one_stream_may_change_that_one() -> None:
    one = Identity("a", "cam", 1)
    assert asked(identity=one, stream="cam").may_manage
    assert not asked(identity=one, stream="other").may_manage
    assert not asked(identity=one).may_manage
    assert not asked(identity=Identity("a", "*", 6)).may_manage
