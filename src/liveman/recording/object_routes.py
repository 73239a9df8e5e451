"""What of recordings is there over HTTP: their objects, and the storage for nodes that upload."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from aiohttp import web
from attrs import frozen

from liveman.access import MANAGE, SUBSCRIBE, Rule, allows
from liveman.errors import Fault, Invalid, NotAllowed
from liveman.forms import Between
from liveman.inbound import Answer, Inbound
from liveman.json_body import read_json
from liveman.middleware import Route, Signal, json_response
from liveman.recording.objects import Objects
from liveman.recording.playback import is_object_path, object_path

__all__ = ["object_routes", "permit_viewers"]

_STORAGE = Rule(MANAGE)
_OBJECT = Rule(SUBSCRIBE, "found", query_token=True)
_STREAM = Rule(SUBSCRIBE, "stream")
#: Segments of the path before the object's.
_BEFORE = 3


@frozen
class PresignRequest:
    """What is to be signed."""

    method: Literal["GET", "PUT"]
    """GET reads an object, PUT writes it."""
    path: str
    """The object's."""
    ttl_seconds: Annotated[int, Between(1, 604_800)] = 300
    """How long it is good."""


def permit_viewers(inbound: Inbound, stream: str | None) -> None:
    """Who may watch a stream may have its objects; those of no known stream only who may watch all.

    Raises NotAllowed.
    """
    if not allows(_STREAM, inbound.identity, stream):
        raise NotAllowed


def object_routes(
    objects: Objects,
    *,
    stream_of: Callable[[str], Awaitable[str | None]],
    permit: Callable[[Inbound, str | None], None] = permit_viewers,
) -> list[Route | Signal]:
    """``stream_of`` finds the stream of an object by its path, None: it is in no recording that is known;
    ``permit`` raises NotAllowed."""

    async def serve(inbound: Inbound) -> Answer | None:
        path = object_path("/".join(inbound.segments[_BEFORE:]))
        everything = inbound.identity.stream == "*"
        permit(inbound, None if everything else await stream_of(path))
        return await objects.serve(inbound, path)

    async def presign(request: web.Request) -> web.Response:
        wanted = await read_json(request, PresignRequest)
        if not is_object_path(wanted.path):
            raise Invalid(
                Fault("path", 'names no object: segments with "/" between, none empty, ".", "..", no "\\"')
            )
        signed = await objects.storage.presign(wanted.method, wanted.path, wanted.ttl_seconds)
        return json_response(
            {"url": signed.url, "headers": dict(signed.headers)}, headers={"Cache-Control": "no-store"}
        )

    async def ping(_request: web.Request) -> web.Response:
        await objects.storage.ping()
        return web.Response(text="ok", headers={"Cache-Control": "no-store"})

    return [
        Signal("GET", "/api/record/object/{rest}", serve, _OBJECT, hides=True),
        Route("POST", "/api/storage/presign", presign, _STORAGE),
        Route("GET", "/api/storage/ping", ping, _STORAGE),
    ]
