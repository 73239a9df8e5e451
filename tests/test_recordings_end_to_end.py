"""A stream is recorded by a built-in node, comes into the index, and plays in a browser; all through Liveman."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import ClientSession

from liveman import create_app
from liveman.config import (
    AutoRecord,
    Cluster,
    Config,
    Database,
    FsStorage,
    Http,
    Liveion,
    Recorder,
    RecordSync,
    Secret,
)
from liveman.demo.client import publish
from liveman.demo.pictures import MovingPicture, Tone
from liveman.server import serving
from support.browser import player_page, recordings_server
from support.dash import grown


async def test_a_recording_made_through_liveman_plays_through_liveman(tmp_path: Path) -> None:
    """Recorded without being asked, below the prefix, and shown while it runs."""
    storage = tmp_path / "recordings"
    config = Config(
        http=Http(cors=True),
        database=Database(url=Secret(f"sqlite://{tmp_path}/liveman.db")),
        liveion=Liveion(count=2),
        cluster=Cluster(poll_interval_ms=200),
        recorder=Recorder(storage=FsStorage(root=str(storage))),
        auto_record=AutoRecord(enabled=True, auto_streams=("c*",), base_prefix="live", tick_ms=100),
        record_sync=RecordSync(enabled=True, tick_ms=100),
    )
    async with (
        serving(create_app(config), "127.0.0.1:0") as url,
        ClientSession(url) as client,
        recordings_server(tmp_path) as pages,
    ):
        async with await publish(f"{url}/whip/cam", [MovingPicture(), Tone()]):
            async with asyncio.timeout(20):
                while not (status := await get(client, "/api/record/cam"))["recording"]:
                    await asyncio.sleep(0.05)
            (running,) = await wait_for(client, lambda rows: rows)
            assert running["status"] == "Active"
            assert running["mpd_path"].startswith("live/cam/20")
            assert status["node"] == running["node"]
            await grown(storage / Path(running["mpd_path"]).parent, 2)
        (ended,) = await wait_for(client, lambda rows: rows[0]["status"] == "Completed")
        assert ended["duration_ms"] > 2000
        manifest = f"{url}/api/record/object/{ended['mpd_path']}"
        async with player_page(pages, quote(manifest, safe="")) as player:
            seen = await player.reaches("s.at > 1 && s.pictures > 10 && s.sound > 1000")
            assert seen["errors"] == []
            await player.seek(seen["duration"] - 0.5)
            await player.reaches("s.ended")


async def get(client: ClientSession, path: str) -> Any:
    async with client.get(path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def wait_for(client: ClientSession, ready: Any) -> list[dict[str, Any]]:
    """The stream's recordings, once they are as wanted."""
    async with asyncio.timeout(30):
        while not ((rows := await get(client, "/api/playback/cam")) and ready(rows)):
            await asyncio.sleep(0.05)
    return rows
