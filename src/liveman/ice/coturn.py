"""Credentials for coturn with ``--use-auth-secret``, made here without asking it.

The scheme is turnserver(1), "TURN REST API" (draft-uberti-behave-turn-rest-00, section 2.2).
"""

import base64
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Annotated

from attrs import field, frozen

from liveman.config import Secret
from liveman.forms import Between, filled
from liveman.ice.provider import IceLease, IceRequest
from liveman.ice.server import IceServer, IceUrl, is_turn

__all__ = ["Coturn", "password"]


def password(secret: str, username: str) -> str:
    """base64(HMAC-SHA1(secret, username))"""
    return base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()


class Coturn:
    """Gives every session a username of its own: ``<expiry, unix seconds>:<random>``."""

    immediate = True

    @frozen
    class Options:
        secret: Annotated[Secret, filled]
        """coturn's ``static-auth-secret``."""
        urls: tuple[IceUrl, ...] = field()
        ttl: Annotated[int, Between(1)] = 3600
        """How long credentials are good, seconds."""

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
        self._secret = options.secret.reveal()
        self._ttl = options.ttl
        self._turn = tuple(filter(is_turn, options.urls))
        stun = [url for url in options.urls if not is_turn(url)]
        self._open = (IceServer(stun),) if stun else ()
        self._clock = clock
        self._random = random

    async def lease(self, request: IceRequest) -> IceLease:
        if not self._turn:
            return IceLease(self._open)
        expires_at = int(self._clock()) + self._ttl
        username = f"{expires_at}:{self._random()}"
        turn = IceServer(self._turn, username, Secret(password(self._secret, username)))
        return IceLease((*self._open, turn), expires_at)
