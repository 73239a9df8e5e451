"""The streams in a browser: a table of all, and a page for each."""

import asyncio
import json
import time
from typing import Any

import pytest

from cluster.fake import as_json, body, session, stream
from dashboard.html import Element, parse
from dashboard.looking import ALL, CLOSED, DASH, NAMES, Browser, bearer, looking, rows_of, saying
from liveman.access import MANAGE, PUBLISH, SUBSCRIBE
from liveman.dashboard.tables import PAGE

STREAMS = "streams/"


def ago() -> int:
    """2 h 1 min ago, and half a minute, milliseconds."""
    return int((time.time() - 7290) * 1000)


def rates(publish: float, subscribe: float) -> dict[str, Any]:
    return {"publish": {"bitrate": publish}, "subscribe": {"bitrate": subscribe}}


def pushing(stream: str, to: str, far: str) -> dict[str, Any]:
    """What a session says that feeds a relay."""
    return {"cascade": {"targetUrl": f"{to}/whip/{stream}", "sessionUrl": f"{to}/session/{stream}/{far}"}}


def relayed(name: str = "cam") -> tuple[bytes, bytes]:
    """What two nodes say of a stream that the first pushes to the second."""
    feeding = session("feed", **pushing(name, "http://n1.example", "end"))
    first = stream(name, ["pub"], ["v1", "v2", feeding], createdAt=ago(), stats=rates(2e6, 6e6))
    return body(first), body(stream(name, ["end"], ["w1"], createdAt=ago(), stats=rates(2e6, 2e6)))


async def names(browser: Browser, query: str = "") -> list[str]:
    return [row[0] for row in rows_of(await browser.see(STREAMS + query))]


async def test_the_table_says_how_each_stream_is() -> None:
    feed, end = relayed()
    more = body(
        stream("later", [], ["x"], createdAt=ago()),
        stream("begins", [session("p", state="connecting")], createdAt=ago()),
        stream("sleeps", createdAt=ago(), onDemand=True),
    )
    async with looking(feed, end, more) as browser:
        rows = rows_of(await browser.see(STREAMS))
        assert [row[:7] for row in rows] == [
            ["begins", "connecting", "n2", "0", "1", "0 bit/s", "2 h 1 min"],
            ["cam", "live", "n0", "3", "2", "2.0 Mbit/s", "2 h 1 min"],
            ["later", "nobody publishes", DASH, "1", "1", "0 bit/s", "2 h 1 min"],
            ["sleeps", "on demand", DASH, "0", "1", "0 bit/s", "2 h 1 min"],
        ]


async def test_the_table_is_sorted_and_filtered_by_its_address() -> None:
    told = body(
        stream("a", ["p"], ["v"], createdAt=ago(), stats=rates(1e6, 0)),
        stream("B", ["q"], ["w", "x"], createdAt=ago() - 5_000_000, stats=rates(3e6, 0)),
        stream("c"),
    )
    async with looking(told) as browser:
        assert await names(browser) == ["a", "B", "c"]
        assert await names(browser, "?sort=-name") == ["c", "B", "a"]
        assert await names(browser, "?sort=-viewers") == ["B", "a", "c"]
        assert await names(browser, "?sort=-bitrate") == ["B", "a", "c"]
        assert (await names(browser, "?sort=age"))[:2] == ["a", "B"]
        assert await names(browser, "?show=live") == ["a", "B"]
        assert await names(browser, "?show=idle") == ["c"]
        assert await names(browser, "?show=watched&sort=viewers") == ["a", "B"]
        assert await names(browser, "?q=b") == ["B"]
        assert "No stream is like that." in (await browser.see(STREAMS + "?q=nobody")).words
        await browser.see(STREAMS + "?show=none", status=400)


async def test_many_streams_come_page_by_page() -> None:
    told = saying(*(f"s{at:04}" for at in range(2 * PAGE + 3)))
    async with looking(told) as browser:
        page, path = await browser.see(STREAMS), STREAMS
        found = [row[0] for row in rows_of(page)]
        while link := next((each["href"] for each in page.every("a", rel="next")), None):
            page = await browser.click(path, link)
            found += [row[0] for row in rows_of(page)]
        assert found == [f"s{at:04}" for at in range(2 * PAGE + 3)]
        assert f"101{DASH}103 of 103 streams" in page.words


async def test_when_nobody_publishes_it_says_how_to_begin() -> None:
    async with looking(b"[]") as browser:
        page = await browser.see(STREAMS)
        assert "Nobody publishes." in page.words
        assert page.has("a", href="../publish/")


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_is_shown_as_it_is_and_its_links_lead_to_it(name: str) -> None:
    """In the table, on its node's page and on its own, in the picture's words too."""
    async with looking(saying(name)) as browser:
        for path in (STREAMS, "nodes/n0"):
            page = await browser.see(path)
            (link,) = [each for each in page.first("tbody").every("a", class_="name") if each.text == name]
            assert link.first("bdi").text == name
            page = await browser.click(path, link["href"])
            assert page.first("h1").text == name
            assert page.first("title").text.startswith(name)
            assert name in page.first("svg", class_="tree").first("title").text
            # The viewer can be ended by what the page says.
            form = next(each for each in page.every("form") if each["action"].endswith("/sessions/v0"))
            assert (
                form["action"]
                == f"../{link['href'].removeprefix('../').replace('streams/', 'api/streams/', 1)}/sessions/v0"
            )
        await browser.api(form["data-api"], form["action"].removeprefix("../"))
        assert browser.nodes[0].asked("DELETE /session/") == 1


@pytest.mark.parametrize(
    ("name", "noted"),
    [("\u202egpj.cam", "U+202E"), ("\u200fcam\u200e", "U+200F, U+200E"), ("a\u200bb", "U+200B")],
)
async def test_characters_that_nobody_sees_are_named(name: str, noted: str) -> None:
    async with looking(saying(name)) as browser:
        assert f"(with {noted})" in rows_of(await browser.see(STREAMS))[0][0]


@pytest.mark.parametrize(
    "name",
    ["one/two", "</title></desc><script>alert(1)</script>", ".", "..", "", "a\nb", "back\\slash", "y" * 256],
)
async def test_a_name_that_no_address_can_hold_is_shown_without_a_link(name: str) -> None:
    async with looking(saying(name)) as browser:
        page = await browser.see(STREAMS)
        row = page.first("tbody").first("tr")
        assert row.first("bdi").text == name
        assert {each["href"] for each in row.every("a")} == {"../nodes/n0"}


async def test_a_streams_page_tells_where_it_comes_from_and_goes_to() -> None:
    feed, end = relayed()
    async with looking(feed, end) as browser:
        page = await browser.see("streams/cam")
        cards = [each.words for each in page.every("div", class_="card")]
        assert cards == [
            "Publisher n0",
            "Viewers 3",
            "Comes in 2.0 Mbit/s",
            "Goes out 8.0 Mbit/s",
            "Age 2 h 1 min",
        ]
        tree = page.first("svg", class_="tree")
        assert tree["aria-labelledby"] == "tree-title tree-words"
        words = "n0: the publisher is here, 2 viewers; n1: by a relay from n0, 1 viewer."
        assert tree.first("desc", id="tree-words").text == words
        assert [each.first("title").text for each in tree.every("g")] == [
            "n1: by a relay, 1 viewer",
            "n0: publisher, 2 viewers",
        ]
        listed = [each.words for each in page.first("details", id="way-in-words").every("li")]
        assert listed == ["n0: the publisher is here, 2 viewers", "n1: by a relay from n0, 1 viewer"]
        links = {each["href"] for each in page.every("a")}
        assert {
            "../watch/cam",
            "../publish/cam",
            "../recordings/cam",
            "../nodes/n0",
            "../nodes/n1",
            "../streams/",
        } <= links


async def test_sessions_have_their_role_node_state_age_and_bitrate() -> None:
    at = {"createdAt": ago(), "stats": {"bitrate": 1.5e6}}
    feeding = session("feed", **pushing("cam", "http://n1.example", "end"), **at)
    told = body(stream("cam", [session("pub", **at)], [session("v1", state="new"), feeding]))
    async with looking(told, body(stream("cam", ["end"]))) as browser:
        page = await browser.see("streams/cam")
        assert [row[:5] for row in rows_of(page)] == [
            ["publisher pub", "n0", "connected", "2 h 1 min", "1.5 Mbit/s"],
            ["relay to n1 feed", "n0", "connected", "2 h 1 min", "1.5 Mbit/s"],
            ["relay from n0 end", "n1", "connected", DASH, DASH],
            ["viewer v1", "n0", "new", DASH, DASH],
        ]


async def test_odd_words_of_a_node_spoil_nothing_else() -> None:
    odd = session("p", createdAt="yesterday", stats=["much"])
    wide = session("v", createdAt=1e300, stats={"bitrate": -1})
    told = body(stream("cam", [odd], [wide], createdAt=-1, codecs="vp8", stats={"publish": 7}))
    async with looking(told) as browser:
        page = await browser.see("streams/cam")
        assert [row[1:5] for row in rows_of(page)] == [["n0", "connected", DASH, DASH]] * 2
        assert [row[5:7] for row in rows_of(await browser.see(STREAMS))] == [["0 bit/s", DASH]]


async def test_who_has_left_is_no_session() -> None:
    gone = session("gone", leaveAt=5, state="closed")
    async with looking(body(stream("cam", ["p"], ["v", gone]))) as browser:
        assert len(rows_of(await browser.see("streams/cam"))) == 2


async def test_many_sessions_come_page_by_page() -> None:
    told = body(stream("cam", ["p"], [f"v{at}" for at in range(PAGE + 10)]))
    async with looking(told) as browser:
        page = await browser.see("streams/cam")
        assert len(rows_of(page)) == PAGE
        page = await browser.click("streams/cam", page.first("a", rel="next")["href"])
        assert len(rows_of(page)) == 11


async def test_a_stream_that_is_nowhere_appears_when_it_begins() -> None:
    async with looking(b"[]") as browser:
        page = await browser.see("streams/cam")
        assert "No node has this stream now." in page.words
        assert not page.has("form", action="../api/streams/cam")
        browser.nodes[0].say(b"data: " + saying("cam") + b"\n\n")
        page = await browser.comes("streams/cam", lambda page: page.has("svg", class_="tree"))
        assert "No node has" not in page.words


async def test_what_would_be_decided_now_is_what_the_api_says() -> None:
    feed, end = relayed()
    async with looking(feed, end, pub_max=10, sub_max=3) as browser:
        page = await browser.see("streams/cam")
        shown = [
            [[cell.words for cell in row.every("td")] for row in table.every("tr") if row.has("td")]
            for table in page.every("table")
            if table.has("caption")
        ]
        for table, kind in zip(shown, ("whip", "whep"), strict=True):
            said = await browser.api("GET", f"api/placement?stream=cam&kind={kind}")
            assert [row[:2] for row in table] == [
                [each["alias"], str(each["score"])] for each in said["candidates"]
            ]
            assert [row[0] for row in table if row[2] == "chosen"] == [said["target"]]
        why = page.first("section", aria_labelledby="why").words
        assert "To n0: its publisher is there." in why
        assert "To n1: it has most free places for the stream." in why


async def test_why_nobody_gets_in_any_more() -> None:
    async with looking(saying("cam"), sub_max=1) as browser:
        why = (await browser.see("streams/cam")).first("section", aria_labelledby="why").words
        assert "Nowhere. No node has a free place for another subscriber of the stream" in why
        assert "n0 0 it has the stream" in why


async def test_what_was_decided_lately_and_what_came_of_it() -> None:
    async with looking(saying("cam")) as browser:
        offer = {"data": b"v=0", "headers": {"Content-Type": "application/sdp"}}
        async with browser.client.post("whep/cam", **offer) as response:
            assert response.status == 404
        page = await browser.see("streams/cam")
        rows = list(page.first("section", aria_labelledby="why").every("table"))[-1]
        (row,) = rows.first("tbody").every("tr")
        cells = [each.words for each in row.every("td")]
        assert cells[0] == "under 1 min ago"
        assert cells[1:4] == ["a viewer", "n0", "it has most free places for the stream"]
        assert "404" in cells[4]


@pytest.mark.parametrize(
    ("says", "badge", "button"),
    [
        (b'{"recording": true}', True, ("DELETE", "Stop recording")),
        (b'{"recording": false}', False, ("POST", "Record")),
    ],
)
async def test_a_recording_can_be_begun_and_ended(says: bytes, badge: bool, button: tuple[str, str]) -> None:
    listed = json.dumps(
        {
            "sessions": [
                {
                    "id": "1",
                    "stream": "cam",
                    "start_ts": ago() * 1000,
                    "mpd_path": "cam/1/m.mpd",
                    "status": "Active",
                }
            ]
        }
    )
    answers = {
        "GET /api/record/cam": as_json(says),
        "GET /api/recordings?limit=1000": as_json(listed.encode()),
    }
    async with looking({"streams": saying("cam"), "answers": answers}) as browser:
        page = await browser.see("streams/cam")
        assert [each.text for each in page.every("span", class_="badge")] == ["live", *["recording"] * badge]
        form = page.first("form", action="../api/record/cam")
        assert (form["data-api"], form.first("button").text) == button
        assert ("Recorded at n0 for 2 h 1 min." in page.words) == badge


async def test_what_nobody_publishes_offers_no_recording() -> None:
    async with looking(body(stream("cam", [], ["v"]))) as browser:
        page = await browser.see("streams/cam")
        assert forms(page) == {"../api/streams/cam", "../api/streams/cam/sessions/v"}


async def test_among_equal_nodes_the_page_names_always_the_same() -> None:
    """Where chance decides, it would be another one each time, and the page never quiet."""
    waiting = body(stream("cam", [], ["v"]))
    async with looking(waiting, waiting, waiting) as browser:
        seen = {
            (await browser.see("streams/cam")).first("section", aria_labelledby="why").words
            for _ in range(12)
        }
        assert len(seen) == 1


async def test_a_node_that_does_not_tell_whether_it_records_delays_nothing() -> None:
    async def never(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    answers = {"GET /api/record/cam": never}
    async with looking({"streams": saying("cam"), "answers": answers}) as browser:
        page = await browser.see("streams/cam")
        assert "did not say in time whether it records" in page.words
        assert page.has("svg", class_="tree")


def forms(page: Element) -> set[str]:
    return {each["action"] for each in page.every("form") if "data-api" in each.attributes}


@pytest.mark.parametrize(
    ("stream_id", "mode", "status", "ids", "why", "acts"),
    [
        (
            "*",
            ALL,
            200,
            True,
            True,
            {"record/cam", "streams/cam", "streams/cam/sessions/p0", "streams/cam/sessions/v0"},
        ),
        ("*", SUBSCRIBE, 200, False, True, set()),
        ("cam", ALL, 200, False, False, {"record/cam", "streams/cam"}),
        ("cam", SUBSCRIBE, 200, False, False, set()),
        ("cam", PUBLISH, 403, False, False, set()),
        ("cam", MANAGE, 403, False, False, set()),
        ("other", ALL, 403, False, False, set()),
    ],
)
async def test_everyone_sees_and_does_what_the_api_allows(
    stream_id: str, mode: int, status: int, ids: bool, why: bool, acts: set[str]
) -> None:
    async with looking(saying("cam"), auth=CLOSED) as browser:
        page = await browser.see("streams/cam", status, bearer(stream_id, mode))
        text = str(page)
        assert ("p0" in text, "v0" in text) == (ids, ids)
        assert ("Why this node" in page.words) == why
        assert any("nodes/" in each["href"] for each in page.every("a")) == (why and status == 200)
        assert forms(page) == {f"../api/{each}" for each in acts}
        async with browser.client.get("streams/", headers=bearer(stream_id, mode)) as response:
            assert response.status == (200 if stream_id == "*" else 403)


async def test_the_table_follows_what_happens() -> None:
    """By the page's own event stream."""
    async with looking(saying("cam")) as browser:
        async with browser.client.get(STREAMS, headers={"Accept": "text/event-stream"}) as events:
            first = await shown(events.content)
            assert [row[0] for row in rows_of(first)] == ["cam"]
            browser.nodes[0].say(b"data: " + saying("cam", "more") + b"\n\n")
            async with asyncio.timeout(10):
                second = await shown(events.content)
            assert [row[0] for row in rows_of(second)] == ["cam", "more"]
            assert {each["id"] for each in first.first("tbody").every("tr")} == {"stream-cam"}


async def test_who_comes_later_is_not_shown_the_past() -> None:
    """Such as after a button that has loaded the page anew, while its old event stream is still open."""
    headers = {"Accept": "text/event-stream"}
    async with looking(saying("cam")) as browser:
        async with browser.client.get("streams/cam", headers=headers) as before:
            assert (await shown(before.content)).has("svg", class_="tree")
            await browser.api("DELETE", "api/streams/cam")
            async with browser.client.get("streams/cam", headers=headers) as after:
                assert not (await shown(after.content)).has("svg", class_="tree")


async def shown(events: Any) -> Element:
    while not (line := (await events.readline()).decode()).startswith("data: "):
        assert line
    return parse(json.loads(line.removeprefix("data: "))["html"])
