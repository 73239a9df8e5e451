"""What a node says, as values: its streams (JSON), its event stream's framing, its strategy and version.

Attributes of the decoded shapes carry the names that stand in the JSON. Members that are not named here pass
through untouched: each stream's own bytes are kept. Bodies that cannot be used raise NodeError.

What there may be a hundred thousand of is a msgspec struct: decoded in half the time of an attrs class, and
nothing that the garbage collector need look at.
"""

import re
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from attrs import frozen
from msgspec import Meta, Raw, Struct

from liveman.errors import NodeError
from liveman.secret import parse_session_id

__all__ = [
    "MAX_BYTES",
    "Cascade",
    "EventDecoder",
    "Group",
    "Session",
    "Strategy",
    "Stream",
    "parse_info",
    "parse_strategy",
    "parse_stream",
    "parse_streams",
    "session_of",
]

#: The largest list of streams that is accepted, in an answer or in one event.
MAX_BYTES = 16 * 1024 * 1024

#: Of a version, characters: it stands in every list of nodes.
_LONGEST_VERSION = 64


class Cascade(Struct, frozen=True, gc=False):
    """One end of a relay, as the relaying side says it; `src`, `dst`, `resource` are older nodes' names."""

    sourceUrl: str | None = None
    targetUrl: str | None = None
    sessionUrl: str | None = None
    src: str | None = None
    dst: str | None = None
    resource: str | None = None

    @property
    def source(self) -> str:
        """The WHEP url that is pulled from, or ""."""
        return self.sourceUrl or self.src or ""

    @property
    def target(self) -> str:
        """The WHIP url that is pushed to, or ""."""
        return self.targetUrl or self.dst or ""

    @property
    def session(self) -> str:
        """The url of the session at the other side, or ""."""
        return self.sessionUrl or self.resource or ""


class Session(Struct, frozen=True, gc=False):
    id: str
    leaveAt: int = 0
    """When it left, milliseconds; 0: it is there. One that left stays listed for a while."""
    state: str = ""
    """Its RTCPeerConnection's connectionState; older nodes do not tell."""
    cascade: Cascade | None = None


class Group(Struct, frozen=True, gc=False):
    """The publishing, or the subscribing, side of a stream."""

    sessions: tuple[Session, ...] = ()


class Stream(Struct, frozen=True, gc=False):
    id: str
    publish: Group
    subscribe: Group
    onDemand: bool
    """Whether its media is fetched once somebody subscribes."""
    bitsIn: float
    """What its publisher sends, bits per second; 0 where the node does not tell."""
    bitsOut: float
    """What its subscribers get together."""
    raw: Raw
    """The stream's JSON, as the node wrote it; a view into the body that it came in."""


@frozen
class Strategy:
    """What a node says of its habits."""

    raw: bytes
    """Its JSON, as the node wrote it."""
    each_stream_max_sub: int | None = None


class _WireStream(Struct, frozen=True, gc=False):
    id: str
    publish: Group = Group()
    subscribe: Group = Group()
    onDemand: Any = False
    stats: Raw = Raw(b"{}")


class _WireStats(Struct, frozen=True, gc=False):
    publish: "_WireTraffic | None" = None
    subscribe: "_WireTraffic | None" = None


class _WireTraffic(Struct, frozen=True, gc=False):
    bitrate: Annotated[float, Meta(ge=0, le=1e15)] = 0.0


@frozen
class _WireStrategy:
    each_stream_max_sub: int | None = None


@frozen
class _WireInfo:
    version: str | None = None


_raws = msgspec.json.Decoder(list[Raw])
_stream = msgspec.json.Decoder(_WireStream)
_stats = msgspec.json.Decoder(_WireStats)
_strategy = msgspec.json.Decoder(_WireStrategy)
_info = msgspec.json.Decoder(_WireInfo)


def parse_streams(body: bytes) -> dict[str, Stream]:
    """The streams in a node's list, by id."""
    if not body.isascii():
        _check_utf8(body)
    streams: dict[str, Stream] = {}
    for raw in _decode(_raws, body, "the list of streams"):
        stream = _parse_stream(raw, "the list of streams")
        if stream.id in streams:
            raise NodeError(f"the list of streams names the stream {stream.id!r} twice")
        streams[stream.id] = stream
    return streams


def parse_stream(body: bytes) -> Stream:
    """One stream, as `GET /api/streams/{stream}` gives it."""
    return _parse_stream(Raw(body), "the stream")


def parse_strategy(body: bytes) -> Strategy:
    """The answer to `GET /api/strategy/`."""
    found: _WireStrategy = _decode(_strategy, body, "the strategy")
    return Strategy(body, found.each_stream_max_sub)


def parse_info(body: bytes) -> str | None:
    """The version in the answer to `GET /api/info`."""
    found: _WireInfo = _decode(_info, body, "the info")
    return found.version and found.version[:_LONGEST_VERSION]


def session_of(url: str) -> tuple[str, str] | None:
    """The stream and the node's own session id that a relay's session url names; None when it names none.

    A relay that was made through Liveman's direct route knows the id with Liveman's tag on it.
    """
    path = re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/")
    above, _, session = path.rpartition("/")
    stream = unquote(above.rpartition("/")[2])
    if not session or not stream:
        return None
    tag = parse_session_id(session)
    return stream, tag.id if tag else session


def _check_utf8(body: bytes) -> None:
    # The decoder looks only at the texts that are wanted; the others are passed on, and must be sound too.
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise NodeError(f"the list of streams is not UTF-8: {error}") from None


def _parse_stream(raw: Raw, what: str) -> Stream:
    found: _WireStream = _decode(_stream, raw, what)
    bits_in, bits_out = _bitrates(found.stats)
    return Stream(found.id, found.publish, found.subscribe, found.onDemand is True, bits_in, bits_out, raw)


def _bitrates(raw: Raw) -> tuple[float, float]:
    try:
        stats = _stats.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        # Nothing depends on them, so odd ones spoil nothing else.
        return 0.0, 0.0
    return (
        stats.publish.bitrate if stats.publish else 0.0,
        stats.subscribe.bitrate if stats.subscribe else 0.0,
    )


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes | Raw, what: str) -> Any:
    try:
        return decoder.decode(body)
    except RecursionError:
        raise NodeError(f"{what} is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NodeError(
            f"{what} is not as it should be ({error}): {bytes(memoryview(body)[:40])!r}…"
        ) from None


#: Pieces of a line are not left smaller than this, bytes. A field's name is shorter.
_PIECE = 4096


class EventDecoder:
    """Server-sent events (WHATWG HTML, section 9.2.6), sans I/O: bytes go in, the data of messages comes out.

    Events of another type than ``message``, ids and retry times are left out. Raises NodeError when a
    message grows over the limit.
    """

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self.lines = 0
        """How many whole lines have come, comments and blank ones too: a sign of life."""
        self._limit = limit
        self._line = [b""]
        """The pieces of the line that is coming."""
        self._length = 0
        self._after_cr = False
        self._data: list[bytes] = []
        self._size = 0
        """Of the data so far."""
        self._type = b""

    def feed(self, chunk: bytes) -> list[list[bytes]]:
        """The data of the messages that this chunk completed, in pieces: joining many takes long."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        messages: list[list[bytes]] = []
        for piece in chunk.splitlines(keepends=True):
            text = piece.rstrip(b"\r\n")
            if len(self._line[-1]) < _PIECE:
                self._line[-1] += text
            else:
                self._line.append(text)
            self._length += len(text)
            self._check(self._length - len(b"data: "))
            if len(text) < len(piece):
                self._end_line(messages)
                self._line, self._length = [b""], 0
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        return messages

    def _check(self, more: int) -> None:
        if self._size + more > self._limit:
            raise NodeError(f"a message of the event stream is larger than {self._limit} bytes")

    def _end_line(self, messages: list[list[bytes]]) -> None:
        first, *more = self._line
        if self.lines == 0:
            first = first.removeprefix(b"\xef\xbb\xbf")
        self.lines += 1
        if not first:
            if self._data and self._type in (b"", b"message"):
                messages.append(self._data)
            self._data, self._size, self._type = [], 0, b""
            return
        name, _, value = first.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            if self._data:
                value = b"\n" + value
            self._data += value, *more
            self._size += len(value) + sum(map(len, more))
            self._check(0)
        elif name == b"event":
            self._type = value
