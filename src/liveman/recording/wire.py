"""What a node says of its recordings, as values. What cannot be used raises NodeError, or is left out."""

import re
from typing import Literal, TypeVar

import msgspec
from attrs import frozen
from msgspec import Raw, Struct

from liveman.access import stream_name
from liveman.errors import BadStreamName, NodeError
from liveman.recording.playback import is_object_path

__all__ = [
    "LONGEST_LIST",
    "Recorded",
    "Started",
    "Status",
    "parse_recorded",
    "parse_recording",
    "parse_started",
]

#: The most rows that one answer may hold.
LONGEST_LIST = 10_000
#: The year 9999, microseconds.
_TIMES_END = 253_370_764_800_000_000
_RECORD_ID = re.compile(r"[0-9]{10}")

Status = Literal["Active", "Completed", "Failed", "Acked"]


@frozen
class Recorded:
    """One recording, as the node that made it tells. Times are microseconds since 1970."""

    id: str
    """By which the node knows it."""
    stream: str
    start: int
    end: int | None
    """None: it is still running."""
    duration_ms: int | None
    mpd_path: str
    """Of its manifest, in the storage."""
    status: Status


@frozen
class Started:
    """A recording that runs at a node."""

    record: str
    """The Unix time at which it began, as text; "" when the node does not tell."""
    mpd_path: str


T = TypeVar("T")


class _Row(Struct, frozen=True):
    id: str
    stream: str
    start_ts: int
    mpd_path: str
    status: Status
    end_ts: int | None = None
    duration_ms: int | None = None


class _List(Struct, frozen=True):
    sessions: list[Raw]


class _Begun(Struct, frozen=True):
    mpd_path: str
    record_id: str = ""


class _Running(Struct, frozen=True):
    recording: bool


def parse_started(body: bytes) -> Started:
    """The answer to a start. Raises NodeError."""
    begun = _decode(body, _Begun, "the start of a recording")
    if not is_object_path(begun.mpd_path):
        raise NodeError("the manifest that it names is no path in a storage")
    return Started(begun.record_id if _RECORD_ID.fullmatch(begun.record_id) else "", begun.mpd_path)


def parse_recording(body: bytes) -> bool:
    """Whether a stream is recorded. Raises NodeError."""
    return _decode(body, _Running, "the state of a recording").recording


def parse_recorded(body: bytes) -> tuple[list[Recorded], list[str]]:
    """The rows that make sense, and what is wrong with each of the others. Raises NodeError for no list."""
    listed = _decode(body, _List, "the list of recordings")
    if len(listed.sessions) > LONGEST_LIST:
        raise NodeError(f"the list of recordings has more than {LONGEST_LIST} rows")
    rows, refused = [], []
    for index, raw in enumerate(listed.sessions):
        try:
            rows.append(_recorded(msgspec.json.decode(raw, type=_Row)))
        except (msgspec.MsgspecError, ValueError) as error:
            refused.append(f"row {index}: {error}"[:200])
    return rows, refused


def _recorded(row: _Row) -> Recorded:
    """Raises ValueError."""
    if not 1 <= len(row.id) <= 255 or not row.id.isprintable():
        raise ValueError("id must be a text of 1 to 255 printable characters")
    try:
        stream_name(row.stream.replace("%", "%25"))
    except BadStreamName as error:
        raise ValueError(f"stream: {error.detail}") from None
    if not 0 <= row.start_ts < _TIMES_END:
        raise ValueError("start_ts must be microseconds since 1970")
    if row.end_ts is not None and not row.start_ts <= row.end_ts < _TIMES_END:
        raise ValueError("end_ts must not be before start_ts")
    if row.duration_ms is not None and not 0 <= row.duration_ms < _TIMES_END:
        raise ValueError("duration_ms must not be negative")
    if not is_object_path(row.mpd_path):
        raise ValueError("mpd_path must be a path in a storage")
    if row.stream not in row.mpd_path.split("/")[:-1]:
        raise ValueError("mpd_path must be below a folder with the stream's name")
    return Recorded(row.id, row.stream, row.start_ts, row.end_ts, row.duration_ms, row.mpd_path, row.status)


def _decode(body: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NodeError(f"{what} cannot be read: {error}"[:300]) from None
