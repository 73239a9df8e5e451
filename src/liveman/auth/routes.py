"""Logging in and out, and tokens: made, and revoked."""

import time
from typing import Annotated
from urllib.parse import quote, unquote

from aiohttp import web
from attrs import frozen

from liveman import forms
from liveman.access import MANAGE, OPEN, PUBLISH, SUBSCRIBE, Rule, stream_name
from liveman.audit import audit
from liveman.auth.gate import Gate
from liveman.auth.logins import log_in, log_out
from liveman.errors import BadRequest, NotAllowed
from liveman.forms import Between
from liveman.json_body import read_json
from liveman.middleware import INBOUND, Route, json_response

__all__ = ["routes", "scope"]

_TOKENS = Rule(MANAGE)


@frozen
class Login:
    """Who wants in."""

    username: str
    password: str


def scope(text: str) -> str:
    """The stream that a token is for, or ``*``. Raises ValueError."""
    try:
        return stream_name(quote(text, safe="", errors="surrogatepass"))
    except BadRequest as error:
        raise ValueError(f'must be "*" or the name of a stream: {error.detail}') from None


@frozen
class TokenRequest:
    """The token that is wanted."""

    id: Annotated[str, scope]
    """The one stream that it is for, or ``*``."""
    duration: Annotated[int, Between(1, 31_536_000)]
    """Seconds."""
    subscribe: bool = False
    publish: bool = False
    admin: bool = False

    @property
    def mode(self) -> int:
        return self.subscribe * SUBSCRIBE | self.publish * PUBLISH | self.admin * MANAGE


def routes(gate: Gate) -> list[Route]:
    async def login(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        gate.count(inbound)
        asked = await read_json(request, Login)
        token, kept = await log_in(gate, inbound, asked.username, asked.password)
        return _token(token, {"Set-Cookie": kept})

    async def logout(request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"Set-Cookie": await log_out(gate, request[INBOUND])})

    async def make(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        asked = await read_json(request, TokenRequest)
        maker = inbound.identity
        expires_at = int(time.time()) + asked.duration
        if asked.mode & ~maker.mode:
            raise NotAllowed("A token cannot have more than the one that it is made with.")
        if maker.expires_at is not None and expires_at > maker.expires_at:
            left = max(int(maker.expires_at - time.time()), 0)
            raise NotAllowed(f"A token cannot outlive the one that it is made with, which has {left} s left.")
        token = gate.tokens.make(stream=asked.id, mode=asked.mode, expires_at=expires_at)
        made = await gate.tokens.identify(token)
        audit(inbound, "token made", token=made.token_id, stream=asked.id, mode=asked.mode, until=expires_at)
        return _token(token)

    async def revoke(request: web.Request) -> web.Response:
        inbound = request[INBOUND]
        try:
            token_id = forms.printable(unquote(inbound.segments[-1]))
        except ValueError as error:
            raise BadRequest(f"A token's id (jti) {error}.") from None
        await gate.revocations.revoke(token_id)
        audit(inbound, "token revoked", token=token_id)
        return web.Response(status=204)

    return [
        Route("POST", "/api/login", login, OPEN),
        Route("POST", "/api/logout", logout, OPEN),
        Route("POST", "/api/token", make, _TOKENS),
        Route("DELETE", "/api/tokens/{jti}", revoke, _TOKENS),
    ]


def _token(token: str, headers: dict[str, str] | None = None) -> web.Response:
    data = {"token_type": "Bearer", "access_token": token}
    return json_response(data, headers={"Cache-Control": "no-store", **(headers or {})})
