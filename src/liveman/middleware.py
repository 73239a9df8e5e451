"""What stands before every handler: well-formedness, the access rule, CORS, problem+json, the access log.

Rooms name their routes as `Route` and `Signal` values; `mount` puts them into an application. One aiohttp
route with all methods stands for each path, so that 405, OPTIONS and `Expect: 100-continue` are answered here
and nowhere else, and no aiohttp middleware is paid for on the way of a request.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11
from attrs import define, field, frozen

from liveman.access import Identity, Rule, allows, stream_name
from liveman.errors import BadPath, BadVersion, LivemanError, MethodNotAllowed, NotAllowed, NotFound
from liveman.forwarded import client_of
from liveman.guard import Guard
from liveman.hosted import Framing, Hosted, response_to
from liveman.inbound import Answer, Inbound
from liveman.logs import get_logger

__all__ = [
    "INBOUND",
    "LISTENING",
    "RULES",
    "SIGNPOSTS",
    "Endpoint",
    "Handler",
    "Refusal",
    "Route",
    "Signal",
    "Signposts",
    "json_response",
    "mount",
]

log = get_logger("liveman.http")

_ACCESS = logging.getLogger("liveman.access")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Refusal = Callable[[Inbound, LivemanError], Answer | None]
"""How a refusal, or a failure, is shown, with the error's own headers; None: as problem+json."""

#: What the guard found out about a request: who asks, and for which stream.
INBOUND = web.RequestKey("inbound", Inbound)

#: Who was admitted while the client still waited with the body.
_INVITED = web.RequestKey("invited", tuple)

#: What makes a session's id a capability; no log gets it.
_PROOF = re.compile(r"\.[a-z2-7]{8}[ps][a-z2-7]{8}(?=/|$)")

#: The status in the log when nobody is there to answer, as nginx writes it.
CLIENT_LEFT = 499


@frozen
class Signal:
    """One method on one path of signalling, or of what is sent in pieces, and who may use it."""

    method: str
    path: str
    """Such as ``/session/{stream}/{session}``; ``{rest}`` at the end takes all that follows. A path that ends
    in ``/`` is answered without it too."""
    handler: Callable[[Inbound], Awaitable[Answer | None]]
    """Returns an answer that is to be sent, or None when it has sent one."""
    rule: Rule
    check: Callable[[Inbound], None] | None = None
    """Looks at the head alone and raises LivemanError to refuse, before a body is invited."""
    recognise: Callable[[Inbound], Identity | None] | None = None
    """Who may come here by what the guard knows nothing of, as relays; None: it is none of these."""
    hides: bool = False
    """Whether a malformed path is nowhere (404), as for files, which are asked for by all kinds of paths."""
    refusal: Refusal | None = None
    """None: as problem+json."""


@frozen
class Route:
    """One method on one path of everything else, for which a handler has all that aiohttp offers."""

    method: str
    path: str
    handler: Handler
    rule: Rule
    refusal: Refusal | None = None
    """None: as problem+json."""

    def signal(self) -> Signal:
        async def serve(inbound: Inbound) -> None:
            assert isinstance(inbound, Hosted)
            inbound.request[INBOUND] = inbound
            inbound.response = await self.handler(inbound.request)
            inbound.status = inbound.response.status

        return Signal(self.method, self.path, serve, self.rule, refusal=self.refusal)


@define
class Signposts:
    """The paths that hold nothing but signalling, for a server that needs no router of aiohttp."""

    _exact: dict[tuple[str, int], "Endpoint"] = field(factory=dict, init=False)
    _below: dict[str, tuple[int, "Endpoint"]] = field(factory=dict, init=False)
    """By the first segment: how many segments there must be, and whose they are then."""

    def add(self, path: str, endpoint: "Endpoint") -> None:
        first, *others = path.strip("/").split("/")
        if not all(each.startswith("{") for each in others):
            return
        if others[-1:] == ["{rest}"]:
            self._below[first] = len(others) + 1, endpoint
        else:
            self._exact[first, len(others) + 1] = endpoint

    def find(self, segments: tuple[str, ...]) -> "Endpoint | None":
        """The endpoint of a path, given by its segments; None: aiohttp knows it, or nobody does."""
        found = self._exact.get((segments[0], len(segments)))
        if found is None and segments[0] in self._below and segments[-1]:
            least, below = self._below[segments[0]]
            found = below if len(segments) >= least else None
        return found


#: Where an application keeps its own.
SIGNPOSTS = web.AppKey("signposts", Signposts)

#: The rule of every route, by method and path.
RULES = web.AppKey("rules", dict)

#: The URL at which the application is served, where Liveman serves it alone.
LISTENING = web.AppKey("listening", str)


def mount(
    app: web.Application, guard: Guard, routes: Iterable[Route | Signal], *, nowhere: Refusal | None = None
) -> None:
    """Add the routes, and an answer for every other path, to an application.

    ``nowhere``: how it is shown that there is nothing; None: as problem+json. The path ``/`` is found without
    its slash too, which only an application below a prefix is asked for.
    """
    paths: dict[str, dict[str, Route | Signal]] = {}
    for route in routes:
        methods = paths.setdefault(route.path, {})
        if route.method in methods:
            raise ValueError(f"{route.method} {route.path} is there twice")
        methods[route.method] = route
    app[RULES] = {(route.method, path): route.rule for path in paths for route in paths[path].values()}
    signposts = app[SIGNPOSTS] = Signposts()
    for path, methods in paths.items():
        endpoint = Endpoint(guard, path, methods.values())
        if not guard.all_hosted and all(isinstance(each, Signal) for each in methods.values()):
            signposts.add(path, endpoint)
        pattern = re.sub(
            r"\{(\w+)\}", lambda m: "{rest:(?s:.+)}" if m[1] == "rest" else f"{{{m[1]}:[^/]*}}", path
        )
        for each in {pattern, pattern.rstrip("/")}:
            app.router.add_route("*", each, endpoint.handle, expect_handler=endpoint.expect)
    other = Endpoint(guard, "/{rest}", (), nowhere)
    app.router.add_route("*", "/{rest:(?s:.*)}", other.handle, expect_handler=other.expect)
    app.on_response_prepare.append(guard.on_prepare)


def json_response(
    data: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    return web.Response(status=status, body=_json(data), content_type="application/json", headers=headers)


class Endpoint:
    """All methods of one path."""

    def __init__(
        self, guard: Guard, path: str, routes: Iterable[Route | Signal], refusal: Refusal | None = None
    ) -> None:
        """``refusal``: how that of a method is shown that is not there; None: as those of the others."""
        self.guard = guard
        signals = (each.signal() if isinstance(each, Route) else each for each in routes)
        self._methods = {each.method: each for each in signals}
        self._refusal = refusal or next((each.refusal for each in self._methods.values()), None)
        self._allow = ", ".join(sorted({*self._methods, "OPTIONS"}))
        parts = [part for part in path.split("/") if part]
        self._depth = len(parts)
        self._hides = any(each.hides for each in self._methods.values())
        self._stream_at = parts.index("{stream}") if "{stream}" in parts else None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve a request that came through aiohttp."""
        hosted, signal = request.get(_INVITED) or (Hosted(request, self._depth), None)
        answer = await self.serve(hosted, signal)
        if answer is not None:
            return response_to(request, answer)
        if hosted.response is not None and hosted.status != CLIENT_LEFT:
            return hosted.response
        return _to_nobody()

    async def serve(self, inbound: Inbound, signal: Signal | None = None) -> Answer | None:
        """Do what is asked. Returns an answer that is still to be sent; None: nobody waits for one any more.

        ``signal``: what the request was admitted to already. Raises nothing but CancelledError.
        """
        start = time.perf_counter()
        answer: Answer | None = None
        try:
            if signal is None:
                self._check(inbound)
                answer = self.guard.preflight(inbound)
            if answer is None:
                signal = signal or await self._admit(inbound)
                if signal is None:
                    answer = Answer(204, ((b"Allow", self._allow.encode()),))
                else:
                    answer = await signal.handler(inbound)
        except LivemanError as error:
            if error.status >= 500:
                log.warning(error.detail, method=inbound.method, path=_shown(inbound), status=error.status)
            answer = self._refuse(inbound, error)
        except web.HTTPException as error:
            answer = self._refuse(inbound, _translated(error))
        except ConnectionError:
            # The client has left, or was cut off: nobody reads this.
            inbound.status = CLIENT_LEFT
        except asyncio.CancelledError:
            inbound.status = CLIENT_LEFT
            _log_access(inbound, start)
            raise
        except Exception:
            log.exception("a handler failed", method=inbound.method, path=_shown(inbound))
            answer = self._refuse(inbound, LivemanError())
        if answer is not None:
            if inbound.status:
                # An answer has begun: this one can only end it.
                inbound.abort()
                answer = None
            else:
                inbound.status = answer.status
        if _ACCESS.isEnabledFor(logging.INFO):
            _log_access(inbound, start)
        return answer

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Refuse, or invite the body, of a request with `Expect` (RFC 9110 section 10.1.1)."""
        hosted = Hosted(request, self._depth)
        try:
            self._check(hosted)
            signal = await self._admit(hosted)
            if request.headers[hdrs.EXPECT].lower() != "100-continue":
                raise _ExpectationFailed
        except LivemanError as error:
            return _refused(request, error)
        except web.HTTPException as error:
            return _refused(request, _translated(error))
        except Exception:
            log.exception("a check failed", method=hosted.method, path=_shown(hosted))
            return _refused(request, LivemanError())
        if signal is not None:
            request[_INVITED] = (hosted, signal)
        if request.version == HttpVersion11:
            try:
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            except ConnectionError:
                return _to_nobody()
            request.writer.output_size = 0  # The answer itself has not begun.
        return None

    def _check(self, inbound: Inbound) -> None:
        try:
            inbound.check()
        except BadPath:
            if not self._hides:
                raise
            raise NotFound from None

    async def _admit(self, inbound: Inbound) -> Signal | None:
        """What may serve this request; None: a plain OPTIONS. Raises LivemanError to refuse."""
        if self.guard.trusted:
            inbound.address = client_of(inbound, self.guard.trusted).address
        if not self._methods:
            raise NotFound(f"There is nothing at {inbound.path}.")
        stream = None
        if self._stream_at is not None:
            stream = inbound.stream = stream_name(inbound.segments[self._stream_at])
        signal = self._methods.get(inbound.method) or self._signal_of(inbound)
        if signal is None:
            if inbound.method == "OPTIONS":
                return None
            raise MethodNotAllowed(headers={"Allow": self._allow})
        known = signal.recognise(inbound) if signal.recognise else None
        if known is not None:
            inbound.identity = known
        elif signal.rule.needs:
            identity = inbound.identity = await self.guard.identify(inbound, signal.rule)
            if not allows(signal.rule, identity, stream):
                raise NotAllowed
        if signal.check is not None:
            signal.check(inbound)
        return signal

    def _signal_of(self, inbound: Inbound) -> Signal | None:
        signal = self._methods.get(inbound.method)
        return self._methods.get("GET") if signal is None and inbound.method == "HEAD" else signal

    def _refuse(self, inbound: Inbound, error: LivemanError) -> Answer:
        signal = self._signal_of(inbound)
        refusal = signal.refusal if signal else self._refusal
        answer = refusal(inbound, error) if refusal else None
        if answer is None:
            return _problem(error)
        answer.ends = _ends(error)
        return answer


class _ExpectationFailed(LivemanError):
    """Only `Expect: 100-continue` is understood."""

    status = 417


def _to_nobody() -> web.Response:
    """What aiohttp gets to send when the client has left."""
    response = web.Response(status=CLIENT_LEFT, reason="Client Closed Request")
    response.force_close()
    return response


def _log_access(inbound: Inbound, start: float) -> None:
    # The standard library's own formatting: a line for each request must stay cheap. Nothing in it needs
    # quoting: a path or method that got here is printable ASCII without a space.
    ms = (time.perf_counter() - start) * 1000
    _ACCESS.info(
        "%s path=%s status=%d client=%s ms=%.1f",
        inbound.method,
        _shown(inbound),
        inbound.status,
        inbound.address,
        ms,
    )


def _shown(inbound: Inbound) -> str:
    """The path for a log: a session's id without what makes it a capability."""
    return _PROOF.sub(".*", inbound.path)


def _problem(error: LivemanError) -> Answer:
    """RFC 9457."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        **error.members,
    }
    fields = error.fields({"Content-Type": "application/problem+json", "Cache-Control": "no-store"})
    return Answer(error.status, fields, _json(body), ends=_ends(error))


def _ends(error: LivemanError) -> bool:
    """Whether the connection ends with it."""
    return isinstance(error, Framing | BadVersion) or error.status == 413


def _json(data: Any) -> bytes:
    # A header's bytes that are no UTF-8 stand in it as lone surrogates.
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _translated(error: web.HTTPException) -> LivemanError:
    """With its headers, such as the Location of a host's page to log in."""
    # There may be several of one name, as of cookies.
    headers = error.headers.copy()
    for name in {name for name in headers if name.lower().startswith("content-")}:
        headers.popall(name, None)
    translated = LivemanError(error.text or error.reason, headers=headers)
    translated.status = error.status
    return translated


def _refused(request: web.Request, error: LivemanError) -> web.Response:
    """The answer to a request whose body is not wanted any more."""
    response = response_to(request, _problem(error))
    response.force_close()
    return response
