"""Cloudflare is asked as its pages say, and nothing that it answers is trusted."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from liveman.config import Secret
from liveman.errors import ProviderError
from liveman.ice.broker import Broker
from liveman.ice.cloudflare import Cloudflare
from liveman.ice.provider import IceLease, IceRequest, load
from liveman.ice.server import IceServer

TOKEN = "s3cret-token"
REQUEST = IceRequest("publish", "cam")

#: As Cloudflare's pages show it.
ANSWER = {
    "iceServers": [
        {"urls": ["stun:stun.cloudflare.com:3478", "stun:stun.cloudflare.com:53"]},
        {
            "urls": [
                "turn:turn.cloudflare.com:3478?transport=udp",
                "turn:turn.cloudflare.com:53?transport=udp",
                "turn:turn.cloudflare.com:80?transport=tcp",
                "turns:turn.cloudflare.com:5349?transport=tcp",
                "turns:turn.cloudflare.com:443?transport=tcp",
            ],
            "username": "user",
            "credential": "pass",
        },
    ]
}
TURN = IceServer(
    (
        "turn:turn.cloudflare.com:3478?transport=udp",
        "turn:turn.cloudflare.com:80?transport=tcp",
        "turns:turn.cloudflare.com:5349?transport=tcp",
        "turns:turn.cloudflare.com:443?transport=tcp",
    ),
    "user",
    Secret("pass"),
)
SERVERS = (IceServer(("stun:stun.cloudflare.com:3478",)), TURN)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Vendor:
    """A double of Cloudflare's API that answers as the test says and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str | None, Any]] = []
        self.handler: Handler = self.answers(201, json.dumps(ANSWER))

    @staticmethod
    def answers(status: int, body: str, content_type: str = "application/json", **headers: str) -> Handler:
        async def handle(_: web.Request) -> web.Response:
            return web.Response(status=status, text=body, content_type=content_type, headers=headers)

        return handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        authorization = request.headers.get("Authorization")
        body = await request.text()
        self.requests.append((request.method, request.raw_path, authorization, json.loads(body or "null")))
        return await self.handler(request)


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def base(vendor: Vendor) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", vendor.handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@pytest.fixture
async def cloudflare(base: str) -> AsyncIterator[Cloudflare]:
    options = Cloudflare.Options(key_id="key-1", api_token=Secret(TOKEN), ttl=600, api_base=f"{base}prefix")
    provider = Cloudflare(options, clock=lambda: 1000.0)
    await provider.start()
    yield provider
    await provider.close()


async def test_it_is_asked_as_its_pages_say(cloudflare: Cloudflare, vendor: Vendor) -> None:
    """The life of the credentials counts from the request, since none comes back."""
    assert await cloudflare.lease(REQUEST) == IceLease(SERVERS, 1600.0)
    path = "/prefix/v1/turn/keys/key-1/credentials/generate-ice-servers"
    assert vendor.requests == [("POST", path, f"Bearer {TOKEN}", {"ttl": 600})]


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("form", ["a list", "an object"])
async def test_both_forms_of_its_answer_are_taken(
    cloudflare: Cloudflare, vendor: Vendor, form: str, status: int
) -> None:
    servers = ANSWER["iceServers"] if form == "a list" else ANSWER["iceServers"][1]
    vendor.handler = vendor.answers(status, json.dumps({"iceServers": servers}))
    lease = await cloudflare.lease(REQUEST)
    assert lease.servers == (SERVERS if form == "a list" else (TURN,))


HTML = "<!DOCTYPE html><html><body>Sign in to the hotel's network</body></html>"

REFUSALS = [
    (Vendor.answers(400, "{}"), "status 400"),
    (Vendor.answers(401, '{"errors":[{"message":"bad token"}]}'), "check key_id, api_token and api_base"),
    (Vendor.answers(403, HTML, "text/html"), "check key_id, api_token and api_base"),
    (Vendor.answers(404, ""), "check key_id, api_token and api_base"),
    (Vendor.answers(429, "{}", **{"Retry-After": "5"}), "asked too often"),
    (Vendor.answers(500, HTML, "text/html"), "status 500"),
    (Vendor.answers(503, json.dumps(ANSWER)), "status 503"),
    (Vendor.answers(204, ""), "no JSON object"),
    (Vendor.answers(200, HTML, "text/html"), "is no JSON"),
    (Vendor.answers(201, ""), "is no JSON"),
    (Vendor.answers(201, '{"iceServers":[{"urls":["stun:a"]}'), "is no JSON"),
    (Vendor.answers(201, "[" * 60_000), "is no JSON"),
    (Vendor.answers(201, " " * 65_536 + json.dumps(ANSWER)), "longer than 65536 bytes"),
    (Vendor.answers(201, '{"iceServers":"' + "x" * 5_000_000 + '"}'), "longer than 65536 bytes"),
]


@pytest.mark.parametrize(("handler", "problem"), REFUSALS, ids=[problem for _, problem in REFUSALS])
async def test_other_answers_are_errors_that_say_what_to_check(
    cloudflare: Cloudflare, vendor: Vendor, handler: Handler, problem: str
) -> None:
    """The next lease is fine when the vendor is."""
    good, vendor.handler = vendor.handler, handler
    with pytest.raises(ProviderError, match=problem) as raised:
        await cloudflare.lease(REQUEST)
    assert TOKEN not in f"{raised.value!r}"
    vendor.handler = good
    assert (await cloudflare.lease(REQUEST)).servers == SERVERS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    cloudflare: Cloudflare, vendor: Vendor, status: int, base: str
) -> None:
    """The token goes nowhere but to api_base."""
    vendor.handler = vendor.answers(status, "", Location=f"{base}elsewhere")
    with pytest.raises(ProviderError, match=f"status {status}"):
        await cloudflare.lease(REQUEST)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("how", ["closes at once", "breaks off", "garbage"])
async def test_a_broken_connection_is_an_error_without_the_token(
    cloudflare: Cloudflare, vendor: Vendor, how: str
) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if how == "breaks off":
            request.transport.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{")
        elif how == "garbage":
            request.transport.write(b"\x16\x03\x01 what\r\n\r\n")
        request.transport.close()
        return web.Response()

    vendor.handler = handle
    with pytest.raises(ProviderError, match="cannot be reached") as raised:
        await cloudflare.lease(REQUEST)
    assert TOKEN not in f"{raised.value!r}"


async def test_a_vendor_that_is_not_there_is_an_error(base: str, unused_tcp_port: int) -> None:
    options = Cloudflare.Options(
        key_id="k", api_token=Secret(TOKEN), api_base=f"http://127.0.0.1:{unused_tcp_port}"
    )
    provider = Cloudflare(options)
    await provider.start()
    with pytest.raises(ProviderError, match="cannot be reached"):
        await provider.lease(REQUEST)
    await provider.close()


async def test_outside_of_start_and_close_it_says_so(cloudflare: Cloudflare) -> None:
    options = Cloudflare.Options(key_id="k", api_token=Secret(TOKEN))
    with pytest.raises(ProviderError, match="between start and close"):
        await Cloudflare(options).lease(REQUEST)
    await Cloudflare(options).close()
    await cloudflare.close()
    with pytest.raises(ProviderError, match="between start and close"):
        await cloudflare.lease(REQUEST)


@pytest.mark.parametrize("broken", ["hangs", "refuses", "garbage"])
async def test_through_the_broker_a_vendor_in_trouble_fails_no_request(
    vendor: Vendor, base: str, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The other providers' servers are there, and the token is in no log."""
    caplog.set_level(logging.DEBUG)

    async def hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.Event().wait()
        return response

    vendor.handler = {
        "hangs": hang,
        "refuses": vendor.answers(401, "{}"),
        "garbage": vendor.answers(201, "{"),
    }[broken]
    table = {
        "cloudflare": {"key_id": "key", "api_token": TOKEN, "api_base": base},
        "ice_servers": [{"urls": ["stun:a"]}],
    }
    async with Broker(load(table), timeout_ms=100) as broker:
        assert await broker.servers(REQUEST) == (IceServer(("stun:a",)),)
    assert "provider=cloudflare" in caplog.text
    assert TOKEN not in caplog.text


TURN_A = {"urls": "turn:a", "username": "u", "credential": "c"}
SERVER_A = IceServer(("turn:a",), "u", Secret("c"))

PARSED: list[tuple[Any, tuple[IceServer, ...]]] = [
    (ANSWER, SERVERS),
    ({"iceServers": TURN_A}, (SERVER_A,)),
    (
        {"iceServers": [{"urls": ["stun:[::53]", "stun:b:5353", "stun:c:153", "stun:d:53"]}, TURN_A]},
        (IceServer(("stun:[::53]", "stun:b:5353", "stun:c:153")), SERVER_A),
    ),
    (
        {"iceServers": [{**TURN_A, "urls": ["turn:x:53", "turn:y:053?transport=tcp", "turn:a"]}]},
        (SERVER_A,),
    ),
    (
        {"iceServers": [{"urls": ["turn:no-credentials", "stun:a", "stun:b\r\nX: y"]}, 5, TURN_A]},
        (IceServer(("stun:a",)), SERVER_A),
    ),
]

UNUSABLE: list[Any] = [
    None,
    5,
    "text",
    [],
    [ANSWER],
    {},
    {"iceServers": None},
    {"iceServers": "stun:a"},
    {"iceServers": []},
    {"iceServers": {}},
    {"iceServers": [None]},
    {"iceServers": [{"urls": []}]},
    {"iceServers": [{"urls": ["stun:a"]}]},
    {"iceServers": [{**TURN_A, "urls": ["turn:a:53"]}]},
    {"iceServers": [{"urls": ["stun:a"]}, {**TURN_A, "urls": ["turn:a:53"]}]},
    {"iceServers": [{**TURN_A, "username": ""}]},
    {"iceServers": [{"urls": ["turn:a"], "username": "u"}]},
    {"iceServers": [{**TURN_A, "urls": ["turn:a\r\nSet-Cookie: x"]}]},
    {"iceServers": [{**TURN_A, "username": "u\r\n"}]},
]


@pytest.mark.parametrize(("answer", "servers"), PARSED)
async def test_what_can_be_used_of_an_answer_is_used(
    cloudflare: Cloudflare, vendor: Vendor, answer: Any, servers: tuple[IceServer, ...]
) -> None:
    """Urls on port 53 never are."""
    vendor.handler = vendor.answers(201, json.dumps(answer))
    assert (await cloudflare.lease(REQUEST)).servers == servers


@pytest.mark.parametrize("answer", UNUSABLE)
async def test_an_answer_without_anything_to_use_is_an_error(
    cloudflare: Cloudflare, vendor: Vendor, answer: Any
) -> None:
    vendor.handler = vendor.answers(201, json.dumps(answer))
    with pytest.raises(ProviderError, match="Cloudflare's answer"):
        await cloudflare.lease(REQUEST)


async def test_a_shorter_life_is_asked_for_and_a_longer_one_is_not(
    cloudflare: Cloudflare, vendor: Vendor
) -> None:
    assert (await cloudflare.lease(IceRequest.ahead(60))).expires_at == 1060.0
    assert (await cloudflare.lease(IceRequest.ahead(604_800))).expires_at == 1600.0
    assert [body for *_, body in vendor.requests] == [{"ttl": 60}, {"ttl": 600}]


async def test_the_identifier_for_analytics_is_sent(base: str, vendor: Vendor) -> None:
    options = Cloudflare.Options(
        key_id="k", api_token=Secret(TOKEN), custom_identifier="prod eu", api_base=base.rstrip("/")
    )
    provider = Cloudflare(options)
    await provider.start()
    await provider.lease(REQUEST)
    await provider.close()
    assert vendor.requests[0][3] == {"ttl": 3600, "customIdentifier": "prod eu"}


async def test_a_lease_is_revoked_by_its_username(cloudflare: Cloudflare, vendor: Vendor) -> None:
    """Whatever stands in it stays one segment of the path."""
    vendor.handler = vendor.answers(204, "")
    odd = IceServer(("turn:h",), "a/../b?c", Secret("c"))
    await cloudflare.revoke(IceLease((IceServer(("stun:h",)), odd, odd)))
    ((method, path, authorization, body),) = vendor.requests
    assert (method, authorization, body) == ("POST", f"Bearer {TOKEN}", None)
    assert path == "/prefix/v1/turn/keys/key-1/credentials/a%2F..%2Fb%3Fc/revoke"


@pytest.mark.parametrize(
    ("status", "headers", "permanent", "retry_after"),
    [
        (401, {}, True, None),
        (403, {"Retry-After": "5"}, True, None),
        (404, {}, False, None),
        (429, {"Retry-After": "5"}, False, 5.0),
        (429, {"Retry-After": "Thu, 01 Jan 1970 00:20:00 GMT"}, False, 200.0),
        (429, {"Retry-After": "soon"}, False, None),
        (503, {"Retry-After": "99999999"}, False, 3600.0),
        (500, {}, False, None),
    ],
)
async def test_a_refusal_says_when_asking_again_is_of_use(
    cloudflare: Cloudflare,
    vendor: Vendor,
    status: int,
    headers: dict[str, str],
    permanent: bool,
    retry_after: float | None,
) -> None:
    vendor.handler = vendor.answers(status, "{}", **headers)
    with pytest.raises(ProviderError) as raised:
        await cloudflare.lease(REQUEST)
    assert (raised.value.permanent, raised.value.retry_after) == (permanent, retry_after)


async def test_what_is_left_in_the_pool_is_revoked_at_the_end(base: str, vendor: Vendor) -> None:
    """Through the broker: one session's credentials stay good, the others do not."""
    issued = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal issued
        if request.path.endswith("/revoke"):
            return web.Response(status=204)
        issued += 1
        return web.json_response({"iceServers": {**TURN_A, "username": f"user-{issued}"}}, status=201)

    vendor.handler = handle
    table = {"cloudflare": {"key_id": "key", "api_token": TOKEN, "api_base": base}}
    async with Broker(load(table), timeout_ms=5000) as broker:
        (server,) = await broker.servers(REQUEST)
    revoked = {path.split("/")[-2] for _, path, *_ in vendor.requests if path.endswith("/revoke")}
    assert revoked
    assert server.username not in revoked


async def test_the_life_of_the_credentials_begins_before_the_request(base: str) -> None:
    """The vendor counts from when it made them; an answer that takes long must not make them live longer."""
    ticks = itertools.count(1000.0)
    options = Cloudflare.Options(key_id="k", api_token=Secret(TOKEN), ttl=600, api_base=base.rstrip("/"))
    provider = Cloudflare(options, clock=lambda: next(ticks))
    await provider.start()
    assert (await provider.lease(REQUEST)).expires_at == 1600.0
    await provider.close()
