"""The SOCKS5 listener: other programs on the machine reach the agents through it, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from liveman.logs import Seldom, get_logger
from liveman.net4mqtt.bridge import Half
from liveman.net4mqtt.socks import (
    ACCEPTED,
    HOST_UNREACHABLE,
    NOT_ALLOWED,
    SUCCEEDED,
    SocksError,
    parse_greeting,
    parse_request,
    reply,
)
from liveman.net4mqtt.topic import agent_of
from liveman.tasks import TaskOwner

__all__ = ["Dial", "Listener"]

log = get_logger("liveman.net4mqtt")

#: Makes a connection to an agent: ``await dial(protocol_factory, agent)``. Raises OSError.
Dial = Callable[
    [Callable[[], asyncio.BaseProtocol], str], Awaitable[tuple[asyncio.Transport, asyncio.BaseProtocol]]
]

MOST_CLIENTS = 256
#: How long a client may take to say where it wants to go.
GREETING_SECONDS = 10.0


class Listener:
    """An async context, within which it listens."""

    def __init__(self, host: str, port: int, *, domain: str, dial: Dial) -> None:
        """``domain``: the hosts in it, and no others, can be reached; the first label is the agent."""
        self._where = host, port
        self._domain = domain
        self._dial = dial
        self._tasks = TaskOwner()
        self._seldom = Seldom(log)
        self._clients: set[_Client] = set()

    async def __aenter__(self) -> Self:
        """Raises OSError when the address cannot be listened on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), *self._where)
        log.info("SOCKS5 is spoken here", port=self.port, domain=self._domain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for client in list(self._clients):
            client.transport.abort()
        await self._server.wait_closed()
        await self._tasks.__aexit__(kind, error, trace)

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    # For its clients.

    def came(self, client: "_Client") -> None:
        self._clients.add(client)
        if len(self._clients) > MOST_CLIENTS:
            self._seldom.warning("a SOCKS5 client is sent away, as there are too many", most=MOST_CLIENTS)
            client.transport.abort()

    def left(self, client: "_Client") -> None:
        self._clients.discard(client)

    def choose(self, data: bytes) -> tuple[str, int] | None:
        """The agent that a request asks for, and the request's length. Raises SocksError."""
        parsed = parse_request(data)
        if parsed is None:
            return None
        request, length = parsed
        agent = agent_of(request.host, self._domain) if request.is_name else None
        if agent is None:
            raise SocksError(f"it asks for a host outside {self._domain}", reply(NOT_ALLOWED))
        return agent, length

    def connect(self, client: "_Client", agent: str, first: bytes) -> None:
        self._tasks.start("SOCKS5 connection", self._connect(client, agent, first))

    async def _connect(self, client: "_Client", agent: str, first: bytes) -> None:
        try:
            transport, _ = await self._dial(lambda: Half(client), agent)
        except OSError as error:
            log.info("a SOCKS5 client cannot be connected", agent=agent, problem=str(error))
            client.transport.write(reply(HOST_UNREACHABLE))
            client.transport.close()
            return
        client.transport.write(reply(SUCCEEDED))
        transport.write(first)


class _Client(Half):
    """A client; once it is connected, one end of the bridge."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self._heard = bytearray()
        self._greeted = False
        self._asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._patience = asyncio.get_running_loop().call_later(GREETING_SECONDS, self.transport.abort)
        self._listener.came(self)

    def data_received(self, data: bytes) -> None:
        if self._asked:
            super().data_received(data)
            return
        self._heard += data
        try:
            self._listen()
        except SocksError as error:
            log.info("a SOCKS5 client is refused", problem=str(error))
            self.transport.write(error.answer)
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._patience.cancel()
        self._listener.left(self)
        super().connection_lost(error)

    def _listen(self) -> None:
        if not self._greeted:
            length = parse_greeting(self._heard)
            if length is None:
                return
            self._greeted = True
            del self._heard[:length]
            self.transport.write(ACCEPTED)
        if chosen := self._listener.choose(bytes(self._heard)):
            agent, length = chosen
            self._asked = True
            self._patience.cancel()
            self.transport.pause_reading()
            self._listener.connect(self, agent, bytes(self._heard[length:]))
