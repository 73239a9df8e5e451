"""A node's answer on its way to the client: which answers pass, and how their bytes do."""

from liveman.errors import LivemanError, NodeError, NodeTimeout
from liveman.inbound import Answer, Inbound
from liveman.logs import get_logger
from liveman.proxy.exchange import Exchange
from liveman.proxy.headers import answer_fields

__all__ = ["check_answer", "pass_on"]

log = get_logger("liveman.proxy")

#: An answer up to here is collected first, so that one that breaks off becomes a clean 502.
COLLECTED = 64 * 1024
IDLE_SECONDS = 60.0
#: How often a silent event stream looks whether its client is still there.
LOOK_SECONDS = 5.0


def check_answer(exchange: Exchange) -> None:
    """Refuse the answers that no client may see. Raises NodeError."""
    if exchange.answer.status in (401, 403):
        raise NodeError("The node refused Liveman's own token.")
    if 300 <= exchange.answer.status < 400 and exchange.answer.status != 304:
        raise NodeError(
            f"The node answered with a redirect ({exchange.answer.status}), which is not followed."
        )


async def pass_on(
    inbound: Inbound, exchange: Exchange, *, location: str | None = None, links: list[str]
) -> None:
    """Send the node's answer to the client: status, fields and bytes as they are, but for Location and Link.

    Raises NodeError while nothing was sent yet; after that an answer that breaks off cuts the connection.
    Raises ConnectionError when the client has left.
    """
    answer = exchange.answer
    kinds = answer.values(b"content-type")
    events = bool(kinds) and kinds[0].lower().startswith(b"text/event-stream")
    if not (answer.done or events or (answer.length or 0) > COLLECTED):
        await exchange.collect(COLLECTED, IDLE_SECONDS)
    fields = answer_fields(answer.fields, connection=answer.values(b"connection"))
    if location is not None:
        fields.append((b"Location", location.encode()))
    for link in links:
        fields.append((b"Link", link.encode()))
    status = answer.status
    stored = bool(answer.values(b"cache-control")) and any(
        name.lower() == b"cache-control" for name, _ in fields
    )
    if stored and status in (201, 406):
        # Credentials are never kept by a cache, whatever the node says.
        fields = [field for field in fields if field[0].lower() != b"cache-control"]
        stored = False
    if not stored:
        fields.append((b"Cache-Control", b"no-store"))
    if answer.done:
        length = answer.length if inbound.method == "HEAD" else None
        # Sent from here, so that a client who has left is noticed while its session can still be ended.
        await inbound.deliver(Answer(status, fields, exchange.take(), answer.phrase, length))
        return
    await inbound.begin(Answer(status, fields, reason=answer.phrase, length=answer.length))
    try:
        while piece := exchange.take() or await _next(inbound, exchange, events):
            await inbound.write(piece)
    except LivemanError as error:
        log.warning("an answer broke off", reason=error.detail, method=inbound.method)
        inbound.abort()
        raise ConnectionResetError("the node's answer broke off") from None
    await inbound.end()


async def _next(inbound: Inbound, exchange: Exchange, events: bool) -> bytes:
    if not events:
        return await exchange.more(IDLE_SECONDS)
    while True:
        try:
            return await exchange.more(LOOK_SECONDS)
        except NodeTimeout:
            # Between two events any silence is right, but nobody may be listening any more.
            if inbound.left:
                raise ConnectionResetError("the client has left") from None
