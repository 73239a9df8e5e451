"""Logging in and out, whichever page or program asks for it."""

import asyncio
import re
import time

from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Identity
from liveman.audit import audit
from liveman.auth.credentials import check_page, cookie, kept
from liveman.auth.gate import Gate
from liveman.errors import DatabaseError, NotAuthenticated, TooMany
from liveman.forwarded import client_of
from liveman.inbound import Inbound
from liveman.logs import get_logger

__all__ = ["ALL", "LOGIN_SECONDS", "log_in", "log_in_by_token", "log_out"]

log = get_logger("liveman.auth")

#: RFC 6265, section 4.1.1.
_NOT_IN_COOKIES = re.compile(r"[^!#-+\--:<-\[\]-~]")

#: A cookie's name and value together, in bytes, beyond which browsers drop it without a word (RFC 6265bis,
#: section 5.7); the longest name is ``__Host-liveman``.
_LONGEST_COOKIE = 4096 - len("__Host-liveman")

ALL = MANAGE | PUBLISH | SUBSCRIBE
LOGIN_SECONDS = 86_400
#: So long a logout waits for the database.
_PATIENCE_SECONDS = 3.0


async def log_in(gate: Gate, inbound: Inbound, username: str, password: str) -> tuple[str, str]:
    """A token that may do everything, and the Set-Cookie field that keeps it in a browser.

    Raises NotAuthenticated, TooMany, Unavailable.
    """
    inbound.identity = Identity(username if gate.passwords.has(username) else "nobody")
    try:
        right = await gate.login(inbound, username, password)
    except Exception:
        audit(inbound, "login refused")
        raise
    if not right:
        audit(inbound, "login failed")
        raise NotAuthenticated("The name or the password is wrong.")
    audit(inbound, "login")
    token = gate.tokens.make(stream="*", mode=ALL, expires_at=time.time() + LOGIN_SECONDS, subject=username)
    scheme = client_of(inbound, gate.trusted).scheme
    return token, cookie(token, scheme=scheme, seconds=LOGIN_SECONDS)


async def log_in_by_token(gate: Gate, inbound: Inbound, token: str) -> tuple[Identity, str]:
    """Whose token it is, and the Set-Cookie field that keeps the token in a browser, until it expires.

    Raises NotAuthenticated, TooMany.
    """
    inbound.identity = Identity("nobody")
    try:
        identity = inbound.identity = await gate.shown_by(inbound, token)
    except NotAuthenticated:
        audit(inbound, "login failed")
        raise
    if _NOT_IN_COOKIES.search(token):
        raise NotAuthenticated("This token holds a character that no cookie can; log in with another one.")
    if len(token) > _LONGEST_COOKIE:
        raise NotAuthenticated("This token is too long for a cookie; log in with another one.")
    audit(inbound, "login")
    left = LOGIN_SECONDS if identity.expires_at is None else int(identity.expires_at - time.time())
    scheme = client_of(inbound, gate.trusted).scheme
    return identity, cookie(token, scheme=scheme, seconds=max(1, min(left, LOGIN_SECONDS)))


async def log_out(gate: Gate, inbound: Inbound) -> str:
    """The Set-Cookie field that takes the token away. One that an account's login has made is good no more;
    others were somebody's before, and may be in use elsewhere. Raises NotAllowed for another site's page."""
    check_page(inbound, gate.trusted)
    token = kept(inbound, gate.trusted)
    if token is not None:
        await _end(gate, inbound, token.text)
    return cookie("", scheme=client_of(inbound, gate.trusted).scheme, seconds=0)


async def _end(gate: Gate, inbound: Inbound, token: str) -> None:
    try:
        identity = inbound.identity = await gate.shown_by(inbound, token)
    except (NotAuthenticated, TooMany):
        return
    audit(inbound, "logout")
    if identity.token_id and gate.passwords.has(identity.subject):
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await gate.revocations.revoke(identity.token_id)
        except (DatabaseError, TimeoutError) as error:
            reason = error.detail if isinstance(error, DatabaseError) else "the database takes too long"
            log.warning("a logout may not have revoked its token", token=identity.token_id, reason=reason)
