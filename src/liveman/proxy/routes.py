"""The signalling routes (RFC 9725, the WHEP draft) and what Liveman answers on them by itself."""

from functools import partial

from aiohttp import hdrs, web

from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Rule
from liveman.errors import BadRequest, WrongType
from liveman.ice.provider import IceRequest
from liveman.ice.rewrite import rewrite_links
from liveman.middleware import SEGMENTS, STREAM, Route
from liveman.proxy.attempts import Action
from liveman.proxy.body import check_body
from liveman.proxy.forward import Forwarder

__all__ = ["routes"]

_SESSION_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")


def routes(forwarder: Forwarder) -> list[Route]:
    found = []
    for name, action, needs in (("whip", "publish", PUBLISH), ("whep", "subscribe", SUBSCRIBE)):
        found += _endpoint(forwarder, name, action, needs)  # type: ignore[arg-type]
    session = Rule(needs=PUBLISH | SUBSCRIBE, scope="stream")
    for path in ("/session/{stream}/{session}", "/session/{stream}/{session}/{rest}"):
        check = partial(_check_session, forwarder)
        found += [Route(method, path, forwarder.session, session, check) for method in _SESSION_METHODS]
    return found


def _endpoint(forwarder: Forwarder, name: str, action: Action, needs: int) -> list[Route]:
    path = f"/{name}/{{stream}}"
    rule = Rule(needs=needs, scope="stream")
    straight = Rule(needs=MANAGE)
    return [
        Route("POST", path, partial(forwarder.offer, action=action), rule, _check_offer),
        Route("OPTIONS", path, partial(_options, forwarder), rule),
        Route("GET", path, _get, rule),
        Route("HEAD", path, _head, rule),
        Route(
            "POST",
            f"/api/{name}/{{alias}}/{{stream}}",
            partial(forwarder.direct, action=action),
            straight,
            partial(_check_direct, forwarder),
        ),
    ]


def _check_offer(request: web.Request) -> None:
    kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if kind != "application/sdp":
        raise WrongType(
            f"An offer has the type application/sdp, not {kind or 'none'}.",
            headers={"Accept-Post": "application/sdp"},
        )
    check_body(request)
    if not request.body_exists:
        raise BadRequest("The request has no body; it must be an SDP offer.")


def _check_direct(forwarder: Forwarder, request: web.Request) -> None:
    forwarder.node_named(request.match_info["alias"])
    _check_offer(request)


def _check_session(forwarder: Forwarder, request: web.Request) -> None:
    segments: tuple[str, ...] = request[SEGMENTS]
    path = "/".join(segments).lower()
    if "%2f" in path or "%5c" in path:
        raise BadRequest("The path of a session holds an encoded slash or backslash.")
    forwarder.check_session(segments[2])
    check_body(request)


async def _options(forwarder: Forwarder, request: web.Request) -> web.Response:
    """RFC 9725 section 4.2 and 4.6: what may be posted here, and the ICE servers to gather with."""
    servers = await forwarder.broker.servers(
        IceRequest(kind="options", stream=request[STREAM], client=request.remote)
    )
    links, _ = rewrite_links(
        (), session="", location="", override=False, servers=servers, max_urls=forwarder.ice.max_urls
    )
    response = web.Response(
        headers={
            "Allow": "GET, HEAD, OPTIONS, POST",
            "Accept-Post": "application/sdp",
            "Cache-Control": "no-store",
        }
    )
    for link in links:
        response.headers.add(hdrs.LINK, link)
    return response


async def _get(_request: web.Request) -> web.Response:
    return web.Response(status=204, headers={"Cache-Control": "no-store"})


async def _head(_request: web.Request) -> web.Response:
    return web.Response(content_type="application/sdp", headers={"Cache-Control": "no-store"})
