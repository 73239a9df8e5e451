"""How encoded frames go from a publisher to the viewers."""

import asyncio
import time
from fractions import Fraction
from types import SimpleNamespace

import pytest
from aiortc import RTCRtpCodecParameters
from aiortc.mediastreams import MediaStreamError
from av import Packet

from liveman.demo import media
from liveman.demo.media import Hub

VP8 = RTCRtpCodecParameters("video/VP8", 90_000)
H264 = RTCRtpCodecParameters("video/H264", 90_000)
OPUS = RTCRtpCodecParameters("audio/opus", 48_000)
KEY, DELTA = b"\x00key", b"\x01delta"


class Publisher:
    """Stands for a receiver whose packets a test chooses; it notes the keyframes that it is asked for."""

    def __init__(self, *payloads: bytes) -> None:
        self.asked: list[int] = []
        self.track = self
        self._packets = [self._packet(number, payload) for number, payload in enumerate(payloads)]

    def _packet(self, number: int, payload: bytes) -> Packet:
        packet = Packet(payload)
        packet.pts = number * 6000
        packet.time_base = Fraction(1, 90_000)
        return packet

    async def recv(self) -> Packet:
        if not self._packets:
            raise MediaStreamError
        return self._packets.pop(0)

    def getSynchronizationSources(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(source=7)]

    async def _send_rtcp_pli(self, source: int) -> None:
        self.asked.append(source)


async def received(track: media.ForwardTrack) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(bytes(await asyncio.wait_for(track.recv(), 0.01)))
        except TimeoutError:
            return found


async def test_a_viewer_begins_with_a_whole_picture() -> None:
    """What cannot be decoded yet is dropped, and the publisher is asked for a keyframe, once for a while."""
    hub = Hub("video", time.monotonic())
    track = hub.add(VP8)
    publisher = Publisher(DELTA, DELTA, KEY, DELTA)
    await hub.forward(publisher, VP8)
    assert await received(track) == [KEY, DELTA]
    assert publisher.asked == [7]


async def test_a_viewer_who_lost_the_picture_gets_a_new_one() -> None:
    """His request reaches the publisher, and nothing is held back meanwhile."""
    hub = Hub("video", time.monotonic())
    track = hub.add(VP8)
    publisher = Publisher(KEY, DELTA)
    track.want_keyframe()
    await hub.forward(publisher, VP8)
    assert publisher.asked == [7]
    assert await received(track) == [KEY, DELTA]


async def test_a_viewer_who_lags_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """His queue is bounded; what is left of it would be no picture, so he waits for a whole one."""
    monkeypatch.setattr(media, "_QUEUED", 3)
    hub = Hub("video", time.monotonic())
    track = hub.add(VP8)
    await hub.forward(Publisher(KEY, DELTA, DELTA, DELTA, DELTA, KEY, DELTA), VP8)
    assert await received(track) == [KEY, DELTA]


async def test_a_muted_viewer_gets_nothing() -> None:
    """And begins with a whole picture when he is unmuted."""
    hub = Hub("video", time.monotonic())
    track = hub.add(VP8)
    track.enable(False)
    await hub.forward(Publisher(KEY, DELTA), VP8)
    track.enable(True)
    await hub.forward(Publisher(DELTA, KEY), VP8)
    assert await received(track) == [KEY]


async def test_a_viewer_of_another_codec_gets_nothing() -> None:
    """There is no transcoding; packets of VP8 would be garbage to him."""
    hub = Hub("video", time.monotonic())
    track = hub.add(H264)
    await hub.forward(Publisher(KEY, DELTA), VP8)
    assert await received(track) == []


async def test_time_goes_on_when_the_publisher_changes() -> None:
    """Timestamps count from the stream's beginning, not from the publisher's."""
    hub = Hub("video", time.monotonic() - 60)
    track = hub.add(VP8)
    await hub.forward(Publisher(KEY, KEY), VP8)
    first, second = [await track.recv() for _ in range(2)]
    assert second.pts - first.pts == 6000
    assert 60 <= first.pts / 90_000 < 120


async def test_a_track_that_ended_gets_no_more() -> None:
    """The hub lets go of a viewer who left."""
    hub = Hub("video", time.monotonic())
    track = hub.add(VP8)
    track.stop()
    assert hub.tracks == set()
    with pytest.raises(MediaStreamError):
        await track.recv()


@pytest.mark.parametrize(
    ("codec", "data", "is_keyframe"),
    [
        (VP8, b"\x10\x02\x00", True),
        (VP8, b"\x11\x02\x00", False),
        (VP8, b"", False),
        (H264, b"\x00\x00\x00\x01\x65\x88", True),
        (H264, b"\x00\x00\x00\x01\x67\x42\x00\x00\x00\x01\x68\xce\x00\x00\x00\x01\x65\x88", True),
        (H264, b"\x00\x00\x00\x01\x41\x9a", False),
        (OPUS, b"\x78", True),
    ],
)
def test_keyframes_are_recognised(codec: RTCRtpCodecParameters, data: bytes, is_keyframe: bool) -> None:
    """By RFC 7741 section 4.3 and by the types of H.264's NAL units; sound needs none."""
    assert media._is_keyframe(codec, data) is is_keyframe
