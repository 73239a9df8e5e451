"""What stands before every handler: well-formedness, the access rule, CORS, problem+json, the access log.

Rooms name their routes as `Route` values; `mount` puts them into an application. One aiohttp route with all
methods stands for each path, so that 405, OPTIONS and `Expect: 100-continue` are answered here and nowhere
else, and no aiohttp middleware is paid for on the way of a request.
"""

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE, HttpVersion10, HttpVersion11
from attrs import frozen

from liveman.access import Identity, Rule, allows, stream_name
from liveman.errors import (
    BadRequest,
    BadVersion,
    LivemanError,
    MethodNotAllowed,
    NotAllowed,
    NotFound,
)
from liveman.logs import get_logger

__all__ = [
    "IDENTITY",
    "PREFIX",
    "SEGMENTS",
    "STREAM",
    "TYPELESS",
    "Guard",
    "Handler",
    "Route",
    "json_response",
    "mount",
    "raw_path",
]

log = get_logger("liveman.http")

_ACCESS = logging.getLogger("liveman.access")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Who asks.
IDENTITY = web.RequestKey("identity", Identity)
#: Where the application is mounted, as the client wrote it: "" or "/live".
PREFIX = web.RequestKey("prefix", str)
#: The raw segments of the path below the prefix: ("session", "a%20b", "id").
SEGMENTS = web.RequestKey("segments", tuple[str, ...])
#: The decoded name of the stream in the path.
STREAM = web.RequestKey("stream", str)
#: Set by a handler whose answer has a body and, rightly, no Content-Type.
TYPELESS = web.RequestKey("typeless", bool)

#: What makes a session's id a capability; no log gets it.
_PROOF = re.compile(r"\.[a-z2-7]{8}[ps][a-z2-7]{8}(?=/|$)")

_ALLOW_HEADERS = "authorization, content-type, if-match, etag"
_ALLOW_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSE = "Location, Link, ETag, Accept-Patch, Accept-Post, Retry-After, WWW-Authenticate"


@frozen
class Route:
    """One method on one path, and who may use it."""

    method: str
    path: str
    """Such as ``/api/streams/{stream}``; ``{rest}`` at the end takes all that follows. A path that ends in
    ``/`` is answered without it too."""
    handler: Handler
    rule: Rule
    check: Callable[[web.Request], None] | None = None
    """Looks at the head alone and raises LivemanError to refuse, before a body is invited."""


@frozen
class Guard:
    """What all routes of one application share."""

    identify: Callable[[web.Request], Identity]
    """Who asks; raises NotAuthenticated."""
    cors: bool | tuple[str, ...] = False

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """The last look at an answer's headers, for every answer of the application."""
        headers = response.headers
        if request.version[0] != 1:
            request._cache["version"] = HttpVersion11  # aiohttp would repeat the client's.
        if headers.get(hdrs.SERVER) == SERVER_SOFTWARE:
            del headers[hdrs.SERVER]
        if TYPELESS in request:
            headers.popall(hdrs.CONTENT_TYPE, None)
        if self.cors is not False:
            self._allow_origin(request, headers)

    def preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a CORS preflight, which comes before routing and authentication; None: it is none."""
        if request.method != hdrs.METH_OPTIONS or hdrs.ORIGIN not in request.headers:
            return None
        if hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            return None
        response = web.Response(status=204)
        if self.cors is not False:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = _ALLOW_METHODS
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _ALLOW_HEADERS
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "86400"
        return response

    def _allow_origin(self, request: web.Request, headers: Any) -> None:
        if self.cors is True:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
        else:
            headers.add(hdrs.VARY, "Origin")
            origin = request.headers.get(hdrs.ORIGIN)
            if not isinstance(self.cors, tuple) or origin not in self.cors:
                return
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSE


def mount(app: web.Application, guard: Guard, routes: Iterable[Route]) -> None:
    """Add the routes, and an answer for every other path, to an application."""
    paths: dict[str, dict[str, Route]] = {}
    for route in routes:
        methods = paths.setdefault(route.path, {})
        if route.method in methods:
            raise ValueError(f"{route.method} {route.path} is there twice")
        methods[route.method] = route
    for path, methods in paths.items():
        endpoint = _Endpoint(guard, path, methods)
        pattern = re.sub(
            r"\{(\w+)\}", lambda m: "{rest:(?s:.+)}" if m[1] == "rest" else f"{{{m[1]}:[^/]*}}", path
        )
        for each in {pattern, pattern.rstrip("/") or "/"}:
            app.router.add_route("*", each, endpoint.handle, expect_handler=endpoint.expect)
    nowhere = _Endpoint(guard, "/{rest}", {})
    app.router.add_route("*", "/{rest:(?s:.*)}", nowhere.handle, expect_handler=nowhere.expect)
    app.on_response_prepare.append(guard.on_prepare)


def json_response(
    data: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> web.Response:
    # A header's bytes that are no UTF-8 stand in it as lone surrogates.
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return web.Response(status=status, body=body, content_type=content_type, headers=headers)


def raw_path(request: web.Request) -> str:
    """The path as it came, byte for byte, without query; the authority of an absolute form is cut off."""
    path = request.raw_path.partition("?")[0]
    if path.startswith("/"):
        return path
    after_scheme = path.partition("://")[2]
    return "/" + after_scheme.partition("/")[2]


class _Endpoint:
    """All methods of one path."""

    def __init__(self, guard: Guard, path: str, methods: Mapping[str, Route]) -> None:
        self._guard = guard
        self._methods = methods
        self._allow = ", ".join(sorted({*methods, "OPTIONS"}))
        parts = path.strip("/").split("/")
        self._depth = len(parts)
        self._stream_at = parts.index("{stream}") if "{stream}" in parts else None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        start = time.perf_counter()
        try:
            _check_framing(request)
            response: web.StreamResponse | None = self._guard.preflight(request)
            if response is None:
                route = self._admit(request)
                response = (
                    await route.handler(request)
                    if route
                    else web.Response(status=204, headers={"Allow": self._allow})
                )
        except LivemanError as error:
            if error.status >= 500:
                path = _PROOF.sub(".*", raw_path(request))
                log.warning(error.detail, method=request.method, path=path, status=error.status)
            response = _problem(error)
        except web.HTTPException as error:
            response = _problem(_translated(error))
        except ConnectionError:
            # The client has left, or was cut off: nobody reads this, and aiohttp would log a traceback.
            response = web.Response(status=499, reason="Client Closed Request")
            response.force_close()
        except Exception:
            path = _PROOF.sub(".*", raw_path(request))
            log.exception("a handler failed", method=request.method, path=path)
            response = _problem(LivemanError())
        if _ACCESS.isEnabledFor(logging.INFO):
            # The standard library's own formatting: a line for each request must stay cheap. Nothing in it
            # needs quoting: a path or method that got here is printable ASCII without a space.
            path = _PROOF.sub(".*", raw_path(request))
            ms = (time.perf_counter() - start) * 1000
            _ACCESS.info(
                "%s path=%s status=%d client=%s ms=%.1f",
                request.method,
                path,
                response.status,
                request.remote,
                ms,
            )
        return response

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Refuse, or invite the body, of a request with `Expect` (RFC 9110 section 10.1.1)."""
        try:
            _check_framing(request)
            self._admit(request)
            if request.headers[hdrs.EXPECT].lower() != "100-continue":
                raise _ExpectationFailed
        except LivemanError as error:
            response = _problem(error)
            response.force_close()
            return response
        if request.version == HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # The answer itself has not begun.
        return None

    def _admit(self, request: web.Request) -> Route | None:
        """The route that may serve this request; None: a plain OPTIONS. Raises LivemanError to refuse."""
        path = raw_path(request)
        if not _PLAIN_PATH.fullmatch(path):
            _check_path(path)
        parts = path.split("/")
        resource = request.match_info.route.resource
        assert resource is not None
        # The prefix of a sub-application is part of the resource's path by now.
        above = resource.canonical.rstrip("/").count("/") - self._depth
        request[PREFIX] = "/".join(parts[: above + 1])
        segments = request[SEGMENTS] = tuple(parts[above + 1 :])
        if not self._methods:
            raise NotFound(f"There is nothing at {path}.")
        stream = None
        if self._stream_at is not None:
            stream = request[STREAM] = stream_name(segments[self._stream_at])
        route = self._methods.get(request.method)
        if route is None:
            if request.method == hdrs.METH_HEAD and "GET" in self._methods:
                route = self._methods["GET"]
            elif request.method == hdrs.METH_OPTIONS:
                return None
            else:
                raise MethodNotAllowed(headers={"Allow": self._allow})
        if route.rule.needs:
            identity = request[IDENTITY] = self._guard.identify(request)
            if not allows(route.rule, identity, stream):
                raise NotAllowed
        if route.check is not None:
            route.check(request)
        return route


class _ExpectationFailed(LivemanError):
    """Only `Expect: 100-continue` is understood."""

    status = 417


class _Framing(BadRequest):
    """The message cannot be told from the next one; the connection is closed."""


_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
_PLAIN_PATH = re.compile(r"(?:/(?!\.)[A-Za-z0-9._~!$&'()*+,;=:@-]*)+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_FRAMING_NAMES = {b"content-length", b"transfer-encoding", b"host", b"connection"}


def _check_framing(request: web.Request) -> None:
    """Refuse what aiohttp's parser lets through and a strict server would not."""
    version = request.version
    if version not in (HttpVersion11, HttpVersion10):
        raise BadVersion
    headers = request.headers
    host = headers.get(hdrs.HOST, "")
    if not _HOST.fullmatch(host):
        raise _Framing("The header Host does not name a host.")
    if hdrs.TRANSFER_ENCODING in headers and (
        version == HttpVersion10 or headers.getall(hdrs.TRANSFER_ENCODING) != ["chunked"]
    ):
        raise _Framing("Transfer-Encoding can only be exactly 'chunked', and only in HTTP/1.1.")
    for name, _ in request.raw_headers:
        if b"_" in name and name.lower().replace(b"_", b"-") in _FRAMING_NAMES:
            raise _Framing("A header name poses as another one.")


def _check_path(path: str) -> None:
    if _BAD_ESCAPE.search(path):
        raise BadRequest("The path holds a '%' that is not followed by two hexadecimal digits.")
    if "#" in path:
        raise BadRequest("The path holds a fragment, which is never sent.")
    if _DOT_SEGMENT.search(path):
        raise BadRequest("The path holds a '.' or '..' segment.")
    try:
        decoded = unquote(path, errors="strict")
        path.encode("utf-8")
    except UnicodeError:
        raise BadRequest("The path is not valid UTF-8.") from None
    if any(c == "\\" or ord(c) < 32 or ord(c) == 127 for c in decoded):
        raise BadRequest("The path holds a backslash or a control character.")


def _problem(error: LivemanError) -> web.Response:
    """RFC 9457."""
    response = json_response(
        {
            "type": "about:blank",
            "title": HTTPStatus(error.status).phrase,
            "status": error.status,
            "detail": error.detail,
        },
        status=error.status,
        headers={"Cache-Control": "no-store", **error.headers},
        content_type="application/problem+json",
    )
    if isinstance(error, _Framing | BadVersion) or error.status == 413:
        response.force_close()
    return response


def _translated(error: web.HTTPException) -> LivemanError:
    translated = LivemanError(error.text or error.reason)
    translated.status = error.status
    return translated
