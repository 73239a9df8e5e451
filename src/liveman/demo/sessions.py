"""One publisher's or viewer's connection to a built-in node."""

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from aiortc import (
    RTCRtpCodecCapability,
    RTCRtpCodecParameters,
    RTCSessionDescription,
)
from aiortc.codecs import CODECS, get_capabilities
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.sdp import SessionDescription, candidate_from_sdp
from aiortc.stats import RTCTransportStats

from liveman.demo.media import ForwardTrack, Hub
from liveman.demo.peers import new_peer
from liveman.demo.refusal import Refused
from liveman.demo.sdp import check_syntax, parse_fragment, usable_sdp
from liveman.tasks import TaskOwner

__all__ = ["Kind", "Session", "Traffic", "now_ms"]

Kind = Literal["publish", "subscribe"]

#: Of the media, as this node sees it.
_DIRECTIONS: Mapping[Kind, str] = {"publish": "recvonly", "subscribe": "sendonly"}


def now_ms() -> int:
    """The unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class Traffic:
    """What a session carried."""

    def __init__(self) -> None:
        self.bytes = 0
        self.packets = 0
        self.bitrate = 0
        self._sampled = (time.monotonic(), 0)

    def sample(self) -> None:
        """Take the bitrate (bits per second) since the last sample."""
        now = time.monotonic()
        then, bytes_then = self._sampled
        self.bitrate = int((self.bytes - bytes_then) * 8 / max(now - then, 0.001))
        self._sampled = (now, self.bytes)

    def to_json(self) -> dict[str, int]:
        return {"bytes": self.bytes, "packets": self.packets, "bitrate": self.bitrate}


class Session:
    """A peer connection with its id, its state and its traffic.

    ``changed`` is called when the state changes; by then `gone` tells whether the peer has left.
    """

    def __init__(self, kind: Kind, changed: Callable[["Session"], None]) -> None:
        self.id = str(uuid.uuid4())
        self.kind = kind
        self.created_at = now_ms()
        self.left_at = 0
        self.codecs: dict[str, RTCRtpCodecParameters] = {}
        self.traffic = Traffic()
        self._tracks: list[ForwardTrack] = []
        self._forwarding: list[asyncio.Task[None]] = []
        self._pc = new_peer()
        self._pc.on("connectionstatechange", lambda: changed(self))

    @property
    def state(self) -> str:
        """An RTCPeerConnection's connectionState."""
        return "closed" if self.left_at else self._pc.connectionState

    @property
    def gone(self) -> bool:
        """Whether the peer hung up or cannot be reached."""
        return self._pc.connectionState in ("failed", "closed")

    async def accept(self, offer: str, hubs: Mapping[str, Hub], preferred: Collection[str]) -> str:
        """Answer an offer; each kind gets one codec: of a preferred MIME type, else the offer's first.

        Raises Refused (500) for an offer that cannot be answered.
        """
        check_syntax(offer)
        try:
            return await self._accept(usable_sdp(offer), hubs, preferred)
        except Refused:
            raise
        except Exception as error:  # aiortc raises anything on a malformed SDP
            raise Refused(500, f"{type(error).__name__}: {error}") from error

    async def offer(self, hubs: Mapping[str, Hub], codecs: Mapping[str, RTCRtpCodecParameters]) -> str:
        """An offer that holds all candidates: a publisher's is open to every codec, a viewer's has these."""
        if self.kind == "publish":
            for kind in hubs:
                self._pc.addTransceiver(kind, "recvonly")
        for kind, codec in codecs.items():
            self._add(kind, codec, hubs)
        await self._pc.setLocalDescription()
        return str(self._pc.localDescription.sdp)

    async def take_answer(self, answer: str) -> None:
        """Connect as the answer to our offer says. Raises Refused (500) for one that takes no media."""
        check_syntax(answer)
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(usable_sdp(answer), "answer"))
        except Exception as error:  # aiortc raises anything on a malformed SDP
            raise Refused(500, f"{type(error).__name__}: {error}") from error
        wanted = ("sendrecv", _DIRECTIONS[self.kind])
        agreed = [t for t in self._pc.getTransceivers() if t.currentDirection in wanted]
        if not agreed:
            raise Refused(500, "it takes neither audio nor video")
        self.codecs = {transceiver.kind: _choose(transceiver._codecs, ()) for transceiver in agreed}

    def forward(self, tasks: TaskOwner, hubs: Mapping[str, Hub]) -> None:
        """Hand on what a publisher sends, one track of each kind, until the session is closed."""
        if self.kind == "publish":
            found = {r.track.kind: r for r in self._pc.getReceivers() if r.track is not None}
            self._forwarding = [
                tasks.start(f"forward {kind}", hubs[kind].forward(receiver, self.codecs[kind]))
                for kind, receiver in found.items()
            ]

    def enable(self, kind: str, enabled: bool) -> None:
        """Send a viewer its audio or video, or not."""
        for track in self._tracks:
            if track.kind == kind:
                track.enable(enabled)

    async def add_candidates(self, fragment: str) -> None:
        """Add the candidates of a trickle fragment. Raises Refused (500) for one that is malformed."""
        for mid, text in parse_fragment(fragment):
            try:
                candidate = candidate_from_sdp(text)
                candidate.sdpMid = mid
                await self._pc.addIceCandidate(candidate)
            except (AssertionError, ValueError, IndexError) as error:
                raise Refused(500, f"bad candidate: {text}") from error

    async def close(self) -> None:
        """End the connection; what it carried stays readable."""
        self.left_at = self.left_at or now_ms()
        await self.measure()
        for track in self._tracks:
            track.stop()
        for task in self._forwarding:
            task.cancel()
        await self._pc.close()

    async def measure(self) -> None:
        """Bring `traffic` up to date."""
        if self._pc.connectionState == "closed":
            return
        report = await self._pc.getStats()
        totals = [entry for entry in report.values() if isinstance(entry, RTCTransportStats)]
        if self.kind == "publish":
            self.traffic.bytes = sum(entry.bytesReceived for entry in totals)
            self.traffic.packets = sum(entry.packetsReceived for entry in totals)
        else:
            self.traffic.bytes = sum(entry.bytesSent for entry in totals)
            self.traffic.packets = sum(entry.packetsSent for entry in totals)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "createdAt": self.created_at,
            "leaveAt": self.left_at,
            "state": self.state,
            "hasDataChannel": self._pc.sctp is not None,
            "stats": self.traffic.to_json(),
        }

    async def _accept(self, offer: str, hubs: Mapping[str, Hub], preferred: Collection[str]) -> str:
        media = [m for m in SessionDescription.parse(offer).media if m.kind in hubs]
        if not media:
            raise Refused(500, "the offer has neither audio nor video")
        for section in media:
            codec = _choose(find_common_codecs(CODECS[section.kind], section.rtp.codecs), preferred)
            self._add(section.kind, codec, hubs)
        await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._pc.setLocalDescription()
        return str(self._pc.localDescription.sdp)

    def _add(self, kind: str, codec: RTCRtpCodecParameters, hubs: Mapping[str, Hub]) -> None:
        transceiver = self._pc.addTransceiver(kind, _DIRECTIONS[self.kind])
        transceiver.setCodecPreferences(_only(codec, kind))
        self.codecs.setdefault(kind, codec)
        if self.kind == "subscribe":
            track = hubs[kind].add(codec)
            self._tracks.append(track)
            transceiver.sender.replaceTrack(track)
            # aiortc asks its encoder for a keyframe; here the publisher has to make one.
            transceiver.sender._send_keyframe = track.want_keyframe  # type: ignore[method-assign]


def _choose(common: Sequence[RTCRtpCodecParameters], preferred: Collection[str]) -> RTCRtpCodecParameters:
    media = [codec for codec in common if codec.name != "rtx"]
    if not media:
        raise Refused(500, "no codec of the offer is supported")
    return next((codec for codec in media if codec.mimeType in preferred), media[0])


def _only(codec: RTCRtpCodecParameters, kind: str) -> list[RTCRtpCodecCapability]:
    return [
        capability
        for capability in get_capabilities(kind).codecs
        if capability.name == "rtx"
        or (capability.mimeType == codec.mimeType and capability.parameters == codec.parameters)
    ]
