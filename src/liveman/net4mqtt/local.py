"""Liveman's side: which agents there are, what their streams are, and connections to them."""

import asyncio
import errno
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self

from attrs import frozen

from liveman.forms import topic_level
from liveman.logs import Seldom, get_logger
from liveman.net4mqtt.address import BrokerAddress
from liveman.net4mqtt.broker import Broker
from liveman.net4mqtt.carrier import Carrier
from liveman.net4mqtt.link import Session
from liveman.net4mqtt.slots import Slots
from liveman.net4mqtt.topic import NONE, Topic, agent_of_url, is_online, local_filters, parse_topic
from liveman.net4mqtt.transport import TunnelTransport

__all__ = ["Local", "Reports"]

log = get_logger("liveman.net4mqtt")

#: Connections to one agent at once; an agent drops the least recently used one of more than 128.
_MOST = 64
#: More agents than these are not listened to: whoever may publish on the broker can announce any number.
_MOST_AGENTS = 10_000


@frozen
class Reports:
    """Whom to tell of the agents."""

    appear: Callable[[str], None]
    """An agent is there, by its id. Also when it comes back before it was missed."""
    vanish: Callable[[str], None]
    """It is gone, or nothing can be known of it any more."""
    report: Callable[[str, bytes], None]
    """An agent's own list of its streams has changed to this one, in JSON, of any size."""
    turned: Callable[[], None]
    """The broker was connected, or lost."""


class Local:
    """The local role, in the async context of which agents can be reached."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        alias: str,
        domain: str,
        reports: Reports,
        token: bytes,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``alias``: our id in the topics; ``token``: 3 random bytes by which our connections are known."""
        self._prefix = address.prefix
        self._alias = alias
        self._domain = domain
        self._reports = reports
        # A source must be unique, also after a restart and among several of one alias.
        self._source = f"127.{token[0]}.{token[1]}.{token[2]}"
        self._port = 0
        self._agents: dict[str, list[str]] = {}
        """By themselves in lower case, as hosts are written: the first of several is who is meant."""
        self._count = 0
        self._announced: set[str] = set()
        """Those that have done so since the broker is connected, not before."""
        self._answered: set[str] = set()
        self._orphans: list[str] = []
        self._slots = Slots(_MOST)
        self._seldom = Seldom(log)
        self.broker = Broker(address, Session(local_filters(address.prefix, alias)), self, tls)

    @property
    def connections(self) -> int:
        """Those that are open, to all agents."""
        return len(self._carrier)

    @property
    def agents(self) -> frozenset[str]:
        """Those that have announced themselves."""
        return frozenset(agent for alike in self._agents.values() for agent in alike)

    async def __aenter__(self) -> Self:
        self._carrier = Carrier(
            self.broker.publish,
            lambda: self.broker.writable,
            lambda agent, kind: str(Topic(self._prefix, agent, self._alias, "iw", kind, self._source, NONE)),
            lambda: self.broker.wish,
            self._slots,
        )
        await self.broker.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in self._carrier:
            transport.abort()
        await self.broker.__aexit__(kind, error, trace)

    def agent_of(self, url: str) -> str | None:
        """The agent that a node's URL means; None: the node is not reached by us. Its port means nothing."""
        agent = agent_of_url(url, self._domain)
        return agent and self._known(agent)

    def has_answered(self, agent: str) -> bool:
        """Whether it has, on any connection since the broker is connected or it has left."""
        return agent in self._answered

    async def create_connection(
        self, factory: Callable[[], asyncio.BaseProtocol], agent: str
    ) -> tuple[TunnelTransport, asyncio.BaseProtocol]:
        """Like the loop's own, to the one target of an agent. Raises OSError.

        The agent hears of the connection by the first bytes that are written; that it is not there shows in
        that nothing comes. When too many connections to it are open, this waits until one ends.
        """
        self._need_broker()
        agent = self._known(agent)
        try:
            topic_level(agent)
        except ValueError:
            raise OSError(errno.EHOSTUNREACH, "no agent can have this id") from None
        await self._slots.take(agent)
        try:
            self._need_broker()
            arriving, leaving = self._topics(agent)
            protocol = factory()
        except BaseException:
            self._slots.give(agent)
            raise
        return self._carrier.open(agent, str(arriving), str(leaving), protocol), protocol

    def _known(self, agent: str) -> str:
        alike = self._agents.get(agent.lower())
        return alike[0] if alike and agent not in alike else agent

    def _need_broker(self) -> None:
        if not self.broker.connected:
            raise OSError(errno.ENETUNREACH, f"the MQTT broker is not connected: {self.broker.problem}")

    def _topics(self, agent: str) -> tuple[Topic, Topic]:
        while True:
            self._port = self._port % 65_535 + 1
            source = f"{self._source}:{self._port}"
            arriving = Topic(self._prefix, agent, self._alias, "o", "tcp", source, NONE)
            if not self._carrier.has(str(arriving)):
                return arriving, Topic(self._prefix, agent, self._alias, "i", "tcp", source, NONE)

    # What the broker says.

    def connected(self) -> None:
        # The agents may not have noticed that the connections were lost with the broker.
        orphans, self._orphans = self._orphans, []
        for topic in orphans:
            self.broker.publish(topic, b"")
        self._reports.turned()

    def disconnected(self) -> None:
        self._orphans = self._carrier.lose("the connection to the MQTT broker was lost")
        for agent in self.agents:
            self._gone(agent)
        self._answered.clear()
        self._reports.turned()

    def resumed(self) -> None:
        self._carrier.flush()

    def received(self, topic: str, payload: bytes, retained: bool) -> None:
        if (peer := self._carrier.received(topic, payload)) is not None:
            self._answered.add(peer)
            return
        meaning = parse_topic(topic, self._prefix)
        if meaning is None:
            log.debug("a topic is none of this protocol", topic=topic)
        elif meaning.label == "v":
            self._presence(meaning.agent, is_online(payload), retained)
        elif retained:
            log.debug("a topic is retained that says only what was", topic=topic)
        elif meaning.label == "x":
            if meaning.protocol == "streams":
                self._reports.report(meaning.agent, payload)
        elif meaning.label not in ("o", "ow") or meaning.local != self._alias:
            log.debug("a topic is for others", topic=topic)
        elif meaning.label == "ow":
            if meaning.src == self._source:
                self._carrier.marked(meaning.agent, meaning.protocol, payload)
        elif (meaning.src or "").startswith(f"{self._source}:"):
            self._carrier.came(meaning.agent)
        elif payload:
            self._foreign(meaning.agent)

    def _presence(self, agent: str, online: bool, retained: bool) -> None:
        if agent == NONE:
            return
        known = agent in self._agents.get(agent.lower(), ())
        if not online:
            self._carrier.lose("the agent has gone", agent)
            self._answered.discard(agent)
        elif known and not retained:
            # It has not been missed, but one that announces itself anew has forgotten its connections.
            self._carrier.lose("the agent has begun anew", agent)
            if agent in self._announced:
                self._seldom.warning(
                    "an agent announces itself that is there: are there two of one alias?", agent=agent
                )
        if online and (known or self._count < _MOST_AGENTS):
            if not known:
                self._agents.setdefault(agent.lower(), []).append(agent)
                self._count += 1
            if not retained:
                self._announced.add(agent)
            self._reports.appear(agent)
        elif online:
            self._seldom.warning("more agents announce themselves than Liveman takes", most=_MOST_AGENTS)
        elif known:
            self._gone(agent)

    def _gone(self, agent: str) -> None:
        alike = self._agents[agent.lower()]
        alike.remove(agent)
        if not alike:
            del self._agents[agent.lower()]
        self._count -= 1
        self._announced.discard(agent)
        self._reports.vanish(agent)

    def _foreign(self, agent: str) -> None:
        self._seldom.warning(
            "messages come for connections of another Liveman with the same alias, or of an earlier run; "
            "give each Liveman its own net4mqtt.alias",
            alias=self._alias,
            agent=agent,
        )
