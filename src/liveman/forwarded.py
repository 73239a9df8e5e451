"""The client behind trusted proxies: what their X-Forwarded-* and Forwarded (RFC 7239) fields say of it."""

import ipaddress
import re
from collections.abc import Iterable, Sequence

from attrs import frozen

from liveman.inbound import Inbound

__all__ = ["Client", "Network", "client_of", "is_trusted", "parse_networks"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A name begins where no letter stands before it: else a long word would be tried from each of its letters.
_PAIR = re.compile(r'(?<![A-Za-z])([A-Za-z]++)=(?:"([^"\\]*)"|([^\s;,"]*))')
_SCHEMES = ("http", "https")


@frozen
class Client:
    """Who asks, and by which address of Liveman's."""

    address: str
    scheme: str
    host: str
    """As the client wrote it, with the port where it did."""


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks of ``http.trusted_proxies``; raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_trusted(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks; an IPv4 address may come mapped into IPv6."""
    if not networks:
        return False
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def client_of(inbound: Inbound, networks: Sequence[Network]) -> Client:
    """The client, as the trusted proxies between it and Liveman tell it; the last one that is not trusted.

    A proxy passes on what it does not set, so where X-Forwarded-* and Forwarded say different things, a
    client may have written one of them, and neither is believed.
    """
    peer = Client(inbound.remote, inbound.scheme, inbound.header(b"host"))
    if not is_trusted(peer.address, networks):
        return peer
    chain = [each.strip() for each in inbound.header(b"x-forwarded-for").split(",") if each.strip()]
    scheme, host = (_last(inbound.header(name)) for name in (b"x-forwarded-proto", b"x-forwarded-host"))
    told = [dict(_pairs(each)) for each in inbound.header(b"forwarded").split(",") if each.strip()]
    last = told[-1] if told else {}
    through = [each.get("for", "") for each in told]
    return Client(
        _agreed(_nearest(chain, networks), _nearest(through, networks), peer.address),
        _agreed(_scheme(scheme), _scheme(last.get("proto", "")), peer.scheme),
        _agreed(host, last.get("host", ""), peer.host),
    )


def _agreed(one: str, other: str, otherwise: str) -> str:
    return (one or other or otherwise) if not (one and other) or one == other else otherwise


def _nearest(chain: Sequence[str], networks: Sequence[Network]) -> str:
    """Of the addresses, each as the next proxy saw it, the last that is no proxy's; "" when there is none."""
    found = ""
    for text in reversed(chain):
        address = _address(text)
        if not address:
            break
        found = address
        if not is_trusted(address, networks):
            break
    return found


def _address(text: str) -> str:
    """Without port, brackets and zone; "" for no address, as RFC 7239's ``unknown`` and ``_names``."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return ""


def _last(text: str) -> str:
    """What the nearest proxy said, where several have added to a list."""
    return text.rpartition(",")[2].strip()


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in _SCHEMES else ""


def _pairs(element: str) -> Iterable[tuple[str, str]]:
    return ((match[1].lower(), match[2] or match[3] or "") for match in _PAIR.finditer(element))
