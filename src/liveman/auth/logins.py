"""Logging in and out, whichever page or program asks for it."""

import time

from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Identity
from liveman.audit import audit
from liveman.auth.credentials import cookie
from liveman.auth.gate import Gate
from liveman.errors import NotAuthenticated
from liveman.forwarded import client_of
from liveman.inbound import Inbound

__all__ = ["ALL", "LOGIN_SECONDS", "log_in", "log_out"]

ALL = MANAGE | PUBLISH | SUBSCRIBE
LOGIN_SECONDS = 86_400


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


def log_out(gate: Gate, inbound: Inbound) -> str:
    """The Set-Cookie field that takes the token away."""
    return cookie("", scheme=client_of(inbound, gate.trusted).scheme, seconds=0)
