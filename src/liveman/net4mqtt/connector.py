"""The connections of aiohttp's client to an agent's node."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

__all__ = ["Dial", "TunnelConnector"]

#: Makes a connection to the agent: ``await dial(protocol_factory)``. Raises OSError.
Dial = Callable[
    [Callable[[], asyncio.BaseProtocol]], Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]
]

#: Agents keep at most 128 connections, and drop one that is idle for 300 s.
_CONNECTIONS = 64
_IDLE_SECONDS = 60.0


class TunnelConnector(aiohttp.BaseConnector):
    """For one agent. The host and port of a URL mean nothing to it."""

    def __init__(self, dial: Dial) -> None:
        super().__init__(limit=_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS)
        self._dial = dial

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list["Trace"], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        if req.is_ssl():
            problem = "a node behind MQTT is reached by http://, not https://"
            raise aiohttp.ClientConnectorError(req.connection_key, OSError(errno.EPROTONOSUPPORT, problem))
        try:
            _, protocol = await self._dial(self._factory)
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        assert isinstance(protocol, ResponseHandler)
        return protocol
