"""Forwarding without transcoding: encoded frames go from the publisher's receiver to the viewers' senders.

aiortc decodes what it receives and encodes what it sends. `forward_encoded_frames` swaps the decoders of this
process for ones that hand the encoded frame on; a sender that gets such a packet only packs it into RTP.
"""

import asyncio
import re
import time
from fractions import Fraction
from typing import Any, Protocol

import aiortc.rtcrtpreceiver
from aiortc import MediaStreamTrack, RTCRtpCodecParameters, RTCRtpReceiver
from aiortc.codecs.base import Decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError
from av import Packet

__all__ = ["ForwardTrack", "Hub", "Tap", "forward_encoded_frames"]

_QUEUED = 256
_KEYFRAME_INTERVAL = 0.5
_H264_KEYFRAME = re.compile(rb"\x00\x00\x01[\x05\x07\x25\x27\x45\x47\x65\x67]")


def forward_encoded_frames() -> None:
    """From now on received tracks of this process yield `av.Packet`, still encoded, instead of frames."""
    aiortc.rtcrtpreceiver.get_decoder = _PassOn  # type: ignore[attr-defined]


class _PassOn(Decoder):
    def __init__(self, codec: RTCRtpCodecParameters) -> None:
        self._time_base = Fraction(1, codec.clockRate)

    def decode(self, encoded_frame: JitterFrame) -> list[Any]:
        packet = Packet(encoded_frame.data)
        packet.pts = encoded_frame.timestamp
        packet.time_base = self._time_base
        return [packet]


class ForwardTrack(MediaStreamTrack):
    """What one viewer gets of one kind. It begins with a keyframe; a viewer that lags begins anew."""

    def __init__(self, hub: "Hub", codec: RTCRtpCodecParameters) -> None:
        super().__init__()
        self.kind = hub.kind
        self.codec = codec
        self._hub = hub
        self._queue: asyncio.Queue[Packet[Any]] = asyncio.Queue(_QUEUED)
        self._waits_for_keyframe = True
        self._enabled = True

    def enable(self, enabled: bool) -> None:
        """Let the viewer have this kind, or not."""
        self._enabled = enabled
        self._waits_for_keyframe = True

    def want_keyframe(self) -> None:
        """The viewer lost the picture."""
        self._hub.want_keyframe()

    def push(self, packet: "Packet[Any]", *, is_keyframe: bool) -> None:
        """Queue a packet for the viewer."""
        if not self._enabled:
            return
        if self._waits_for_keyframe and not is_keyframe:
            self._hub.want_keyframe()
            return
        self._waits_for_keyframe = False
        try:
            self._queue.put_nowait(packet)
        except asyncio.QueueFull:
            self._queue = asyncio.Queue(_QUEUED)
            self._waits_for_keyframe = True

    async def recv(self) -> "Packet[Any]":
        if self.readyState != "live":
            raise MediaStreamError
        return await self._queue.get()

    def stop(self) -> None:
        self._hub.tracks.discard(self)
        super().stop()


class Tap(Protocol):
    """One who takes what a publisher sends and is no viewer."""

    def push(self, packet: "Packet[Any]", *, is_keyframe: bool) -> None:
        """Called with each frame; must not block."""

    def end(self) -> None:
        """Called when the publisher ends."""


class Hub:
    """One kind of media of one stream: from its publisher, whoever that is now, to all its viewers."""

    def __init__(self, kind: str, epoch: float) -> None:
        self.kind = kind
        self.tracks: set[ForwardTrack] = set()
        self.taps: set[Tap] = set()
        self._epoch = epoch
        self._keyframe_wanted = False

    def add(self, codec: RTCRtpCodecParameters) -> ForwardTrack:
        """A track for a new viewer who reads this codec."""
        track = ForwardTrack(self, codec)
        self.tracks.add(track)
        return track

    def want_keyframe(self) -> None:
        """Ask the publisher for a whole picture soon."""
        self._keyframe_wanted = True

    async def forward(self, receiver: RTCRtpReceiver, codec: RTCRtpCodecParameters) -> None:
        """Hand on what this publisher sends, until it ends."""
        try:
            await self._forward(receiver, codec)
        finally:
            for tap in self.taps:
                tap.end()

    async def _forward(self, receiver: RTCRtpReceiver, codec: RTCRtpCodecParameters) -> None:
        start: int | None = None
        asked = 0.0
        while True:
            try:
                packet: Any = await receiver.track.recv()
            except MediaStreamError:
                return
            # Timestamps follow the stream's own clock: they go on when another publisher takes over,
            # and audio and video agree.
            if start is None:
                start = int((time.monotonic() - self._epoch) * codec.clockRate)
            packet.pts += start
            is_keyframe = _is_keyframe(codec, bytes(packet))
            for track in self.tracks:
                if track.codec.mimeType == codec.mimeType:
                    track.push(packet, is_keyframe=is_keyframe)
            for tap in self.taps:
                tap.push(packet, is_keyframe=is_keyframe)
            if self._keyframe_wanted and time.monotonic() - asked > _KEYFRAME_INTERVAL:
                asked = time.monotonic()
                self._keyframe_wanted = False
                for source in receiver.getSynchronizationSources():
                    await receiver._send_rtcp_pli(source.source)


def _is_keyframe(codec: RTCRtpCodecParameters, data: bytes) -> bool:
    if codec.name == "VP8":
        return bool(data) and not data[0] & 1  # RFC 7741 section 4.3
    if codec.name == "H264":
        return _H264_KEYFRAME.search(data) is not None
    return True
