"""The signalling routes (RFC 9725, the WHEP draft) and what Liveman answers on them by itself."""

from functools import partial
from urllib.parse import unquote

from attrs import evolve

from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Action, Rule
from liveman.errors import BadRequest, WrongType
from liveman.ice.rewrite import rewrite_links
from liveman.inbound import Answer, Inbound
from liveman.middleware import Signal
from liveman.proxy.body import check_body
from liveman.proxy.forward import Forwarder, ice_request

__all__ = ["routes"]

_SESSION_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")


def routes(forwarder: Forwarder) -> list[Signal]:
    found = []
    for name, action, needs in (("whip", "publish", PUBLISH), ("whep", "subscribe", SUBSCRIBE)):
        found += _endpoint(forwarder, name, action, needs)  # type: ignore[arg-type]
    # Which of them is for the session's kind to say.
    rule = Rule(needs=MANAGE | PUBLISH | SUBSCRIBE, scope="stream", outside=True)
    for path in ("/session/{stream}/{session}", "/session/{stream}/{session}/{rest}"):
        check = partial(_check_session, forwarder)
        found += [
            Signal(
                method,
                path,
                forwarder.session,
                evolve(rule, query_token=method == "GET"),
                check,
                forwarder.old_relay,
            )
            for method in _SESSION_METHODS
        ]
    return found


def _endpoint(forwarder: Forwarder, name: str, action: Action, needs: int) -> list[Signal]:
    path = f"/{name}/{{stream}}"
    rule = Rule(needs=needs, scope="stream", outside=True)
    straight = Rule(needs=MANAGE)
    return [
        Signal("POST", path, partial(forwarder.offer, action=action), rule, _check_offer),
        Signal("OPTIONS", path, partial(_options, forwarder, action), rule),
        Signal("GET", path, _get, rule),
        Signal("HEAD", path, _head, rule),
        Signal(
            "POST",
            f"/api/{name}/{{alias}}/{{stream}}",
            partial(forwarder.direct, action=action),
            straight,
            partial(_check_direct, forwarder),
            partial(forwarder.new_relay, action=action),
        ),
    ]


def _check_offer(inbound: Inbound) -> None:
    kind = inbound.header(b"content-type").partition(";")[0].strip().lower()
    if kind != "application/sdp":
        raise WrongType(
            f"An offer has the type application/sdp, not {kind or 'none'}.",
            headers={"Accept-Post": "application/sdp"},
        )
    check_body(inbound)
    if not (inbound.pending or inbound.whole):
        raise BadRequest("The request has no body; it must be an SDP offer.")


def _check_direct(forwarder: Forwarder, inbound: Inbound) -> None:
    forwarder.node_named(unquote(inbound.segments[2]))
    _check_offer(inbound)


def _check_session(forwarder: Forwarder, inbound: Inbound) -> None:
    path = "/".join(inbound.segments).lower()
    if "%2f" in path or "%5c" in path:
        raise BadRequest("The path of a session holds an encoded slash or backslash.")
    forwarder.check_session(inbound)
    check_body(inbound)


async def _options(forwarder: Forwarder, action: Action, inbound: Inbound) -> Answer:
    """RFC 9725 section 4.2 and 4.6: what may be posted here, and the ICE servers to gather with."""
    await forwarder.admission.consult(inbound, action)
    servers = await forwarder.broker.servers(ice_request(inbound, "options"))
    links, _ = rewrite_links(
        (), session="", location="", override=False, servers=servers, max_urls=forwarder.ice.max_urls
    )
    return Answer(
        200,
        (
            (b"Allow", b"GET, HEAD, OPTIONS, POST"),
            (b"Accept-Post", b"application/sdp"),
            (b"Cache-Control", b"no-store"),
            *((b"Link", link.encode()) for link in links),
        ),
    )


async def _get(_inbound: Inbound) -> Answer:
    return Answer(204, ((b"Cache-Control", b"no-store"),))


async def _head(_inbound: Inbound) -> Answer:
    return Answer(200, ((b"Content-Type", b"application/sdp"), (b"Cache-Control", b"no-store")))
