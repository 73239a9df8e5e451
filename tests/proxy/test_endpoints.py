"""What Liveman answers by itself on the endpoints, and CORS on every answer."""

import pytest
from aiohttp import ClientSession

from liveman.config import ExtraIce, Http, NodeConfig
from support.liveman import OFFER, liveman
from support.raw_node import answer, raw_node

STUN = ExtraIce(ice_servers=({"urls": ["stun:stun.example.org"]},))
COTURN = ExtraIce(providers={"coturn": {"secret": "s" * 16, "urls": ["turn:turn.example.org?transport=udp"]}})
SDP_TYPE = {"Content-Type": "application/sdp"}


@pytest.mark.parametrize("path", ["/whip/cam", "/whep/cam"])
async def test_get_and_head_tell_that_the_endpoint_is_there(path: str) -> None:
    async with raw_node() as node, liveman(node) as url, ClientSession(url) as client:
        async with client.get(path) as response:
            assert (response.status, await response.read()) == (204, b"")
            assert response.headers["Cache-Control"] == "no-store"
        async with client.head(path) as response:
            assert (response.status, response.headers["Content-Type"]) == (200, "application/sdp")
        assert node.received == []


async def test_options_gives_the_ice_servers_before_anything_is_posted() -> None:
    async with raw_node() as node, liveman(node, extra_ice=STUN) as url, ClientSession(url) as client:
        async with client.options("/whep/cam") as response:
            assert response.status == 200
            assert response.headers["Accept-Post"] == "application/sdp"
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers.getall("Link") == ['<stun:stun.example.org>; rel="ice-server"']
        assert node.received == []


async def test_every_session_gets_turn_credentials_of_its_own() -> None:
    async with raw_node() as node, liveman(node, extra_ice=COTURN) as url, ClientSession(url) as client:
        links = []
        for _ in range(2):
            async with client.post("/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
                assert response.status == 201
                links += response.headers.getall("Link")
        assert all('rel="ice-server"; username="' in link for link in links)
        assert len(set(links)) == 2


async def test_relays_and_errors_get_no_ice_servers() -> None:
    async with raw_node() as node, liveman(node, extra_ice=STUN) as url, ClientSession(url) as client:
        async with client.post("/api/whip/n0/cam", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status == 201
            assert "Link" not in response.headers
        node.reply = answer("409 Conflict", 'Link: <stun:node>; rel="ice-server"', body=b"taken")
        async with client.post("/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status == 409
            assert "Link" not in response.headers


async def test_a_direct_route_names_any_alias_that_a_node_may_have() -> None:
    async with raw_node() as node, liveman(NodeConfig("Köln Süd", node.url)) as url:
        async with ClientSession(url) as client:
            async with client.post("/api/whep/Köln Süd/cam", data=OFFER, headers=SDP_TYPE) as response:
                assert response.status == 201
            async with client.delete(response.headers["Location"]) as response:
                assert response.status == 204


async def test_the_nodes_ice_servers_are_replaced_when_told_so() -> None:
    reply = answer(
        "201 Created", "Location: /session/x/1", 'Link: <stun:node>; rel="ice-server"', body=b"v=0"
    )
    override = ExtraIce(override_upstream_ice_servers=True, ice_servers=STUN.ice_servers)
    async with raw_node(reply) as node:
        for extra_ice, expected in (
            (STUN, ["stun:node", "stun:stun.example.org"]),
            (override, ["stun:stun.example.org"]),
        ):
            async with liveman(node, extra_ice=extra_ice) as url, ClientSession(url) as client:
                async with client.post("/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
                    links = response.headers.getall("Link")
                    assert links == [f'<{each}>; rel="ice-server"' for each in expected]


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("PUT", "/whip/cam", 405, "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/whep/cam", 405, "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/session/cam/x", 405, "DELETE, GET, HEAD, OPTIONS, PATCH, POST"),
        ("GET", "/api/whip/n0/cam", 405, "OPTIONS, POST"),
        ("POST", "/api/streams/", 405, "GET, OPTIONS"),
    ],
)
async def test_another_method_is_told_which_are_there(
    method: str, path: str, status: int, allow: str
) -> None:
    async with raw_node() as node, liveman(node) as url, ClientSession(url) as client:
        async with client.request(method, path) as response:
            assert (response.status, response.headers["Allow"]) == (status, allow)
            problem = await response.json(content_type="application/problem+json")
            assert problem["status"] == status
            assert set(problem) == {"type", "title", "status", "detail"}


async def test_a_direct_route_to_an_unknown_node_is_404_and_to_a_dead_one_503() -> None:
    async with liveman("http://127.0.0.1:1") as url, ClientSession(url) as client:
        async with client.post("/api/whip/nobody/cam", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status == 404
        async with client.post("/api/whep/n0/cam", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status in (502, 503)
            assert "n0" in (await response.json(content_type=None))["detail"]


async def test_no_problem_names_a_token() -> None:
    async with (
        raw_node() as node,
        liveman(node) as url,
        ClientSession(url) as client,
        client.get("/nowhere?token=secret", headers={"Authorization": "Bearer secret"}) as response,
    ):
        assert response.status == 404
        assert "secret" not in await response.text()


PREFLIGHT = {
    "Origin": "https://page.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type",
}


@pytest.mark.parametrize("path", ["/whip/cam", "/session/cam/x", "/nowhere", "/whip/..%2f"])
async def test_a_preflight_is_answered_before_anything_else(path: str) -> None:
    cors = Http(cors=True)
    async with (
        raw_node() as node,
        liveman(node, http=cors, extra_ice=STUN) as url,
        ClientSession(url) as client,
        client.options(path, headers=PREFLIGHT) as response,
    ):
        assert response.status == 204
        assert "Link" not in response.headers
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        methods = response.headers["Access-Control-Allow-Methods"].split(", ")
        assert {"POST", "PATCH", "DELETE", "GET", "OPTIONS"} <= set(methods)
        allowed = response.headers["Access-Control-Allow-Headers"].split(", ")
        assert {"authorization", "content-type", "if-match", "etag"} <= set(allowed)
        assert "Access-Control-Allow-Methods" not in response.headers.get("Access-Control-Expose-Headers", "")


@pytest.mark.parametrize(
    ("cors", "origin", "allowed", "varies"),
    [
        (False, "https://a.example", None, False),
        (True, "https://a.example", "*", False),
        (("https://a.example",), "https://a.example", "https://a.example", True),
        (("https://a.example",), "https://b.example", None, True),
    ],
)
@pytest.mark.parametrize("target", ["/whip/cam", "/nowhere", "/api/nodes/"])
async def test_every_answer_says_which_origins_may_read_it(cors, origin, allowed, varies, target) -> None:
    """Errors too; the node's own word does not count."""
    reply = answer(
        "201 Created", "Location: /session/x/1", "Access-Control-Allow-Origin: https://node", body=b"v=0"
    )
    async with (
        raw_node(reply) as node,
        liveman(node, http=Http(cors=cors)) as url,
        ClientSession(url) as client,
    ):
        method = "POST" if target.startswith("/whip") else "GET"
        headers = {"Origin": origin, **SDP_TYPE}
        async with client.request(
            method, target, data=OFFER if method == "POST" else None, headers=headers
        ) as response:
            assert response.headers.getall("Access-Control-Allow-Origin", [None]) == [allowed]
            assert ("Origin" in ", ".join(response.headers.getall("Vary", []))) is varies
            exposed = response.headers.get("Access-Control-Expose-Headers", "")
            if allowed:
                assert {"Location", "Link", "ETag", "WWW-Authenticate"} <= set(exposed.split(", "))


async def test_a_provider_that_fails_costs_the_answer_nothing_but_its_links(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(_self: object, _request: object) -> object:
        raise RuntimeError("the vendor is away")

    monkeypatch.setattr("liveman.ice.coturn.Coturn.lease", fails)
    async with raw_node() as node, liveman(node, extra_ice=COTURN) as url, ClientSession(url) as client:
        async with client.post("/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status == 201
            assert "Link" not in response.headers
