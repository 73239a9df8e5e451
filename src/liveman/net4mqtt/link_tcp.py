"""A link by mqtt and mqtts, carried by gmqtt.

Of gmqtt no more is used than one connection: it would connect again by itself, at once and for ever. It also
writes all payloads into its logs, with the tokens in them.
"""

import asyncio
import logging
import socket
import ssl
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv311

from liveman.net4mqtt.address import BrokerAddress
from liveman.net4mqtt.link import HIGH, KEEPALIVE_SECONDS, LOW, Link, LinkError, Session, Sink

__all__ = ["connect_tcp"]

#: Where there is such an option: acknowledge what has come.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
#: Fewer than any count of failures, and not its -1 for "unlimited".
_NEVER = -2

_SILENT = logging.Logger("gmqtt")
_SILENT.disabled = True


async def connect_tcp(
    address: BrokerAddress, session: Session, tls: ssl.SSLContext | None, sink: Sink
) -> Link:
    """Connect and subscribe. Raises LinkError, or OSError of the network and of TLS."""
    link = _TcpLink(address, session, sink)
    try:
        await link.connect(address, session, tls)
    except BaseException:
        link.abort()
        raise
    return link


class _TcpLink(Link):
    def __init__(self, address: BrokerAddress, session: Session, sink: Sink) -> None:
        super().__init__(sink)
        for noisy in ("gmqtt.mqtt.protocol", "gmqtt.mqtt.package", "gmqtt.mqtt.utils"):
            logging.getLogger(noisy).disabled = True
        will = session.will and gmqtt.Message(*session.will, retain=True)
        self._client = gmqtt.Client(address.client_id, will_message=will, logger=_SILENT)
        self._client.set_config({"reconnect_retries": _NEVER})
        if address.user is not None:
            self._client.set_auth_credentials(address.user, address.password.reveal() or None)
        self._granted: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect

    async def connect(self, address: BrokerAddress, session: Session, tls: ssl.SSLContext | None) -> None:
        connecting = asyncio.ensure_future(
            self._client.connect(
                address.host, address.port, ssl=tls or False, keepalive=KEEPALIVE_SECONDS, version=MQTTv311
            )
        )
        try:
            await asyncio.wait({connecting, self.lost}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise LinkError("it closed the connection instead of accepting it")
            try:
                await connecting
            except gmqtt.MQTTConnectError as error:
                raise LinkError(f"it refuses: {error}") from None
        finally:
            connecting.cancel()
        protocol, transport = self._client._connection._protocol, self._transport
        # Nothing else in it heeds what the transport says of its pace.
        protocol.pause_writing = self._pause
        protocol.resume_writing = self._resume
        transport.set_write_buffer_limits(high=HIGH, low=LOW)
        if _QUICKACK is not None:
            self._acknowledge_at_once(protocol, transport)
        self._client.subscribe([gmqtt.Subscription(topic) for topic in session.subscriptions])
        waited: set[asyncio.Future[Any]] = {self._granted, self.lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not self._granted.done():
            raise LinkError("it closed the connection instead of granting the subscriptions")
        self._check(self._granted.result())

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if not self.lost.done():
            self._client.publish(topic, payload, retain=retain)

    def _acknowledge_at_once(self, protocol: Any, transport: asyncio.Transport) -> None:
        """mosquitto as Debian has it keeps a message back while the one before is not acknowledged, for which
        Linux may take 40 ms."""
        receive = protocol.data_received
        sock = transport.get_extra_info("socket")

        def data_received(data: bytes) -> None:
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            receive(data)

        protocol.data_received = data_received

    async def close(self) -> None:
        try:
            async with asyncio.timeout(2):
                await self._client.disconnect()
        except (TimeoutError, OSError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        self._client._is_active = False
        if self._client._connection:
            self._client._connection._keep_connection_callback.cancel()
            self._transport.abort()

    @property
    def _transport(self) -> Any:
        return self._client._connection._transport

    # What gmqtt calls.

    def _on_message(self, _: Any, topic: str, payload: bytes, _qos: int, properties: dict[str, Any]) -> None:
        if isinstance(topic, str):  # It gives what is no UTF-8 as bytes.
            self._sink.received(topic, bytes(payload), bool(properties["retain"]))

    def _on_subscribe(self, _: Any, _mid: int, granted: tuple[int, ...], _properties: Any) -> None:
        if not self._granted.done():
            self._granted.set_result(granted)

    def _on_disconnect(self, *_: Any) -> None:
        self._lose("it closed the connection")
