"""Encoded frames into segments, without decoding them.

Browsers play VP8 in WebM alone; whatever goes into MP4 goes there. The files of both are named alike.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
from aiortc import RTCRtpCodecParameters
from av import Packet

from liveman.demo.cutting import Frame, Segment
from liveman.demo.manifest import Track

__all__ = ["RECORDABLE", "Muxer"]

#: MIME types of what can be recorded.
RECORDABLE = ("video/VP8", "video/H264", "audio/opus")

#: What ends the init segment: a WebM cluster's id, an MP4 fragment's name behind its size.
_CLUSTER = b"\x1f\x43\xb6\x75"
_FRAGMENT = re.compile(rb"....moof", re.DOTALL)
# One cluster, or fragment, per segment.
_WEBM = {"live": "1", "cluster_time_limit": "100000000", "cluster_size_limit": "1000000000"}
_MP4 = {
    "movflags": "empty_moov+default_base_moof+frag_custom+frag_discont+skip_trailer",
    "avoid_negative_ts": "disabled",
}


class Muxer:
    """Makes the segments of one kind; all have the same init segment."""

    def __init__(self, codec: RTCRtpCodecParameters, container: str, first: Frame) -> None:
        """``first``: the first of all frames, a keyframe. Raises ValueError and PyAV's errors."""
        self._container = container
        self._time_base = Fraction(1, codec.clockRate)
        self._add: Callable[[Any], Any]
        if codec.name == "VP8":
            width, height = _vp8_size(first.data)
            self._add = lambda output: output.add_mux_stream("vp8", width=width, height=height)
            self.track = Track("video", container, "vp8", codec.clockRate, width, height)
        elif codec.name == "H264":
            with av.open(BytesIO(first.data), format="h264") as source:
                size = source.streams.video[0]
                self.track = Track(
                    "video", container, _avc(first.data), codec.clockRate, size.width, size.height
                )
            self._add = lambda output: _h264_stream(output, first.data)
        else:
            self._add = lambda output: output.add_stream("libopus", rate=codec.clockRate, layout="stereo")
            self.track = Track("audio", container, "opus", codec.clockRate)

    def mux(self, segment: Segment) -> tuple[bytes, bytes]:
        """The init segment and the segment. Raises PyAV's errors."""
        file = BytesIO()
        options = _WEBM if self._container == "webm" else {**_MP4, "fragment_index": str(segment.number)}
        ends = [frame.at for frame in segment.frames[1:]] + [segment.end]
        with av.open(file, "w", format=self._container, options=options) as output:
            stream = self._add(output)
            stream.time_base = self._time_base
            for frame, end in zip(segment.frames, ends, strict=True):
                packet: Packet[Any] = Packet(frame.data)
                packet.pts = packet.dts = frame.at
                packet.duration = end - frame.at
                packet.time_base = self._time_base
                packet.is_keyframe = frame.is_keyframe
                packet.stream = stream
                output.mux(packet)
        return self._split(file.getvalue())

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        if self._container == "webm":
            at = data.index(_CLUSTER)
        else:
            match = _FRAGMENT.search(data)
            assert match
            at = match.start()
        return data[:at], data[at:]


def _vp8_size(data: bytes) -> tuple[int, int]:
    """RFC 6386 section 9.1."""
    if data[3:6] != b"\x9d\x01\x2a" or len(data) < 10:
        raise ValueError("the first picture is no keyframe of VP8")
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF


def _avc(data: bytes) -> str:
    """Profile and level as RFC 6381 section 3.3 writes them, from the sequence parameter set."""
    match = re.search(rb"\x00\x00\x01[\x07\x27\x47\x67](...)", data, re.DOTALL)
    if match is None:
        raise ValueError("the first picture has no parameters of H.264")
    return f"avc1.{match[1].hex()}"


def _h264_stream(output: Any, first: bytes) -> Any:
    with av.open(BytesIO(first), format="h264") as source:
        return output.add_stream_from_template(source.streams.video[0], opaque=True)
