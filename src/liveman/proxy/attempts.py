"""Liveman's requests to nodes for its clients: each sent once, and no session left that nobody knows of."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from attrs import define, field, frozen

from liveman.access import Action
from liveman.cluster import Cluster, Node, Role
from liveman.errors import LivemanError, NodeError, NodeTimeout, NodeUnreachable
from liveman.forwarded import Network, is_trusted
from liveman.inbound import Inbound
from liveman.logs import get_logger
from liveman.proxy.body import Body
from liveman.proxy.exchange import Exchange
from liveman.proxy.headers import Peer, request_fields
from liveman.proxy.routing import passed_query, session_of_location
from liveman.proxy.upstream import REPEATABLE, Request, Upstream
from liveman.tasks import TaskOwner

__all__ = ["Attempts", "Made", "Offer", "named"]

log = get_logger("liveman.proxy")

POST_SECONDS = 45.0
ANSWER_SECONDS = 10.0
#: The most of a refusal that is waited for; a longer one is passed on.
REFUSAL = 64 * 1024
#: How long Liveman's end waits for nodes that still work on offers of clients who have left.
ORPHAN_SECONDS = 3.0


@frozen
class Offer:
    """A POST to an endpoint, as every attempt needs it."""

    action: Action
    raw: str
    """The stream as the client wrote it."""
    stream: str
    body: Body
    role: Role
    """Of the session that it makes: a relay's takes no place."""
    direct: bool = False
    """Whether it names its node, as relays do: no ICE servers are added then."""


@frozen
class Made:
    """What came of an offer at a node: the answer's head, and the session that it names."""

    node: Node
    exchange: Exchange
    session: str | None
    refused: bool
    """Whether another node may be tried."""


@define
class Attempts:
    """An async context: leaving it waits a moment for what clients left behind."""

    cluster: Cluster
    upstream: Upstream
    trusted: Sequence[Network] = ()
    """The networks of ``http.trusted_proxies``."""
    _orphans: TaskOwner = field(factory=TaskOwner, init=False)
    _offers: set[asyncio.Task[Any]] = field(factory=set, init=False, repr=False)
    """The handlers that wait for a node's answer to an offer."""

    async def __aenter__(self) -> "Attempts":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let offers whose clients have left come to their end: aiohttp no longer waits for those."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ORPHAN_SECONDS
        if self._offers:
            await asyncio.wait(set(self._offers), timeout=ORPHAN_SECONDS)
        await self._orphans.drain(deadline - loop.time())
        await self._orphans.__aexit__(None, None, None)

    async def offer(self, inbound: Inbound, node: Node, offer: Offer) -> Made:
        """Send the offer to a node, whose place it takes meanwhile, and wait for the answer's head.

        A client that leaves meanwhile, or an answer that comes too late, leaves the session to be deleted.
        """
        cluster = self.cluster
        task = asyncio.current_task()
        assert task is not None
        self._offers.add(task)
        reserved = cluster.reserve(node.alias, offer.role, offer.stream)
        try:
            exchange = await self._ask(inbound, node, offer)
            session = None
            if 200 <= exchange.answer.status < 300 or exchange.answer.status == 406:
                session = session_of_location(exchange.answer.values(b"location"))
            if session is not None:
                cluster.session_created(node.alias, offer.role, offer.stream, session, reserved)
            refused = exchange.answer.status == 503 and await self._has_refused(node, exchange)
            return Made(node, exchange, session, refused)
        finally:
            cluster.session_deleted(node.alias, offer.stream, reserved)
            self._offers.discard(task)

    async def _ask(self, inbound: Inbound, node: Node, offer: Offer) -> Exchange:
        endpoint = "whip" if offer.action == "publish" else "whep"
        target = f"/{endpoint}/{offer.raw}{passed_query(inbound.query)}"
        exchange = await self._send(inbound, node, target, offer.body, content_type=b"application/sdp")
        try:
            await exchange.head(POST_SECONDS)
        except (asyncio.CancelledError, NodeTimeout) as error:
            self._orphans.start("orphaned offer", self._reap(node, offer.raw, exchange))
            if isinstance(error, NodeTimeout):
                self.cluster.node_failed(node.alias, error.detail)
                raise named(error, node) from None
            raise
        except LivemanError as error:
            await exchange.closed()
            if not isinstance(error, NodeError):
                raise
            self.cluster.node_failed(node.alias, error.detail)
            raise named(error, node) from None
        self.cluster.node_answered(node.alias)
        return exchange

    async def _has_refused(self, node: Node, exchange: Exchange) -> bool:
        """Whether the answer is a complete 503: only that proves that the node made nothing."""
        try:
            await exchange.collect(REFUSAL, ANSWER_SECONDS)
        except BaseException as error:
            await exchange.closed()
            if isinstance(error, NodeError):
                raise named(error, node) from None
            raise
        finally:
            self.cluster.node_failed(node.alias, "answered 503")
        return exchange.answer.done

    async def exchange(self, inbound: Inbound, node: Node, target: str, body: Body) -> Exchange:
        """Any other request: sent again when a kept connection was dead and the method is safe to repeat."""
        seconds = POST_SECONDS if inbound.method == "POST" else ANSWER_SECONDS
        fresh = False
        while True:
            exchange = await self._send(inbound, node, target, body, fresh=fresh)
            try:
                await exchange.head(seconds)
            except asyncio.CancelledError:
                exchange.close()
                raise
            except LivemanError as error:
                await exchange.closed()
                if not isinstance(error, NodeError):
                    raise
                stale = exchange.reused and not exchange.answer.begun and not isinstance(error, NodeTimeout)
                repeatable = inbound.method in REPEATABLE and not isinstance(body, AsyncIterator)
                if stale and repeatable and not fresh:
                    fresh = True
                    continue
                self.cluster.node_failed(node.alias, error.detail)
                raise named(error, node) from None
            self.cluster.node_answered(node.alias)
            return exchange

    async def _send(
        self,
        inbound: Inbound,
        node: Node,
        target: str,
        body: Body,
        *,
        content_type: bytes | None = None,
        fresh: bool = False,
    ) -> Exchange:
        peer = Peer(
            address=inbound.remote,
            scheme=inbound.scheme,
            host=inbound.header(b"host"),
            version=inbound.version,
            trusted=is_trusted(inbound.remote, self.trusted),
        )
        fields = request_fields(
            inbound.fields, peer=peer, token=node.token.reveal(), content_type=content_type
        )
        sent = Request(inbound.method, target, fields, body, inbound.length)
        try:
            return await self.upstream.send(node.url, sent, fresh=fresh)
        except NodeUnreachable as error:
            self.cluster.node_failed(node.alias, error.detail)
            raise named(error, node) from None

    def delete(self, node: Node, raw: str, session: str) -> None:
        """End a session that no client will end."""
        self._orphans.start("orphaned session", self.cluster.delete_session(node.alias, raw, session))

    async def _reap(self, node: Node, raw: str, exchange: Exchange) -> None:
        """Let the node finish an offer whose client has left, and delete the session that it made."""
        try:
            await exchange.head(POST_SECONDS)
        except LivemanError as error:
            log.warning("no answer to an offer whose client has left", node=node.alias, reason=error.detail)
            return
        finally:
            exchange.close()
        session = session_of_location(exchange.answer.values(b"location"))
        if (200 <= exchange.answer.status < 300 or exchange.answer.status == 406) and session is not None:
            await self.cluster.delete_session(node.alias, raw, session)


def named(error: NodeError, node: Node) -> NodeError:
    """The same error, saying which node."""
    return type(error)(f"Node {node.alias}: {error.detail}")
