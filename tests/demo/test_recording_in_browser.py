"""Headless Chromium plays what built-in nodes record, by dash.js from a plain file server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from liveman.demo.client import publish
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture, Tone
from support.browser import player_page, recordings_server
from support.dash import grown
from support.nodes import publish_h264


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recordings(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A folder with a recording of each codec, two segments long and a bit."""
    root = tmp_path_factory.mktemp("recordings")
    async with (
        buildin_nodes(1, recordings=str(root)) as (node,),
        ClientSession(node.url) as api,
        await publish(f"{node.url}/whip/vp8", [MovingPicture(), Tone()]),
        await publish_h264(f"{node.url}/whip/h264", [MovingPicture(), Tone()]),
    ):
        for stream in ("vp8", "h264"):
            await record(api, stream)
        for stream in ("vp8", "h264"):
            await grown(root / stream / "1795228000", 2)
            async with api.delete(f"/api/record/{stream}") as response:
                assert response.status == 200
    yield root


async def record(api: ClientSession, stream: str) -> None:
    async with api.post(f"/api/record/{stream}", json={"base_dir": f"{stream}/1795228000"}) as response:
        assert response.status == 200


@pytest.mark.parametrize("stream", ["vp8", "h264"])
async def test_a_recording_plays_to_its_end(recordings: Path, stream: str) -> None:
    """Time goes on, pictures and sound are decoded, a seek finds its place, and nothing goes wrong."""
    async with (
        recordings_server(recordings) as server,
        player_page(server, f"/recordings/{stream}/1795228000/manifest.mpd") as player,
    ):
        first = await player.reaches("s.at > 1 && s.pictures > 10 && s.sound > 1000")
        assert (first["width"], first["errors"]) == (320, [])
        assert 3.5 < first["duration"] < 15
        await player.seek(first["duration"] - 0.8)
        last = await player.reaches("s.ended")
        assert last["at"] == pytest.approx(first["duration"], abs=0.3)
        assert last["pictures"] > first["pictures"]
        assert last["errors"] == []


async def test_a_recording_plays_while_it_grows(tmp_path: Path) -> None:
    """Beyond what was there when the player came."""
    async with (
        buildin_nodes(1, recordings=str(tmp_path)) as (node,),
        ClientSession(node.url) as api,
        recordings_server(tmp_path) as server,
    ):
        async with await publish(f"{node.url}/whip/cam", [MovingPicture(), Tone()]):
            await record(api, "cam")
            there = await grown(tmp_path / "cam/1795228000", 1)
            async with player_page(server, "/recordings/cam/1795228000/manifest.mpd") as player:
                end = there.tracks["video"].ends
                seen = await player.reaches(f"s.at > {end + 1} && s.pictures > 10 && s.sound > 1000")
                assert seen["errors"] == []
