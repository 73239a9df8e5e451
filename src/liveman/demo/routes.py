"""The HTTP API of a built-in node, word for word as a live777 node speaks it."""

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from aiohttp import web
from attrs import field, frozen

from liveman.demo.bodies import encoded, json_body, json_response
from liveman.demo.record_routes import RECORDER, TYPELESS, record_routes
from liveman.demo.recorder import Recorder
from liveman.demo.refusal import Refused
from liveman.demo.sdp import parse_fragment
from liveman.demo.streams import Sfu

__all__ = ["NodeSettings", "create_node_app"]

_LARGEST_BODY = 2 * 1024 * 1024
_VARY = "origin, access-control-request-method, access-control-request-headers"
_TRICKLE = "application/trickle-ice-sdpfrag"
_SFU = web.AppKey("sfu", Sfu)
#: A comment is sent on an event stream that was idle for so long, seconds.
SSE_IDLE = 15.0
#: A listener that takes no byte for so long is dropped, seconds.
SSE_STALLED = 30.0


@frozen
class NodeSettings:
    """What a built-in node reports, wants and offers."""

    sub_max: int = 65_535
    """Reported as ``each_stream_max_sub``, never enforced, as by a real node."""
    token: str = field(default="", repr=False)
    """What Authorization has to hold behind ``Bearer``; empty: anything goes."""
    ice_servers: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """RTCIceServer dictionaries (``urls``, ``username``, ``credential``) for the Link lines."""
    recordings: Path | None = None
    """The folder below which it records; None: it has no recorder."""


def create_node_app(settings: NodeSettings) -> web.Application:
    """The node as an application; its `Sfu` lives and dies with it."""
    app = web.Application(client_max_size=_LARGEST_BODY)
    node = _Node(settings)
    app.router.add_route("*", r"/{path:[\s\S]*}", node.answer)
    app.cleanup_ctx.append(lambda app: _sfu(app, settings.recordings))
    app.on_shutdown.append(node.shut_down)
    app.on_response_prepare.append(_set_headers)
    return app


async def _sfu(app: web.Application, recordings: Path | None) -> Any:
    async with AsyncExitStack() as stack:
        sfu = app[_SFU] = await stack.enter_async_context(Sfu())
        if recordings is not None:
            app[RECORDER] = await stack.enter_async_context(Recorder(recordings, sfu.streams))
        yield


async def _set_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Vary"] = _VARY
    del response.headers["Server"]
    if request.get(TYPELESS):
        del response.headers["Content-Type"]


_Handler = Callable[..., Awaitable[web.StreamResponse]]


class _Node:
    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._links = [link for server in settings.ice_servers for link in _links(server)]
        self._is_ending = False
        routes: dict[str, Mapping[str, _Handler]] = {
            "/whip/{}": {"POST": self.whip},
            "/whep/{}": {"POST": self.whep},
            "/session/{}/{}": {
                "POST": self.change_session,
                "PATCH": self.trickle,
                "DELETE": self.remove_session,
            },
            "/session/{}/{}/layer": {
                "GET": self.layers,
                "POST": self.select_layer,
                "DELETE": self.unselect_layer,
            },
            "/api/streams/": {"GET": self.streams},
            "/api/streams/{}": {"GET": self.stream, "POST": self.create_stream, "DELETE": self.delete_stream},
            "/api/sse/streams": {"GET": self.events},
            "/api/cascade/{}": {"POST": self.cascade},
            "/api/strategy/": {"GET": self.strategy},
            "/api/info": {"GET": self.info},
            "/metrics": {"GET": self.metrics},
            **record_routes(),
        }
        self._routes = [
            (re.compile(path.replace("{}", "([^/]+)")), handlers) for path, handlers in routes.items()
        ]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Find who answers; CORS is off, so OPTIONS only names the methods."""
        try:
            return await self._dispatch(request)
        except Refused as refused:
            return web.Response(status=refused.status, text=refused.text or None)
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text="length limit exceeded")

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        found = ((pattern.fullmatch(path), handlers) for pattern, handlers in self._routes)
        match, handlers = next(((m, h) for m, h in found if m), (None, {}))
        if match is None:
            raise Refused(404)
        allow = {"Allow": ",".join(handlers)}
        if request.method == "OPTIONS":
            return web.Response(headers=allow)
        if path not in ("/api/info", "/metrics") and not self._is_welcome(request):
            raise Refused(401)
        if request.method not in handlers:
            return web.Response(status=405, headers=allow)
        if (request.content_length or 0) > _LARGEST_BODY:
            raise Refused(413, "length limit exceeded")
        return await handlers[request.method](request, *map(_decoded, match.groups()))

    def _is_welcome(self, request: web.Request) -> bool:
        if not self._settings.token:
            return True
        sent = request.headers.get("Authorization", "")
        wanted = f"Bearer {self._settings.token}"
        return hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), wanted.encode())

    async def whip(self, request: web.Request, stream: str) -> web.Response:
        offer = await _body(request, "application/sdp")
        session, answer = await request.app[_SFU].publish(_in_header(stream), offer)
        return self._created(stream, session.id, answer)

    async def whep(self, request: web.Request, stream: str) -> web.Response:
        offer = await _body(request, "application/sdp")
        session, answer = await request.app[_SFU].subscribe(_in_header(stream), offer)
        return self._created(stream, session.id, answer)

    def _created(self, stream: str, session_id: str, answer: str) -> web.Response:
        response = web.Response(
            status=201,
            body=answer.encode(),
            headers={"Content-Type": "application/sdp", "Accept-Patch": _TRICKLE},
        )
        response.headers["Location"] = f"/session/{stream}/{session_id}"
        for link in self._links:
            response.headers.add("Link", link)
        return response

    async def trickle(self, request: web.Request, stream: str, session_id: str) -> web.Response:
        fragment = await _body(request, _TRICKLE)
        session = request.app[_SFU].find(stream, session_id)
        if session is None:
            parse_fragment(fragment)
        else:
            await session.add_candidates(fragment)
        return web.Response(status=204)

    async def remove_session(self, request: web.Request, stream: str, session_id: str) -> web.Response:
        request.app[_SFU].remove(stream, session_id)
        return web.Response(status=204)

    async def change_session(self, request: web.Request, stream: str, session_id: str) -> web.Response:
        change = await json_body(request, {"kind": str, "enabled": bool})
        session = request.app[_SFU].find(stream, session_id, "stream not exists")
        if change["kind"] not in ("audio", "video"):
            raise Refused(500, "kind unspecified")
        if session:
            session.enable(change["kind"], change["enabled"])
        return json_response({})

    async def layers(self, request: web.Request, stream: str, session_id: str) -> web.Response:
        request.app[_SFU].find(stream, session_id, "stream not exists")
        raise Refused(500, "not layers")  # no simulcast here, so there is never one

    async def select_layer(self, request: web.Request, stream: str, session_id: str) -> web.Response:
        await json_body(request, {"encodingId": str})
        return self._show_video(request, stream, session_id, True)

    async def unselect_layer(self, request: web.Request, stream: str, session_id: str) -> web.Response:
        return self._show_video(request, stream, session_id, False)

    def _show_video(self, request: web.Request, stream: str, session_id: str, shown: bool) -> web.Response:
        session = request.app[_SFU].find(stream, session_id, "stream not exists")
        if session:
            session.enable("video", shown)
        return web.Response(text="")

    async def streams(self, request: web.Request) -> web.Response:
        return json_response(await request.app[_SFU].snapshot(request.query.getall("streams", [])))

    async def stream(self, request: web.Request, stream: str) -> web.Response:
        found = await request.app[_SFU].snapshot([stream])
        if not found:
            raise Refused(404, stream)
        return json_response(found[0])

    async def create_stream(self, request: web.Request, stream: str) -> web.Response:
        request.app[_SFU].create(stream)
        return web.Response(status=204)

    async def delete_stream(self, request: web.Request, stream: str) -> web.Response:
        request.app[_SFU].delete(stream)
        return web.Response(status=204)

    async def cascade(self, request: web.Request, stream: str) -> web.Response:
        """Begin a relay: the answer comes before it is connected, and says nothing of how that goes."""
        body = await json_body(request, {})
        told = {key: body.get(key) or "" for key in ("token", "sourceUrl", "targetUrl")}
        if not all(isinstance(value, str) for value in told.values()):
            raise Refused(422, f"Failed to deserialize the JSON body: {', '.join(told)} have to be strings")
        if bool(told["sourceUrl"]) == bool(told["targetUrl"]):
            raise Refused(500, "src and dst cannot be empty at the same time")
        sfu, token = request.app[_SFU], _in_header(told["token"])
        if told["sourceUrl"]:
            sfu.pull(_in_header(stream), told["sourceUrl"], token)
        else:
            sfu.push(stream, told["targetUrl"], token)
        return web.Response(text="")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The array of streams, at once and on each change; who reads slowly skips some of them."""
        sfu = request.app[_SFU]
        names = request.query.getall("streams", [])
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        sent = b""
        is_idle = False
        while not self._is_ending:
            rings = sfu.bell.rings
            message = b"data: " + encoded(await sfu.snapshot(names)) + b"\n\n"
            try:
                async with asyncio.timeout(SSE_STALLED):
                    if message != sent:
                        await response.write(message)
                        sent = message
                    elif is_idle:
                        await response.write(b":\n\n")
            except (TimeoutError, ConnectionError):  # It does not read, or has gone.
                if request.transport:
                    request.transport.abort()
                break
            is_idle = not await sfu.bell.wait(rings, SSE_IDLE)
        return response

    async def shut_down(self, app: web.Application) -> None:
        """End the event streams, which would hold up the shutdown."""
        self._is_ending = True
        app[_SFU].bell.ring()

    async def strategy(self, _request: web.Request) -> web.Response:
        return json_response(
            {
                "each_stream_max_sub": self._settings.sub_max,
                "cascade_push_close_sub": False,
                "auto_create_whip": True,
                "auto_create_whep": True,
                "auto_delete_whip": -1,
                "auto_delete_whep": -1,
            }
        )

    async def info(self, _request: web.Request) -> web.Response:
        features = ["cascade", "recorder"] if self._settings.recordings else ["cascade"]
        return json_response(
            {"version": "v0.9.0-buildin", "gitHash": "", "buildTime": "", "features": features}
        )

    async def metrics(self, request: web.Request) -> web.Response:
        streams = request.app[_SFU].streams.values()
        lines = {
            "stream": len(streams),
            "publish": sum(stream.publisher is not None for stream in streams),
            "subscribe": sum(len(stream.viewers) for stream in streams),
        }
        text = "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in lines.items())
        return web.Response(text=text)


def _links(server: Mapping[str, Any]) -> list[str]:
    urls = server["urls"]
    rest = '; rel="ice-server"'
    for key in ("username", "credential"):
        if server.get(key):
            quoted = re.sub(r'(["\\])', r"\\\1", server[key])
            rest += f'; {key}="{quoted}"'
    return [f"<{url}>{rest}" for url in ([urls] if isinstance(urls, str) else urls)]


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise Refused(400, "Invalid URL: Invalid UTF-8 in path") from None


def _in_header(stream: str) -> str:
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", stream):
        raise Refused(500, "failed to parse header value")
    return stream


async def _body(request: web.Request, wanted: str) -> str:
    given = request.headers.get("Content-Type")
    if given is None:
        raise Refused(500, "Content-Type is required")
    if given != wanted:
        raise Refused(500, f"Content-Type must be {wanted}")
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError:
        raise Refused(400, "Request body didn't contain valid UTF-8") from None
