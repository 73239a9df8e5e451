"""Peer connections of this process: few addresses, no STUN, and nothing left behind when they are closed."""

import aioice
import aiortc.rtcicetransport
import ifaddr
from aiortc import RTCConfiguration, RTCPeerConnection

__all__ = ["new_peer"]

_MOST_ADDRESSES = 4


def new_peer() -> RTCPeerConnection:
    """A peer connection that gathers host candidates alone: few, and loopback where there is nothing else.

    aioice by itself offers every address of the host, and none at all where there is only loopback.
    """
    aioice.ice.get_host_addresses = _host_addresses
    aiortc.rtcicetransport.Connection = _Connection  # type: ignore[attr-defined]
    return _Peer(RTCConfiguration(iceServers=[]))


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    ips = [ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    ipv4 = [ip.ip for ip in ips if isinstance(ip.ip, str) and not ip.ip.startswith("127.")]
    ipv6 = [ip.ip[0] for ip in ips if isinstance(ip.ip, tuple) and ip.ip[0] != "::1" and ip.ip[2] == 0]
    found = (ipv4 if use_ipv4 else []) or (ipv6 if use_ipv6 else []) or ["127.0.0.1"]
    return found[:_MOST_ADDRESSES]


class _Peer(RTCPeerConnection):
    """One that may be closed in the middle of its DTLS handshake.

    That goes on while aiortc closes, and when it succeeds it starts what had been stopped.
    """

    async def close(self) -> None:
        await super().close()
        for transceiver in self.getTransceivers():
            await transceiver.stop()
            await transceiver.receiver.transport.stop()


class _Connection(aioice.Connection):
    """One that may be closed while it connects; aioice would begin to check consent then, for ever."""

    _is_closed = False

    async def connect(self) -> None:
        await super().connect()
        if self._is_closed:
            await self.close()
            raise ConnectionError("closed while connecting")

    async def close(self) -> None:
        self._is_closed = True
        await super().close()
