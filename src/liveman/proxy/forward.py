"""One attempt after another: a client's request goes to a node, and the node's answer to the client.

The rules: a POST is never sent twice once a byte of it left, and no session stays behind that its client does
not know of.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Literal

from aiohttp import hdrs, web
from attrs import define, field, frozen

from liveman.cluster import Cluster, Decision, Node
from liveman.config import ExtraIce
from liveman.errors import (
    BadRequest,
    LivemanError,
    NodeError,
    NodeTimeout,
    NodeUnreachable,
    NoPlace,
    NotFound,
)
from liveman.ice.broker import Broker
from liveman.ice.provider import IceRequest
from liveman.ice.rewrite import rewrite_links
from liveman.ice.server import IceServer
from liveman.logs import get_logger
from liveman.middleware import PREFIX, SEGMENTS, STREAM
from liveman.proxy.answer import check_answer, field_values, has_left, pass_on
from liveman.proxy.body import Body, read_body
from liveman.proxy.exchange import Exchange
from liveman.proxy.headers import Network, Peer, is_trusted, request_fields
from liveman.proxy.routing import location, nodes_asked, passed_query, session_of_location
from liveman.proxy.upstream import Request, Upstream
from liveman.secret import Kind, build_session_id, parse_session_id, verify_session_id
from liveman.tasks import TaskOwner

__all__ = ["Action", "Forwarder"]

log = get_logger("liveman.proxy")

Action = Literal["publish", "subscribe"]

_KINDS: dict[Action, Kind] = {"publish": "p", "subscribe": "s"}
POST_SECONDS = 45.0
ANSWER_SECONDS = 10.0
#: How long Liveman's end waits for nodes that still work on offers of clients who have left.
ORPHAN_SECONDS = 3.0
_REPEATABLE = ("GET", "HEAD", "DELETE", "OPTIONS")


@frozen
class _Offer:
    """A POST to an endpoint, as every attempt needs it."""

    action: Action
    raw: str
    """The stream as the client wrote it."""
    stream: str
    body: Body
    relayed: bool = False
    """Whether it comes from another node: no ICE servers are added then."""


@define
class Forwarder:
    """Carries the requests of clients to nodes. An async context: leaving it ends what is under way."""

    cluster: Cluster
    upstream: Upstream
    broker: Broker
    ice: ExtraIce
    failover_seconds: float
    trusted: Sequence[Network] = ()
    """The networks of ``http.trusted_proxies``."""
    verify: bool = False
    """Whether a session id must carry a mac of this cluster."""
    secret: bytes = field(default=b"", repr=False)
    """The cluster's; set before the first request."""
    _orphans: TaskOwner = field(factory=TaskOwner, init=False)
    _live: set[Exchange] = field(factory=set, init=False, repr=False)

    async def __aenter__(self) -> "Forwarder":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._orphans.drain(ORPHAN_SECONDS)
        await self._orphans.__aexit__(None, None, None)

    def end_streams(self) -> None:
        """Cut the answers that still flow, as event streams do, so that shutting down waits for none."""
        for exchange in list(self._live):
            exchange.close()

    async def offer(self, request: web.Request, action: Action) -> web.StreamResponse:
        """POST /whip/{stream}, /whep/{stream}: to the best node, else to the next while that is harmless."""
        offer = await self._offer(request, action)
        nodes = nodes_asked(request.rel_url.raw_query_string)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.failover_seconds
        tried: set[str] = set()
        refused: tuple[Node, Exchange] | None = None
        failure: NodeError | None = None
        while True:
            decision = self.cluster.place(action, offer.stream, nodes=nodes, exclude=tried)
            node = decision.target
            if node is None:
                break
            try:
                exchange = await self._attempt(request, node, offer)
            except NodeUnreachable as error:
                failure = error
            else:
                if exchange.status != 503:
                    return await self._finish(request, node, offer, exchange)
                refused = (node, exchange)
                failure = await self._complete(exchange)
                self.cluster.node_failed(node.alias, "answered 503")
                if failure is not None:
                    raise _named(failure, node)
            tried.add(node.alias)
            if loop.time() >= deadline or not isinstance(offer.body, bytes):
                break
        if refused is not None:
            node, exchange = refused
            return await self._finish(request, node, offer, exchange)
        if failure is not None:
            raise failure
        raise _refusal(decision, offer.stream)

    async def direct(self, request: web.Request, action: Action) -> web.StreamResponse:
        """POST /api/whip/{alias}/{stream}, /api/whep/…: to that node, as relays do."""
        node = self._node_named(request.match_info["alias"])
        offer = await self._offer(request, action, relayed=True)
        return await self._finish(request, node, offer, await self._attempt(request, node, offer))

    async def session(self, request: web.Request) -> web.StreamResponse:
        """Everything under /session/{stream}/{session}: to the node that made it."""
        _, raw, shown, *below = request[SEGMENTS]
        stream = request[STREAM]
        node, session = await self._node_of_session(stream, shown)
        if self.cluster.is_down(node.alias):
            raise NodeError(f"Node {node.alias}, which has this session, is down.")
        target = "/".join(["/session", raw, session, *below]) + passed_query(request.rel_url.raw_query_string)
        exchange = await self._exchange(request, node, target, await read_body(request))
        if (
            request.method == hdrs.METH_DELETE
            and not below
            and (exchange.status < 300 or exchange.status == 404)
        ):
            self.cluster.session_deleted(node.alias, stream, session)
        path = location(request[PREFIX], raw, shown)
        override = exchange.status >= 400 or self.ice.override_upstream_ice_servers
        links = self._links(exchange, session=session, path=path, added=(), override=override)
        return await self._deliver(request, node, exchange, links=links)

    # Towards the node.

    async def _offer(self, request: web.Request, action: Action, *, relayed: bool = False) -> _Offer:
        body = await read_body(request)
        if not body:
            raise BadRequest("The request has no body; it must be an SDP offer.")
        return _Offer(action, request[SEGMENTS][-1], request[STREAM], body, relayed)

    async def _attempt(self, request: web.Request, node: Node, offer: _Offer) -> Exchange:
        """Send the offer to a node and wait for the answer's head.

        A client that leaves meanwhile, or an answer that comes too late, leaves the session to be deleted.
        """
        endpoint = "whip" if offer.action == "publish" else "whep"
        target = f"/{endpoint}/{offer.raw}{passed_query(request.rel_url.raw_query_string)}"
        exchange = await self._send(request, node, target, offer.body, content_type=b"application/sdp")
        try:
            await exchange.head(POST_SECONDS)
        except (asyncio.CancelledError, NodeTimeout) as error:
            self._orphans.start("orphaned offer", self._reap(node, offer.raw, exchange))
            if isinstance(error, NodeTimeout):
                self.cluster.node_failed(node.alias, error.detail)
                raise _named(error, node) from None
            raise
        except NodeError as error:
            self.cluster.node_failed(node.alias, error.detail)
            raise _named(error, node) from None
        self.cluster.node_answered(node.alias)
        return exchange

    async def _exchange(self, request: web.Request, node: Node, target: str, body: Body) -> Exchange:
        """Any other request: sent again when a kept connection was dead and the method is safe to repeat."""
        seconds = POST_SECONDS if request.method == hdrs.METH_POST else ANSWER_SECONDS
        fresh = False
        while True:
            exchange = await self._send(request, node, target, body, fresh=fresh)
            try:
                await exchange.head(seconds)
            except asyncio.CancelledError:
                exchange.close()
                raise
            except LivemanError as error:
                exchange.close()
                if not isinstance(error, NodeError):
                    raise
                stale = exchange.reused and not exchange.begun and not isinstance(error, NodeTimeout)
                repeatable = request.method in _REPEATABLE and not isinstance(body, AsyncIterator)
                if stale and repeatable and not fresh:
                    fresh = True
                    continue
                self.cluster.node_failed(node.alias, error.detail)
                raise _named(error, node) from None
            self.cluster.node_answered(node.alias)
            return exchange

    async def _send(
        self,
        request: web.Request,
        node: Node,
        target: str,
        body: Body,
        *,
        content_type: bytes | None = None,
        fresh: bool = False,
    ) -> Exchange:
        address = request.remote or "unknown"
        peer = Peer(
            address=address,
            scheme="https" if request.scheme == "https" else "http",
            host=request.headers.get(hdrs.HOST, ""),
            version=f"{request.version.major}.{request.version.minor}",
            trusted=is_trusted(address, self.trusted),
        )
        fields = request_fields(
            request.raw_headers, peer=peer, token=node.token.reveal(), content_type=content_type
        )
        sent = Request(request.method, target, fields, body, request.content_length)
        try:
            return await self.upstream.send(node.url, sent, fresh=fresh)
        except NodeUnreachable as error:
            self.cluster.node_failed(node.alias, error.detail)
            raise _named(error, node) from None

    # Towards the client.

    async def _finish(
        self, request: web.Request, node: Node, offer: _Offer, exchange: Exchange
    ) -> web.StreamResponse:
        """Answer an offer. If that fails, the session which the node made is deleted there."""
        session = None
        if exchange.status in (201, 406):
            session = session_of_location(field_values(exchange, b"location"))
        if session is None:
            if exchange.status == 201:
                exchange.close()
                raise NodeError(f"Node {node.alias} made a session, but its Location does not name it.")
            links = self._links(exchange, session="", path="", added=(), override=True)
            return await self._deliver(request, node, exchange, links=links)
        self.cluster.session_created(node.alias, offer.action, offer.stream, session)
        try:
            shown = build_session_id(
                self.secret, alias=node.alias, kind=_KINDS[offer.action], stream=offer.stream, id=session
            )
            path = location(request[PREFIX], offer.raw, shown)
            added = () if offer.relayed else await self._ice_servers(request, offer)
            override = self.ice.override_upstream_ice_servers and not offer.relayed
            links = self._links(exchange, session=session, path=path, added=added, override=override)
            if has_left(request):
                raise ConnectionResetError("the client has left")
            return await self._deliver(request, node, exchange, path=path, links=links)
        except BaseException as error:
            exchange.close()
            self.cluster.session_deleted(node.alias, offer.stream, session)
            self._orphans.start(
                "orphaned session", self.cluster.delete_session(node.alias, offer.raw, session)
            )
            if isinstance(error, ConnectionError):
                log.info("the client left before its answer", node=node.alias, stream=offer.stream)
            raise

    async def _deliver(
        self,
        request: web.Request,
        node: Node,
        exchange: Exchange,
        *,
        path: str | None = None,
        links: list[str],
    ) -> web.StreamResponse:
        self._live.add(exchange)
        try:
            check_answer(exchange)
            return await pass_on(request, exchange, location=path, links=links)
        except NodeError as error:
            raise _named(error, node) from None
        finally:
            self._live.discard(exchange)
            exchange.close()

    def _links(
        self, exchange: Exchange, *, session: str, path: str, added: Sequence[IceServer], override: bool
    ) -> list[str]:
        values = [value.decode("utf-8", "replace") for value in field_values(exchange, b"link")]
        if not values and not added:
            return []
        links, dropped = rewrite_links(
            values,
            session=session,
            location=path,
            override=override,
            servers=added,
            max_urls=self.ice.max_urls,
        )
        if dropped:
            log.warning("more ICE urls than extra_ice.max_urls; dropped", urls=" ".join(dropped))
        return links

    async def _ice_servers(self, request: web.Request, offer: _Offer) -> Sequence[IceServer]:
        return await self.broker.servers(
            IceRequest(kind=offer.action, stream=offer.stream, client=request.remote)
        )

    # Which node.

    def _node_named(self, alias: str) -> Node:
        node = self.cluster.node(alias)
        if node is None:
            raise NotFound(f"There is no node named {alias!r}.")
        if self.cluster.is_down(alias):
            raise NoPlace(f"Node {alias} is down.")
        return node

    async def _node_of_session(self, stream: str, shown: str) -> tuple[Node, str]:
        """The node that made a session, and the id that it gave it. Raises NotFound."""
        tag = parse_session_id(shown)
        if tag is not None:
            node = self.cluster.node_by_tag(tag.alias_tag)
            if node is not None and (
                not self.verify or verify_session_id(self.secret, tag, alias=node.alias, stream=stream)
            ):
                return node, tag.id
        else:
            node = await self.cluster.find_session(stream, shown)
            if node is not None:
                return node, shown
        raise NotFound("No node has this session.")

    # What clients left behind.

    async def _reap(self, node: Node, raw: str, exchange: Exchange) -> None:
        """Let the node finish an offer whose client has left, and delete the session that it made."""
        try:
            await exchange.head(POST_SECONDS)
        except NodeError as error:
            log.warning("no answer to an offer whose client has left", node=node.alias, reason=error.detail)
            return
        finally:
            exchange.close()
        session = session_of_location(field_values(exchange, b"location"))
        if exchange.status in (201, 406) and session is not None:
            await self.cluster.delete_session(node.alias, raw, session)

    async def _complete(self, exchange: Exchange) -> NodeError | None:
        """Wait for the end of a refusal; only a complete one proves that the node made nothing."""
        try:
            while not exchange.whole:
                await exchange.more(ANSWER_SECONDS)
        except NodeError as error:
            exchange.close()
            return error
        return None


def _named(error: NodeError, node: Node) -> NodeError:
    """The same error, saying which node."""
    return type(error)(f"Node {node.alias}: {error.detail}")


def _refusal(decision: Decision, stream: str) -> LivemanError:
    if decision.refusal == "unknown_stream":
        return NotFound(f"No node has the stream {stream!r}.")
    return NoPlace(decision.reason)
