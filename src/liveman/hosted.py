"""A request that aiohttp carries, in an application of Liveman's own or of a host."""

import asyncio
from collections.abc import Awaitable

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError

from liveman.connection import STALLED_SECONDS
from liveman.errors import BadRequest, BadVersion
from liveman.inbound import Answer, Inbound
from liveman.paths import check_path, is_host

__all__ = ["TYPELESS", "Framing", "Hosted", "response_to"]

#: Set when an answer has a body and, rightly, no Content-Type.
TYPELESS = web.RequestKey("typeless", bool)

_FRAMING_NAMES = {b"content-length", b"transfer-encoding", b"host", b"connection"}


class Framing(BadRequest):
    """The message cannot be told from the next one; the connection is closed."""


class Hosted(Inbound):
    __slots__ = ("request", "response")

    def __init__(self, request: web.Request, depth: int) -> None:
        """``depth``: how many segments the route's own path has, below where it is mounted."""
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/"):
            path = "/" + path.partition("://")[2].partition("/")[2]
        super().__init__()
        self.method = request.method
        self.path = path
        self.query = query.partition("#")[0]
        self.version = f"{request.version.major}.{request.version.minor}"
        self.fields = request.raw_headers
        self.remote = self.address = request.remote or "unknown"
        self.scheme = "https" if request.scheme == "https" else "http"
        self.length = request.content_length
        self.pending = request.body_exists
        self.whole = b"" if not self.pending and hdrs.CONTENT_LENGTH in request.headers else None
        parts = path.split("/")
        resource = request.match_info.route.resource
        assert resource is not None
        # The prefix of a sub-application is part of the resource's path by now.
        above = resource.canonical.rstrip("/").count("/") - depth
        self.prefix = "/".join(parts[: above + 1])
        self.segments = tuple(parts[above + 1 :])
        self.request = request
        self.response: web.StreamResponse | None = None
        """What is on its way already."""

    @property
    def left(self) -> bool:
        transport = self.request.transport
        return transport is None or transport.is_closing()

    def header(self, name: bytes) -> str:
        values = (value for key, value in self.fields if key.lower() == name)
        return b", ".join(values).decode("utf-8", "surrogateescape")

    def check(self) -> None:
        """What aiohttp's parser lets through and a strict server would not."""
        version, headers = self.request.version, self.request.headers
        if version not in (HttpVersion11, HttpVersion10):
            raise BadVersion
        if not is_host(headers.get(hdrs.HOST, "")):
            raise Framing("The header Host does not name a host.")
        if hdrs.TRANSFER_ENCODING in headers and (
            version == HttpVersion10 or headers.getall(hdrs.TRANSFER_ENCODING) != ["chunked"]
        ):
            raise Framing("Transfer-Encoding can only be exactly 'chunked', and only in HTTP/1.1.")
        for name, _ in self.fields:
            if b"_" in name and name.lower().replace(b"_", b"-") in _FRAMING_NAMES:
                raise Framing("A header name poses as another one.")
        check_path(self.path)

    async def read(self) -> bytes:
        content = self.request.content
        try:
            return content.read_nowait() if content.is_eof() else await content.readany()
        except (web.RequestPayloadError, HttpProcessingError):
            raise BadRequest("The body's transfer coding is malformed.") from None

    async def deliver(self, answer: Answer) -> None:
        self.response = response = response_to(self.request, answer)
        await response.prepare(self.request)
        self.status = answer.status
        await self._finish(response)

    async def begin(self, answer: Answer) -> None:
        self.response = response = web.StreamResponse(status=answer.status, reason=answer.reason)
        response.content_length = answer.length
        _add_fields(self.request, response, answer)
        await response.prepare(self.request)
        self.status = answer.status

    async def write(self, piece: bytes) -> None:
        assert self.response is not None
        await self._taken(self.response.write(piece))

    async def end(self) -> None:
        assert self.response is not None
        await self._finish(self.response)

    def abort(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()

    async def _finish(self, response: web.StreamResponse) -> None:
        await self._taken(response.write_eof())
        if self.left:
            raise ConnectionResetError("the client has left")  # The write has met a reset.

    async def _taken(self, writing: Awaitable[None]) -> None:
        """Write; a client that takes nothing for too long is cut off."""
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await writing
        except TimeoutError:
            self.abort()
            raise ConnectionResetError("the client takes nothing") from None


def response_to(request: web.Request, answer: Answer) -> web.Response:
    """An answer as aiohttp sends it."""
    response = web.Response(status=answer.status, reason=answer.reason, body=answer.body)
    _add_fields(request, response, answer)
    if answer.length is not None and request.method == hdrs.METH_HEAD:
        response.headers[hdrs.CONTENT_LENGTH] = str(answer.length)
    if answer.ends:
        response.force_close()
    return response


def _add_fields(request: web.Request, response: web.StreamResponse, answer: Answer) -> None:
    headers = response.headers
    headers.popall(hdrs.CONTENT_TYPE, None)
    for name, value in answer.fields:
        headers.add(name.decode("ascii"), value.decode("utf-8"))
    if hdrs.CONTENT_TYPE not in headers:
        request[TYPELESS] = True
