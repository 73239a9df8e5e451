"""A host application that says who is asking, by its own means."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, web

from auth.asking import MANAGE, PUBLISH, SUBSCRIBE, ask, bearer, client_of, keeper, made, post
from auth.issuing import SECRET
from liveman import Identity, create_app
from liveman.config import Auth, Secret
from liveman.config_auth import Quotas, Webhook
from liveman.server import serving
from support.liveman import OFFER, config_for
from support.nodes import until
from support.raw_node import RawNode, raw_node

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "embed_identity.py"
SDP = {"Content-Type": "application/sdp"}


@asynccontextmanager
async def asking(identity: Any, *nodes: RawNode, **auth: Any) -> AsyncIterator[ClientSession]:
    app = create_app(config_for(*nodes, auth=Auth(**auth)), identity=identity)
    async with serving(app, "127.0.0.1:0") as url, client_of(url) as client:
        yield client


@pytest.mark.parametrize("kind", ["plain", "async", "object"])
async def test_who_asks_is_whom_the_host_names(kind: str) -> None:
    """By a plain function, an async one, or an object that is called."""

    def plain(request: web.Request) -> Identity | None:
        name = request.headers.get("X-Session")
        return Identity("a viewer", "cam", SUBSCRIBE) if name == "viewer" else None

    async def later(request: web.Request) -> Identity | None:
        await asyncio.sleep(0)
        return plain(request)

    class Called:
        def __call__(self, request: web.Request) -> Identity | None:
            return plain(request)

    found = {"plain": plain, "async": later, "object": Called()}[kind]
    viewer = {"X-Session": "viewer"}
    async with keeper() as kept, asking(found, kept.node, secret=Secret(SECRET)) as client:
        await made(client, "/whip/cam", bearer())
        assert (await post(client, "/whep/cam", viewer)).status == 201
        assert (await post(client, "/whip/cam", viewer)).status == 403
        assert (await post(client, "/whep/other", viewer)).status == 403
        assert (await ask(client, "GET", "/api/nodes/", headers=viewer)).status == 403
        session = await made(client, "/whep/cam", viewer)
        assert (await ask(client, "DELETE", session, headers=viewer)).status == 204


async def test_for_nobody_the_configuration_decides() -> None:
    """An identity of the host's alone switches authentication on: without a token nobody gets in."""
    async with raw_node() as node:
        async with asking(lambda _: None, node) as client:
            assert (await post(client, "/whip/cam")).status == 401
            assert (await ask(client, "GET", "/healthz")).status == 200
        async with asking(lambda _: None, node, tokens=(Secret("static"),)) as client:
            assert (await post(client, "/whip/cam")).status == 401
            assert (await post(client, "/whip/cam", {"Authorization": "Bearer static"})).status == 201


async def test_whom_the_host_knows_needs_nothing_of_the_configurations() -> None:
    """Nor is what he shows of the host's own looked at: headers and cookies are the host's to read."""
    found = Identity("ann", mode=7)
    async with raw_node() as node, asking(lambda _: found, node, secret=Secret(SECRET)) as client:
        for shown in (
            {"Authorization": "Bearer of-the-host"},
            {"Authorization": "Negotiate abc"},
            {"Cookie": "liveman=x", "Sec-Fetch-Site": "cross-site"},
        ):
            assert (await post(client, "/whip/cam", shown)).status == 201
        assert not [value for each in node.received for _, value in each.fields if "of-the-host" in value]


async def test_an_access_service_is_asked_of_the_hosts_people_whatever_they_show() -> None:
    """Here it is down, and lets everyone in."""
    webhook = Webhook("http://127.0.0.1:1/access", Secret("shared"), on_failure="allow")
    found = Identity("ann", "cam", PUBLISH)
    async with raw_node() as node, asking(lambda _: found, node, webhook=webhook) as client:
        for shown in ({}, {"Authorization": "Negotiate abc"}, {"Authorization": "Basic !"}):
            assert (await post(client, "/whip/cam", shown)).status == 201


@pytest.mark.parametrize(
    ("raised", "status", "headers"),
    [
        (web.HTTPForbidden(text="Not you."), 403, {}),
        (web.HTTPFound("/log-in"), 302, {"Location": "/log-in"}),
        (
            web.HTTPUnauthorized(headers={"WWW-Authenticate": "Negotiate"}),
            401,
            {"WWW-Authenticate": "Negotiate"},
        ),
        (RuntimeError("the password is hunter2"), 500, {}),
        (KeyError("hunter2"), 500, {}),
        (TimeoutError(), 500, {}),
    ],
)
@pytest.mark.parametrize("expects", [False, True])
async def test_what_a_host_raises_lets_nobody_in(
    raised: Exception, status: int, headers: dict[str, str], expects: bool
) -> None:
    """Its own answers are passed on, as a problem; of its failures the client learns nothing."""

    async def identity(_request: web.Request) -> Identity:
        raise raised

    async with raw_node() as node, asking(identity, node, secret=Secret(SECRET)) as client:
        sent = {**bearer(), **SDP, **({"Expect": "100-continue"} if expects else {})}
        async with client.post("/whip/cam", data=OFFER, headers=sent, allow_redirects=False) as got:
            assert got.status == status
            assert got.content_type == "application/problem+json"
            assert "hunter2" not in await got.text()
            for name, value in headers.items():
                assert got.headers[name] == value
        assert not node.received


async def test_all_cookies_of_a_hosts_answer_are_passed_on() -> None:
    """To a program and to a browser."""

    async def identity(_request: web.Request) -> Identity:
        away = web.HTTPFound("/log-in")
        away.headers.add("Set-Cookie", "a=1")
        away.headers.add("Set-Cookie", "b=2")
        raise away

    async with raw_node() as node, asking(identity, node) as client:
        for accept in ("application/json", "text/html"):
            got = await client.get("/nodes/", headers={"Accept": accept}, allow_redirects=False)
            assert got.status == 302
            assert got.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert got.headers["Location"] == "/log-in"


@pytest.mark.parametrize("found", ["ann", True, {"subject": "ann"}, object(), 0])
async def test_what_is_no_identity_lets_nobody_in(found: object) -> None:
    async with raw_node() as node, asking(lambda _: found, node) as client:
        assert (await post(client, "/whip/cam")).status == 500
        assert not node.received


async def test_who_is_undecided_needs_a_service_that_decides() -> None:
    found = Identity("ann", undecided=True)
    async with raw_node() as node, asking(lambda _: found, node) as client:
        for path in ("/whip/cam", "/whep/cam", "/session/cam/x"):
            assert (await post(client, path)).status == 401
        assert not node.received


async def test_open_pages_and_preflights_ask_nobody() -> None:
    asked = []

    def identity(request: web.Request) -> Identity | None:
        asked.append(request.path)
        return None

    async with asking(identity) as client:
        assert (await ask(client, "GET", "/healthz")).status == 200
        headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        assert (await ask(client, "OPTIONS", "/whip/cam", headers=headers)).status == 204
        assert (await ask(client, "POST", "/api/logout")).status == 204
        assert not asked


async def test_a_hosts_people_have_quotas_and_can_be_revoked() -> None:
    """By the name and the token that the host gives."""

    def identity(request: web.Request) -> Identity:
        name = request.headers["X-Session"]
        return Identity(
            name, mode=PUBLISH | SUBSCRIBE | (MANAGE if name == "admin" else 0), token_id=f"session of {name}"
        )

    quotas = Quotas(publishers_per_subject=1)
    async with keeper() as kept, asking(identity, kept.node, quotas=quotas) as client:
        ann, admin = {"X-Session": "ann"}, {"X-Session": "admin"}
        await made(client, "/whip/a", ann)
        assert (await post(client, "/whip/b", ann)).status == 429
        await made(client, "/whip/b", {"X-Session": "bob"})
        assert (await ask(client, "DELETE", "/api/tokens/session%20of%20ann", headers=admin)).status == 204

        async def gone() -> bool:
            return [stream for _, stream in kept.sessions.values()] == ["b"]

        await until(gone)
        assert (await post(client, "/whip/a", ann)).status == 401


async def test_the_example_knows_its_own_people() -> None:
    spec = importlib.util.spec_from_file_location("embed_identity", EXAMPLE)
    assert spec and spec.loader
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    async with keeper() as kept:
        app = example.application(config_for(kept.node, auth=Auth(secret=Secret(SECRET))))
        async with serving(app, "127.0.0.1:0") as url:
            async with client_of(url) as stranger:
                assert (await post(stranger, "/live/whip/cam")).status == 401
                assert (await post(stranger, "/live/whip/cam", {"Cookie": "session=guessed"})).status == 401
                assert (await post(stranger, "/live/whip/cam", bearer("cam", PUBLISH))).status == 201
            for name, lists, nodes in (("ann", 200, 403), ("admin", 200, 201)):
                async with ClientSession(url, cookie_jar=CookieJar(unsafe=True)) as client:
                    async with client.post("/login", data={"name": name}) as response:
                        assert response.status == 200
                    assert (await post(client, f"/live/whip/{name}")).status == 201
                    assert (await post(client, "/live/whep/cam")).status == 201
                    assert (await ask(client, "GET", "/live/api/nodes/")).status == lists
                    more = {"alias": "more", "url": "http://127.0.0.1:1"}
                    assert (await ask(client, "POST", "/live/api/nodes/", json=more)).status == nodes
