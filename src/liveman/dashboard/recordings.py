"""What was recorded, by stream and day, and the page that plays it."""

import asyncio
import time
from calendar import timegm
from collections.abc import Sequence
from importlib.resources import files
from urllib.parse import urlsplit

from attrs import frozen

from liveman.access import OPEN, READ_ALL, SUBSCRIBE, Rule
from liveman.dashboard.calendar import Day, day_text, day_title, month_of, parse_day
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.dashboard.rows import invisible
from liveman.dashboard.stream import recording_of
from liveman.dashboard.tables import Choice, Column, Shown, Table, Wanted
from liveman.errors import BadRequest, NotSupported, StorageError
from liveman.recording.index import Recording, day_of
from liveman.recording.objects import Objects

__all__ = ["pages"]

_WATCH = Rule(SUBSCRIBE, "stream")
#: Recordings of a day that are shown at once.
_MOST = 200
_DAY_US = 86_400_000_000


@frozen
class _Stream:
    """A stream in the list of those that have recordings."""

    name: str
    runs: bool
    """Whether it is recorded now, as far as this instance looks after it."""


_STREAMS: Table[_Stream] = Table(
    columns=[
        Column("name", "Stream", lambda row: row.name),
        Column("newest", "Newest recording (UTC)"),
        Column("now", "Now"),
    ],
    order="name",
    text=lambda row: row.name,
    choices=[Choice("running", "Recorded now", lambda row: row.runs)],
)


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
    built = (files("liveman.dashboard") / "static" / "dash.js").is_file()

    async def streams(asked: Asked) -> View:
        wanted = _STREAMS.parse(asked.query)
        running = frozenset(recordings.recorder.running)
        names = await recordings.index.streams()
        # With tens of thousands of streams it takes longer than others can wait.
        shown = await asyncio.to_thread(_shown, names, running, wanted)
        values = {
            "table": shown,
            "newest": {row.name: await _newest(dashboard, row.name) for row in shown.rows},
            "invisible": invisible,
            "synced": dashboard.config.record_sync.enabled,
        }
        return View("recordings.html", values)

    async def stream(asked: Asked) -> View:
        name = asked.segments["stream"]
        days = await recordings.index.days(name)
        text = asked.query.get("day", "")
        now = int(time.time()) * 1_000_000
        day = _day(text) if text else (days[-1] if days else day_of(now))
        first = timegm((*day, 0, 0, 0)) * 1_000_000
        until = _until(asked.query.get("until"), first + _DAY_US - 1)
        found = await recordings.index.page(name, first=first, last=until, limit=_MOST + 1)
        recording = await recording_of(dashboard, name)
        there = dashboard.cluster.state.streams.get(name, {})
        values = {
            "stream": name,
            "day": day_text(day),
            "title": day_title(day),
            "month": month_of(day, days),
            "newest": day_text(days[-1]) if days else "",
            "rows": [_row(each) for each in found[:_MOST]],
            "more": found[_MOST].start if len(found) > _MOST else None,
            "recording": recording,
            "since": _moment(int(recording.since) * 1_000_000),
            "published": any(each.publishers for each in there.values()),
            "all": asked.identity.stream == "*",
            "invisible": invisible,
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


def _shown(names: list[str], running: frozenset[str], wanted: Wanted) -> Shown[_Stream]:
    rows = [_Stream(name, name in running) for name in sorted({*names, *running})]
    return _STREAMS.show(rows, wanted)


async def _newest(dashboard: Dashboard, name: str) -> str:
    """When a stream's newest recording began; "": the index has none."""
    newest = await dashboard.recordings.index.page(name, limit=1)
    return _moment(newest[0].start) if newest else ""


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


def _clock(moment: int) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(moment // 1_000_000))


def _moment(moment: int) -> str:
    return f"{day_text(day_of(moment))} {_clock(moment)}"
