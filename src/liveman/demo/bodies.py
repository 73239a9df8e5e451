"""JSON bodies as a node reads and writes them."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from liveman.demo.refusal import Refused

__all__ = ["encoded", "json_body", "json_response"]


async def json_body(request: web.Request, members: Mapping[str, type]) -> dict[str, Any]:
    """An object that has these members. Raises Refused (400, 415, 422)."""
    if request.content_type != "application/json":
        raise Refused(415, "Expected request with `Content-Type: application/json`")
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Refused(400, "Failed to parse the request body as JSON") from None
    if not isinstance(value, dict) or any(not isinstance(value.get(key), t) for key, t in members.items()):
        raise Refused(422, f"Failed to deserialize the JSON body: it needs {', '.join(members)}")
    return value


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")


def json_response(value: Any) -> web.Response:
    return web.Response(body=encoded(value), headers={"Content-Type": "application/json"})
