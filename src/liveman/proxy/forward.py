"""A client's request finds its node, and the node's answer its client; after a failure the next best node."""

import asyncio
import time
from collections.abc import Sequence
from typing import Literal, Protocol
from urllib.parse import unquote

from attrs import define, field

from liveman.access import ANYONE, MANAGE, PUBLISH, SUBSCRIBE, Action, Identity
from liveman.cluster import Cluster, Decision, Node, Relays, Role
from liveman.config import ExtraIce
from liveman.errors import (
    BadRequest,
    LivemanError,
    NodeError,
    NodeUnreachable,
    NoPlace,
    NotAllowed,
    NotFound,
)
from liveman.ice.broker import Broker
from liveman.ice.provider import IceRequest
from liveman.ice.rewrite import rewrite_links
from liveman.ice.server import IceServer
from liveman.inbound import Inbound
from liveman.logs import get_logger
from liveman.proxy.answer import check_answer, pass_on
from liveman.proxy.attempts import Attempts, Made, Offer, named
from liveman.proxy.body import Body, read_body
from liveman.proxy.exchange import Exchange
from liveman.proxy.routing import is_session, location, nodes_asked, passed_query
from liveman.secret import (
    RELAY_TOKEN_SECONDS,
    Kind,
    build_session_id,
    parse_session_id,
    verify_relay_token,
    verify_session_id,
)

__all__ = ["Forwarder", "ice_request"]

log = get_logger("liveman.proxy")

_KINDS: dict[Action, Kind] = {"publish": "p", "subscribe": "s"}
_NEEDS: dict[Kind, int] = {"p": PUBLISH, "s": SUBSCRIBE}


class Seat(Protocol):
    """Held by one who was let in, until there is a session or none."""

    waiting: bool
    """Whether no node is asked for the session now."""

    def taken(self, alias: str, session: str) -> None:
        """A node has made it. Raises LivemanError when it must not be."""

    def leave(self) -> None:
        """It is over, one way or the other."""


class Admission(Protocol):
    """Who lets publishers and viewers in."""

    @property
    def closed(self) -> bool:
        """Whether a request must say who asks."""

    async def admit(self, inbound: Inbound, action: Action) -> Seat:
        """Raises LivemanError to refuse."""

    async def consult(self, inbound: Inbound, action: Action) -> None:
        """Raises LivemanError where `admit` would, by what others say of the asker."""


@define
class Forwarder:
    """Carries the requests of clients to nodes."""

    cluster: Cluster
    relays: Relays
    attempts: Attempts
    broker: Broker
    ice: ExtraIce
    failover_seconds: float
    admission: Admission
    secret: bytes = field(default=b"", repr=False)
    """The cluster's; set before the first request."""
    _dropped: list[str] = field(factory=list, init=False, repr=False)
    """The ICE urls that the last warning named, so that not every answer repeats it."""
    _live: set[Exchange] = field(factory=set, init=False, repr=False)

    def end_streams(self) -> None:
        """Cut the answers that still flow, as event streams do, so that shutting down waits for none."""
        for exchange in list(self._live):
            exchange.close()

    async def offer(self, inbound: Inbound, action: Action) -> None:
        """POST /whip/{stream}, /whep/{stream}: to the best node, else to the next while that is harmless.

        A viewer whose stream is full everywhere waits for a relay to another node.
        """
        seat = await self.admission.admit(inbound, action)
        try:
            await self._offer(inbound, action, seat)
        finally:
            seat.leave()

    async def _offer(self, inbound: Inbound, action: Action, seat: Seat) -> None:
        offer = _offer(inbound, action, await read_body(inbound))
        nodes = nodes_asked(inbound.query)
        loop = asyncio.get_running_loop()
        start = loop.time()
        tried: set[str] = set()
        refused: Made | None = None
        failure: NodeError | None = None
        while True:
            decision = self.cluster.place(action, offer.stream, nodes=nodes, exclude=tried)
            if decision.refusal == "full" and action == "subscribe":
                patience = start + self.relays.options.check_attempts
                await self.relays.extend(offer.stream, nodes=nodes, deadline=patience)
                continue
            entry = self.cluster.journal.record(action, offer.stream, decision)
            node = decision.target
            if node is None:
                entry.outcome = "refused"
                break
            try:
                seat.waiting = False
                made = await self.attempts.offer(inbound, node, offer)
            except NodeUnreachable as error:
                failure = error
                entry.outcome = error.detail
            except BaseException as error:
                entry.outcome = error.detail if isinstance(error, LivemanError) else "given up"
                raise
            else:
                entry.outcome = f"answered with {made.exchange.answer.status}"
                if not made.refused:
                    return await self._finish(inbound, offer, made, seat)
                refused = made
            seat.waiting = True
            tried.add(node.alias)
            if loop.time() >= start + self.failover_seconds or not isinstance(offer.body, bytes):
                break
        if refused is not None:
            return await self._finish(inbound, offer, refused)
        if failure is not None:
            raise failure
        raise _refusal(decision, offer.stream)

    async def direct(self, inbound: Inbound, action: Action) -> None:
        """POST /api/whip/{alias}/{stream}, /api/whep/…: to that node, as relays do."""
        node = self.node_named(unquote(inbound.segments[2]))
        if self.new_relay(inbound, action):
            offer = _offer(inbound, action, await read_body(inbound), role="relay", direct=True)
            return await self._finish(inbound, offer, await self.attempts.offer(inbound, node, offer))
        seat = await self.admission.admit(inbound, action)
        try:
            offer = _offer(inbound, action, await read_body(inbound), direct=True)
            seat.waiting = False
            made = await self.attempts.offer(inbound, node, offer)
            return await self._finish(inbound, offer, made, seat)
        finally:
            seat.leave()

    def new_relay(self, inbound: Inbound, action: Action) -> Identity | None:
        """The relay that makes its session at a node, by its token; None: it shows no fresh one."""
        alias, kind = unquote(inbound.segments[2]), _KINDS[action]
        issued = self._relay_token(inbound, alias, kind)
        # Either way, as clocks of several instances differ.
        if issued is None or abs(time.time() - issued) > RELAY_TOKEN_SECONDS:
            return None
        return Identity(f"relay:{alias}", inbound.stream, _NEEDS[kind])

    def old_relay(self, inbound: Inbound) -> Identity | None:
        """The relay that comes back to its session, however late; None: it shows no token for this one."""
        tag = parse_session_id(inbound.segments[2])
        node = self.cluster.node_by_tag(tag.alias_tag) if tag else None
        if tag is None or node is None or self._relay_token(inbound, node.alias, tag.kind) is None:
            return None
        return Identity(f"relay:{node.alias}", inbound.stream, _NEEDS[tag.kind])

    def _relay_token(self, inbound: Inbound, alias: str, kind: Kind) -> int | None:
        shown = inbound.header(b"authorization").removeprefix("Bearer ")
        return verify_relay_token(self.secret, shown, alias=alias, kind=kind, stream=inbound.stream)

    async def session(self, inbound: Inbound) -> None:
        """Everything under /session/{stream}/{session}: to the node that made it."""
        _, raw, shown, *below = inbound.segments
        stream = inbound.stream
        node, session = await self._node_of_session(stream, shown)
        if self.cluster.is_down(node.alias):
            raise NodeError(f"Node {node.alias}, which has this session, is down.")
        target = "/".join(["/session", raw, session, *below]) + passed_query(inbound.query)
        ends = inbound.method == "DELETE" and not below
        try:
            exchange = await self.attempts.exchange(inbound, node, target, await read_body(inbound))
        except asyncio.CancelledError:
            if ends:
                self.attempts.delete(node, raw, session)
            raise
        if ends and (exchange.answer.status < 300 or exchange.answer.status == 404):
            self.cluster.session_deleted(node.alias, stream, session)
        path = location(inbound.prefix, raw, shown)
        override = exchange.answer.status >= 400 or self.ice.override_upstream_ice_servers
        links = self._links(exchange, session=session, path=path, added=(), override=override)
        return await self._deliver(inbound, node, exchange, links=links)

    # Towards the client.

    async def _finish(self, inbound: Inbound, offer: Offer, made: Made, seat: Seat | None = None) -> None:
        """Answer an offer. If that fails, the session which the node made is deleted there."""
        node, exchange, session = made.node, made.exchange, made.session
        if session is None:
            if exchange.answer.status == 201:
                await exchange.closed()
                raise NodeError(f"Node {node.alias} made a session, but its Location does not name it.")
            links = self._links(exchange, session="", path="", added=(), override=True)
            return await self._deliver(inbound, node, exchange, links=links)
        try:
            if seat is not None:
                seat.taken(node.alias, session)
            shown = build_session_id(
                self.secret, alias=node.alias, kind=_KINDS[offer.action], stream=offer.stream, id=session
            )
            path = location(inbound.prefix, offer.raw, shown)
            added: Sequence[IceServer] = ()
            if not (offer.direct or self.broker.empty):
                added = await self.broker.servers(ice_request(inbound, offer.action))
            override = self.ice.override_upstream_ice_servers and not offer.direct
            links = self._links(exchange, session=session, path=path, added=added, override=override)
            if inbound.left:
                raise ConnectionResetError("the client has left")
            return await self._deliver(inbound, node, exchange, path=path, links=links)
        except BaseException as error:
            exchange.close()
            self.cluster.session_deleted(node.alias, offer.stream, session)
            self.attempts.delete(node, offer.raw, session)
            if isinstance(error, ConnectionError):
                log.info("the client left before its answer", node=node.alias, stream=offer.stream)
            raise

    async def _deliver(
        self,
        inbound: Inbound,
        node: Node,
        exchange: Exchange,
        *,
        path: str | None = None,
        links: list[str],
    ) -> None:
        if not exchange.answer.done:
            self._live.add(exchange)
        try:
            check_answer(exchange)
            await pass_on(inbound, exchange, location=path, links=links)
        except NodeError as error:
            raise named(error, node) from None
        finally:
            self._live.discard(exchange)
            await exchange.closed()

    def _links(
        self, exchange: Exchange, *, session: str, path: str, added: Sequence[IceServer], override: bool
    ) -> list[str]:
        values = [value.decode("utf-8", "replace") for value in exchange.answer.values(b"link")]
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
        if dropped and dropped != self._dropped:
            self._dropped = dropped
            log.warning("more ICE urls than extra_ice.max_urls; dropped", urls=" ".join(dropped))
        return links

    # Which node.

    def node_named(self, alias: str) -> Node:
        node = self.cluster.node(alias)
        if node is None:
            raise NotFound(f"There is no node named {alias!r}.")
        if self.cluster.is_down(alias):
            raise NoPlace(f"Node {alias} is down.")
        return node

    def check_session(self, inbound: Inbound) -> None:
        """What can be said of a session's id without asking a node.

        With authentication an id of Liveman's own making is a capability, for those who may do what its kind
        says; the nodes' own ids stand in lists, so they are for those who may manage. Raises NotFound,
        NotAllowed.
        """
        shown, identity = inbound.segments[2], inbound.identity
        tag = parse_session_id(shown)
        node = self.cluster.node_by_tag(tag.alias_tag) if tag else None
        if not is_session(tag.id if tag else shown) or (tag and not node):
            raise NotFound("No node has this session.")
        if not self.admission.closed:
            return
        if tag is None or node is None:
            if not identity.mode & MANAGE:
                raise NotFound("No session has this id; it is the one that Location named.")
        elif not verify_session_id(self.secret, tag, alias=node.alias, stream=inbound.stream):
            raise NotFound("No node has this session.")
        elif not identity.undecided and not identity.mode & _NEEDS[tag.kind]:
            raise NotAllowed

    async def _node_of_session(self, stream: str, shown: str) -> tuple[Node, str]:
        """The node that made a session, and the id that it gave it. Raises NotFound."""
        tag = parse_session_id(shown)
        if tag is not None:
            node = self.cluster.node_by_tag(tag.alias_tag)
            if node is not None:
                return node, tag.id
        else:
            node = await self.cluster.find_session(stream, shown)
            if node is not None:
                return node, shown
        raise NotFound("No node has this session.")


def ice_request(inbound: Inbound, kind: Literal["publish", "subscribe", "options"]) -> IceRequest:
    """Whom ICE servers are for."""
    subject = None if inbound.identity is ANYONE else inbound.identity.subject
    return IceRequest(kind, inbound.stream, subject, inbound.address)


def _offer(
    inbound: Inbound, action: Action, body: Body, *, role: Role | None = None, direct: bool = False
) -> Offer:
    if not body:
        raise BadRequest("The request has no body; it must be an SDP offer.")
    return Offer(action, inbound.segments[-1], inbound.stream, body, role or action, direct)


def _refusal(decision: Decision, stream: str) -> LivemanError:
    if decision.refusal == "unknown_stream":
        return NotFound(f"No node has the stream {stream!r}.")
    return NoPlace(decision.reason)
