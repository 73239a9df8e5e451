"""From the claims of a verified token to the one who asks (RFC 7519 section 4).

| claim | of our own tokens | |
|---|---|---|
| ``id`` | needed | the one stream that it is good for, or ``*`` |
| ``mode`` | needed | 1 manage, 2 publish, 4 subscribe, added up |
| ``exp`` | needed | when it ends, Unix seconds |
| ``nbf`` | | when it begins, Unix seconds |
| ``sub`` | | whose it is |
| ``jti`` | | what it can be revoked by |

Other issuers' tokens may name ``id``, ``mode`` and ``sub`` otherwise, and write the mode in words.
"""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from liveman import forms
from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Identity, stream_name
from liveman.config import Auth, Claims
from liveman.errors import BadStreamName, NotAuthenticated

__all__ = ["LEEWAY", "fingerprint", "issued_identity", "native_identity"]

#: By how much clocks may differ, seconds.
LEEWAY = 60

#: The year 10000; what is beyond it was meant otherwise, such as in milliseconds.
_TIMES_END = 253_402_300_800

_WORDS = {"manage": MANAGE, "publish": PUBLISH, "subscribe": SUBSCRIBE}
_ALL = MANAGE | PUBLISH | SUBSCRIBE

_NATIVE = Claims()


def native_identity(claims: Mapping[str, Any], *, now: float, token_id: str) -> Identity:
    """Whom a token of Liveman's or of a node's own making stands for.

    ``token_id`` is for one without ``jti``. Raises NotAuthenticated with what is wrong.
    """
    if "aud" in claims:
        raise _refused("aud", "names an audience, which tokens of this kind do not have")
    mode = _mode(claims.get("mode"))
    if mode is None:
        raise _refused("mode", "must be a whole number from 0 to 7")
    return _identity(claims, _NATIVE, mode, now, token_id)


def issued_identity(claims: Mapping[str, Any], *, auth: Auth, now: float, token_id: str) -> Identity:
    """Whom a token of an outside issuer stands for, by the names of ``auth.claims``.

    ``auth.issuer`` and ``auth.audience`` are checked when they are set; a token for an audience is refused
    when none is set (RFC 7519 section 4.1.3). Raises NotAuthenticated with what is wrong.
    """
    if auth.issuer and claims.get("iss") != auth.issuer:
        raise _refused("iss", "must be the issuer that is configured here")
    audience = claims.get("aud", "")
    if auth.audience not in (audience if isinstance(audience, list) else [audience]):
        raise _refused("aud", "must name the audience that is configured here")
    mode = _mode_in_words(_named(claims, auth.claims.mode), auth.claims.mode)
    return _identity(claims, auth.claims, mode, now, token_id)


def fingerprint(signed: bytes) -> str:
    """A name for a token that has none, from what its signature is over; it opens nothing."""
    return hashlib.sha256(signed).hexdigest()[:32]


def _identity(claims: Mapping[str, Any], names: Claims, mode: int, now: float, token_id: str) -> Identity:
    ends = _time(claims, "exp")
    if ends is None:
        raise _refused("exp", "is missing; every token must end some time")
    if now >= ends + LEEWAY:
        raise NotAuthenticated("The token has expired.")
    begins = _time(claims, "nbf")
    if begins is not None and now < begins - LEEWAY:
        raise NotAuthenticated("The token is not valid yet.")
    token_id = _text("jti", claims.get("jti")) or token_id
    subject = _text(names.subject, _named(claims, names.subject)) or f"token:{token_id}"
    return Identity(
        subject=subject,
        stream=_stream(names.stream, _named(claims, names.stream)),
        mode=mode,
        token_id=token_id,
        expires_at=ends,
    )


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if type(value) not in (int, float) or not 0 <= value < _TIMES_END:
        raise _refused(name, "must be a number of seconds since 1970")
    return float(value)


def _mode(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _ALL else None


def _mode_in_words(value: object, name: str) -> int:
    """Words that mean nothing here are left out: lists of roles and scopes hold others too."""
    number = _mode(value)
    if number is not None:
        return number
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _refused(name, "must be a whole number from 0 to 7, or words such as publish and subscribe")
    mode = 0
    for word in words:
        mode |= _WORDS.get(word, 0)
    return mode


def _stream(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _refused(name, "must be the name of a stream, or *")
    try:
        return stream_name(quote(value, safe="", errors="surrogatepass"))
    except BadStreamName:
        raise _refused(name, "must be the name of a stream, or *") from None


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    try:
        return forms.printable(value if isinstance(value, str) else "")
    except ValueError as error:
        raise _refused(name, str(error)) from None


def _named(claims: Mapping[str, Any], name: str) -> object:
    """The claim of this name; ``a.b`` is also the member b of the claim a. None: there is none."""
    if name in claims:
        return claims[name]
    value: object = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _refused(name: str, problem: str) -> NotAuthenticated:
    return NotAuthenticated(f"The token's claim {name} {problem}.")
