"""What was recorded, by stream and day, and the page that plays it."""

import time
from calendar import timegm
from collections.abc import Sequence
from importlib import resources
from urllib.parse import urlsplit

from attrs import frozen

from liveman.access import OPEN, READ_ALL, SUBSCRIBE, Rule
from liveman.dashboard.calendar import Day, day_text, day_title, month_of, parse_day
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.errors import BadRequest, NotSupported, StorageError
from liveman.recording.index import Recording, day_of
from liveman.recording.objects import Objects

__all__ = ["pages"]

_WATCH = Rule(SUBSCRIBE, "stream")
#: Rows of one page.
_STREAMS, _RECORDINGS = 50, 200
_DAY_SECONDS = 86_400


@frozen
class _Stream:
    """A stream in the list of those that have recordings."""

    name: str
    newest: str
    """When its newest recording began; "": the index has none yet."""
    since: str
    """Since when it is recorded; "": it is not."""


@frozen
class _Row:
    """A recording in the list of its day."""

    at: str
    seconds: float | None
    """None: it has not ended."""
    node: str
    """"": it was found in the storage."""
    status: str
    path: tuple[str, ...]
    """Of its manifest."""
    mpd: str
    size: int | None


def pages(dashboard: Dashboard) -> list[Page]:
    recordings = dashboard.recordings
    origin = _Elsewhere(dashboard.objects, signed=dashboard.config.playback.signed_redirect)
    built = (resources.files("liveman.dashboard") / "static" / "dash.js").is_file()

    async def streams(asked: Asked) -> View:
        wanted = asked.query.get("q", "").strip()
        running = recordings.recorder.running
        known = sorted({*await recordings.index.streams(), *running})
        found = [name for name in known if wanted.lower() in name.lower()]
        number, last = _page(asked.query.get("page", "1")), max(1, -(-len(found) // _STREAMS))
        number = min(number, last)
        names = found[(number - 1) * _STREAMS : number * _STREAMS]
        values = {
            "rows": [await _stream(dashboard, name) for name in names],
            "wanted": wanted,
            "total": len(found),
            "any": bool(known),
            "number": number,
            "last": last,
            "synced": dashboard.config.record_sync.enabled,
        }
        return View("recordings.html", values)

    async def stream(asked: Asked) -> View:
        name = asked.segments["stream"]
        days = await recordings.index.days(name)
        text = asked.query.get("day", "")
        today = day_of(int(time.time()) * 1_000_000)
        day = _day(text) if text else (days[-1] if days else today)
        first = _start_of(day)
        until = _until(asked.query.get("until"), first + _DAY_SECONDS * 1_000_000 - 1)
        found = await recordings.index.page(name, first=first, last=until, limit=_RECORDINGS + 1)
        values = {
            "stream": name,
            "day": day_text(day),
            "title": day_title(day),
            "month": month_of(day, days),
            "newest": day_text(days[-1]) if days else "",
            "rows": [_row(each) for each in found[:_RECORDINGS]],
            "more": found[_RECORDINGS].start if len(found) > _RECORDINGS else None,
            "since": await _since(dashboard, name),
            "published": any(
                each.publishers for each in dashboard.cluster.state.streams.get(name, {}).values()
            ),
            "synced": dashboard.config.record_sync.enabled,
        }
        return View("recordings_stream.html", values)

    async def play(asked: Asked) -> View:
        await origin.look()
        day = asked.query.get("day", "")
        values = {
            "stream": asked.segments.get("stream", ""),
            "mpd": asked.query.get("mpd", ""),
            "day": day_text(_day(day)) if day else "",
            "built": built,
        }
        return View("play.html", values)

    return [
        Page("/recordings/", streams, READ_ALL),
        Page("/recordings/{stream}", stream, _WATCH),
        # Who comes with a token has it in the fragment, which is not sent: what is played decides who may.
        Page("/recordings/{stream}/play", play, OPEN, connects=origin.origins),
        Page("/play", play, OPEN, connects=origin.origins),
    ]


class _Elsewhere:
    """Where players are sent for what is recorded, when they are."""

    def __init__(self, objects: Objects, *, signed: bool) -> None:
        self._objects = objects
        self._unknown = signed
        self._origin = ""

    async def look(self) -> None:
        """Find out, once: the storage alone knows where its objects are."""
        if not self._unknown:
            return
        try:
            signed = await self._objects.storage.presign("GET", "manifest.mpd", 1)
        except NotSupported:
            self._unknown = False
        except StorageError:
            pass  # It is asked again; what is played meets the same, and says so.
        else:
            parts = urlsplit(signed.url)
            self._origin, self._unknown = f"{parts.scheme}://{parts.netloc}", False

    def origins(self) -> Sequence[str]:
        return [self._origin] if self._origin else []


async def _stream(dashboard: Dashboard, name: str) -> _Stream:
    newest = await dashboard.recordings.index.page(name, limit=1)
    return _Stream(
        name,
        _moment(newest[0].start) if newest else "",
        await _since(dashboard, name, newest),
    )


async def _since(dashboard: Dashboard, name: str, newest: Sequence[Recording] | None = None) -> str:
    """Since when a stream is recorded, also by another instance; "": it is not. No node is asked."""
    running = dashboard.recordings.recorder.running.get(name)
    if running is not None:
        return _moment(running.since * 1_000_000)
    if newest is None:
        newest = await dashboard.recordings.index.page(name, limit=1)
    there = dashboard.cluster.state.streams.get(name, {})
    for each in newest:
        if each.status == "Active" and each.node in there and there[each.node].publishers:
            return _moment(each.start)
    return ""


def _row(recording: Recording) -> _Row:
    seconds = None if recording.duration_ms is None else recording.duration_ms / 1000
    words = {"Active": "running", "Failed": "failed"}
    return _Row(
        at=_clock(recording.start),
        seconds=seconds,
        node=recording.node,
        status=words.get(recording.status, "complete"),
        path=tuple(recording.mpd_path.split("/")),
        mpd=recording.mpd_path,
        size=recording.bytes,
    )


def _day(text: str) -> Day:
    try:
        return parse_day(text)
    except ValueError as error:
        raise BadRequest(f"day {error}.") from None


def _until(text: str | None, end: int) -> int:
    """The moment up to which a list goes, microseconds."""
    if text is None:
        return end
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise BadRequest("until is a moment in microseconds, as a link to older recordings names it.")
    return min(int(text), end)


def _page(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text)):
        raise BadRequest("page is a number from 1.")
    return int(text)


def _start_of(day: Day) -> int:
    """Its first microsecond."""
    return timegm((*day, 0, 0, 0)) * 1_000_000


def _clock(moment: int) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(moment // 1_000_000))


def _moment(moment: int) -> str:
    return f"{day_text(day_of(moment))} {_clock(moment)}"
