"""Built-in nodes record for real: real publishers, files that play, and a node that goes on when a disk fails."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from aiortc import MediaStreamTrack

from liveman.demo.client import Publisher, publish, subscribe
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import MovingPicture, Quadrants, Tone, quadrant_colours
from support.dash import grown, play
from support.nodes import alike, publish_h264, until


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, Path]]:
    """A node for all tests here, and where it records; use stream names of your own."""
    root = tmp_path_factory.mktemp("recordings")
    async with buildin_nodes(1, recordings=str(root)) as nodes:
        yield nodes[0].url, root


@pytest.fixture
def root(recorder: tuple[str, Path]) -> Path:
    return recorder[1]


@pytest.fixture
async def node(recorder: tuple[str, Path]) -> AsyncIterator["Node"]:
    async with ClientSession(recorder[0]) as api:
        yield Node(recorder[0], api)


class Node:
    """The part of the API that records."""

    def __init__(self, url: str, api: ClientSession) -> None:
        self.url = url
        self.api = api

    async def publish(self, stream: str, *tracks: MediaStreamTrack) -> Publisher:
        publisher = await publish(f"{self.url}/whip/{stream}", tracks or [Quadrants(), Tone()])
        await publisher.wait_connected()
        return publisher

    async def record(self, stream: str, base_dir: str | None = None) -> dict[str, str]:
        body = {} if base_dir is None else {"base_dir": base_dir}
        async with self.api.post(f"/api/record/{stream}", json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json(content_type=None)

    async def is_recording(self, stream: str) -> bool:
        async with self.api.get(f"/api/record/{stream}") as response:
            return (await response.json())["recording"]

    async def stop(self, stream: str) -> None:
        async with self.api.delete(f"/api/record/{stream}") as response:
            assert (response.status, await response.read()) == (200, b"")

    async def listing(self, stream: str, **query: int) -> dict[str, Any]:
        parameters = {"limit": 100, "stream": stream, **query}
        async with self.api.get("/api/recordings", params=parameters) as response:
            return await response.json()

    async def row(self, stream: str) -> dict[str, Any]:
        (row,) = (await self.listing(stream))["sessions"]
        return row

    async def ended(self, stream: str) -> dict[str, Any]:
        """The row of a stream's only recording, once it has ended."""

        async def look() -> dict[str, Any] | None:
            row = await self.row(stream)
            return row if row["status"] != "Active" else None

        return await until(look, within=20)

    async def change(self, method: str, *records: tuple[str, str]) -> dict[str, int]:
        body = {"records": [{"stream": stream, "record": record} for stream, record in records]}
        async with self.api.request(method, "/api/recordings", json=body) as response:
            assert response.status == 200
            return await response.json()


@pytest.mark.parametrize(
    ("codec", "types"),
    [
        ("vp8", {"video": ("video/webm", "vp8"), "audio": ("audio/webm", "opus")}),
        ("avc1", {"video": ("video/mp4", "avc1"), "audio": ("audio/mp4", "opus")}),
    ],
)
async def test_a_recording_plays_from_its_beginning_to_its_end(
    node: Node, root: Path, codec: str, types: dict[str, tuple[str, str]]
) -> None:
    """The picture and the tone are all there, for as long as they were recorded, and fit together; until it
    ends the manifest is one that grows, and can be played at any moment."""
    url = f"{node.url}/whip/{codec}"
    publishing = node.publish(codec) if codec == "vp8" else publish_h264(url, [Quadrants(), Tone()])
    async with await publishing as publisher:
        await publisher.wait_connected()
        begin = time.monotonic()
        started = await node.record(codec, f"rec/{codec}/1795228000")
        growing = await grown(root / started["record_dir"], 2)
        assert growing.is_live
        assert growing.seconds is None
        await node.stop(codec)
        took = time.monotonic() - begin
    played = play(root / started["record_dir"])
    assert not played.is_live
    assert played.seconds is not None
    assert growing.tracks["video"].ends < played.seconds < took + 0.5
    found = {kind: (t.mime_type, t.codecs.partition(".")[0]) for kind, t in played.tracks.items()}
    assert found == types
    for track in played.tracks.values():
        assert track.starts < 0.2
        assert abs(track.times[0] - track.starts) < 0.05
        assert abs(track.times[-1] - track.ends) < 0.2
        assert track.longest_gap < 0.5
    video, audio = played.tracks["video"], played.tracks["audio"]
    assert abs(video.ends - audio.ends) < 1
    assert len(video.frames) > 0.7 * 15 * video.ends
    assert all(alike(quadrant_colours(frame)) for frame in video.frames[::10])
    assert sum(frame.samples for frame in audio.frames) > 0.7 * 48_000 * audio.ends


async def test_files_and_answers_have_the_names_of_the_contract(node: Node, root: Path) -> None:
    async with await node.publish("named"):
        started = await node.record("named")
        second = int(started["record_id"])
        assert abs(second - time.time()) < 10
        assert started == {
            "id": "named",
            "record_id": str(second),
            "record_dir": f"named/{second}",
            "mpd_path": f"named/{second}/manifest.mpd",
        }
        assert await node.is_recording("named")
        active = await node.row("named")
        assert abs(active["start_ts"] / 1e6 - time.time()) < 10
        assert active == {
            "id": str(second),
            "stream": "named",
            "start_ts": active["start_ts"],
            "end_ts": None,
            "duration_ms": None,
            "mpd_path": started["mpd_path"],
            "status": "Active",
        }
        await grown(root / "named" / str(second), 1)
        await node.stop("named")
        ended = await node.row("named")
        took = (ended["end_ts"] - ended["start_ts"]) // 1000
        assert ended == {**active, "end_ts": ended["end_ts"], "duration_ms": took, "status": "Completed"}
        assert not await node.is_recording("named")
    folder = root / "named" / str(second)
    assert {file.name for file in folder.iterdir()} == {*play(folder).files, "manifest.mpd"}
    assert {"v_init.m4s", "a_init.m4s", "v_seg_0001.m4s", "a_seg_0001.m4s"} <= play(folder).files


async def test_a_stream_is_recorded_at_most_once(node: Node) -> None:
    """A second start is answered with what runs; after a stop a new recording begins, also within a second."""
    async with await node.publish("once"):
        first = await node.record("once", "rec/once/1795228000")
        assert await node.record("once", "elsewhere/once/1795228001") == first
        assert await node.record("once") == first
        await node.stop("once")
        records = set()
        for _ in range(3):
            records.add((await node.record("once"))["record_id"])
            await node.stop("once")
        assert len(records) == 3
        await node.stop("once")


async def test_a_folder_that_is_no_time_gives_no_record_id(node: Node) -> None:
    """The session has an id all the same."""
    async with await node.publish("plain"):
        started = await node.record("plain", "rec/plain/")
        assert (started["record_id"], started["mpd_path"]) == ("", "rec/plain/manifest.mpd")
        await node.stop("plain")
    assert (await node.row("plain"))["id"].isdigit()


async def test_a_publisher_who_leaves_ends_the_recording(node: Node, root: Path) -> None:
    """It is whole, and what follows is recorded anew."""
    async with await node.publish("left"):
        started = await node.record("left")
        await grown(root / started["record_dir"], 1)
    assert (await node.ended("left"))["status"] == "Completed"
    assert not play(root / started["record_dir"]).is_live
    assert not await node.is_recording("left")
    async with await node.publish("left"):
        assert await node.record("left") != started
        await node.stop("left")


async def test_two_streams_are_recorded_at_once(node: Node, root: Path) -> None:
    async with await node.publish("one", Quadrants()), await node.publish("two", MovingPicture()):
        folders = [root / (await node.record(name))["record_dir"] for name in ("one", "two")]
        for folder in folders:
            await grown(folder, 1)
        await node.stop("one")
        assert await node.is_recording("two")
        await node.stop("two")
    still, moving = [play(folder).tracks["video"].frames for folder in folders]
    assert alike(quadrant_colours(still[-1]))
    assert not alike(quadrant_colours(moving[-1]))


async def test_a_folder_that_cannot_be_made_fails_the_recording_alone(node: Node, root: Path) -> None:
    """The stream goes on."""
    (root / "file").write_text("not a folder")
    async with await node.publish("unwritable"), await subscribe(f"{node.url}/whep/unwritable") as viewer:
        await node.record("unwritable", "file/unwritable/1795228000")
        row = await node.ended("unwritable")
        assert (row["status"], row["end_ts"] is None) == ("Failed", False)
        assert not await node.is_recording("unwritable")
        await viewer.wait_for_frames(viewer.frames + 15, timeout=20)


async def test_a_full_disk_fails_the_recording_alone(node: Node, root: Path) -> None:
    """What was written until then can be played, and the stream goes on."""
    folder = root / "full" / "1795228000"
    folder.mkdir(parents=True)
    (folder / "v_seg_0002.m4s").symlink_to("/dev/full")
    async with await node.publish("full"), await subscribe(f"{node.url}/whep/full") as viewer:
        await node.record("full", "full/1795228000")
        assert (await node.ended("full"))["status"] == "Failed"
        await viewer.wait_for_frames(viewer.frames + 15, timeout=20)
    played = play(folder)
    assert played.tracks["video"].segments == 1
    assert not played.is_live


async def test_a_recording_is_never_written_over(node: Node, root: Path) -> None:
    folder = root / "again" / "1795228000"
    folder.mkdir(parents=True)
    (folder / "manifest.mpd").write_text("kept")
    async with await node.publish("again"):
        await node.record("again", "again/1795228000")
        assert (await node.ended("again"))["status"] == "Failed"
    assert [file.name for file in folder.iterdir()] == ["manifest.mpd"]
    assert (folder / "manifest.mpd").read_text() == "kept"


async def test_what_is_told_is_told_until_it_is_acknowledged(node: Node) -> None:
    async with await node.publish("told"):
        ids = []
        for number in range(3):
            ids.append((await node.record("told", f"told/{1_795_228_000 + number}"))["record_id"])
            await node.stop("told")
        listed = await node.listing("told")
        assert [row["id"] for row in listed["sessions"]] == ids
        first = await node.listing("told", limit=1)
        assert [row["id"] for row in first["sessions"]] == ids[:1]
        rest = await node.listing("told", since_ts=first["last_ts"])
        assert [row["id"] for row in rest["sessions"]] == ids[1:]
        assert rest["last_ts"] == listed["last_ts"]
        assert await node.listing("told", since_ts=rest["last_ts"]) == {"sessions": [], "last_ts": None}
        assert await node.listing("told", limit=0) == {"sessions": [], "last_ts": None}
        assert await node.change("DELETE", ("told", ids[0])) == {"deleted": 0}
        named = [("told", ids[0]), ("told", ids[0]), ("other", ids[1]), ("told", "unknown")]
        assert await node.change("PATCH", *named) == {"acked": 1}
        assert await node.change("PATCH", *named) == {"acked": 0}
        assert [row["id"] for row in (await node.listing("told"))["sessions"]] == ids[1:]
        assert await node.change("DELETE", *named, ("told", ids[2])) == {"deleted": 1}


async def test_one_that_is_acknowledged_while_it_runs_is_told_no_more(node: Node) -> None:
    """Its end and duration are lost, as on a real node; it goes on all the same."""
    async with await node.publish("early"):
        started = await node.record("early")
        assert await node.change("PATCH", ("early", started["record_id"])) == {"acked": 1}
        assert await node.is_recording("early")
        await node.stop("early")
        assert (await node.listing("early"))["sessions"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/api/recordings", None, 400, "missing field `limit`"),
        ("GET", "/api/recordings?limit=", None, 400, "limit: invalid digit"),
        ("GET", "/api/recordings?limit=-1", None, 400, "limit: invalid digit"),
        ("GET", "/api/recordings?limit=1&since_ts=x", None, 400, "since_ts: invalid digit"),
        ("GET", "/api/recordings?limit=1&since_ts=99999999999999999999", None, 400, "since_ts"),
        ("PATCH", "/api/recordings", b'{"records": 1}', 422, "records"),
        ("PATCH", "/api/recordings", b'{"records": [1]}', 422, "stream and record"),
        (
            "DELETE",
            "/api/recordings",
            b'{"records": [{"stream": "x", "record": 1}]}',
            422,
            "stream and record",
        ),
        ("DELETE", "/api/recordings", b"[", 400, "JSON"),
        ("POST", "/api/recordings", b"{}", 405, ""),
        ("POST", "/api/record/bad", b"", 400, "JSON"),
        ("POST", "/api/record/bad", b'{"base_dir": 1}', 422, "base_dir"),
        ("POST", "/api/record/bad", b'{"base_dir": ""}', 400, "no path"),
        ("POST", "/api/record/bad", b'{"base_dir": "/etc"}', 400, "no path"),
        ("POST", "/api/record/bad", b'{"base_dir": "a/../../b"}', 400, "no path"),
        ("POST", "/api/record/bad", b'{"base_dir": "a//b"}', 400, "no path"),
        ("POST", "/api/record/bad", b'{"base_dir": "a\\\\b"}', 400, "no path"),
        ("POST", "/api/record/bad", b'{"base_dir": "a\\u0000"}', 400, "no path"),
        ("POST", "/api/record/bad", b'{"base_dir": "\\ud800"}', 400, "no path"),
        ("POST", "/api/record/bad", b'{"base_dir": "' + b"x" * 256 + b'"}', 400, "no path"),
        ("POST", "/api/record/nobody", b"{}", 500, "nobody publishes"),
        ("DELETE", "/api/record/nobody", None, 200, ""),
    ],
)
async def test_bad_input_is_refused(
    node: Node, bad: None, method: str, path: str, body: bytes | None, status: int, says: str
) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    async with node.api.request(method, path, data=body, headers=headers) as response:
        assert response.status == status
        assert says in await response.text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bad(recorder: tuple[str, Path]) -> AsyncIterator[None]:
    """A stream that could be recorded."""
    async with await publish(f"{recorder[0]}/whip/bad", [Tone()]):
        yield


async def test_a_body_that_is_no_json_is_refused(node: Node) -> None:
    async with node.api.post("/api/record/cam", data=b"{}") as response:
        assert response.status == 415


async def test_a_node_without_a_recorder_says_so() -> None:
    """On all these paths with 501."""
    async with buildin_nodes(1) as nodes, ClientSession(nodes[0].url) as api:
        for method, path in [
            ("GET", "/api/record/cam"),
            ("POST", "/api/record/cam"),
            ("DELETE", "/api/record/cam"),
            ("GET", "/api/recordings"),
            ("PATCH", "/api/recordings"),
            ("DELETE", "/api/recordings"),
        ]:
            body = {"records": []} if method in ("POST", "PATCH", "DELETE") else None
            async with api.request(method, path, json=body) as response:
                assert (response.status, method, path) == (501, method, path)
        async with api.get("/api/info") as response:
            assert (await response.json())["features"] == ["cascade"]


async def test_a_node_that_ends_finishes_its_recordings(tmp_path: Path) -> None:
    async with buildin_nodes(1, recordings=str(tmp_path)) as nodes, ClientSession(nodes[0].url) as api:
        node = Node(nodes[0].url, api)
        publisher = await node.publish("cam")
        started = await node.record("cam")
        await grown(tmp_path / started["record_dir"], 1)
    await publisher.disconnect()
    assert not play(tmp_path / started["record_dir"]).is_live
