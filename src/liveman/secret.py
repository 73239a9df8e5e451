"""What is made with the cluster's secret: the macs of session ids, and the tokens of relays.

A client sees ``<node's id>.<alias tag><kind><mac>``. The tag says which node made the session, so any
instance routes it without asking anyone; the mac says that Liveman gave it out.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from attrs import frozen

__all__ = [
    "RELAY_TOKEN_SECONDS",
    "Kind",
    "SessionTag",
    "alias_tag",
    "build_relay_token",
    "build_session_id",
    "parse_session_id",
    "verify_relay_token",
    "verify_session_id",
]

Kind = Literal["p", "s"]
"""``p``: a publisher's session, ``s``: a subscriber's."""

#: How long a relay's token is good for making its session; for that session's end it does not expire.
RELAY_TOKEN_SECONDS = 60

_TAGGED = re.compile(r"(?P<id>.+)\.(?P<alias>[a-z2-7]{8})(?P<kind>[ps])(?P<mac>[a-z2-7]{8})", re.DOTALL)
_RELAY_TOKEN = re.compile(r"relay-(?P<issued>[0-9]{1,12})-(?P<seal>[0-9a-f]{32})")

_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]


@frozen
class SessionTag:
    """A session id that Liveman gave out, taken apart. Nothing in it is proven before `verify_session_id`."""

    id: str
    """The id that the node gave."""
    alias_tag: str
    kind: Kind
    mac: str


@lru_cache(maxsize=4096)
def alias_tag(alias: str) -> str:
    """The 8 characters that stand for a node in its session ids."""
    return _eight(hashlib.blake2b(alias.encode()).digest())


def build_session_id(secret: bytes, *, alias: str, kind: Kind, stream: str, id: str) -> str:
    """The id that the client gets for the session ``id`` that the node ``alias`` made."""
    return f"{id}.{alias_tag(alias)}{kind}{_mac(secret, alias, kind, stream, id)}"


@lru_cache(maxsize=256)
def parse_session_id(text: str) -> SessionTag | None:
    """Take a client's session id apart; None when it carries no tag, as the nodes' own ids."""
    match = _TAGGED.fullmatch(text)
    if match is None:
        return None
    kind: Kind = "p" if match["kind"] == "p" else "s"
    return SessionTag(id=match["id"], alias_tag=match["alias"], kind=kind, mac=match["mac"])


def verify_session_id(secret: bytes, tag: SessionTag, *, alias: str, stream: str) -> bool:
    """Whether this cluster gave the id out, for this node and stream."""
    return hmac.compare_digest(tag.mac, _mac(secret, alias, tag.kind, stream, tag.id))


def build_relay_token(secret: bytes, *, alias: str, kind: Kind, stream: str, issued: int) -> str:
    """What a node shows to Liveman when it relays a stream to, or from, the node ``alias``.

    ``kind``: of the session that is made there; ``issued``: Unix time, seconds.
    """
    return f"relay-{issued}-{_seal(secret, alias, kind, stream, str(issued))}"


def verify_relay_token(secret: bytes, token: str, *, alias: str, kind: Kind, stream: str) -> int | None:
    """When a relay's token was issued; None when it is none for this node, kind and stream."""
    match = _RELAY_TOKEN.fullmatch(token)
    if match is None:
        return None
    seal = _seal(secret, alias, kind, stream, match["issued"])
    return int(match["issued"]) if hmac.compare_digest(match["seal"], seal) else None


def _seal(secret: bytes, *parts: str) -> str:
    keyed = _keyed(secret, b"liveman relay").copy()
    keyed.update(_joined(parts))
    return keyed.hexdigest()[:32]


def _mac(secret: bytes, alias: str, kind: str, stream: str, id: str) -> str:
    keyed = _keyed(secret, b"liveman session").copy()
    keyed.update(_joined((alias, kind, stream, id)))
    return _eight(keyed.digest())


def _joined(parts: Sequence[str]) -> bytes:
    # A length before each part keeps ("a", "bc") and ("ab", "c") apart.
    message = b""
    for part in parts:
        data = part.encode()
        message += len(data).to_bytes(4, "big") + data
    return message


@lru_cache(maxsize=4)
def _keyed(secret: bytes, person: bytes) -> "hashlib.blake2b":
    key = secret if len(secret) <= 64 else hashlib.blake2b(secret).digest()
    return hashlib.blake2b(key=key, person=person)


def _eight(digest: bytes) -> str:
    """The first 8 characters in base32, which stand for 5 bytes."""
    bits = int.from_bytes(digest[:5], "big")
    return _PAIRS[bits >> 30] + _PAIRS[bits >> 20 & 1023] + _PAIRS[bits >> 10 & 1023] + _PAIRS[bits & 1023]
