"""The nodes in a browser: how they are, and what can be done about them."""

import time
from typing import Any

import pytest

from cluster.fake import as_json, body, stream
from dashboard.html import Element
from dashboard.looking import CLOSED, DASH, NAMES, bearer, looking, rows_of, saying
from liveman.access import MANAGE, PUBLISH, SUBSCRIBE

NODES = "nodes/"


def forms(page: Element) -> set[tuple[str, str]]:
    """What can be done."""
    return {
        (each["data-api"], each["action"]) for each in page.every("form") if "data-api" in each.attributes
    }


async def test_the_table_says_how_each_node_is() -> None:
    """Load against its limits, viewers of the fullest stream, as their limit is one stream's."""
    busy = body(stream("a", ["p"], ["v1", "v2", "v3"]), stream("b", ["q"], ["w"]))
    info = {"GET /api/info": as_json(b'{"version": "v0.9.0"}')}
    async with looking({"streams": busy, "answers": info}, b"[]", pub_max=10, sub_max=5) as browser:
        page = await browser.comes(NODES, lambda page: "v0.9.0" in page.text)
        assert rows_of(page) == [
            ["n0", "up", "2 of 10", "4", "3 of 5", "2", DASH, "v0.9.0"],
            ["n1", "up", "0 of 10", "0", "0 of 5", "0", DASH, DASH],
        ]
        assert [each["aria-label"] for each in page.every("svg", class_="bar")][:2] == [
            "Places for publishers: 20 % taken",
            "Places for viewers of the fullest stream: 60 % taken",
        ]


@pytest.mark.parametrize(
    ("limits", "publishers", "viewers"),
    [
        ({}, "1", "1"),
        ({"pub_max": 65_535, "sub_max": 65_534}, "1", "1 of 65\u202f534"),
        ({"pub_max": 0, "sub_max": 1}, "1 of 0", "1 of 1"),
    ],
)
async def test_what_has_no_limit_shows_none(limits: dict[str, int], publishers: str, viewers: str) -> None:
    async with looking(saying("a"), **limits) as browser:
        (row,) = rows_of(await browser.see(NODES))
        assert (row[2], row[4]) == (publishers, " ".join(viewers.split()))


async def test_the_table_is_sorted_filtered_and_paged_by_its_links() -> None:
    async with looking(saying("a", "b"), saying("c"), b"[]", aliases=["x", "Y", "z"]) as browser:

        async def aliases(query: str) -> list[str]:
            return [row[0] for row in rows_of(await browser.see(NODES + query))]

        assert await aliases("") == ["x", "Y", "z"]
        assert await aliases("?sort=-alias") == ["z", "Y", "x"]
        assert await aliases("?sort=viewers") == ["z", "Y", "x"]
        assert await aliases("?q=y") == ["Y"]
        assert await aliases("?show=up&q=z") == ["z"]
        page = await browser.see(NODES + "?q=z")
        (heading,) = [each["href"] for each in page.every("a") if each.words == "Viewers"]
        assert heading == "?q=z&sort=-viewers"
        assert page.first("input", name="q")["value"] == "z"
        assert "1 node, 3 in all" in page.words
        none = await browser.see(NODES + "?show=down")
        assert "No node is like that." in none.words


@pytest.mark.parametrize("query", ["?sort=age", "?show=%3Cb%3E", "?page=0", "?page=x"])
async def test_an_address_that_means_nothing_is_refused_as_a_page(query: str) -> None:
    async with looking(b"[]") as browser:
        page = await browser.see(NODES + query, status=400)
        assert "not well-formed" in page.words


async def test_without_nodes_it_says_where_they_come_from() -> None:
    async with looking() as browser:
        page = await browser.see(NODES)
        assert "There is no node yet" in page.words
        assert "open" in page.first("details", id="add").attributes


async def test_a_node_that_is_added_by_the_form_is_there_until_it_is_removed_by_its_page() -> None:
    async with looking(b"[]") as browser:
        form = (await browser.see(NODES)).first("form", id="add-node")
        names = {each["name"] for tag in ("input", "select") for each in form.every(tag)}
        assert names == {"alias", "url", "token", "mode", "pub_max", "sub_max"}
        asked = {"alias": "late", "url": browser.nodes[0].url}
        await browser.api(form["data-api"], form["action"].removeprefix("../"), json=asked)
        assert [row[0] for row in rows_of(await browser.see(NODES))] == ["late added here", "n0"]
        page = await browser.see("nodes/late")
        remove = page.first("form", action="../api/nodes/late")
        assert remove["data-then"] == "../nodes/"
        await browser.api(remove["data-api"], "api/nodes/late")
        await browser.see("nodes/late", status=404)


async def test_a_node_of_the_configuration_offers_no_button_that_would_fail() -> None:
    async with looking(b"[]") as browser:
        page = await browser.see("nodes/n0")
        assert forms(page) == {("PUT", "../api/nodes/n0/drain")}
        assert "remove it there" in page.first("details", id="remove").words


async def test_a_nodes_page_lists_its_streams() -> None:
    ago = int((time.time() - 7290) * 1000)
    rates = {"publish": {"bitrate": 1e6}, "subscribe": {"bitrate": 3e6}}
    told = body(
        stream("cam", ["p"], ["v", "w"], createdAt=ago, stats=rates),
        stream("later", [], ["x"], createdAt=ago),
    )
    async with looking(told, saying("elsewhere")) as browser:
        page = await browser.see("nodes/n0")
        assert rows_of(page) == [
            ["cam", "live", "2", "1.0 Mbit/s", "2 h 1 min"],
            ["later", "nobody publishes", "1", "0 bit/s", "2 h 1 min"],
        ]
        assert [row[0] for row in rows_of(await browser.see("nodes/n0?sort=viewers"))] == ["later", "cam"]
        assert [row[0] for row in rows_of(await browser.see("nodes/n0?q=CAM"))] == ["cam"]
        cards = [each.words for each in page.every("div", class_="card")]
        assert "Comes in 1.0 Mbit/s" in cards and "Goes out 3.0 Mbit/s" in cards


async def test_a_node_that_is_down_says_what_to_do() -> None:
    async with looking(saying("cam")) as browser:
        await browser.nodes[0].stop()
        page = await browser.comes("nodes/n0", lambda page: "It does not answer" in page.words)
        assert browser.nodes[0].url in page.words
        assert "not known while it is down" in page.words
        (row,) = rows_of(await browser.see(NODES + "?show=down"))
        assert row[:2] == ["n0", "down"]


async def test_an_unknown_node_is_an_error_page() -> None:
    async with looking(b"[]") as browser:
        page = await browser.see("nodes/no%20such", status=404)
        assert "'no such'" in page.words


async def drain(browser: Any, **how: Any) -> Element:
    await browser.api("PUT", "api/nodes/n0/drain", json=how)
    page: Element = await browser.see("nodes/n0")
    return page


async def test_a_drain_shows_what_is_left_and_until_when() -> None:
    async with looking(saying("a", "b"), b"[]") as browser:
        form = (await browser.see("nodes/n0")).first("form", id="drain-node")
        assert {each["name"] for tag in ("select", "input") for each in form.every(tag)} == {
            "deadline",
            "close",
        }
        page = await drain(browser, deadline=630, close=False)
        words = page.first("section", aria_label="Drain").words
        assert "2 publishers, 2 viewers, 0 ends of relays" in words
        assert "closed in 10 min" in words
        assert not page.has("form", id="drain-node")
        (row,) = rows_of(await browser.see(NODES + "?show=draining"))
        assert row[:2] == ["n0", "draining 4 left, closed in 10 min"]
        back = page.first("form", action="../api/nodes/n0/drain")
        await browser.api(back["data-api"], "api/nodes/n0/drain")
        assert (await browser.see("nodes/n0")).has("form", id="drain-node")


async def test_a_drain_without_a_deadline_sends_nobody_away() -> None:
    async with looking(saying("a")) as browser:
        assert "Nobody is sent away" in (await drain(browser, close=False)).words


async def test_an_empty_node_can_be_switched_off() -> None:
    async with looking(b"[]") as browser:
        assert "It is empty." in (await drain(browser)).words
        (row,) = rows_of(await browser.see(NODES))
        assert row[1] == "draining empty"


@pytest.mark.parametrize(
    "alias", [each for each in NAMES if not set(each) & set("/?#%") and each.isprintable()]
)
async def test_any_alias_is_shown_as_it_is_and_its_link_leads_to_it(alias: str) -> None:
    async with looking(saying("cam"), aliases=[alias]) as browser:
        page = await browser.see(NODES)
        (link,) = page.every("a", class_="name")
        assert link.text == alias
        page = await browser.click(NODES, link["href"])
        assert page.first("h1").text == alias
        assert page.first("title").text.startswith(alias)
        form = page.first("form", id="drain-node")
        await browser.api(form["data-api"], form["action"].removeprefix("../"), json={})
        assert (await browser.see(NODES + "?show=draining")).first("a", class_="name").text == alias


@pytest.mark.parametrize(
    ("mode", "stream", "status", "may"),
    [
        (MANAGE, "*", 200, True),
        (SUBSCRIBE, "*", 200, False),
        (PUBLISH, "*", 200, False),
        (MANAGE | PUBLISH | SUBSCRIBE, "cam", 403, False),
    ],
)
async def test_only_who_may_change_nodes_sees_how(mode: int, stream: str, status: int, may: bool) -> None:
    async with looking(saying("cam"), auth=CLOSED) as browser:
        for path in (NODES, "nodes/n0"):
            page = await browser.see(path, status, bearer(stream, mode))
            assert bool(forms(page)) == may


async def test_who_is_not_known_is_sent_to_the_login() -> None:
    async with looking(b"[]", auth=CLOSED) as browser:
        async with browser.client.get("nodes/n0?q=a", allow_redirects=False) as response:
            assert response.status == 303
            assert response.headers["Location"] == "../login?next=%2Fnodes%2Fn0%3Fq%3Da"
