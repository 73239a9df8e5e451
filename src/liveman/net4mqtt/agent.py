"""The agent's side: lets those who share the broker reach one target, and nothing else, from where it is."""

import asyncio
import ssl
from types import TracebackType
from typing import Self

from liveman.logs import Seldom, get_logger
from liveman.net4mqtt.address import BrokerAddress
from liveman.net4mqtt.bridge import Half
from liveman.net4mqtt.broker import Broker
from liveman.net4mqtt.carrier import Carrier
from liveman.net4mqtt.link import Session
from liveman.net4mqtt.topic import NONE, Topic, agent_filters, is_online, parse_topic
from liveman.tasks import TaskOwner

__all__ = ["Agent"]

log = get_logger("liveman.net4mqtt")

MOST_CONNECTIONS = 128
IDLE_SECONDS = 300.0
_CONNECT_SECONDS = 5.0

_ONLINE = b'{"online":true}'
_OFFLINE = b"{}"


class Agent:
    """An async context, within which the target can be reached as ``alias``."""

    def __init__(
        self,
        address: BrokerAddress,
        *,
        alias: str,
        target: tuple[str, int],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``target``: host and port."""
        self._prefix = address.prefix
        self._alias = alias
        self._target = target
        self._presence = str(Topic(address.prefix, alias, NONE, "v"))
        self._orphans: list[str] = []
        self._leaving = False
        self._tasks = TaskOwner()
        self._seldom = Seldom(log)
        will = self._presence, _OFFLINE
        session = Session(agent_filters(address.prefix, alias), will, wishes=2)
        self.broker = Broker(address, session, self, tls)

    async def __aenter__(self) -> Self:
        self._carrier = Carrier(
            self.broker.publish,
            lambda: self.broker.writable,
            self._mark_topic,
            lambda: self.broker.wish,
        )
        self._tasks.start("net4mqtt idle connections", self._close_idle())
        await self.broker.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in self._carrier:
            transport.abort()
        # A will is for those who leave without a word.
        self._leaving = True
        self.broker.publish(self._presence, _OFFLINE, retain=True)
        await self._tasks.__aexit__(kind, error, trace)
        await self.broker.__aexit__(kind, error, trace)

    # What the broker says.

    def connected(self) -> None:
        orphans, self._orphans = self._orphans, []
        for topic in orphans:
            self.broker.publish(topic, b"")
        self.broker.publish(self._presence, _ONLINE, retain=True)

    def disconnected(self) -> None:
        self._orphans = self._carrier.lose("the connection to the MQTT broker was lost")

    def resumed(self) -> None:
        self._carrier.flush()

    def received(self, topic: str, payload: bytes, retained: bool) -> None:
        if retained or self._carrier.received(topic, payload) is not None:
            return
        meaning = parse_topic(topic, self._prefix)
        if meaning is None or meaning.agent != self._alias:
            log.debug("a topic is none of this agent's", topic=topic)
        elif meaning.label == "iw":
            self._carrier.marked(_peer(meaning), meaning.protocol, payload)
        elif meaning.label == "v":
            self._announced(is_online(payload))
        elif meaning.label == "i" and meaning.src:
            if payload:
                self._open(topic, meaning, payload)
            self._carrier.came(_peer(meaning))

    def _announced(self, online: bool) -> None:
        """The will of an earlier run, whose end the broker has only noticed now, must not stand."""
        if not online and not self._leaving:
            log.info("somebody has announced that this agent is gone, which is put right", agent=self._alias)
            self.broker.publish(self._presence, _ONLINE, retain=True)

    def _mark_topic(self, peer: str, kind: str) -> str:
        local, _, source = peer.partition("/")
        return str(Topic(self._prefix, self._alias, local, "ow", kind, source, NONE))

    def _open(self, topic: str, meaning: Topic, payload: bytes) -> None:
        """A message has come on a new topic."""
        answers = str(
            Topic(self._prefix, self._alias, meaning.local, "o", meaning.protocol, meaning.src, meaning.dst)
        )
        if meaning.protocol != "tcp" or meaning.dst != NONE:
            self._seldom.warning("a connection to elsewhere than the target is refused", topic=topic)
            self.broker.publish(answers, b"")
            return
        if len(self._carrier) >= MOST_CONNECTIONS:
            # Not gently: one that cannot send what it still has would stay for ever.
            next(iter(self._carrier)).abort()
        inner = Half()
        transport = self._carrier.open(_peer(meaning), topic, answers, inner, known=True)
        transport.pause_reading()
        transport.arrived(payload)
        self._tasks.start("net4mqtt connection to the target", self._reach(inner))

    async def _reach(self, inner: Half) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(lambda: Half(inner), *self._target)
        except (OSError, TimeoutError) as error:
            self._seldom.warning("the target cannot be reached", problem=str(error) or type(error).__name__)
            inner.transport.close()

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS / 10)
            for transport in self._carrier:
                if self._carrier.now() - transport.used_at >= IDLE_SECONDS:
                    transport.close()


def _peer(meaning: Topic) -> str:
    """A process that is a local: there may be several of one id, or an earlier run's connections."""
    source = meaning.src or NONE
    return f"{meaning.local}/{source.rpartition(':')[0] or source}"
