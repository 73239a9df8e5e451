"""Credentials of Cloudflare Realtime TURN (developers.cloudflare.com/realtime/turn/generate-credentials)."""

import re
import time
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

from attrs import evolve, field, frozen

from liveman.config import Secret
from liveman.errors import ProviderError
from liveman.forms import Between, optional, public_url, token
from liveman.ice.provider import IceLease, IceRequest
from liveman.ice.server import IceServer, is_turn
from liveman.ice.vendor import VendorApi

__all__ = ["Cloudflare"]

_LONGEST_TTL = 48 * 3600


def _key_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("must be the id of a TURN key: letters, digits, - and _ alone")
    return text


class Cloudflare:
    """Asks Cloudflare for credentials, once for each lease."""

    pooled = True

    @frozen
    class Options:
        key_id: Annotated[str, _key_id] = ""
        """The TURN key's id; empty: Cloudflare is not used."""
        api_token: Annotated[Secret, optional(token)] = field(default=Secret())
        """The TURN key's API token."""
        ttl: Annotated[int, Between(1, _LONGEST_TTL)] = 3600
        """How long credentials are good, seconds; at most 48 hours."""
        custom_identifier: str = ""
        """Under which name Cloudflare's analytics count these credentials; empty: none."""
        api_base: Annotated[str, public_url] = "https://rtc.live.cloudflare.com"

        def __attrs_post_init__(self) -> None:
            if self.key_id and not self.api_token:
                raise ValueError("api_token is missing; it belongs to the TURN key that key_id names")

        @property
        def unused(self) -> bool:
            return not self.key_id

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.time) -> None:
        self._path = f"/v1/turn/keys/{options.key_id}/credentials"
        self._authorization = Secret(f"Bearer {options.api_token.reveal()}")
        self._ttl = options.ttl
        self._identifier = options.custom_identifier
        self._clock = clock
        self._api = VendorApi(
            "Cloudflare", options.api_base, check="key_id, api_token and api_base", clock=clock
        )

    async def start(self) -> None:
        await self._api.start()

    async def close(self) -> None:
        await self._api.close()

    async def lease(self, request: IceRequest) -> IceLease:
        ttl = min(request.ttl or self._ttl, self._ttl)
        body: dict[str, object] = {"ttl": ttl}
        if self._identifier:
            body["customIdentifier"] = self._identifier
        # No time comes back, so the credentials' life counts from the request.
        expires_at = self._clock() + ttl
        answer = await self._post("/generate-ice-servers", body)
        servers = self._api.turn_servers(self._api.members(answer).get("iceServers"))
        return IceLease(_without_port_53(servers), expires_at)

    async def revoke(self, lease: IceLease) -> None:
        for username in {server.username for server in lease.servers if server.username}:
            await self._post(f"/{quote(username, safe='')}/revoke", None)

    async def _post(self, path: str, body: object) -> object:
        headers = {"Authorization": self._authorization.reveal()}
        answer: object = await self._api.ask("POST", self._path + path, headers=headers, json=body)
        return answer


def _without_port_53(servers: tuple[IceServer, ...]) -> tuple[IceServer, ...]:
    """Browsers refuse or delay urls on port 53. Raises ProviderError when no TURN is left."""
    kept = []
    for server in servers:
        if urls := tuple(url for url in server.urls if not _ON_PORT_53.search(url)):
            kept.append(evolve(server, urls=urls))
    if not any(is_turn(url) for server in kept for url in server.urls):
        raise ProviderError("Cloudflare's answer holds no TURN server but on port 53")
    return tuple(kept)


_ON_PORT_53 = re.compile(r":0*53(?:\?|$)")
