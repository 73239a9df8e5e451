"""Every route, asked by everyone: who gets in is what the table says."""

import base64
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from aiohttp import ClientSession, ClientTimeout
from attrs import frozen

from auth.access_table import BARE, PUBLISHED, TABLE, WATCHED, Row, render
from auth.issuing import SECRET, native
from liveman import create_app
from liveman.config import Account, Auth, Secret
from liveman.middleware import RULES
from liveman.secret import build_relay_token, build_session_id
from support.liveman import OFFER, config_for, liveman
from support.raw_node import raw_node

DOCS = Path(__file__).parent.parent.parent / "docs" / "access.md"
MODES = {"manage": 1, "publish": 2, "subscribe": 4}
ID = "d6b4"


@frozen
class Who:
    """One who asks."""

    name: str
    show: Callable[[], str]
    """Makes what it shows, when it is shown: some of it is good for a minute."""
    stream: str = "*"
    bits: tuple[str, ...] = ()
    wrong: int = 0
    """What everything but the open routes says to it, if it is nobody; else 0."""
    relay: str = ""
    """The kind of the relay, ``p`` or ``s``."""


def everyone() -> Iterator[Who]:
    yield Who("nobody", lambda: "", wrong=401)
    yield Who("a wrong token", lambda: "Bearer wrong", wrong=401)
    yield Who("a token that has expired", partial(_jwt, "*", *MODES, seconds=-61), wrong=401)
    yield Who("a static token", lambda: "Bearer the-static-token", "*", tuple(MODES))
    yield Who("an account", lambda: _basic("ann", "her password"), "*", tuple(MODES))
    for stream in ("*", "s", "other"):
        yield Who(f"everything on {stream}", partial(_jwt, stream, *MODES), stream, tuple(MODES))
        for bit in MODES:
            yield Who(f"{bit} on {stream}", partial(_jwt, stream, bit), stream, (bit,))
        yield Who(f"no bits on {stream}", partial(_jwt, stream), stream)
    for kind in "ps":
        yield Who(f"a relay {kind} to n0", partial(_relay, kind, "s"), wrong=401, relay=kind)
        yield Who(f"a relay {kind} of another stream", partial(_relay, kind, "other"), wrong=401)


def _relay(kind: Literal["p", "s"], stream: str) -> str:
    issued = int(time.time())
    token = build_relay_token(SECRET.encode(), alias="n0", kind=kind, stream=stream, issued=issued)
    return f"Bearer {token}"


def _basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _jwt(stream: str, *bits: str, seconds: int = 600) -> str:
    claims = {"id": stream, "exp": int(time.time()) + seconds, "mode": sum(MODES[bit] for bit in bits)}
    return f"Bearer {native(claims)}"


def expected(row: Row, path: str, who: Who) -> int:
    """401, 403 or 404; 0: it gets in."""
    if not row.bits:
        return 0
    if who.relay and row.relays:
        wanted = "p" if "whip" in path or PUBLISHED in path else "s"
        return 0 if who.relay == wanted else 401
    if who.wrong:
        return who.wrong
    anything = row.bits
    if "/session/" in path:
        anything = tuple(MODES)  # What the id wants is looked at after what the stream wants.
    if not set(anything) & set(who.bits) or not (who.stream == "*" or (row.own and who.stream == "s")):
        return 403
    return 0 if set(row.bits) & set(who.bits) else row.otherwise


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    auth = Auth(
        secret=Secret(SECRET),
        tokens=(Secret("the-static-token"),),
        accounts=(Account("ann", Secret("her password")),),
    )
    async with (
        raw_node() as node,
        raw_node() as other,
        liveman(node, other, auth=auth) as url,
        ClientSession(url, timeout=ClientTimeout(total=10)) as session,
    ):
        yield session


def fill(path: str) -> str:
    for text, kind in ((PUBLISHED, "p"), (WATCHED, "s")):
        path = path.replace(text, build_session_id(SECRET.encode(), alias="n0", kind=kind, stream="s", id=ID))
    return path.replace(BARE, ID).replace("{jti}", "some-token")


async def refusal(client: ClientSession, method: str, path: str, who: Who) -> int:
    """With what somebody is turned away; 0: it got in, whatever the answer was."""
    shown = who.show()
    headers = {"Authorization": shown} if shown else {}
    if method == "POST":
        signalling = re.match(r"/(api/)?wh[ie]p/", path)
        headers["Content-Type"] = "application/sdp" if signalling else "application/json"
    data = OFFER if method == "POST" else None
    async with client.request(method, path, headers=headers, data=data, allow_redirects=False) as got:
        turned_away = got.status in (401, 403)
        if got.status == 404 and "/session/" in path:
            turned_away = method == "HEAD" or "the one that Location named" in await got.text()
        return got.status if turned_away else 0


@pytest.mark.parametrize("name", [who.name for who in everyone()])
async def test_everyone_gets_where_the_table_says_and_nowhere_else(client: ClientSession, name: str) -> None:
    who = next(who for who in everyone() if who.name == name)  # Made now: tokens end.
    wrong = []
    for row in TABLE:
        for path in row.paths:
            for method in row.methods:
                if method == "HEAD" and BARE in path:
                    continue  # Its 404 has no words.
                want = expected(row, path, who)
                if path == "/api/login":
                    continue  # Who fails there gets 401 by another rule.
                if (got := await refusal(client, method, fill(path), who)) != want:
                    wrong.append(f"{method} {path}: {got or 'let in'} instead of {want or 'let in'}")
    assert not wrong, "\n".join(wrong)


def test_every_route_of_the_application_has_a_row() -> None:
    """A route that no rule was thought of for is found here."""
    app = create_app(config_for())
    routes = {(method, _shape(path)) for method, path in app[RULES]}
    rows = {
        (method, _shape(path))
        for row in TABLE
        for path in row.paths
        for method in row.methods
        if method != "HEAD" or (method, _shape(path)) in routes
    }
    assert rows == routes


def test_the_documentation_shows_the_table() -> None:
    assert render() in DOCS.read_text()


def _shape(path: str) -> str:
    """The same for a route and for a path of the table."""
    path = re.sub(r"^/session/(s|\{stream\})/\{[^/]*\}(/.+)?$", r"/session/*/*\2", path)
    path = re.sub(r"(?<=^/session/\*/\*)/.+", "/*", path)
    return re.sub(r"(?<=/)(s|n0|n1|\{[^/]*\})(?=/|$)", "*", path)
