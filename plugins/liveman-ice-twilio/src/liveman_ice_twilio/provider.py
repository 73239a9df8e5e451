"""Credentials of Twilio Network Traversal (twilio.com/docs/stun-turn/api)."""

import base64
import re
import time
from collections.abc import Callable
from typing import Annotated

from attrs import field, frozen

from liveman.ice import Between, IceLease, IceRequest, Secret, VendorApi, optional, public_url, token

__all__ = ["Twilio"]

_LONGEST_TTL = 24 * 3600


def _sid(kind: str) -> Callable[[str], str]:
    def form(text: str) -> str:
        if not re.fullmatch(rf"{kind}[0-9a-fA-F]{{32}}", text):
            raise ValueError(f"must be {kind} and 32 hexadecimal digits, as Twilio's console shows it")
        return text

    return form


class Twilio:
    """Asks Twilio for a token, once for each lease."""

    pooled = True

    @frozen
    class Options:
        account_sid: Annotated[str, _sid("AC")]
        """The account that pays."""
        auth_token: Annotated[Secret, optional(token)] = field(default=Secret())
        """The account's auth token; or use an API key, which can be revoked by itself."""
        api_key: Annotated[str, optional(_sid("SK"))] = ""
        """An API key's SID."""
        api_secret: Annotated[Secret, optional(token)] = field(default=Secret())
        """The API key's secret."""
        ttl: Annotated[int, Between(60, _LONGEST_TTL)] = 3600
        """How long credentials are good, seconds; at most a day."""
        api_base: Annotated[str, public_url] = "https://api.twilio.com"

        def __attrs_post_init__(self) -> None:
            if bool(self.api_key) != bool(self.api_secret):
                raise ValueError("api_key and api_secret belong together; one of them is missing")
            if bool(self.auth_token) == bool(self.api_key):
                raise ValueError("needs either auth_token, or api_key with api_secret")

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.time) -> None:
        self._path = f"/2010-04-01/Accounts/{options.account_sid}/Tokens.json"
        user, secret = options.account_sid, options.auth_token
        if options.api_key:
            user, secret = options.api_key, options.api_secret
        self._authorization = Secret(base64.b64encode(f"{user}:{secret.reveal()}".encode()).decode())
        self._ttl = options.ttl
        self._clock = clock
        self._api = VendorApi(
            "Twilio",
            options.api_base,
            check="account_sid and auth_token, or api_key and api_secret",
            clock=clock,
        )

    async def start(self) -> None:
        await self._api.start()

    async def close(self) -> None:
        await self._api.close()

    async def lease(self, request: IceRequest) -> IceLease:
        ttl = min(request.ttl or self._ttl, _LONGEST_TTL)
        # The life counts from before the request, by this machine's clock: so it never ends too late.
        asked_at = self._clock()
        answer = await self._api.ask(
            "POST",
            self._path,
            headers={"Authorization": f"Basic {self._authorization.reveal()}"},
            form={"Ttl": str(ttl)},
        )
        servers = self._api.turn_servers(self._api.members(answer).get("ice_servers"))
        return IceLease(servers, asked_at + self._api.seconds(answer, "ttl", asked=ttl))
