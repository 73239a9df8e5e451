"""Nodes behind NAT as nodes of the cluster: agents that announce themselves come and go in it, and all
connections to them lead through the MQTT broker."""

import asyncio
import errno
import math
import secrets
import ssl
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import BaseConnector

from liveman import config
from liveman.cluster import Cluster, Node, Way
from liveman.cluster.registry import Registry
from liveman.errors import ConfigError, Conflict, Fault, NodeUnreachable
from liveman.forms import agent_id
from liveman.logs import get_logger
from liveman.net4mqtt.address import parse_broker_url
from liveman.net4mqtt.broker import tls_context
from liveman.net4mqtt.connector import TunnelConnector
from liveman.net4mqtt.listener import Listener
from liveman.net4mqtt.local import Local, Reports
from liveman.net4mqtt.transport import TunnelTransport
from liveman.tasks import TaskOwner

__all__ = ["Discovery"]

log = get_logger("liveman.net4mqtt")

#: An agent that has left may have lost its connection for a moment; then its node is removed, seconds.
FORGET_SECONDS = 60.0
#: How long the start waits for the broker, seconds.
FIRST_SECONDS = 1.0
#: What changes without a word, such as nodes that are declared at run time, is noticed after so long.
_LOOK_SECONDS = 1.0
_PAUSE_SECONDS = 0.05
#: Who does not announce itself may come later than we do, after the broker was away: it is asked for so long.
_FOLLOW_SECONDS = 10.0
#: How long an agent of which nothing was heard yet may leave an attempt to reach it unanswered.
_ANSWER_SECONDS = 2.0
#: So many nodes appear or are asked anew at once: a thousand that came together would stop the others.
_AT_ONCE = 50
#: More refused names are not told of one by one.
_MOST_TOLD = 100

_Factory = Callable[[], asyncio.BaseProtocol]
_Connection = tuple[TunnelTransport, asyncio.BaseProtocol]


class Discovery:
    """An async context, around the cluster's. Nodes whose host is in the domain are reached through it,
    whether they were declared or have announced themselves."""

    def __init__(self, options: config.Net4mqtt, cluster: Cluster, registry: Registry) -> None:
        """Raises ConfigError."""
        alias = options.alias or f"liveman-{secrets.token_hex(4)}"
        try:
            address = parse_broker_url(options.mqtt_url, alias=alias, client_id=secrets.token_hex(4))
        except ValueError as error:
            raise ConfigError(Fault("net4mqtt.mqtt_url", str(error))) from None
        self._options = options
        self._cluster = cluster
        self._registry = registry
        self._stack = AsyncExitStack()
        self._tasks = TaskOwner()
        self._wake = asyncio.Event()
        self._back: set[str] = set()
        """The agents that have announced themselves since the last look."""
        self._missing: dict[str, float] = {}
        """Since when the agents of discovered nodes are gone, by the loop's clock while there is a broker."""
        self._connected = -math.inf
        """When the broker was connected last, by the loop's clock."""
        self._left: set[str] = set()
        """The agents of declared nodes that have said so, since the broker is connected."""
        self._reported: dict[str, float] = {}
        """When agents told of their streams last, unix seconds."""
        self._aliases: dict[str, list[str]] = {}
        """The nodes, by their agents; several may be declared for one."""
        self._told: set[str] = set()
        self.local = Local(
            address,
            alias=alias,
            domain=options.domain,
            reports=Reports(self._appear, self._vanish, self._report, self._turned),
            token=secrets.token_bytes(3),
            tls=_tls(options) if address.encrypted else None,
        )

    async def __aenter__(self) -> Self:
        """Raises ConfigError when the SOCKS5 listener cannot listen."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._tasks)
            await stack.enter_async_context(self.local)
            if self._options.listen:
                await self._listen(stack)
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SECONDS):
                    await self._wake.wait()
            self._tasks.start("net4mqtt nodes", self._stay_matched())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def problem(self) -> str:
        """Why the broker is not connected; "": it is."""
        return self.local.broker.problem or ""

    # The ways to nodes.

    def leads_to(self, url: str) -> bool:
        """Whether a node's URL is one that is reached through the broker."""
        return self.local.agent_of(url) is not None

    async def dial(self, url: str, factory: _Factory) -> _Connection:
        """Make a transport to a node of ours. Raises NodeUnreachable."""
        agent = self.local.agent_of(url)
        assert agent is not None
        if url.startswith("https:"):
            raise NodeUnreachable("A node behind MQTT is reached by http://, not https://.")
        try:
            return await self._connect(agent, factory)
        except OSError as error:
            raise NodeUnreachable(f"The node cannot be reached: {error.strerror}.") from None

    def connector(self, node: Node) -> BaseConnector | None:
        """The same for aiohttp; None: it is dialled as others are."""
        agent = self.local.agent_of(node.url)
        return None if agent is None else TunnelConnector(lambda factory: self._try(agent, factory))

    async def _try(self, agent: str, factory: _Factory) -> _Connection:
        transport, protocol = await self._connect(agent, factory)
        if not self.local.has_answered(agent):
            asyncio.get_running_loop().call_later(_ANSWER_SECONDS, self._give_up, agent, transport)
        return transport, protocol

    def _give_up(self, agent: str, transport: TunnelTransport) -> None:
        """What was sent before the agent came to the broker is answered by nobody."""
        if not self.local.has_answered(agent):
            transport.lost(ConnectionError("the agent does not answer"))

    async def _connect(self, agent: str, factory: _Factory) -> _Connection:
        if agent in self._missing and self.local.broker.connected:
            raise OSError(errno.EHOSTUNREACH, "the agent has left the MQTT broker")
        return await self.local.create_connection(factory, agent)

    async def _listen(self, stack: AsyncExitStack) -> None:
        host, _, port = self._options.listen.rpartition(":")
        listener = Listener(
            host.strip("[]"),
            int(port),
            domain=self._options.domain,
            dial=lambda factory, agent: self._connect(agent, factory),
        )
        try:
            await stack.enter_async_context(listener)
        except OSError as error:
            problem = f"cannot be listened on: {error.strerror}; choose another, or an empty text for none"
            raise ConfigError(Fault("net4mqtt.listen", problem)) from None

    # What the local tells.

    def _appear(self, agent: str) -> None:
        self._missing.pop(agent, None)
        self._left.discard(agent)
        self._back.add(agent)
        self._wake.set()

    def _vanish(self, agent: str) -> None:
        self._reported.pop(agent, None)
        for node in self._nodes(agent):
            if node.kind == "net4mqtt":
                self._missing[agent] = asyncio.get_running_loop().time()
            elif self.local.broker.connected:
                self._left.add(agent)
            self._cluster.node_failed(node.alias, "its agent has left, or the MQTT broker is lost")
        self._wake.set()

    def _report(self, agent: str, streams: bytes) -> None:
        for node in self._nodes(agent):
            self._reported[agent] = round(time.time(), 3)
            self._cluster.node_reported(node.alias, streams)
            self._wake.set()

    def _turned(self) -> None:
        if self.local.broker.connected:
            self._connected = asyncio.get_running_loop().time()
            self._back.update(self._aliases)
            self._missing = dict.fromkeys(self._missing, asyncio.get_running_loop().time())
            self._left.clear()
        self._wake.set()

    def _nodes(self, agent: str) -> list[Node]:
        nodes = (self._cluster.node(alias) for alias in self._aliases.get(agent, ()))
        return [node for node in nodes if node is not None]

    # The nodes follow.

    async def _stay_matched(self) -> None:
        while True:
            self._wake.clear()
            self._match()
            await asyncio.sleep(_PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._wake.wait()

    def _match(self) -> None:
        """Make the cluster's nodes what the agents are, and say of each how it stands with its way."""
        self._forget_missing()
        declared: dict[str, list[str]] = {}
        discovered: set[str] = set()
        for each in self._cluster.nodes():
            if each.node.kind == "net4mqtt":
                discovered.add(each.node.alias)
            elif agent := self.local.agent_of(each.node.url):
                declared.setdefault(agent, []).append(each.node.alias)
        for agent in discovered & declared.keys():
            discovered.remove(agent)
            self._remove(agent)
        present = self.local.agents
        added = 0
        for agent in present - declared.keys() - discovered:
            if added == _AT_ONCE:
                self._wake.set()
                break
            if self._add(agent):
                discovered.add(agent)
                added += 1
        self._aliases = declared | {agent: [agent] for agent in discovered}
        if asyncio.get_running_loop().time() - self._connected < _FOLLOW_SECONDS:
            self._back.update(agent for agent in declared if not self.local.has_answered(agent))
        self._back &= self._aliases.keys()
        self._left &= self._aliases.keys()
        back = set(islice(self._back, _AT_ONCE))
        self._back -= back
        if self._back:
            self._wake.set()
        for agent, aliases in self._aliases.items():
            way = self._way(agent, agent in present)
            for alias in aliases:
                if self._cluster.state.nodes[alias].way != way:
                    self._cluster.set_way(alias, way)
                if agent in back:
                    self._cluster.node_may_be_back(alias)

    def _way(self, agent: str, present: bool) -> Way:
        broker = self.problem or "connected"
        if present:
            return Way(agent, "online", broker, self._reported.get(agent))
        left = agent in self._missing or agent in self._left
        return Way(agent, "offline" if left else "unknown", broker)

    def _forget_missing(self) -> None:
        if not self.local.broker.connected:
            return  # Nothing is known of anybody.
        now = asyncio.get_running_loop().time()
        for agent, since in list(self._missing.items()):
            node = self._cluster.node(agent)
            if node is None or node.kind != "net4mqtt":
                del self._missing[agent]
            elif now - since >= FORGET_SECONDS:
                self._remove(agent)

    def _remove(self, alias: str) -> None:
        self._missing.pop(alias, None)
        self._registry.vanish(alias)

    def _add(self, agent: str) -> bool:
        try:
            agent_id(agent)
        except ValueError:
            self._tell("an agent has an id that no host can have, and is left out", agent)
            return False
        url = f"http://{agent}.{self._options.domain}"
        try:
            self._registry.appear(Node(agent, url, self._options.token, kind="net4mqtt"))
        except Conflict as error:
            self._tell("an agent gives way to a node that is declared", agent, reason=error.detail)
            return False
        return True

    def _tell(self, event: str, agent: str, **values: str) -> None:
        """Once for each."""
        if agent not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(agent)
            log.warning(event, agent=agent, **values)


def _tls(options: config.Net4mqtt) -> ssl.SSLContext:
    files = [Path(each) if each else None for each in (options.ca, options.certificate, options.key)]
    try:
        return tls_context(*files)
    except OSError as error:
        problem = f"ca, certificate and key cannot be used: {error.strerror or error}"
        raise ConfigError(Fault("net4mqtt", problem)) from None
