"""The addresses that WebRTC peers of this process offer as host candidates."""

import aioice.ice
import ifaddr

__all__ = ["offer_reachable_addresses"]

_MOST = 4


def offer_reachable_addresses() -> None:
    """From now on gather few host candidates, and loopback where the host has nothing else.

    aioice alone offers every address, and none at all on a host that has only loopback.
    """
    aioice.ice.get_host_addresses = _host_addresses


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    ips = [ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    ipv4 = [ip.ip for ip in ips if isinstance(ip.ip, str) and not ip.ip.startswith("127.")]
    ipv6 = [ip.ip[0] for ip in ips if isinstance(ip.ip, tuple) and ip.ip[0] != "::1" and ip.ip[2] == 0]
    found = (ipv4 if use_ipv4 else []) or (ipv6 if use_ipv6 else []) or ["127.0.0.1"]
    return found[:_MOST]
