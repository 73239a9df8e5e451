"""A recording from end to end: published, recorded, indexed and played through Liveman, in headless Chromium."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from liveman.config import FsStorage, Http, Liveion, Recorder, RecordSync
from liveman.demo.client import publish
from liveman.demo.pictures import MovingPicture, Tone
from support.browser import player_page, recordings_server
from support.dash import grown
from support.liveman import liveman
from support.nodes import until


async def test_what_a_node_records_plays_through_liveman(tmp_path: Path) -> None:
    """On a page of another origin, by its manifest in the list of what there is to play."""
    root = tmp_path / "recordings"
    async with (
        liveman(
            http=Http(cors=True),
            liveion=Liveion(count=1),
            recorder=Recorder(storage=FsStorage(root=str(root))),
            record_sync=RecordSync(enabled=True, tick_ms=100),
        ) as url,
        ClientSession(url) as api,
        recordings_server(tmp_path) as pages,
    ):

        async def begun() -> str | None:
            async with api.post("/api/record/cam") as response:
                return (await response.json())["mpd_path"] if response.ok else None

        async def listed() -> dict[str, Any] | None:
            async with api.get("/api/playback/cam") as response:
                rows = await response.json() if response.ok else []
            return next((row for row in rows if row["status"] == "Completed"), None)

        async with await publish(f"{url}/whip/cam", [MovingPicture(), Tone()]):
            mpd_path = await until(begun)
            await grown((root / mpd_path).parent, 2)
            async with api.delete("/api/record/cam") as response:
                assert await response.json() == {"stopped": True}
        row = await until(listed)
        assert row["mpd_path"] == mpd_path
        async with player_page(pages, f"{url}/api/record/object/{mpd_path}") as player:
            first = await player.reaches("s.at > 1 && s.pictures > 10 && s.sound > 1000")
            assert first["duration"] == pytest.approx(row["duration_ms"] / 1000, abs=2)
            await player.seek(first["duration"] - 0.8)
            assert (await player.reaches("s.ended"))["errors"] == []
