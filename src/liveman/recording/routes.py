"""Recordings over HTTP: begun and ended, and what there is to play."""

import base64
import binascii
import json
import re
import time
from calendar import timegm
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Rule
from liveman.audit import audit
from liveman.errors import BadRequest
from liveman.middleware import INBOUND, Route, json_response
from liveman.recording.index import BEGINNING, END, Place, Recording, day_of
from liveman.recording.recordings import Recordings

__all__ = ["recording_row", "routes"]

_MANAGE = Rule(MANAGE, "stream")
_WATCH = Rule(SUBSCRIBE, "stream")
_LIST = Rule(MANAGE | PUBLISH | SUBSCRIBE)
_DAY_SECONDS = 86_400
_MOST = 1000
_RECORD = re.compile(r"[0-9]{10}")


def routes(recordings: Recordings) -> list[Route]:
    async def start(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        running = await recordings.recorder.start(inbound.stream, request.query.get("node"))
        audit(inbound, "recording begun", stream=inbound.stream, node=running.origin.alias)
        return json_response(
            {
                "started": True,
                "mpd_path": running.mpd_path,
                "record": f"{running.since:010d}",
                "node": running.origin.alias,
            }
        )

    async def status(request: web.Request) -> web.Response:
        running = await recordings.recorder.status(request[INBOUND].stream)
        if running is None:
            return json_response({"recording": False})
        shown = {
            "recording": True,
            "since": _time(running.since * 1_000_000),
            "node": running.origin.alias,
            "mpd_path": running.mpd_path,
            "gap_ms": recordings.recorder.gaps_ms.get(request[INBOUND].stream),
        }
        return json_response(shown)

    async def stop(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        stopped = await recordings.recorder.stop(inbound.stream)
        audit(inbound, "recording ended", stream=inbound.stream)
        return json_response({"stopped": stopped})

    async def streams(_request: web.Request) -> web.Response:
        return json_response(await recordings.index.streams())

    async def playback(request: web.Request) -> web.Response:
        inbound, query = request[INBOUND], request.query
        limit = _limit(query.get("limit"))
        found = await recordings.index.page(
            inbound.stream,
            first=_day(query.get("from"), "from", BEGINNING),
            last=_day(query.get("to"), "to", END, whole=True),
            after=_place(query.get("cursor")),
            limit=None if limit is None else limit + 1,
        )
        headers = {}
        if limit is not None and len(found) > limit:
            found = found[:limit]
            kept = [(name, value) for name, value in query.items() if name in ("from", "to")]
            more = urlencode([*kept, ("limit", str(limit)), ("cursor", _cursor(found[-1].place))])
            headers["Link"] = f'<{inbound.path}?{more}>; rel="next"'
        return json_response([recording_row(each) for each in found], headers=headers)

    return [
        Route("POST", "/api/record/{stream}", start, _MANAGE),
        Route("GET", "/api/record/{stream}", status, _WATCH),
        Route("DELETE", "/api/record/{stream}", stop, _MANAGE),
        Route("GET", "/api/playback", streams, _LIST),
        Route("GET", "/api/playback/{stream}", playback, _WATCH),
    ]


def recording_row(recording: Recording) -> dict[str, Any]:
    """A recording as lists show it; ``record`` is the Unix time that its folder is named by, or began at."""
    name = recording.folder.rpartition("/")[2]
    year, month, day = day_of(recording.start)
    return {
        "record": name if _RECORD.fullmatch(name) else f"{recording.start // 1_000_000:010d}",
        "mpd_path": recording.mpd_path,
        "year": year,
        "month": month,
        "day": day,
        "node": recording.node,
        "start": _time(recording.start),
        "end": None if recording.end is None else _time(recording.end),
        "duration_ms": recording.duration_ms,
        "status": recording.status,
    }


def _time(microseconds: int) -> str:
    """RFC 3339, in UTC."""
    seconds, rest = divmod(microseconds, 1_000_000)
    fraction = f".{rest:06d}" if rest else ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def _day(text: str | None, name: str, otherwise: int, *, whole: bool = False) -> int:
    """The first microsecond of a day (``2026-11-21``, UTC); ``whole``: the last."""
    if text is None:
        return otherwise
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
            raise ValueError
        first = timegm(time.strptime(text, "%Y-%m-%d"))
    except ValueError:
        raise BadRequest(f"{name} is a day such as 2026-11-21 (UTC).") from None
    return (first + _DAY_SECONDS) * 1_000_000 - 1 if whole else first * 1_000_000


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or not 1 <= int(text) <= _MOST:
        raise BadRequest(f"limit is a number from 1 to {_MOST}.")
    return int(text)


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
        start, node, record = place
        if [type(each) for each in place] == [int, str, str] and 0 <= start < END:
            return start, node, record
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    raise BadRequest("The cursor is none that a Link of this list named.")
