"""Event streams of pages: made once for all, sent when something has changed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from auth.asking import bearer
from cluster.fake import body, fake_node, stream
from dashboard.browsing import CLOSED, EVENTS, browsing
from liveman import create_app
from liveman.access import READ_ALL
from liveman.dashboard import live as live_module
from liveman.dashboard import overview
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.errors import NotFound
from liveman.server import serving
from support.liveman import config_for


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(live_module, "WAIT_SECONDS", 0.05)


@asynccontextmanager
async def listening(client: ClientSession, path: str = "", **headers: str) -> AsyncIterator[ClientResponse]:
    async with client.get(path, headers={**EVENTS, **headers}) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield response


async def message(response: ClientResponse) -> dict[str, Any]:
    """The next one; comments are left out."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(5):
        while True:
            line = (await response.content.readline()).decode().removesuffix("\n")
            if not line and fields:
                return {**json.loads(fields["data"]), "id": fields["id"], "event": fields["event"]}
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """Each making of a page ``/`` whose content is what the list `words` holds."""
    made: list[Asked] = []

    def pages(_dashboard: Dashboard) -> list[Page]:
        async def view(asked: Asked) -> View:
            made.append(asked)
            if words[0] == "gone":
                raise NotFound("It is gone.")
            return View("error.html", {"status": 404, "problem": words[0]}, status=200)

        return [Page("/", view, READ_ALL)]

    monkeypatch.setattr(overview, "pages", pages)
    words[0] = "one"
    return made


words = ["one"]


async def test_what_a_page_shows_is_sent_at_once_and_when_the_nodes_have_changed() -> None:
    async with fake_node(streams=body(stream("x", ["p"])), sse=True) as node, browsing(node.url) as client:
        async with listening(client) as response:
            first = await message(response)
            assert first["event"] == "live"
            assert first["title"] == "Overview · Liveman"
            assert first["html"].lstrip().startswith("<h1>Overview</h1>")
            assert "</main>" not in first["html"]
            node.say(b"data: " + body(stream("x", ["p"]), stream("y", ["q"])) + b"\n\n")
            while "<dt>Publishers</dt><dd>2</dd>" not in (await message(response))["html"]:
                pass


async def test_nothing_is_sent_while_nothing_changes(shown: list[Asked]) -> None:
    async with browsing() as client, listening(client) as response:
        assert "one" in (await message(response))["html"]
        made = len(shown)
        while len(shown) < made + 5:
            await asyncio.sleep(0.01)
        words[0] = "two"
        assert "two" in (await message(response))["html"], "the next message is of the change"


async def test_a_page_is_made_once_for_all_who_look_and_shows_nobody_to_others(shown: list[Asked]) -> None:
    async with browsing(auth=CLOSED) as client:
        async with (
            listening(client, **bearer(sub="ann")) as ann,
            listening(client, **bearer(sub="bob")) as bob,
        ):
            assert (await message(ann))["id"] == (await message(bob))["id"]
            made = len(shown)
            start = time.monotonic()
            while len(shown) < made + 4:
                await asyncio.sleep(0.01)
            # One view: each making waits for the pause, and two views would be made twice as often.
            assert time.monotonic() - start > 4 * live_module.PAUSE_SECONDS * 0.9
            assert {each.identity.subject for each in shown} == {""}


async def test_who_may_do_less_gets_a_page_of_his_own(shown: list[Asked]) -> None:
    async with browsing(auth=CLOSED) as client:
        async with listening(client, **bearer(mode=7)) as one, listening(client, **bearer(mode=4)) as other:
            await message(one)
            await message(other)
            assert {each.identity.mode for each in shown} == {4, 7}


async def test_who_comes_again_is_told_nothing_that_he_knows(shown: list[Asked]) -> None:
    async with browsing() as client:
        async with listening(client) as response:
            known = (await message(response))["id"]
        async with listening(client, **{"Last-Event-ID": known}) as response:
            assert await response.content.readline() == b":\n"
            words[0] = "two"
            assert "two" in (await message(response))["html"]


async def test_a_page_that_is_gone_ends_its_stream_and_is_refused_to_who_comes_again(
    shown: list[Asked],
) -> None:
    async with browsing() as client:
        async with listening(client) as response:
            await message(response)
            words[0] = "gone"
            async with asyncio.timeout(5):
                await response.content.read()
        async with client.get("", headers=EVENTS) as response:
            assert response.status == 404


async def test_a_stream_lasts_no_longer_than_its_token(
    shown: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are good for a minute more than they say: for clocks that differ."""
    monkeypatch.setattr(live_module, "COMMENT_SECONDS", 0.1)
    async with browsing(auth=CLOSED) as client:
        async with listening(client, **bearer(seconds=-59)) as response:
            await message(response)
            async with asyncio.timeout(10):
                await response.content.read()


async def test_a_stream_ends_when_its_token_is_revoked_and_others_go_on(shown: list[Asked]) -> None:
    async with browsing(auth=CLOSED) as client:
        async with listening(client, **bearer(jti="stolen")) as thief, listening(client, **bearer()) as owner:
            await message(thief)
            await message(owner)
            async with client.delete("api/tokens/stolen", headers=bearer()) as response:
                assert response.status == 204
            words[0] = "two"
            async with asyncio.timeout(5):
                assert b"two" not in await thief.content.read()
            assert "two" in (await message(owner))["html"]


async def test_nothing_is_made_when_nobody_looks_any_more(shown: list[Asked]) -> None:
    async with browsing() as client:
        async with listening(client) as response:
            await message(response)
        async with asyncio.timeout(5):
            made = -1
            while made != len(shown):
                made = len(shown)
                await asyncio.sleep(0.3)


async def test_a_view_that_takes_long_rests_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are that differ, they leave most of the time to others."""
    made: list[tuple[float, float]] = []

    def pages(_dashboard: Dashboard) -> list[Page]:
        async def view(_asked: Asked) -> View:
            begun = time.monotonic()
            await asyncio.sleep(0.03)
            made.append((begun, time.monotonic()))
            return View("error.html", {"status": 404, "problem": "x"}, status=200)

        return [Page("/", view, READ_ALL)]

    monkeypatch.setattr(overview, "pages", pages)
    async with browsing() as client, listening(client):
        async with asyncio.timeout(10):
            while len(made) < 4:
                await asyncio.sleep(0.01)
    rests = [then - end for (_, end), (then, _) in pairwise(made)]
    assert min(rests) >= 0.03 * live_module.REST


async def test_there_are_no_more_views_than_can_be_kept_up_to_date(
    shown: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query is a view of its own; who comes to one that is there is no other's burden."""
    monkeypatch.setattr(live_module, "MOST_VIEWS", 2)
    async with browsing() as client:
        async with listening(client, "?q=1") as one, listening(client, "?q=2"):
            await message(one)
            async with client.get("?q=3", headers=EVENTS) as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) > 0
            async with listening(client, "?q=2") as again:
                await message(again)
        async with asyncio.timeout(5):
            status = 503
            while status == 503:
                async with client.get("?q=3", headers=EVENTS) as response:
                    status = response.status
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["login", "watch/cam", "publish/cam", "publish/", "play"])
async def test_pages_that_are_open_to_everyone_are_no_event_streams(path: str) -> None:
    """They show nothing that changes, and nobody in particular could be held to account for them."""
    async with browsing() as client, client.get(path, headers=EVENTS) as response:
        assert (response.status, response.content_type) == (200, "text/html")


async def test_streams_end_when_liveman_does(shown: list[Asked]) -> None:
    """By their end, and not by a cut; and Liveman does not wait for those who look."""
    async with ClientSession() as client:
        async with asyncio.timeout(5), serving(create_app(config_for()), "127.0.0.1:0") as url:
            response = await client.get(url, headers=EVENTS)
            await message(response)
        async with asyncio.timeout(5):
            assert await response.content.read() == b""
