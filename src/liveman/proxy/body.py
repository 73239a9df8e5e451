"""A client's request body: in memory while it is small, else in pieces as it comes."""

import asyncio
from collections.abc import AsyncIterator

from liveman.errors import BodyTimeout, TooLarge, WrongType
from liveman.inbound import Inbound

__all__ = ["MAX_BODY", "Body", "check_body", "read_body"]

#: As the nodes themselves accept at the most.
MAX_BODY = 2 * 1024 * 1024
#: Bodies up to here are held in memory and can be sent again.
HELD = 64 * 1024
#: A body that is not whole by then is refused, however it drips.
BODY_SECONDS = 30.0

Body = bytes | AsyncIterator[bytes] | None
"""None: the request has no body."""


def check_body(inbound: Inbound) -> None:
    """Refuse by the head alone a body that would be refused later. Raises TooLarge, WrongType."""
    # A host's server may decode it, and the length would no longer be true.
    coding = inbound.header(b"content-encoding")
    if coding and any(each.strip().lower() != "identity" for each in coding.split(",")):
        raise WrongType("Signalling is accepted without Content-Encoding only.")
    if (inbound.length or 0) > MAX_BODY:
        raise TooLarge


async def read_body(inbound: Inbound) -> Body:
    """The body, whole if it has at most 64 KiB. Raises BadRequest, BodyTimeout, ConnectionError; the pieces
    raise TooLarge besides, where the body passes 2 MiB."""
    if not inbound.pending:
        return inbound.whole
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    held = bytearray()
    while piece := await _piece(inbound, deadline):
        held += piece
        if len(held) > HELD:
            return _pieces(inbound, bytes(held), deadline)
    return bytes(held)


async def _pieces(inbound: Inbound, first: bytes, deadline: float) -> AsyncIterator[bytes]:
    total = 0
    piece = first
    while piece:
        total += len(piece)
        if total > MAX_BODY:
            raise TooLarge
        yield piece
        piece = await _piece(inbound, deadline)


async def _piece(inbound: Inbound, deadline: float) -> bytes:
    """What comes next, b"" at the end."""
    try:
        async with asyncio.timeout_at(deadline):
            return await inbound.read()
    except TimeoutError:
        raise BodyTimeout from None
