"""A node's answer on its way to the client: which answers pass, and how their bytes do."""

from aiohttp import hdrs, web

from liveman.errors import LivemanError, NodeError, NodeTimeout
from liveman.logs import get_logger
from liveman.middleware import TYPELESS
from liveman.proxy.exchange import Exchange
from liveman.proxy.headers import answer_fields

__all__ = ["check_answer", "has_left", "pass_on"]

log = get_logger("liveman.proxy")

#: An answer up to here is collected first, so that one that breaks off becomes a clean 502.
COLLECTED = 64 * 1024
IDLE_SECONDS = 60.0
#: How often a silent event stream looks whether its client is still there.
LOOK_SECONDS = 5.0


def check_answer(exchange: Exchange) -> None:
    """Refuse the answers that no client may see. Raises NodeError."""
    if exchange.status in (401, 403):
        raise NodeError("The node refused Liveman's own token.")
    if 300 <= exchange.status < 400 and exchange.status != 304:
        raise NodeError(f"The node answered with a redirect ({exchange.status}), which is not followed.")


def has_left(request: web.Request) -> bool:
    """Whether the client has hung up."""
    transport = request.transport
    return transport is None or transport.is_closing()


async def pass_on(
    request: web.Request, exchange: Exchange, *, location: str | None = None, links: list[str]
) -> web.StreamResponse:
    """Send the node's answer to the client: status, fields and bytes as they are, but for Location and Link.

    Raises NodeError while nothing was sent yet; after that an answer that breaks off cuts the connection.
    """
    fields = answer_fields(exchange.fields)
    events = any(
        name.lower() == "content-type" and value.lower().startswith("text/event-stream")
        for name, value in fields
    )
    if not events and (exchange.length is None or exchange.length <= COLLECTED):
        await exchange.collect(COLLECTED, IDLE_SECONDS)
    whole = exchange.whole and not events
    body = exchange.take()
    response: web.StreamResponse
    if whole:
        response = web.Response(status=exchange.status, reason=exchange.reason, body=body)
    else:
        response = web.StreamResponse(status=exchange.status, reason=exchange.reason)
        response.content_length = exchange.length
    headers = response.headers
    headers.popall(hdrs.CONTENT_TYPE, None)
    for name, value in fields:
        headers.add(name, value)
    if hdrs.CONTENT_TYPE not in headers:
        request[TYPELESS] = True
    if location is not None:
        headers[hdrs.LOCATION] = location
    for link in links:
        headers.add(hdrs.LINK, link)
    if exchange.status in (201, 406) or hdrs.CACHE_CONTROL not in headers:
        headers[hdrs.CACHE_CONTROL] = "no-store"
    if request.method == hdrs.METH_HEAD and exchange.length is not None:
        headers[hdrs.CONTENT_LENGTH] = str(exchange.length)
    # Sent from here, so that a client who has left is noticed while its session can still be ended.
    await response.prepare(request)
    if not whole:
        try:
            await _stream(request, exchange, response, body, events)
        except LivemanError as error:
            log.warning("an answer broke off", reason=error.detail, method=request.method)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the node's answer broke off") from None
    await response.write_eof()
    if has_left(request):
        raise ConnectionResetError("the client has left")  # The write has met a reset.
    return response


async def _stream(
    request: web.Request, exchange: Exchange, response: web.StreamResponse, first: bytes, events: bool
) -> None:
    piece = first or await _next(request, exchange, events)
    while piece:
        await response.write(piece)
        piece = await _next(request, exchange, events)


async def _next(request: web.Request, exchange: Exchange, events: bool) -> bytes:
    if not events:
        return await exchange.more(IDLE_SECONDS)
    while True:
        try:
            return await exchange.more(LOOK_SECONDS)
        except NodeTimeout:
            # Between two events any silence is right, but nobody may be listening any more.
            if has_left(request):
                raise ConnectionResetError("the client has left") from None
