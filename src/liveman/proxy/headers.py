"""Which header fields pass the proxy, in both directions (RFC 9110 section 7.6).

Fields are pairs of bytes as they stand on the wire; order and case are kept.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence

from attrs import frozen

from liveman.inbound import Fields

__all__ = ["Peer", "answer_fields", "parse_networks", "request_fields"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
#: Host, framing and credentials are written anew; `Expect` was answered by Liveman.
_NOT_TO_NODES = _HOP_BY_HOP | {b"authorization", b"content-length", b"cookie", b"expect", b"host"}
_NOT_TO_CLIENTS = _HOP_BY_HOP | {b"content-length", b"link", b"location", b"set-cookie"}


@frozen
class Peer:
    """Who stands at the other end of the client's connection, and how it reached Liveman."""

    address: str
    scheme: str
    host: str
    """The Host that the client sent."""
    version: str = "1.1"
    """Of HTTP, for Via."""
    trusted: bool = False
    """Whether what it says of the client behind it is believed (``http.trusted_proxies``)."""


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


def request_fields(
    fields: Fields, *, peer: Peer, token: str, content_type: bytes | None = None
) -> list[tuple[bytes, bytes]]:
    """What a node gets of a client's header fields; Host and the framing are the connection's to add.

    ``token`` is the node's own (empty: none); ``content_type`` replaces the client's.
    """
    named = _named_by_connection(fields)
    kept: list[tuple[bytes, bytes]] = []
    forwarded_for: list[bytes] = []
    forwarded: list[bytes] = []
    proto = host = None
    for name, value in fields:
        key = name.lower()
        if key in _NOT_TO_NODES or key in named or not _is_clean(value):
            continue
        if key.startswith(b"x-forwarded-") or key == b"forwarded":
            if not peer.trusted:
                continue
            if key == b"x-forwarded-for":
                forwarded_for.append(value)
                continue
            if key == b"forwarded":
                forwarded.append(value)
                continue
            proto = proto or key == b"x-forwarded-proto"
            host = host or key == b"x-forwarded-host"
        if key != b"content-type" or content_type is None:
            kept.append((name, value))
    if content_type is not None:
        kept.append((b"Content-Type", content_type))
    if forwarded:
        kept.append((b"Forwarded", b", ".join([*forwarded, _forwarded(peer)])))
    kept.append((b"X-Forwarded-For", b", ".join([*forwarded_for, _ascii(peer.address)])))
    if not proto:
        kept.append((b"X-Forwarded-Proto", peer.scheme.encode()))
    if not host and peer.host:
        kept.append((b"X-Forwarded-Host", _ascii(peer.host)))
    kept.append((b"Via", f"{peer.version} liveman".encode()))
    if token:
        kept.append((b"Authorization", b"Bearer " + token.encode()))
    return kept


def answer_fields(fields: Fields) -> list[tuple[bytes, bytes]]:
    """What a client gets of a node's header fields; Location, Link and the framing are made anew."""
    named = _named_by_connection(fields)
    kept = []
    for field in fields:
        key = field[0].lower()
        if key in _NOT_TO_CLIENTS or key in named or key.startswith(b"access-control-"):
            continue
        if key.isascii() and _is_clean(field[1]):
            kept.append(field)
    return kept


def _named_by_connection(fields: Fields) -> frozenset[bytes]:
    listed = [value for name, value in fields if name.lower() == b"connection"]
    if not listed or listed in ([b"keep-alive"], [b"close"]):
        return frozenset()
    return frozenset(token.strip().lower() for value in listed for token in value.split(b","))


_CLEAN = re.compile(rb"[\t -~]*")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def _is_clean(value: bytes) -> bool:
    """No control character, and UTF-8: a header that would be cut on its way is dropped whole."""
    if _CLEAN.fullmatch(value):
        return True
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(value)


def _forwarded(peer: Peer) -> bytes:
    """RFC 7239 section 4; an IPv6 address stands in brackets and quotes."""
    address = f'"[{peer.address}]"' if ":" in peer.address else peer.address
    return _ascii(f"for={address};proto={peer.scheme}")


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")
