"""What a request for a recorded object gets: which object its path names, and how much of it is sent."""

import re
from calendar import timegm
from collections.abc import Callable
from email.utils import formatdate, parsedate_tz
from typing import Literal
from urllib.parse import unquote_to_bytes

from attrs import frozen

from liveman.errors import NotFound, PreconditionFailed
from liveman.recording.ranges import Span, spans

__all__ = [
    "Held",
    "Plan",
    "cache_control",
    "content_type",
    "http_date",
    "is_manifest",
    "is_object_path",
    "object_path",
    "plan",
]

#: S3 allows keys of so many bytes; file systems names of 255.
_LONGEST = 1024
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"')

#: Asks a request for a field by its lower-case name; "" when there is none.
Header = Callable[[bytes], str]


@frozen
class Held:
    """An object as it is now."""

    size: int
    """Bytes."""
    tag: str
    """Its entity tag, quotes included."""
    modified: float
    """Unix seconds."""


@frozen
class Plan:
    """How a request for an object is answered."""

    status: Literal[200, 206, 304]
    spans: tuple[Span, ...] = ()
    """What is sent, with 206."""


def object_path(raw: str) -> str:
    """The path in the storage that the rest of a request's path names, decoded once. Raises NotFound for what
    is no path of an object, `is_object_path` says why."""
    data = unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))
    try:
        path = data.decode("utf-8")
    except UnicodeDecodeError:
        path = ""
    if _BAD_ESCAPE.search(raw) or not is_object_path(path):
        raise NotFound("There is no object of that name.")
    return path


def is_object_path(path: str) -> bool:
    """Whether it can name an object: segments with "/" between them, none empty, ``.`` or ``..``, none longer
    than 255 bytes and all not longer than 1024, without control characters and back slashes."""
    try:
        sizes = [len(segment.encode()) for segment in path.split("/")]
    except UnicodeEncodeError:
        return False
    return (
        all(1 <= size <= 255 for size in sizes)
        and sum(sizes) + len(sizes) <= _LONGEST
        and not any(c == "\\" or ord(c) < 32 or 127 <= ord(c) < 160 for c in path)
        and not {".", ".."}.intersection(path.split("/"))
    )


def is_manifest(path: str) -> bool:
    return path.lower().endswith(".mpd")


def content_type(path: str) -> str:
    """By its name: all that nodes write are manifests and pieces of video or audio."""
    name = path.rpartition("/")[2].lower()
    if name.endswith(".mpd"):
        return "application/dash+xml"
    if not name.endswith((".m4s", ".mp4")):
        return "application/octet-stream"
    return "audio/mp4" if name.startswith(("a_", "audio_")) else "video/mp4"


def cache_control(path: str, *, public: bool) -> str:
    """Pieces never change. A manifest grows while its recording runs, so it is asked about each time, which
    costs a 304. ``public``: whether anyone may have the object."""
    if content_type(path) in ("video/mp4", "audio/mp4"):
        lasting = "max-age=31536000, immutable"
        return lasting if public else f"private, {lasting}"
    return "no-cache" if public else "private, no-cache"


def plan(method: str, header: Header, held: Held) -> Plan:
    """What a GET or HEAD gets of an object that is there (RFC 9110, section 13.2.2).

    Raises PreconditionFailed, RangeRefused.
    """
    wanted, unmodified = header(b"if-match"), _seconds(header(b"if-unmodified-since"))
    if wanted:
        if not _names(wanted, held.tag, weak=False):
            raise PreconditionFailed("The object has changed: If-Match names none of its present entity tag.")
    elif unmodified is not None and int(held.modified) > unmodified:
        raise PreconditionFailed("The object has changed since the time in If-Unmodified-Since.")
    known, since = header(b"if-none-match"), _seconds(header(b"if-modified-since"))
    if known:
        if _names(known, held.tag, weak=True):
            return Plan(304)
    elif since is not None and int(held.modified) <= since:
        return Plan(304)
    # Ranges are defined for GET alone (RFC 9110, section 14.2).
    if method != "GET" or not header(b"range") or not _still(header(b"if-range"), held):
        return Plan(200)
    parts = spans(header(b"range"), held.size)
    return Plan(206, parts) if parts else Plan(200)


def http_date(seconds: float) -> str:
    """Unix seconds as HTTP writes them."""
    return formatdate(int(seconds), usegmt=True)


def _names(tags: str, tag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags names this one, by the weak or the strong comparison; ``*`` is any."""
    if tags.strip() == "*":
        return True
    found = _TAG.findall(tags)
    if weak:
        return tag.removeprefix("W/") in [each.removeprefix("W/") for each in found]
    return not tag.startswith("W/") and tag in found


def _still(if_range: str, held: Held) -> bool:
    """Whether the object is still the one of which the client has a part (RFC 9110, section 13.1.5)."""
    text = if_range.strip()
    if not text:
        return True
    if text.startswith(('"', "W/")):
        return text == held.tag and not text.startswith("W/")
    return _seconds(text) == int(held.modified)


def _seconds(date: str) -> int | None:
    """Unix seconds of an HTTP date (RFC 9110, section 5.6.7); None: it is none, and is ignored."""
    parsed = parsedate_tz(date) if date else None
    if parsed is None or parsed[9]:
        return None
    try:
        seconds = timegm((*parsed[:6], 0, 1, 0))
        written = parsedate_tz(http_date(seconds))
    except (ValueError, OverflowError, OSError):
        return None
    # There is no 99th of November.
    return seconds if written is not None and written[:6] == parsed[:6] else None
