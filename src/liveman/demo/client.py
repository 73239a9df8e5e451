"""A WHIP publisher and a WHEP viewer on aiortc: for `liveman demo` and for tests.

``async with await publish(url, [MovingPicture(), Tone()]) as publisher: …`` — leaving the context is `close`.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

from aiohttp import ClientSession, DummyCookieJar
from aiortc import (
    MediaStreamTrack,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame
from multidict import CIMultiDictProxy
from yarl import URL

from liveman.demo.peers import new_peer
from liveman.errors import LivemanError
from liveman.tasks import TaskOwner

__all__ = [
    "Publisher",
    "SignallingFailed",
    "Subscriber",
    "publish",
    "publishing_peer",
    "subscribe",
    "watching_peer",
]

_LINK = re.compile(r'<(?P<url>[^>]*)>(?P<parameters>(?:"(?:\\.|[^"\\])*"|[^",])*)')
_PARAMETER = re.compile(
    r';\s*(?P<name>[^=;,\s]+)\s*=\s*(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<token>[^;,\s]*))'
)


class SignallingFailed(LivemanError):
    """The endpoint did not make a session."""

    def __init__(self, url: str, status: int, text: str) -> None:
        self.answer_status = status
        """The status that the endpoint answered with."""
        self.answer_text = text
        super().__init__(f"POST {url} was answered with {status}: {text[:500].strip() or '(empty)'}")


async def publishing_peer(tracks: Sequence[MediaStreamTrack]) -> RTCPeerConnection:
    """A peer connection with an offer of these tracks; its localDescription holds all candidates."""
    peer = new_peer()
    for track in tracks:
        peer.addTransceiver(track, direction="sendonly")
    await peer.setLocalDescription()
    return peer


async def watching_peer(kinds: Sequence[str] = ("audio", "video")) -> RTCPeerConnection:
    """A peer connection with an offer to receive; its localDescription holds all candidates."""
    peer = new_peer()
    for kind in kinds:
        peer.addTransceiver(kind, direction="recvonly")
    await peer.setLocalDescription()
    return peer


async def publish(url: str, tracks: Sequence[MediaStreamTrack], *, token: str | None = None) -> "Publisher":
    """Publish at a WHIP endpoint. Raises SignallingFailed, or aiohttp's ClientError."""
    publisher = Publisher(url, await publishing_peer(tracks), token)
    await publisher.start()
    return publisher


async def subscribe(
    url: str, *, kinds: Sequence[str] = ("audio", "video"), token: str | None = None
) -> "Subscriber":
    """Watch at a WHEP endpoint. Raises SignallingFailed, or aiohttp's ClientError."""
    subscriber = Subscriber(url, await watching_peer(kinds), token)
    await subscriber.start()
    return subscriber


class _Client:
    """One WebRTC session made over HTTP; a context that ends it."""

    def __init__(self, url: str, peer: RTCPeerConnection, token: str | None) -> None:
        self.url = url
        self.peer = peer
        self.session_url = ""
        """Where PATCH and DELETE go: Location, resolved against the endpoint (RFC 3986)."""
        self.headers: CIMultiDictProxy[str]
        """The headers of the 201."""
        self._token = token
        self._stack = AsyncExitStack()
        self._changed = asyncio.Condition()

    @property
    def state(self) -> str:
        """The peer connection's connectionState."""
        return str(self.peer.connectionState)

    @property
    def ice_servers(self) -> list[RTCIceServer]:
        """The ICE servers of the 201's Link headers, one per url."""
        return _ice_servers(self.headers.getall("Link", []))

    async def start(self) -> None:
        """POST the offer and take the answer. On any failure nothing is left behind."""
        self._stack.push_async_callback(self.peer.close)
        self.peer.on("connectionstatechange", self._notify)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            # trust_env would send loopback requests through a proxy of the environment.
            self._http = await self._stack.enter_async_context(
                ClientSession(headers=headers, cookie_jar=DummyCookieJar())
            )
            self._tasks = await self._stack.enter_async_context(TaskOwner())
            await self._post()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _post(self) -> None:
        request = self._http.post(
            URL(self.url, encoded=True),
            data=self.peer.localDescription.sdp.encode(),
            headers={"Content-Type": "application/sdp"},
            allow_redirects=False,
        )
        async with request as response:
            text = await response.text()
            if response.status != 201:
                raise SignallingFailed(self.url, response.status, text)
            self.headers = response.headers
            self.session_url = urljoin(self.url, response.headers["Location"])
        await self.peer.setRemoteDescription(RTCSessionDescription(text, "answer"))

    async def trickle(self, fragment: str | None = None) -> int:
        """PATCH a trickle fragment, by default one with all local candidates; the answer's status."""
        if fragment is None:
            fragment = _fragment(self.peer.localDescription.sdp)
        headers = {"Content-Type": "application/trickle-ice-sdpfrag"}
        url = URL(self.session_url, encoded=True)
        async with self._http.patch(url, data=fragment.encode(), headers=headers) as response:
            return response.status

    async def delete(self) -> int:
        """DELETE the session; the answer's status."""
        async with self._http.delete(URL(self.session_url, encoded=True)) as response:
            return response.status

    async def wait_connected(self, timeout: float = 10.0) -> None:
        """Wait until media can flow. Raises TimeoutError."""
        await self._wait(lambda: self.state == "connected", timeout, "it is not connected")

    async def disconnect(self) -> None:
        """Hang up without a DELETE."""
        await self._stack.aclose()

    async def close(self) -> int:
        """DELETE the session, then hang up; the DELETE's status."""
        try:
            return await self.delete()
        finally:
            await self.disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, condition: Callable[[], bool], timeout: float, problem: str) -> None:
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            raise TimeoutError(f"{problem} after {timeout} s (the peer is {self.state})") from None


class Publisher(_Client):
    """A running publisher."""


class Subscriber(_Client):
    """A running viewer, which decodes all that comes."""

    def __init__(self, url: str, peer: RTCPeerConnection, token: str | None) -> None:
        super().__init__(url, peer, token)
        self.frames = 0
        """How many pictures were decoded."""
        self.audio_frames = 0
        self.last_frame: VideoFrame | None = None

    async def start(self) -> None:
        """POST the offer, take the answer, and decode what comes."""
        await super().start()
        for receiver in self.peer.getReceivers():
            if receiver.track is not None:
                self._tasks.start(f"watch {receiver.track.kind}", self._watch(receiver.track))

    async def wait_for_frames(self, count: int, timeout: float = 10.0) -> None:
        """Wait until so many pictures were decoded since the start. Raises TimeoutError."""
        await self._wait(lambda: self.frames >= count, timeout, f"there are not {count} pictures")

    async def wait_for_picture(self, condition: Callable[[VideoFrame], bool], timeout: float = 10.0) -> None:
        """Wait until the last picture fulfils a condition. Raises TimeoutError."""
        seen = lambda: self.last_frame is not None and condition(self.last_frame)  # noqa: E731
        await self._wait(seen, timeout, "there is no such picture")

    async def wait_for_audio(self, count: int, timeout: float = 10.0) -> None:
        """Wait until so many audio frames were decoded since the start. Raises TimeoutError."""
        await self._wait(lambda: self.audio_frames >= count, timeout, f"there are not {count} audio frames")

    async def _watch(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame: Any = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, VideoFrame):
                self.frames += 1
                self.last_frame = frame
            else:
                self.audio_frames += 1
            await self._notify()


def _fragment(offer: str) -> str:
    """The candidates of an offer as an RFC 8840 fragment."""
    wanted = ("m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:")
    return "".join(f"{line}\r\n" for line in offer.splitlines() if line.startswith(wanted))


def _ice_servers(fields: Sequence[str]) -> list[RTCIceServer]:
    servers = []
    for link in (link for field in fields for link in _LINK.finditer(field)):
        values = {
            match["name"].lower(): re.sub(r"\\(.)", r"\1", match["quoted"] or match["token"] or "")
            for match in _PARAMETER.finditer(link["parameters"])
        }
        if values.get("rel") == "ice-server":
            servers.append(
                RTCIceServer(
                    [link["url"]], username=values.get("username"), credential=values.get("credential")
                )
            )
    return servers
