"""Which header fields pass the proxy, in both directions (RFC 9110 section 7.6).

Fields are pairs of bytes as they stand on the wire; order and case are kept.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from liveman.inbound import Fields

__all__ = ["Peer", "answer_fields", "request_fields"]

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
_USUAL = ([b"keep-alive"], [b"close"])
_PRINTABLE = re.compile(rb"[\t -~]*")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_TO_CLIENTS = _HOP_BY_HOP | {b"content-length", b"link", b"location", b"set-cookie"}


class Peer(NamedTuple):
    """Who stands at the other end of the client's connection, and how it reached Liveman."""

    address: str
    scheme: str
    host: str
    """The Host that the client sent."""
    version: str = "1.1"
    """Of HTTP, for Via."""
    trusted: bool = False
    """Whether what it says of the client behind it is believed (``http.trusted_proxies``)."""


def request_fields(
    fields: Fields, *, peer: Peer, token: str, content_type: bytes | None = None
) -> list[tuple[bytes, bytes]]:
    """What a node gets of a client's header fields; Host and the framing are the connection's to add.

    ``token`` is the node's own (empty: none); ``content_type`` replaces the client's.
    """
    kept = []
    forwarding = []
    connection = []
    for field in fields:
        fate = _fate_to_nodes(field[0])
        if fate == "pass" or (fate == "type" and content_type is None):
            kept.append(field)
        elif fate == "forwarding" and peer.trusted:
            forwarding.append(field)
        elif fate == "connection":
            connection.append(field[1])
    for_next_hop = _for_next_hop(connection)
    kept = _clean(kept, for_next_hop)
    if forwarding:
        forwarding = _clean(forwarding, for_next_hop)
    if content_type is not None:
        kept.append((b"Content-Type", content_type))
    kept += _forwarding_fields(forwarding, peer) if forwarding else _own_forwarding_fields(peer)
    if token:
        kept.append((b"Authorization", b"Bearer " + token.encode()))
    return kept


def answer_fields(fields: Fields, *, connection: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """What a client gets of a node's header fields; Location, Link and the framing are made anew.

    ``connection`` holds the values of its fields of that name.
    """
    kept = [field for field in fields if _passes_to_clients(field[0])]
    return _clean(kept, _for_next_hop(connection))


def _for_next_hop(connection: Sequence[bytes]) -> set[bytes]:
    """The names that Connection fields list (RFC 9110 section 7.6.1)."""
    if not connection or connection in _USUAL:
        return set()
    return {token.strip().lower() for value in connection for token in value.split(b",")}


def _clean(fields: list[tuple[bytes, bytes]], for_next_hop: set[bytes]) -> list[tuple[bytes, bytes]]:
    """Without those for the next hop alone, and those that cannot pass byte for byte.

    A control character, or what is not UTF-8, would be cut on its way: such a field is dropped whole.
    """
    if for_next_hop:
        fields = [field for field in fields if field[0].lower() not in for_next_hop]
    if _PRINTABLE.fullmatch(b"".join([value for _, value in fields])):
        return fields
    return [field for field in fields if _is_clean(field[1])]


# The same few names come again and again.


@lru_cache(maxsize=512)
def _fate_to_nodes(name: bytes) -> Literal["pass", "drop", "type", "forwarding", "connection"]:
    key = name.lower()
    if key == b"connection":
        return "connection"
    if key in _NOT_TO_NODES:
        return "drop"
    if key == b"content-type":
        return "type"
    return "forwarding" if key == b"forwarded" or key.startswith(b"x-forwarded-") else "pass"


@lru_cache(maxsize=512)
def _passes_to_clients(name: bytes) -> bool:
    key = name.lower()
    return key.isascii() and key not in _NOT_TO_CLIENTS and not key.startswith(b"access-control-")


@lru_cache(maxsize=512)
def _own_forwarding_fields(peer: Peer) -> list[tuple[bytes, bytes]]:
    return _forwarding_fields((), peer)


def _forwarding_fields(believed: Fields, peer: Peer) -> list[tuple[bytes, bytes]]:
    """What is said of the client: by the trusted proxies before Liveman, and by Liveman."""
    named: dict[bytes, list[bytes]] = {}
    for name, value in believed:
        named.setdefault(name.lower(), []).append(value)
    addresses = named.pop(b"x-forwarded-for", [])
    forwarded = named.pop(b"forwarded", None)
    kept = [field for field in believed if field[0].lower() in named]
    if forwarded is not None:
        kept.append((b"Forwarded", b", ".join([*forwarded, _forwarded(peer)])))
    kept.append((b"X-Forwarded-For", b", ".join([*addresses, _ascii(peer.address)])))
    if b"x-forwarded-proto" not in named:
        kept.append((b"X-Forwarded-Proto", peer.scheme.encode()))
    if b"x-forwarded-host" not in named and peer.host:
        kept.append((b"X-Forwarded-Host", _ascii(peer.host)))
    kept.append((b"Via", f"{peer.version} liveman".encode()))
    return kept


def _is_clean(value: bytes) -> bool:
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
