"""Signed tokens in compact form: ``header.payload.signature``, each in base64url (RFC 7515 section 7.1).

Stricter than most parsers, so that no two can read one token differently.
"""

import binascii
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from liveman.errors import NotAuthenticated
from liveman.token_key import Key

__all__ = ["MAX_BYTES", "Jws", "build_jws", "parse_jws", "parse_object"]

#: Longer tokens are not looked at.
MAX_BYTES = 8192

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


@frozen
class Jws:
    """A signed token, taken apart. Nothing in it is proven."""

    algorithm: str
    key_id: str
    """What it says that its key is named; empty: nothing."""
    signed: bytes
    """What the signature is over. Signatures of one text may differ; this is what tells tokens apart."""
    payload: bytes
    signature: bytes


def parse_jws(token: str) -> Jws:
    """Take a token apart. Raises NotAuthenticated."""
    if len(token) > MAX_BYTES:
        raise NotAuthenticated(f"The token is longer than the {MAX_BYTES} bytes that are accepted.")
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise NotAuthenticated("The token is not known.")
    try:
        first, payload, signature = map(_decode, match.groups())
        header = parse_object(first)
    except ValueError as error:
        raise NotAuthenticated(f"The token is malformed: {error}.") from None
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(key_id, str):
        raise NotAuthenticated("The token is malformed: alg or kid is no text.")
    if "crit" in header:
        raise NotAuthenticated("The token has critical extensions (crit), of which none is supported.")
    return Jws(algorithm, key_id, token[: match.end(2)].encode(), payload, signature)


def build_jws(claims: Mapping[str, Any], key: Key) -> str:
    """The claims as a token that the key signs."""
    parts = ({"alg": key.algorithm, "typ": "JWT"}, claims)
    signed = b".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return b".".join((signed, _encode(key.sign(signed)))).decode()


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object without repeated members, NaN and infinity. Raises ValueError."""
    try:
        value = _STRICT.decode(data.decode())
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except _Repeated:
        raise
    except ValueError:
        raise ValueError("it holds no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it holds no JSON object")
    return value


class _Repeated(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Repeated("a member of its JSON is repeated")
    return members


def _no_number(_name: str) -> None:
    raise ValueError


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number)


def _decode(text: str) -> bytes:
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("its base64 is cut off") from None
    if _encode(data) != text.encode():
        raise ValueError("its base64 has bits left over")
    return data


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
