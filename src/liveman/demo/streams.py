"""The streams of a built-in node: who publishes, who watches, who left, and when a stream goes away."""

import asyncio
import time
from collections.abc import Awaitable, Collection
from typing import Any, TypeVar

from liveman.demo.media import Hub
from liveman.demo.refusal import Refused
from liveman.demo.relays import Relay, RelayFailed, relay_client
from liveman.demo.sessions import Kind, Session, now_ms
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["Bell", "Sfu", "Stream"]

log = get_logger("liveman.demo")

T = TypeVar("T")

#: How long a session that left stays listed, milliseconds.
LEFT_LISTED = 30_000
#: How long a stream without anyone lives, milliseconds.
ORPHAN_GRACE = 5_000
#: How long a client may take to connect, milliseconds.
CONNECT_WITHIN = 30_000
#: Between two looks at all streams, seconds; traffic is sampled at every second one.
TICK = 1.0
#: How long the sessions may take to end when the node ends, seconds.
CLOSE_WITHIN = 1.0

_TAKEN = "A connection has already been established"


class Bell:
    """Rings when something about the streams changed; any number of listeners wait for it."""

    def __init__(self) -> None:
        self.rings = 0
        self._event = asyncio.Event()

    def ring(self) -> None:
        self.rings += 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seen: int, seconds: float) -> bool:
        """Wait until it has rung more than ``seen`` times. False when it has not for so many seconds."""
        if self.rings == seen:
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                return False
        return True


class Stream:
    """A name with at most one publisher and any number of viewers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.created_at = now_ms()
        self.publisher: Session | None = None
        self.viewers: dict[str, Session] = {}
        self.left: list[Session] = []
        self.publish_leave_at = 0
        self.subscribe_leave_at = self.created_at
        self.joining: list[Session] = []
        epoch = time.monotonic()
        self.hubs = {kind: Hub(kind, epoch) for kind in ("audio", "video")}

    @property
    def sessions(self) -> list[Session]:
        """Those who are here, the publisher first."""
        return [*([self.publisher] if self.publisher else []), *self.viewers.values()]

    @property
    def is_empty(self) -> bool:
        """Whether nobody is here or about to be."""
        return not self.sessions and not self.joining

    @property
    def mime_types(self) -> Collection[str]:
        """What a newcomer should speak: the publisher's codecs, else those of the first viewer."""
        return [codec.mimeType for session in self.sessions[:1] for codec in session.codecs.values()]

    @property
    def has_publisher(self) -> bool:
        """Whether someone publishes or is about to."""
        return self.publisher is not None or any(session.kind == "publish" for session in self.joining)

    def add(self, session: Session) -> None:
        """List the session as one that is here."""
        if session.kind == "publish":
            self.publisher = session
            self.publish_leave_at = 0
        else:
            self.viewers[session.id] = session
            self.subscribe_leave_at = 0

    def leave(self, session: Session) -> None:
        """List the session as one that left."""
        session.left_at = now_ms()
        if session is self.publisher:
            self.publisher = None
            self.publish_leave_at = session.left_at
        else:
            del self.viewers[session.id]
            if not self.viewers:
                self.subscribe_leave_at = session.left_at
        self.left.append(session)

    async def to_json(self) -> dict[str, Any]:
        """The stream as the node's API shows it."""
        here = self.sessions
        await asyncio.gather(*(session.measure() for session in here))
        publish = [s for s in self.left + here if s.kind == "publish"][-1:]
        subscribe = [s for s in here + self.left if s.kind == "subscribe"]
        codecs = self.publisher.codecs if self.publisher else {}
        return {
            "id": self.name,
            "createdAt": self.created_at,
            "publish": {"leaveAt": self.publish_leave_at, "sessions": [s.to_json() for s in publish]},
            "subscribe": {"leaveAt": self.subscribe_leave_at, "sessions": [s.to_json() for s in subscribe]},
            "codecs": [
                {
                    "kind": kind,
                    "codec": codec.name.lower(),
                    "fmtp": ";".join(f"{key}={value}" for key, value in codec.parameters.items()),
                }
                for kind, codec in codecs.items()
            ],
            "provisioned": False,
            "onDemand": False,
            "stats": {"publish": _total(publish), "subscribe": _total(subscribe)},
            "statsScope": "node",
        }


class Sfu:
    """All streams of one node. An async context: leaving it ends every session."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.bell = Bell()
        self._tasks = TaskOwner()
        self._closing = TaskOwner()

    async def __aenter__(self) -> "Sfu":
        self._http = relay_client()
        await self._closing.__aenter__()
        await self._tasks.__aenter__()
        self._tasks.start("look at the streams", self._look())
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._tasks.__aexit__(*error)
        for stream in list(self.streams.values()):
            self._end(stream)
        await self._closing.drain(CLOSE_WITHIN)
        await self._closing.__aexit__(*error)
        await self._http.close()

    async def snapshot(self, names: Collection[str] = ()) -> list[dict[str, Any]]:
        """The streams as the API shows them: all, or those with these names."""
        streams = [self.streams[name] for name in sorted(self.streams) if not names or name in names]
        return [await stream.to_json() for stream in streams]

    def create(self, name: str) -> Stream:
        """Make a stream. Raises Refused (409) when it exists."""
        if name in self.streams:
            raise Refused(409, "resource already exists")
        stream = self.streams[name] = Stream(name)
        self.bell.ring()
        return stream

    def delete(self, name: str) -> None:
        """End a stream and all its sessions. Raises Refused (404)."""
        if name not in self.streams:
            raise Refused(404, "resource not exists")
        self._end(self.streams[name])

    async def publish(self, name: str, offer: str) -> tuple[Session, str]:
        """A publisher's session and the answer to its offer. Raises Refused (409, 500)."""
        self._need_no_publisher(name)
        return await self._accept(name, "publish", offer)

    async def subscribe(self, name: str, offer: str) -> tuple[Session, str]:
        """A viewer's session and the answer to its offer. Raises Refused (500)."""
        return await self._accept(name, "subscribe", offer)

    def pull(self, name: str, source_url: str, token: str) -> None:
        """Begin to publish here what a WHEP url sends. Raises Refused (409; 500 for a bad url)."""
        self._need_no_publisher(name)
        relay = Relay("publish", self._changed, self._http, source_url, token)
        self._tasks.start("make a relay", self._relay(relay, *self._admit(name, relay)))

    def push(self, name: str, target_url: str, token: str) -> None:
        """Begin to send what is published here to a WHIP url. Raises Refused (404; 500 for a bad url)."""
        if name not in self.streams:
            raise Refused(404, "stream not exists")
        relay = Relay("subscribe", self._changed, self._http, target_url, token)
        self._tasks.start("make a relay", self._relay(relay, *self._admit(name, relay)))

    def find(self, name: str, session_id: str, missing: str = "session not exists") -> Session | None:
        """A session that is here, if it is. Raises Refused (404) for an unknown stream."""
        if name not in self.streams:
            raise Refused(404, missing)
        return next((s for s in self.streams[name].sessions if s.id == session_id), None)

    def remove(self, name: str, session_id: str) -> None:
        """End a session; a publisher's ends its stream too. Raises Refused (404) for an unknown stream."""
        session = self.find(name, session_id)
        if session is None:
            return
        stream = self.streams[name]
        if session is stream.publisher:
            self._end(stream)
        else:
            self._leave(stream, session)
            if stream.is_empty:
                self._end(stream)
            self.bell.ring()

    def _need_no_publisher(self, name: str) -> None:
        if name in self.streams and self.streams[name].has_publisher:
            raise Refused(409, _TAKEN)

    async def _accept(self, name: str, kind: Kind, offer: str) -> tuple[Session, str]:
        session = Session(kind, self._changed)
        stream, is_new = self._admit(name, session)
        answering = session.accept(offer, stream.hubs, stream.mime_types)
        return session, await self._join(stream, session, answering, is_new)

    async def _relay(self, relay: Relay, stream: Stream, is_new: bool) -> None:
        try:
            await self._join(stream, relay, self._connect(relay, stream), is_new)
        except (RelayFailed, Refused) as error:
            log.warning("a relay failed", stream=stream.name, peer=relay.peer, reason=str(error))

    async def _connect(self, relay: Relay, stream: Stream) -> None:
        if relay.kind == "publish":
            await relay.connect(stream.hubs, {})
            return
        publisher = stream.publisher
        if publisher is None:
            raise RelayFailed("nobody publishes the stream")
        await relay.connect(stream.hubs, publisher.codecs)
        if stream.publisher is not publisher:
            raise RelayFailed("the publisher has left")

    def _admit(self, name: str, session: Session) -> tuple[Stream, bool]:
        """The stream, with this session among those joining; whether it is new."""
        is_new = name not in self.streams
        stream = self.create(name) if is_new else self.streams[name]
        stream.joining.append(session)
        return stream, is_new

    async def _join(self, stream: Stream, session: Session, connecting: Awaitable[T], is_new: bool) -> T:
        """List a session once it has been connected; of one that has not, nothing stays."""
        try:
            result = await connecting
            if self.streams.get(stream.name) is not stream:
                raise Refused(404, "stream not exists")
        except BaseException:
            self._close(session)
            stream.joining.remove(session)
            if is_new and stream.is_empty:
                self._end(stream)
            raise
        stream.joining.remove(session)
        stream.add(session)
        session.forward(self._tasks, stream.hubs)
        self.bell.ring()
        return result

    def _end(self, stream: Stream) -> None:
        if self.streams.get(stream.name) is stream:
            del self.streams[stream.name]
        self.bell.ring()
        for session in stream.sessions:
            self._close(session)

    def _leave(self, stream: Stream, session: Session) -> None:
        """A session leaves; with a publisher go the relays that sent on what he sent."""
        if session.left_at:
            return
        relays = [s for s in stream.viewers.values() if isinstance(s, Relay) and session.kind == "publish"]
        for leaving in (session, *relays):
            stream.leave(leaving)
            self._close(leaving)

    def _close(self, session: Session) -> None:
        self._closing.start("close a session", session.close())

    def _changed(self, session: Session) -> None:
        if session.gone:
            for stream in self.streams.values():
                if session in stream.sessions:
                    self._leave(stream, session)
        self.bell.ring()

    async def _look(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK)
            ticks += 1
            now = now_ms()
            for stream in list(self.streams.values()):
                stream.left = [s for s in stream.left if now - s.left_at < LEFT_LISTED]
                for session in stream.sessions:
                    if session.state != "connected" and now - session.created_at > CONNECT_WITHIN:
                        self._leave(stream, session)
                if stream.is_empty and now - stream.subscribe_leave_at > ORPHAN_GRACE:
                    self._end(stream)
                if ticks % 2 == 0:
                    for session in stream.sessions:
                        await session.measure()
                        session.traffic.sample()
            if ticks % 2 == 0 and self.streams:
                self.bell.ring()


def _total(sessions: list[Session]) -> dict[str, int]:
    each = [session.traffic.to_json() for session in sessions]
    return {key: sum(one[key] for one in each) for key in ("bytes", "packets", "bitrate")}
