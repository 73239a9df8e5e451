"""What a request shows of its sender: a token, a name with its password, or nothing.

| where | which requests |
|---|---|
| ``Authorization: Bearer``, ``Basic`` | all |
| ``?token=`` | those that players and event sources make, which cannot set headers |
| the cookie of the dashboard | all; what changes anything only from Liveman's own pages |

The first of them that there is counts, whether it is good or not.
"""

import base64
import binascii
from collections.abc import Sequence
from urllib.parse import unquote_plus

from attrs import field, frozen

from liveman.access import Rule
from liveman.errors import BadRequest, NotAllowed, NotAuthenticated
from liveman.forwarded import Network, client_of
from liveman.inbound import Inbound

__all__ = ["Password", "Token", "check_page", "cookie", "cookie_name", "kept", "shown"]

#: Those that change nothing (RFC 9110, section 9.2.1).
_SAFE = ("GET", "HEAD", "OPTIONS")
#: Longer ones are not looked at, characters.
_LONGEST = 8192


@frozen
class Token:
    """A bearer's token."""

    text: str = field(repr=False)


@frozen
class Password:
    """A name, and the password that goes with it."""

    username: str
    password: str = field(repr=False)


def shown(inbound: Inbound, rule: Rule, trusted: Sequence[Network] = ()) -> Token | Password | None:
    """None: it shows nothing. ``trusted``: the networks of ``http.trusted_proxies``.

    Raises BadRequest, NotAuthenticated, and NotAllowed for another site's page.
    """
    values = [value for name, value in inbound.fields if name.lower() == b"authorization"]
    if len(values) > 1:
        raise BadRequest("There are several Authorization headers; send one.")
    if values:
        return _authorization(values[0])
    if rule.query_token and (token := _query_token(inbound.query)) is not None:
        return token
    # Last, as browsers send it with everything, also where it is no good any more.
    token = kept(inbound, trusted)
    if token is not None and inbound.method not in _SAFE and not _same_origin(inbound, trusted):
        raise NotAllowed("The cookie is for Liveman's own pages alone; others send a token.")
    return token


def check_page(inbound: Inbound, trusted: Sequence[Network]) -> None:
    """Other sites' pages log nobody in or out. Who does not say where it comes from is no browser.

    Raises NotAllowed.
    """
    says = inbound.header(b"sec-fetch-site") or inbound.header(b"origin")
    if says and not _same_origin(inbound, trusted):
        raise NotAllowed(
            "This form is for Liveman's own pages alone. A proxy before it must pass on the header Host, or "
            "say X-Forwarded-Host and stand in http.trusted_proxies."
        )


def cookie_name(scheme: str) -> str:
    """Over https with a prefix, which no other host of the domain can set (RFC 6265bis, section 4.1.3.2)."""
    return "__Host-liveman" if scheme == "https" else "liveman"


def cookie(token: str, *, scheme: str, seconds: int) -> str:
    """The Set-Cookie field that keeps a token in a browser for so long; 0: no longer."""
    secure = "; Secure" if scheme == "https" else ""
    name = cookie_name(scheme)
    return f"{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def _authorization(value: bytes) -> Token | Password:
    if len(value) > _LONGEST:
        raise NotAuthenticated(f"The token is longer than the {_LONGEST} bytes that are accepted.")
    scheme, _, rest = value.decode("utf-8", "replace").strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and rest:
        return _token(rest)
    if scheme.lower() == "basic":
        return _password(rest)
    raise NotAuthenticated("The Authorization header is understood as `Bearer <token>` or `Basic …` alone.")


def _token(text: str) -> Token:
    if len(text) > _LONGEST:
        raise NotAuthenticated(f"The token is longer than the {_LONGEST} bytes that are accepted.")
    return Token(text)


def _password(text: str) -> Password:
    """RFC 7617, in UTF-8."""
    try:
        name, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise NotAuthenticated("Basic credentials are base64 of `name:password` in UTF-8.") from None
    if not colon:
        raise NotAuthenticated("Basic credentials are base64 of `name:password` in UTF-8.")
    return Password(name, password)


def _query_token(query: str) -> Token | None:
    pairs = (item.partition("=") for item in query.split("&"))
    tokens = [unquote_plus(value) for name, _, value in pairs if unquote_plus(name) == "token"]
    if len(tokens) > 1:
        raise BadRequest("There are several tokens in the query; send one.")
    return _token(tokens[0]) if tokens and tokens[0] else None


def kept(inbound: Inbound, trusted: Sequence[Network]) -> Token | None:
    """What the cookie of a login holds; None: there is none."""
    header = inbound.header(b"cookie")
    if not header:
        return None
    name = cookie_name(client_of(inbound, trusted).scheme)
    for pair in header.replace(",", ";").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name and value:
            return _token(value)
    return None


def _same_origin(inbound: Inbound, trusted: Sequence[Network]) -> bool:
    """By what pages cannot forge: Sec-Fetch-Site, or Origin, from browsers that are too old for it and, but
    for localhost, where there is no https."""
    if site := inbound.header(b"sec-fetch-site"):
        return site == "same-origin"
    client = client_of(inbound, trusted)
    return inbound.header(b"origin").lower() == f"{client.scheme}://{client.host}".lower()
