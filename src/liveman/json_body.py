"""A request's body: JSON, strictly structured, or the fields of a form."""

import asyncio
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from liveman.errors import BadRequest, BodyTimeout, Invalid, TooLarge, WrongType
from liveman.inbound import Inbound
from liveman.middleware import INBOUND
from liveman.strict import structure_strictly

__all__ = ["read_form", "read_json"]

T = TypeVar("T")

MAX_BYTES = 64 * 1024
#: A body that is not whole by then is refused, however it drips.
SECONDS = 30.0


async def read_json(request: web.Request, cls: type[T]) -> T:
    """The body as this attrs class, as a table of the configuration is read.

    Raises WrongType, TooLarge, BodyTimeout, BadRequest for what is no JSON object, Invalid with every fault.
    """
    body = await _read_typed(request[INBOUND], "application/json")
    try:
        data = msgspec.json.decode(body)
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    value, faults = structure_strictly(data, cls)
    if value is None:
        raise Invalid(*faults)
    return value


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form, the last of each name. Raises WrongType, TooLarge, BodyTimeout, BadRequest."""
    body = await _read_typed(request[INBOUND], "application/x-www-form-urlencoded")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict"))
    except ValueError:
        raise BadRequest("The form is not well-formed, or not UTF-8.") from None


async def _read_typed(inbound: Inbound, wanted: str) -> bytes:
    kind = inbound.header(b"content-type").partition(";")[0].strip().lower()
    if kind != wanted:
        raise WrongType(f"The body has the type {wanted}, not {kind or 'none'}.")
    try:
        async with asyncio.timeout(SECONDS):
            return await _read(inbound)
    except TimeoutError:
        raise BodyTimeout from None


async def _read(inbound: Inbound) -> bytes:
    if (inbound.length or 0) > MAX_BYTES:
        raise _too_large()
    body = bytearray(inbound.whole or b"")
    while inbound.pending and (piece := await inbound.read()):
        body += piece
        if len(body) > MAX_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> TooLarge:
    return TooLarge(f"The body is larger than the {MAX_BYTES // 1024} KiB that are accepted.")
