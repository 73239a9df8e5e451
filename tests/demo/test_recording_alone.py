"""One recording by itself, fed by hand: how it begins, and what it does when the disk or the publisher fails."""

import asyncio
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from aiortc import RTCRtpCodecParameters
from av import Packet

from liveman.demo import recording
from liveman.demo.dash import DashFolder
from liveman.demo.media import Hub
from liveman.demo.recording import Recording, RecordingFailed
from support.dash import play

VP8 = RTCRtpCodecParameters("video/VP8", 90_000)
H264 = RTCRtpCodecParameters("video/H264", 90_000)
OPUS = RTCRtpCodecParameters("audio/opus", 48_000, channels=2)

#: 320 x 240 in its header (RFC 6386 section 9.1); no decoder sees it here.
KEY = bytes.fromhex("1000009d012a4001f000")
DELTA = b"\x11\x00\x00"
SILENCE = b"\xfc\xff\xfe"


class Feed:
    """The hubs of a stream; what is pushed arrives at once."""

    def __init__(self, *codecs: RTCRtpCodecParameters) -> None:
        self.codecs = {codec.mimeType.partition("/")[0]: codec for codec in codecs}
        self.hubs = {kind: Hub(kind, time.monotonic()) for kind in ("audio", "video")}

    def push(self, kind: str, seconds: float, data: bytes) -> None:
        clock = self.codecs[kind].clockRate
        packet: Packet = Packet(data)
        packet.pts = round(seconds * clock)
        packet.time_base = Fraction(1, clock)
        for tap in self.hubs[kind].taps:
            tap.push(packet, is_keyframe=data != DELTA)

    def sound(self, begin: float, end: float) -> None:
        for number in range(round(begin * 50), round(end * 50)):
            self.push("audio", number / 50, SILENCE)


async def recorded(feed: Feed, folder: Path) -> asyncio.Task[None]:
    """A recording that runs and waits for what comes."""
    task = asyncio.create_task(Recording(feed.hubs, feed.codecs, folder).run())
    await asyncio.sleep(0)
    return task


def end(feed: Feed) -> None:
    """The publisher leaves."""
    for kind in feed.codecs:
        for tap in set(feed.hubs[kind].taps):
            tap.end()


async def failure(task: asyncio.Task[None]) -> str:
    with pytest.raises(RecordingFailed) as caught:
        await asyncio.wait_for(task, 10)
    return str(caught.value)


async def test_it_begins_with_the_first_picture(tmp_path: Path) -> None:
    """Sound of before is left out, and time counts from there."""
    feed = Feed(VP8, OPUS)
    task = await recorded(feed, tmp_path)
    feed.sound(100, 100.5)
    feed.push("video", 100.25, DELTA)
    feed.push("video", 100.5, KEY)
    feed.sound(100.4, 101)
    feed.push("video", 101, DELTA)
    end(feed)
    await task
    manifest = (tmp_path / "manifest.mpd").read_text()
    assert manifest.count('<S t="0"') == 2
    assert 'mediaPresentationDuration="PT1.000S"' in manifest


async def test_sound_does_not_wait_for_ever_for_a_picture(tmp_path: Path) -> None:
    """A publisher may have its camera off; what is shown later has its place in time."""
    feed = Feed(VP8, OPUS)
    task = await recorded(feed, tmp_path)
    feed.sound(100, 104)
    feed.push("video", 104, KEY)
    feed.push("video", 104.04, DELTA)
    end(feed)
    await task
    manifest = (tmp_path / "manifest.mpd").read_text()
    assert '<S t="0"' in manifest
    assert f'<S t="{round(0.98 * 90_000)}"' in manifest


async def test_sound_alone_is_recorded(tmp_path: Path) -> None:
    """In MP4, as there is no VP8."""
    feed = Feed(OPUS)
    task = await recorded(feed, tmp_path)
    feed.sound(0, 5)
    end(feed)
    await task
    (audio,) = play(tmp_path).tracks.values()
    assert (audio.mime_type, audio.segments, audio.ends) == ("audio/mp4", 3, 5)
    assert sum(frame.samples for frame in audio.frames) > 4.9 * 48_000


async def test_nothing_makes_no_recording(tmp_path: Path) -> None:
    feed = Feed(VP8, OPUS)
    task = await recorded(feed, tmp_path)
    feed.push("video", 1, DELTA)
    end(feed)
    assert await failure(task) == "nothing came that could be recorded"
    assert not (tmp_path / "manifest.mpd").exists()


@pytest.mark.parametrize(
    ("codec", "data"),
    [(VP8, b"\x10"), (VP8, b"\x10\x00\x00\x00\x00\x00\x40\x01\xf0\x00"), (H264, b"\x00\x00\x01\x65nonsense")],
)
async def test_a_picture_that_is_none_fails_it(
    tmp_path: Path, codec: RTCRtpCodecParameters, data: bytes
) -> None:
    feed = Feed(codec)
    task = await recorded(feed, tmp_path)
    feed.push("video", 1, data)
    end(feed)
    assert await failure(task)


async def test_when_it_has_ended_nothing_reaches_it(tmp_path: Path) -> None:
    feed = Feed(VP8, OPUS)
    task = await recorded(feed, tmp_path)
    feed.push("video", 1, KEY)
    assert feed.hubs["video"].taps
    end(feed)
    await task
    assert not feed.hubs["video"].taps
    assert not feed.hubs["audio"].taps


class StuckDisk:
    """One that takes nothing until it is freed."""

    def __init__(self) -> None:
        self.asked, self.freed = threading.Event(), threading.Event()


@pytest.fixture
def stuck_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[StuckDisk]:
    disk = StuckDisk()
    add = DashFolder.add

    def stall(*arguments: object) -> None:
        disk.asked.set()
        disk.freed.wait(10)
        add(*arguments)

    monkeypatch.setattr(DashFolder, "add", stall)
    yield disk
    disk.freed.set()


async def test_a_disk_that_falls_behind_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck_disk: StuckDisk
) -> None:
    """Frames are dropped, never kept without bound, and the recording is no whole one."""
    monkeypatch.setattr(recording, "QUEUED", 5)
    feed = Feed(VP8)
    task = await recorded(feed, tmp_path)
    feed.push("video", 0, KEY)
    feed.push("video", 3, KEY)
    await asyncio.to_thread(stuck_disk.asked.wait, 10)
    for number in range(4, 100):
        feed.push("video", number, KEY)
        await asyncio.sleep(0)
    assert not task.done()
    stuck_disk.freed.set()
    assert await failure(task) == "the disk is too slow"
    manifest = (tmp_path / "manifest.mpd").read_text()
    assert 'type="static" mediaPresentationDuration="PT3.000S"' in manifest


async def test_a_disk_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck_disk: StuckDisk
) -> None:
    monkeypatch.setattr(recording, "WRITE_WITHIN", 0.1)
    feed = Feed(VP8)
    task = await recorded(feed, tmp_path)
    feed.push("video", 0, KEY)
    feed.push("video", 3, KEY)
    assert await failure(task) == "the disk took longer than 0.1 s"
    assert not feed.hubs["video"].taps
