"""The part of a node's API that records, word for word as a live777 node with the recorder speaks it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from liveman.demo.bodies import encoded, json_body, json_response
from liveman.demo.recorder import Recorder
from liveman.demo.refusal import Refused

__all__ = ["RECORDER", "TYPELESS", "record_routes"]

RECORDER = web.AppKey("recorder", Recorder)
#: Set when an answer has a body and, as the real node's, no Content-Type.
TYPELESS = web.RequestKey("typeless", bool)

_LARGEST = 2**63 - 1


def record_routes() -> Mapping[str, Mapping[str, Callable[..., Awaitable[web.Response]]]]:
    """The handlers by path and method; of an application without a recorder they answer 501."""
    return {
        "/api/record/{}": {"GET": _is_recording, "POST": _start, "DELETE": _stop},
        "/api/recordings": {"GET": _list, "PATCH": _acknowledge, "DELETE": _forget},
    }


async def _is_recording(request: web.Request, stream: str) -> web.Response:
    return json_response({"recording": _recorder(request).is_recording(stream)})


async def _start(request: web.Request, stream: str) -> web.Response:
    base_dir = (await json_body(request, {})).get("base_dir")
    if not isinstance(base_dir, str | None):
        raise Refused(422, "Failed to deserialize the JSON body: base_dir has to be a string")
    row = _recorder(request).start(stream, base_dir)
    request[TYPELESS] = True
    return web.Response(
        body=encoded(
            {"id": stream, "record_id": row.record_id, "record_dir": row.record_dir, "mpd_path": row.mpd_path}
        )
    )


async def _stop(request: web.Request, stream: str) -> web.Response:
    await _recorder(request).stop(stream)
    return web.Response()


async def _list(request: web.Request) -> web.Response:
    recorder = _recorder(request)
    if "limit" not in request.query:
        raise Refused(400, "Failed to deserialize query string: missing field `limit`")
    limit, since = _number(request, "limit"), _number(request, "since_ts")
    rows = recorder.listed(limit, request.query.get("stream"), since)
    last = rows[-1].changed if rows else None
    return json_response({"sessions": [row.to_json() for row in rows], "last_ts": last})


async def _acknowledge(request: web.Request) -> web.Response:
    return json_response({"acked": _recorder(request).acknowledge(await _records(request))})


async def _forget(request: web.Request) -> web.Response:
    return json_response({"deleted": _recorder(request).forget(await _records(request))})


def _recorder(request: web.Request) -> Recorder:
    recorder = request.app.get(RECORDER)
    if recorder is None:
        raise Refused(501, "the recorder is not built in")
    return recorder


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST):
        raise Refused(400, f"Failed to deserialize query string: {name}: invalid digit found in string")
    return int(text)


async def _records(request: web.Request) -> list[tuple[str, str]]:
    listed: list[Any] = (await json_body(request, {"records": list}))["records"]
    try:
        records = [(each["stream"], each["record"]) for each in listed]
    except (TypeError, KeyError):
        records = [("", None)]
    if not all(isinstance(text, str) for record in records for text in record):
        raise Refused(422, "Failed to deserialize the JSON body: a record needs stream and record")
    return records
