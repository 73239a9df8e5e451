"""Credentials of Cloudflare Realtime TURN (developers.cloudflare.com/realtime/turn/generate-credentials)."""

import json
import re
import time
from collections.abc import Callable
from typing import Annotated

import aiohttp
from attrs import evolve, field, frozen

from liveman.config import Secret
from liveman.errors import ProviderError
from liveman.forms import Between, optional, public_url, token
from liveman.ice.provider import IceLease, IceRequest
from liveman.ice.server import IceServer

__all__ = ["Cloudflare", "parse_answer"]

_LONGEST_TTL = 48 * 3600
_LARGEST_ANSWER = 64 * 1024


def _key_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("must be the id of a TURN key: letters, digits, - and _ alone")
    return text


class Cloudflare:
    """Asks Cloudflare for credentials, once for each lease."""

    @frozen
    class Options:
        key_id: Annotated[str, _key_id] = ""
        """The TURN key's id; empty: Cloudflare is not used."""
        api_token: Annotated[Secret, optional(token)] = field(default=Secret())
        """The TURN key's API token."""
        ttl: Annotated[int, Between(1, _LONGEST_TTL)] = 3600
        """How long credentials are good, seconds; at most 48 hours."""
        api_base: Annotated[str, public_url] = "https://rtc.live.cloudflare.com"

        def __attrs_post_init__(self) -> None:
            if self.key_id and not self.api_token:
                raise ValueError("api_token is missing; it belongs to the TURN key that key_id names")

        @property
        def unused(self) -> bool:
            return not self.key_id

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.time) -> None:
        self._url = f"{options.api_base}/v1/turn/keys/{options.key_id}/credentials/generate-ice-servers"
        self._token = options.api_token
        self._ttl = options.ttl
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=10), trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def lease(self, request: IceRequest) -> IceLease:
        # No time comes back, so the credentials' life counts from the request.
        expires_at = self._clock() + self._ttl
        return IceLease(parse_answer(await self._ask()), expires_at)

    async def _ask(self) -> bytes:
        """The body of a good answer. Errors of the client hold the token, so none of them goes further."""
        if self._session is None or self._session.closed:
            raise ProviderError("Cloudflare can be asked between start and close alone")
        try:
            async with self._session.post(
                self._url,
                json={"ttl": self._ttl},
                headers={"Authorization": f"Bearer {self._token.reveal()}"},
                allow_redirects=False,
            ) as response:
                if response.status not in (200, 201):
                    raise ProviderError(_refusal(response.status), permanent=response.status in (401, 403))
                body = b""
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _LARGEST_ANSWER:
                        raise ProviderError(f"Cloudflare's answer is longer than {_LARGEST_ANSWER} bytes")
                return body
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderError(f"Cloudflare cannot be reached: {type(error).__name__}") from None


def parse_answer(body: bytes) -> tuple[IceServer, ...]:
    """The servers of ``{"iceServers": [{"urls", "username", "credential"}, …]}``, or of one object in it.

    Urls on port 53 are left out, since browsers refuse or delay them. Raises ProviderError.
    """
    try:
        answer = json.loads(body)
        servers = IceServer.from_json(answer["iceServers"])
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ProviderError("Cloudflare's answer is no JSON object with iceServers; check api_base") from None
    kept = []
    for server in servers:
        if urls := tuple(url for url in server.urls if not _ON_PORT_53.search(url)):
            kept.append(evolve(server, urls=urls))
    if not kept:
        raise ProviderError("Cloudflare's answer holds no server that can be used")
    return tuple(kept)


_ON_PORT_53 = re.compile(r":0*53(?:\?|$)")


def _refusal(status: int) -> str:
    if status in (401, 403, 404):
        return f"Cloudflare refuses the key ({status}); check key_id and api_token"
    if status == 429:
        return "Cloudflare was asked too often (429)"
    return f"Cloudflare answered with status {status}; check api_base if that lasts"
