"""What there is to play, over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from auth.issuing import SECRET, native
from liveman.config import Auth, Database, FsStorage, Recorder, Secret
from liveman.database import open_database
from liveman.recording.index import Index
from liveman.recording.wire import Recorded
from support.liveman import liveman
from support.raw_node import raw_node

#: 2026-11-21, 00:00 UTC, microseconds.
DAY = 1_795_219_200_000_000
HOUR = 3_600_000_000


def recorded(stream: str, start: int, **changes: Any) -> Recorded:
    path = f"{stream}/2026/11/21/{start // 1_000_000}/manifest.mpd"
    values = {
        "end": start + HOUR,
        "duration_ms": 3_600_000,
        "mpd_path": path,
        "status": "Completed",
        **changes,
    }
    return Recorded(f"id-{start}", stream, start, **values)


@asynccontextmanager
async def serving(tmp_path: Path, *rows: Recorded, **sections: Any) -> AsyncIterator[ClientSession]:
    url = f"sqlite://{tmp_path}/liveman.db"
    async with open_database(url) as database:
        await Index(database).put("n0", rows)
    storage = Recorder(FsStorage(root=str(tmp_path / "storage")))
    (tmp_path / "storage").mkdir()
    async with (
        raw_node() as node,
        liveman(node, database=Database(url=Secret(url)), recorder=storage, **sections) as address,
        ClientSession(address) as client,
    ):
        yield client


async def get(client: ClientSession, path: str, **headers: str) -> Any:
    async with client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_streams_and_their_recordings_are_listed(tmp_path: Path) -> None:
    rows = [recorded("cam", DAY), recorded("cam", DAY + HOUR + 5), recorded("a b", DAY)]
    async with serving(tmp_path, *rows) as client:
        assert await get(client, "/api/playback") == ["a b", "cam"]
        newest, oldest = await get(client, "/api/playback/cam")
        assert oldest == {
            "record": "1795219200",
            "mpd_path": "cam/2026/11/21/1795219200/manifest.mpd",
            "year": 2026,
            "month": 11,
            "day": 21,
            "node": "n0",
            "start": "2026-11-21T00:00:00Z",
            "end": "2026-11-21T01:00:00Z",
            "duration_ms": 3_600_000,
            "status": "Completed",
        }
        assert newest["start"] == "2026-11-21T01:00:00.000005Z"
        assert len(await get(client, "/api/playback/a%20b")) == 1
        assert await get(client, "/api/playback/none") == []


async def test_one_that_is_running_has_no_end(tmp_path: Path) -> None:
    row = recorded("cam", DAY, end=None, duration_ms=None, status="Active")
    async with serving(tmp_path, row) as client:
        (shown,) = await get(client, "/api/playback/cam")
        assert (shown["end"], shown["duration_ms"], shown["status"]) == (None, None, "Active")


async def test_older_folders_are_named_by_the_time_at_which_they_began(tmp_path: Path) -> None:
    row = recorded("cam", DAY, mpd_path="cam/2026/11/21/manifest.mpd")
    async with serving(tmp_path, row) as client:
        assert (await get(client, "/api/playback/cam"))[0]["record"] == "1795219200"


async def test_pages_are_linked(tmp_path: Path) -> None:
    rows = [recorded("cam", DAY + number * HOUR) for number in range(7)]
    async with serving(tmp_path, *rows) as client:
        seen, path = [], "/api/playback/cam?limit=3&from=2026-11-21"
        while path:
            async with client.get(path) as response:
                seen += [row["record"] for row in await response.json()]
                path = str(response.links["next"]["url"]) if "next" in response.links else ""
        assert seen == [str((DAY + number * HOUR) // 1_000_000) for number in range(6, -1, -1)]


async def test_days_narrow_the_list(tmp_path: Path) -> None:
    """Both included, in UTC."""
    rows = [recorded("cam", DAY + number * 24 * HOUR) for number in range(4)]
    async with serving(tmp_path, *rows) as client:
        found = await get(client, "/api/playback/cam?from=2026-11-22&to=2026-11-23")
        assert [row["day"] for row in found] == [23, 22]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "limit=%D9%A1",
        "from=today",
        "from=2026-13-01",
        "from=2026-02-30",
        "to=21.11.2026",
        "cursor=x",
        "cursor=W10",
        "cursor=WzEsMiwzXQ",
        "cursor=" + "W" * 4000,
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as client, client.get(f"/api/playback/cam?{query}") as response:
        assert response.status == 400
        assert response.content_type == "application/problem+json"


async def test_a_viewer_gets_the_objects_of_his_own_stream_alone(tmp_path: Path) -> None:
    """Found by the folder; with the token in the query too, as players cannot set headers."""
    rows = [recorded("cam", DAY), recorded("other", DAY)]
    async with serving(tmp_path, *rows, auth=Auth(secret=Secret(SECRET))) as client:
        for row in rows:
            path = tmp_path / "storage" / row.mpd_path
            path.parent.mkdir(parents=True)
            path.write_text("<MPD/>")
            (path.parent / "v_seg_0001.m4s").write_bytes(b"video")
        (tmp_path / "storage" / "loose.mpd").write_text("<MPD/>")
        mine = native({"id": "cam", "exp": 4_000_000_000, "mode": 4})
        all_of_it = native({"id": "*", "exp": 4_000_000_000, "mode": 4})
        expected = {
            f"{rows[0].mpd_path}": (200, 200),
            f"{rows[0].mpd_path.removesuffix('manifest.mpd')}v_seg_0001.m4s": (200, 200),
            f"{rows[1].mpd_path}": (403, 200),
            "loose.mpd": (403, 200),
            "cam/2026/11/21/1795219200/none.m4s": (404, 404),
        }
        for path, statuses in expected.items():
            for token, status in zip((mine, all_of_it), statuses, strict=True):
                async with client.get(
                    f"/api/record/object/{path}?token={token}", headers={"Range": "bytes=0-"}
                ) as response:
                    assert response.status in (status, 206 if status == 200 else status), path
        async with client.get(f"/api/record/object/{rows[0].mpd_path}") as response:
            assert response.status == 401
