"""Streams are recorded where they are published, once, and recordings follow them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession

from liveman.config import AutoRecord
from liveman.recording import recorder
from recording.nodes import Node, recording_node
from support.liveman import liveman


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.02)


@asynccontextmanager
async def recording(*nodes: Node, **auto: Any) -> AsyncIterator[ClientSession]:
    options = AutoRecord(tick_ms=50, **auto)
    async with (
        liveman(*(node.url for node in nodes), auto_record=options) as url,
        ClientSession(url) as client,
    ):
        yield client


async def known(client: ClientSession, *streams: str) -> None:
    """Wait until Liveman knows these streams' publishers."""
    async with asyncio.timeout(10):
        while True:
            async with client.get("/api/streams/") as response:
                rows = {row["id"] for row in await response.json() if row["publish"]["sessions"]}
            if rows >= set(streams):
                return
            await asyncio.sleep(0.01)


async def test_a_recording_is_begun_shown_and_ended() -> None:
    async with recording_node() as node, recording(node, base_prefix="live") as client:
        node.publish("cam")
        await known(client, "cam")
        async with client.get("/api/record/cam") as response:
            assert await response.json() == {"recording": False}
        async with client.post("/api/record/cam") as response:
            begun = await response.json()
        assert begun["started"] is True
        assert begun["node"] == "n0"
        assert begun["mpd_path"].startswith("live/cam/20")
        assert begun["mpd_path"].endswith(f"/{begun['record']}/manifest.mpd")
        async with client.post("/api/record/cam") as response:
            assert await response.json() == begun, "it runs already"
        async with client.get("/api/record/cam") as response:
            shown = await response.json()
        assert (shown["recording"], shown["node"]) == (True, "n0")
        async with client.delete("/api/record/cam") as response:
            assert await response.json() == {"stopped": True}
        async with client.delete("/api/record/cam") as response:
            assert await response.json() == {"stopped": False}
        assert not node.running


@pytest.mark.parametrize(("path", "status"), [("/api/record/none", 404), ("/api/record/cam?node=n7", 404)])
async def test_what_is_not_there_cannot_be_recorded(path: str, status: int) -> None:
    async with recording_node() as node, recording(node) as client:
        node.publish("cam")
        await known(client, "cam")
        async with client.post(path) as response:
            assert response.status == status
        assert not node.log


async def test_a_node_without_a_recorder_is_named() -> None:
    async with recording_node() as node, recording(node) as client:
        node.lacks = 501
        node.publish("cam")
        await known(client, "cam")
        async with client.post("/api/record/cam") as response:
            assert response.status == 501
            assert "n0" in (await response.json())["detail"]


async def test_streams_that_match_are_recorded_without_being_asked() -> None:
    async with recording_node() as node, recording(node, enabled=True, auto_streams=("c*",)) as client:
        node.publish("cam")
        node.publish("other")
        await until(lambda: list(node.running) == ["cam"])
        await known(client, "other")
        assert list(node.running) == ["cam"]


async def test_what_somebody_ended_is_not_begun_again_by_itself() -> None:
    async with recording_node() as node, recording(node, enabled=True, auto_streams=("*",)) as client:
        node.publish("cam")
        await until(lambda: "cam" in node.running)
        async with client.delete("/api/record/cam") as response:
            assert (await response.json())["stopped"]
        node.publish("other")
        await until(lambda: "other" in node.running)
        assert "cam" not in node.running


@pytest.mark.parametrize("asked", [True, False], ids=["by hand", "by globs"])
async def test_a_recording_follows_its_publisher_to_another_node(asked: bool) -> None:
    """And is never at two nodes at once."""
    auto: dict[str, Any] = {} if asked else {"enabled": True, "auto_streams": ("*",)}
    async with (
        recording_node() as first,
        recording_node() as second,
        recording(first, second, **auto) as client,
    ):
        first.publish("cam")
        await known(client, "cam")
        if asked:
            async with client.post("/api/record/cam") as response:
                assert response.status == 200
        await until(lambda: "cam" in first.running)
        first.leave("cam")
        second.publish("cam", "p2")
        await until(lambda: "cam" in second.running)
        assert "cam" not in first.running


async def test_a_publisher_who_comes_back_to_the_same_node_is_recorded_again() -> None:
    async with recording_node() as node, recording(node, enabled=True, auto_streams=("*",)):
        node.publish("cam")
        await until(lambda: "cam" in node.running)
        node.end("cam")
        node.publish("cam", "p2")
        await until(lambda: "cam" in node.running)


async def test_a_recording_that_is_old_is_rotated(caplog: pytest.LogCaptureFixture) -> None:
    """Ended and begun at once, and the gap is told."""
    caplog.set_level("INFO")
    options: dict[str, Any] = {"enabled": True, "auto_streams": ("*",), "max_recording_seconds": 1}
    async with recording_node() as node, recording(node, **options):
        node.publish("cam")
        await until(lambda: len(node.sessions) >= 3)
        assert node.log[:3] == ["start cam", "stop cam", "start cam"]
        assert len({row["mpd_path"] for row in node.sessions[:3]}) == 3
    assert any(
        "a recording was rotated" in record.message and "gap_ms=" in record.message
        for record in caplog.records
    )


async def test_a_recording_that_ran_before_liveman_did_is_shown_and_kept() -> None:
    async with recording_node() as node:
        node.publish("cam")
        async with recording(node) as client:
            await known(client, "cam")
            async with client.post("/api/record/cam") as response:
                begun = await response.json()
        async with recording(node) as client:
            await known(client, "cam")
            async with client.get("/api/record/cam") as response:
                shown = await response.json()
            assert (shown["recording"], shown["mpd_path"]) == (True, begun["mpd_path"])
            assert node.log.count("start cam") == 1, "looking begins nothing"
            async with client.post("/api/record/cam") as response:
                assert (await response.json())["mpd_path"] == begun["mpd_path"]
        assert len(node.sessions) == 1


async def test_a_publisher_who_connects_anew_goes_on_being_recorded() -> None:
    async with recording_node() as node, recording(node, enabled=True, auto_streams=("*",)) as client:
        node.publish("cam")
        await until(lambda: "cam" in node.running)
        node.states["p1"] = "connecting"
        node.publish("other", "p2")
        await until(lambda: "other" in node.running)
        await known(client, "other")
        assert "cam" in node.running
        assert "stop cam" not in node.log


async def test_one_who_has_not_begun_to_send_is_not_recorded_yet() -> None:
    """A node without media would not answer."""
    async with recording_node() as node, recording(node, enabled=True, auto_streams=("*",)):
        node.states["p1"] = "connecting"
        node.publish("cam")
        node.publish("other", "p2")
        await until(lambda: "other" in node.running)
        assert "start cam" not in node.log
        node.states.clear()
        await until(lambda: "cam" in node.running)


async def test_a_start_at_another_node_ends_the_recording_at_the_first() -> None:
    async with recording_node() as first, recording_node() as second, recording(first, second) as client:
        first.publish("cam")
        await known(client, "cam")
        async with client.post("/api/record/cam") as response:
            assert (await response.json())["node"] == "n0"
        second.publish("cam", "p2")
        async with asyncio.timeout(10):
            while True:
                async with client.post("/api/record/cam?node=n1") as response:
                    if response.status == 200:
                        break
                await asyncio.sleep(0.02)
        assert "cam" not in first.running
        assert "cam" in second.running
