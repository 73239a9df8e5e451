"""Credentials for coturn with ``--use-auth-secret``, made here without asking it.

The scheme is turnserver(1), "TURN REST API" (draft-uberti-behave-turn-rest-00, section 2.2).
"""

import base64
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Annotated, Literal

from attrs import field, frozen

from liveman.config import Secret
from liveman.forms import Between, filled
from liveman.ice.provider import IceLease, IceRequest
from liveman.ice.server import IceServer, IceUrl, is_turn

__all__ = ["Coturn", "password"]


def password(secret: str, username: str) -> str:
    """base64(HMAC-SHA1(secret, username))"""
    return base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()


def _one_or_two(secrets: tuple[Secret, ...]) -> tuple[Secret, ...]:
    if not 1 <= len(secrets) <= 2:
        raise ValueError("must be one secret, or a list of two: the one that signs and the one before it")
    return secrets


# Neither ":", which separates, nor what a quoted text would have to escape.
_UNSAFE = re.compile(r"[^A-Za-z0-9._@-]")


class Coturn:
    """Gives every session a username of its own: ``<expiry, unix seconds>:<random>[:<who>]``."""

    immediate = True

    @frozen
    class Options:
        secret: Annotated[Secret, filled] | Annotated[tuple[Annotated[Secret, filled], ...], _one_or_two]
        """coturn's ``static-auth-secret``. Of a list of two the first signs: while coturn is being moved from
        one to the other, its own list has both."""
        urls: tuple[IceUrl, ...] = field()
        ttl: Annotated[int, Between(1)] = 3600
        """How long credentials are good, seconds."""
        user_suffix: Literal["", "subject"] = ""
        """What ends the username, for coturn's logs and quotas: nothing, or who asks, by the name that
        authentication found. Letters, digits and ``-._@`` of it stay, and 64 characters at the most."""

        @urls.validator
        def _some(self, _attribute: object, urls: tuple[str, ...]) -> None:
            if not urls:
                raise ValueError("urls must hold at least one url")

    def __init__(
        self,
        options: Options,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        secrets = options.secret if isinstance(options.secret, tuple) else (options.secret,)
        self._secret = secrets[0].reveal()
        self._suffix = options.user_suffix
        self._ttl = options.ttl
        self._turn = tuple(filter(is_turn, options.urls))
        stun = [url for url in options.urls if not is_turn(url)]
        self._open = (IceServer(stun),) if stun else ()
        self._clock = clock
        self._random = random

    async def lease(self, request: IceRequest) -> IceLease:
        if not self._turn:
            return IceLease(self._open)
        expires_at = int(self._clock()) + min(request.ttl or self._ttl, self._ttl)
        username = f"{expires_at}:{self._random()}"
        if self._suffix == "subject" and request.subject:
            username += f":{_UNSAFE.sub('_', request.subject[:64])}"
        turn = IceServer(self._turn, username, Secret(password(self._secret, username)))
        return IceLease((*self._open, turn), expires_at)
