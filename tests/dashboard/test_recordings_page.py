"""What was recorded, as the pages show it: by stream, by day, and to whom."""

import html
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin

import pytest
from aiohttp import ClientSession
from markupsafe import escape

from auth.issuing import SECRET, native
from liveman.config import Auth, Database, FsStorage, Playback, Recorder, RecordSync, Secret
from liveman.database import open_database
from liveman.recording.index import Index
from liveman.recording.wire import Recorded
from recording.buckets import bucket_at
from support.liveman import liveman
from support.raw_node import raw_node

#: 2026-11-21, 00:00 UTC, microseconds.
DAY = 1_795_219_200_000_000
HOUR = 3_600_000_000
#: Names that break pages which do not write them with care.
HOSTILE = [
    "<script>alert(1)<!--",
    "\"' onload='alert(1)",
    "a&amp;b",
    "100%",
    "%41",
    "{{ 7 * 7 }}",
    "a b+c?d=e#f",
    "\u05e2\u05d1\u05e8\u05d9\u05ea\u202e",
    "é" * 127 + "x",
]


def recorded(stream: str = "cam", start: int = DAY, **changes: Any) -> Recorded:
    path = f"live/{stream}/2026/11/21/{start // 1_000_000}/manifest.mpd"
    values = {"end": start + HOUR, "duration_ms": 3_725_000, "mpd_path": path, "status": "Completed"}
    return Recorded(f"id-{start}", stream, start, **{**values, **changes})


@asynccontextmanager
async def serving(tmp_path: Path, *rows: Recorded, **sections: Any) -> AsyncIterator[ClientSession]:
    url = f"sqlite://{tmp_path}/liveman.db"
    async with open_database(url) as database:
        await Index(database).put("n0", rows)
    (tmp_path / "storage").mkdir()
    sections.setdefault("recorder", Recorder(FsStorage(root=str(tmp_path / "storage"))))
    sections.setdefault("record_sync", RecordSync(enabled=True))
    async with (
        raw_node() as node,
        liveman(node, database=Database(url=Secret(url)), **sections) as address,
        ClientSession(address, headers={"Accept": "text/html"}) as client,
    ):
        yield client


async def page(client: ClientSession, path: str, status: int = 200, **headers: str) -> str:
    async with client.get(path, headers=headers, allow_redirects=False) as response:
        text = await response.text()
        assert response.status == status, text
        return text


def links(text: str, words: str) -> list[str]:
    """Where the links go in whose text or label these words stand."""
    found = re.findall(r"<a\b([^>]*)>(.*?)</a>", text, re.DOTALL)
    return [
        html.unescape(re.search(r'href="([^"]*)"', tag)[1])  # type: ignore[index]
        for tag, inner in found
        if words in html.unescape(re.sub("<[^>]*>", "", inner) + tag)
    ]


def bearer(stream: str, mode: int) -> str:
    return f"Bearer {native({'id': stream, 'exp': int(time.time()) + 600, 'mode': mode})}"


async def test_streams_with_recordings_lead_to_their_days_and_these_to_the_player(tmp_path: Path) -> None:
    async with serving(tmp_path, recorded(), recorded("other", DAY + HOUR)) as client:
        text = await page(client, "/recordings/")
        assert re.findall(r"<bdi>([^<]*)</bdi></a>", text) == ["cam", "other"]
        assert "2026-11-21 01:00:00" in text
        link = links(text, "cam")[-1]
        path = urljoin("/recordings/", link)
        text = await page(client, path)
        assert "Saturday, 21 November 2026" in text and "00:00:00" in text and "1 h 2 min" in text
        (link,) = links(text, "Play the recording of 00:00:00")
        assert unquote(link).endswith(
            "cam/play?day=2026-11-21&mpd=live/cam/2026/11/21/1795219200/manifest.mpd"
        )
        assert 'data-mpd="live/cam/2026/11/21/1795219200/manifest.mpd"' in await page(
            client, urljoin(path, link)
        )


async def test_the_manifest_can_be_had(tmp_path: Path) -> None:
    row = recorded("a &%b")
    file = tmp_path / "storage" / row.mpd_path
    async with serving(tmp_path, row) as client:
        file.parent.mkdir(parents=True)
        file.write_text("<MPD></MPD>")
        path = "/recordings/" + quote(row.stream, safe="")
        (link,) = links(await page(client, path), "Download the manifest")
        assert await page(client, urljoin(path, link)) == "<MPD></MPD>"


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_streams_name_is_shown_as_it_is_and_linked_to_where_it_is(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path, recorded(name)) as client:
        text = await page(client, "/recordings/")
        assert f"<bdi>{escape(name)}</bdi></a>" in text
        assert "<script>alert" not in text
        (link,) = links(text, name)
        path = urljoin("/recordings/", link)
        text = await page(client, path)
        assert f'Recordings of <bdi class="name">{escape(name)}</bdi></h1>' in text
        assert "00:00:00" in text and "<script>alert" not in text
        (link,) = links(text, "Play the recording")
        text = await page(client, urljoin(path, link))
        (mpd,) = re.findall(r'data-mpd="([^"]*)"', text)
        assert html.unescape(mpd) == recorded(name).mpd_path


async def test_the_newest_day_is_shown_and_the_calendar_leads_to_the_others(tmp_path: Path) -> None:
    month = 31 * 24 * HOUR
    rows = [recorded(start=start) for start in (DAY, DAY + 24 * HOUR, DAY - month, DAY - 2 * month)]
    async with serving(tmp_path, *rows) as client:
        text = await page(client, "/recordings/cam")
        assert "Sunday, 22 November 2026" in text and "November 2026</h2>" in text
        assert links(text, "Earlier month") == ["../recordings/cam?day=2026-10-21"]
        assert links(text, "Later month") == []
        days = [link for link in links(text, "") if "day=2026-11" in link and "play" not in link]
        assert days == ["../recordings/cam?day=2026-11-21", "../recordings/cam?day=2026-11-22"]
        text = await page(client, "/recordings/cam?day=2026-10-21")
        assert "Wednesday, 21 October 2026" in text and "October 2026</h2>" in text
        assert links(text, "Earlier month") == ["../recordings/cam?day=2026-09-20"]
        assert links(text, "Later month") == ["../recordings/cam?day=2026-11-21"]
        assert "No recording began on this day" in await page(client, "/recordings/cam?day=2026-11-30")


async def test_a_stream_that_was_never_recorded_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        assert "no recordings of this stream" in await page(client, "/recordings/cam")
        assert "Nothing was recorded yet" in await page(client, "/recordings/")
        assert "record_sync" not in await page(client, "/recordings/")


async def test_that_nothing_comes_into_the_index_is_said(tmp_path: Path) -> None:
    async with serving(tmp_path, recorded(), record_sync=RecordSync()) as client:
        assert "[record_sync]" in await page(client, "/recordings/")
        assert "[record_sync]" in await page(client, "/recordings/cam")


@pytest.mark.parametrize(
    "query",
    ["day=", "day=2026-11-31", "day=x", "day=<b>", "day=2026-11-21&until=x", "day=2026-11-21&until=-1"],
)
async def test_a_question_that_makes_no_sense_is_refused_with_a_page(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path, recorded()) as client:
        status = 200 if query == "day=" else 400
        assert "<h1>" in await page(client, f"/recordings/cam?{query}", status)


async def test_a_day_with_very_many_recordings_is_shown_in_parts(tmp_path: Path) -> None:
    rows = [recorded(start=DAY + n * 60_000_000) for n in range(450)]
    async with serving(tmp_path, *rows) as client:
        path, seen = "/recordings/cam", []
        while True:
            text = await page(client, path)
            seen += re.findall(r'datetime="2026-11-2\dT([^"]*)Z"', text)
            more = links(text, "Older ones")
            if not more:
                break
            path = urljoin(path, more[0])
        assert len(seen) == 450
        assert seen == sorted(set(seen), reverse=True)


async def test_very_many_streams_are_shown_in_parts_and_found_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path, *[recorded(f"room-{n:03d}") for n in range(120)]) as client:
        path, seen = "/recordings/", []
        while True:
            text = await page(client, path)
            seen += re.findall(r"<bdi>(room-\d+)</bdi>", text)
            more = links(text, "Next")
            if not more:
                break
            path = urljoin(path, more[0])
        assert seen == [f"room-{n:03d}" for n in range(120)]
        text = await page(client, "/recordings/?q=ROOM-01&sort=-name")
        assert re.findall(r"<bdi>(room-\d+)</bdi>", text) == [f"room-01{n}" for n in range(9, -1, -1)]
        assert "No stream with recordings is like that" in await page(client, "/recordings/?q=zzz")
        assert "<bdi>room-119</bdi>" in await page(client, "/recordings/?page=99")
        for wrong in ("0", "x", "-1"):
            await page(client, f"/recordings/?page={wrong}", 400)


async def test_only_who_may_sees_what_was_recorded(tmp_path: Path) -> None:
    """A token for a stream shows its days, not the list; nobody is sent to the login."""
    auth = Auth(secret=Secret(SECRET))
    async with serving(tmp_path, recorded(), auth=auth) as client:
        for path in ("/recordings/", "/recordings/cam"):
            async with client.get(path, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"][:8]) == (303, "../login")
        own = bearer("cam", 4)
        assert "00:00:00" in await page(client, "/recordings/cam", Authorization=own)
        await page(client, "/recordings/", 403, Authorization=own)
        await page(client, "/recordings/other", 403, Authorization=own)
        await page(client, "/recordings/", Authorization=bearer("*", 2))


async def test_the_players_page_is_open_and_tells_a_stranger_nothing(tmp_path: Path) -> None:
    auth = Auth(secret=Secret(SECRET))
    async with serving(tmp_path, recorded(), auth=auth) as client:
        for path in ("/recordings/cam/play?day=2026-11-21&mpd=live/cam/x.mpd", "/play?mpd=live/cam/x.mpd"):
            text = await page(client, path)
            assert 'data-mpd="live/cam/x.mpd"' in text
            assert "00:00:00" not in text and "n0" not in text
        await page(client, "/recordings/cam/play?day=x", 400)


async def test_without_the_bundle_the_players_page_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveman.dashboard.recordings.files", lambda _: tmp_path)
    async with serving(tmp_path, recorded()) as client:
        text = await page(client, "/recordings/cam/play?mpd=x")
        assert "make dashboard" in text and "play.js" not in text


@pytest.mark.parametrize("signed", [False, True])
async def test_the_players_page_may_ask_a_bucket_only_where_players_are_sent_there(
    tmp_path: Path, signed: bool
) -> None:
    """Its origin and no other, by the Content-Security-Policy; other pages may not."""
    recorder = Recorder(bucket_at("http://127.0.0.1:9"))
    sections = {"recorder": recorder, "playback": Playback(signed_redirect=signed)}
    async with serving(tmp_path, **sections) as client:
        policies = []
        for path in ("/recordings/cam/play", "/play", "/recordings/"):
            async with client.get(path) as response:
                policy = response.headers["Content-Security-Policy"]
                policies += re.findall(r"connect-src ([^;]*)", policy)
        allowed = "'self' http://127.0.0.1:9" if signed else "'self'"
        assert policies == [allowed, allowed, "'self'"]
