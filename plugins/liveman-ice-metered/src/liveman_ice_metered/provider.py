"""Credentials of Metered's TURN service (metered.ca/docs/turn-rest-api)."""

import re
import time
from collections.abc import Callable
from typing import Annotated

from attrs import frozen

from liveman.ice import Between, IceLease, IceRequest, Secret, VendorApi, optional, public_url, token

__all__ = ["Metered"]


def _app_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", text):
        raise ValueError('must be the first part of "<app name>.metered.live" alone')
    return text.lower()


class Metered:
    """Makes a credential, then asks for its servers, once for each lease."""

    pooled = True

    @frozen
    class Options:
        app_name: Annotated[str, _app_name]
        """The app's name, as in ``https://<app name>.metered.live``."""
        secret_key: Annotated[Secret, token]
        """The app's secret key, of the page Developers in Metered's dashboard."""
        ttl: Annotated[int, Between(60)] = 3600
        """How long credentials are good, seconds."""
        api_base: Annotated[str, optional(public_url)] = ""
        """Empty: ``https://<app name>.metered.live``."""

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.time) -> None:
        self._secret_key = options.secret_key
        self._ttl = options.ttl
        self._clock = clock
        base = options.api_base or f"https://{options.app_name}.metered.live"
        self._api = VendorApi("Metered", base, check="app_name and secret_key", clock=clock)

    async def start(self) -> None:
        await self._api.start()

    async def close(self) -> None:
        await self._api.close()

    async def lease(self, request: IceRequest) -> IceLease:
        ttl = request.ttl or self._ttl
        # The life counts from before the request, by this machine's clock: so it never ends too late.
        asked_at = self._clock()
        made = await self._api.ask(
            "POST",
            "/api/v1/turn/credential",
            query={"secretKey": self._secret_key.reveal()},
            json={"expiryInSeconds": ttl, "label": "liveman"},
        )
        expires_at = asked_at + self._api.seconds(made, "expiryInSeconds", asked=ttl)
        listed = await self._api.ask(
            "GET", "/api/v1/turn/credentials", query={"apiKey": self._api.text(made, "apiKey")}
        )
        return IceLease(self._api.turn_servers(listed), expires_at)
