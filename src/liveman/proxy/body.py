"""A client's request body: in memory while it is small, else in pieces as it comes."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from liveman.errors import BadRequest, BodyTimeout, TooLarge, WrongType

__all__ = ["MAX_BODY", "Body", "check_body", "read_body"]

#: As the nodes themselves accept at the most.
MAX_BODY = 2 * 1024 * 1024
#: Bodies up to here are held in memory and can be sent again.
HELD = 64 * 1024
#: A body that is not whole by then is refused, however it drips.
BODY_SECONDS = 30.0

Body = bytes | AsyncIterator[bytes] | None
"""None: the request has no body."""


def check_body(request: web.Request) -> None:
    """Refuse by the head alone a body that would be refused later. Raises TooLarge, WrongType."""
    # All of them: a host's server may decode by the last one, and the length would no longer be true.
    if any(each.lower() != "identity" for each in request.headers.getall(hdrs.CONTENT_ENCODING, ())):
        raise WrongType("Signalling is accepted without Content-Encoding only.")
    if (request.content_length or 0) > MAX_BODY:
        raise TooLarge


async def read_body(request: web.Request) -> Body:
    """The body, whole if it has at most 64 KiB. Raises BadRequest, BodyTimeout, ConnectionError; the pieces
    raise TooLarge besides, where the body passes 2 MiB."""
    if not request.body_exists:
        return b"" if hdrs.CONTENT_LENGTH in request.headers else None
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    held = bytearray()
    while piece := await _piece(request, deadline):
        held += piece
        if len(held) > HELD:
            return _pieces(request, bytes(held), deadline)
    return bytes(held)


async def _pieces(request: web.Request, first: bytes, deadline: float) -> AsyncIterator[bytes]:
    total = 0
    piece = first
    while piece:
        total += len(piece)
        if total > MAX_BODY:
            raise TooLarge
        yield piece
        piece = await _piece(request, deadline)


async def _piece(request: web.Request, deadline: float) -> bytes:
    """What comes next, b"" at the end."""
    content = request.content
    try:
        if content.is_eof():
            return content.read_nowait()
        async with asyncio.timeout_at(deadline):
            return await content.readany()
    except TimeoutError:
        raise BodyTimeout from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise BadRequest("The body's transfer coding is malformed.") from None
