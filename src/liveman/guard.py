"""What all routes of an application share: who asks, and what every answer gets (CORS)."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE, HttpVersion11
from attrs import frozen

from liveman.access import Identity, Rule
from liveman.forwarded import Network
from liveman.hosted import TYPELESS
from liveman.inbound import Answer, Fields, Inbound

__all__ = ["Guard"]

_ALLOW_HEADERS = b"authorization, content-type, if-match, etag, range, if-range, if-none-match"
_ALLOW_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSE = (
    b"Location, Link, ETag, Accept-Patch, Accept-Post, Accept-Ranges, Content-Range, Retry-After, "
    b"WWW-Authenticate"
)


@frozen
class Guard:
    """What all routes of one application share."""

    identify: Callable[[Inbound, Rule], Awaitable[Identity]]
    """Who asks, where this rule holds; raises NotAuthenticated, or another LivemanError to refuse."""
    cors: bool | tuple[str, ...] = False
    trusted: Sequence[Network] = ()
    """The networks of ``http.trusted_proxies``."""
    all_hosted: bool = False
    """Whether every request must come as aiohttp's."""

    def preflight(self, inbound: Inbound) -> Answer | None:
        """The answer to a CORS preflight, which comes before routing and authentication; None: it is none."""
        if inbound.method != "OPTIONS" or not inbound.header(b"origin"):
            return None
        if not inbound.header(b"access-control-request-method"):
            return None
        if self.cors is False:
            return Answer(204)
        return Answer(
            204,
            (
                (b"Access-Control-Allow-Methods", _ALLOW_METHODS),
                (b"Access-Control-Allow-Headers", _ALLOW_HEADERS),
                (b"Access-Control-Max-Age", b"86400"),
            ),
        )

    def cors_fields(self, origin: str | None) -> Fields:
        """What every answer gets, for a request with this Origin."""
        if self.cors is False:
            return ()
        if self.cors is True:
            return ((b"Access-Control-Allow-Origin", b"*"), (b"Access-Control-Expose-Headers", _EXPOSE))
        if not origin or origin not in self.cors:
            return ((b"Vary", b"Origin"),)
        return (
            (b"Vary", b"Origin"),
            (b"Access-Control-Allow-Origin", origin.encode()),
            (b"Access-Control-Expose-Headers", _EXPOSE),
        )

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """The last look at an answer's headers, for every answer that aiohttp sends."""
        headers = response.headers
        if request.version[0] != 1:
            request._cache["version"] = HttpVersion11  # aiohttp would repeat the client's.
        if headers.get(hdrs.SERVER) == SERVER_SOFTWARE:
            del headers[hdrs.SERVER]
        if TYPELESS in request:
            headers.popall(hdrs.CONTENT_TYPE, None)
        for name, value in self.cors_fields(request.headers.get(hdrs.ORIGIN)):
            headers.add(name.decode(), value.decode())
