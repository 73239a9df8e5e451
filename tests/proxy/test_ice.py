"""What the ICE providers of a running Liveman are asked, and what of theirs a client gets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web

from liveman import create_app
from liveman.config import Auth, ExtraIce
from liveman.errors import ConfigError
from liveman.ice import IceLease, IceRequest, IceServer, Secret
from liveman.server import serving
from support.liveman import OFFER, config_for
from support.raw_node import answer, raw_node

SDP_TYPE = {"Content-Type": "application/sdp"}
STUN = ({"urls": ["stun:first"]},)


class Given:
    """A provider of the host's own: no Options, no entry point."""

    def __init__(self, *urls: str, start: Callable[[], None] = lambda: None) -> None:
        self.urls = urls
        self.requests: list[IceRequest] = []
        self.steps: list[str] = []
        self._start = start

    async def start(self) -> None:
        self.steps.append("start")
        self._start()

    async def close(self) -> None:
        self.steps.append("close")

    async def lease(self, request: IceRequest) -> IceLease:
        self.requests.append(request)
        return IceLease([IceServer(self.urls, "u", Secret("p"))])


@asynccontextmanager
async def hosting(*providers: Any, **sections: Any) -> AsyncIterator[ClientSession]:
    async with raw_node() as node:
        app = create_app(config_for(node, **sections), ice_providers=providers)
        async with serving(app, "127.0.0.1:0") as url, ClientSession(url) as client:
            yield client


async def links(
    client: ClientSession, method: str = "POST", path: str = "/whip/cam", **more: Any
) -> list[str]:
    headers = {**SDP_TYPE, **more}
    data = OFFER if method == "POST" else None
    async with client.request(method, path, data=data, headers=headers) as response:
        assert response.status in (200, 201), await response.text()
        return [link[1:].partition(">")[0] for link in response.headers.getall("Link", [])]


async def test_a_provider_learns_whom_a_lease_is_for() -> None:
    given = Given("turn:a")
    async with hosting(given) as client:
        assert await links(client) == ["turn:a"]
        await links(client, path="/whep/cam")
        await links(client, "OPTIONS", "/whep/cam")
    assert given.requests == [
        IceRequest(kind, "cam", None, "127.0.0.1")  # type: ignore[arg-type]
        for kind in ("publish", "subscribe", "options")
    ]
    assert given.steps == ["start", "close"]


async def test_a_provider_learns_who_asks_once_that_is_known() -> None:
    given = Given("turn:a")
    auth = Auth(tokens=(Secret("the-static-token"),))
    async with hosting(given, auth=auth) as client:
        await links(client, Authorization="Bearer the-static-token")
        async with client.post("/whip/cam", data=OFFER, headers=SDP_TYPE) as response:
            assert response.status == 401
    (request,) = given.requests
    assert request.subject
    assert "the-static-token" not in repr(request)


async def test_the_hosts_come_after_the_configurations_and_one_that_does_not_start_is_left_out() -> None:
    def fail() -> None:
        raise SystemExit("s3cret")

    ill, well, other = Given("turn:ill", start=fail), Given("turn:a"), Given("turn:b")
    async with hosting(ill, well, other, extra_ice=ExtraIce(ice_servers=STUN)) as client:
        assert await links(client) == ["stun:first", "turn:a", "turn:b"]
    assert (ill.requests, ill.steps) == ([], ["start", "close"])


async def test_two_of_one_class_are_two() -> None:
    async with hosting(Given("turn:a"), Given("turn:b"), Given("turn:c")) as client:
        assert await links(client) == ["turn:a", "turn:b", "turn:c"]


@pytest.mark.parametrize("first", ["ice_servers", "coturn"])
async def test_the_order_is_that_of_the_file(first: str) -> None:
    tables: dict[str, Any] = {"ice_servers": (), "coturn": {"secret": "x", "urls": ["turn:coturn"]}}
    placed = {first: tables[first]} | tables
    urls = ["stun:first", "turn:coturn"] if first == "ice_servers" else ["turn:coturn", "stun:first"]
    async with hosting(extra_ice=ExtraIce(ice_servers=STUN, providers=placed)) as client:
        assert await links(client) == urls


async def test_a_direct_route_takes_no_lease() -> None:
    given = Given("turn:a")
    async with hosting(given) as client:
        assert await links(client, path="/api/whip/n0/cam") == []
    assert given.requests == []


async def test_the_most_urls_are_those_of_the_configuration_and_what_is_dropped_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    extra_ice = ExtraIce(ice_servers=STUN, max_urls=2)
    async with hosting(Given("turn:a", "turn:b", "turn:c"), extra_ice=extra_ice) as client:
        for _ in range(3):
            assert await links(client) == ["stun:first", "turn:a"]
        assert await links(client, "OPTIONS") == ["stun:first", "turn:a"]
    told = [record.message for record in caplog.records if "max_urls" in record.message]
    assert told == ["more ICE urls than extra_ice.max_urls; dropped urls='turn:b turn:c'"]


async def test_the_budget_is_that_of_the_configuration(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Given):
        async def lease(self, request: IceRequest) -> IceLease:
            await asyncio.Event().wait()
            raise AssertionError

    async with hosting(Slow(), extra_ice=ExtraIce(timeout_ms=1)) as client:
        assert await links(client) == []
    assert "no lease within 0.001 s" in caplog.text


async def test_the_least_life_is_that_of_the_configuration(caplog: pytest.LogCaptureFixture) -> None:
    class Short(Given):
        pooled = True

        async def lease(self, request: IceRequest) -> IceLease:
            return IceLease((await super().lease(request)).servers, asyncio.get_running_loop().time() + 4e9)

    for min_life, told in ((86_400, True), (60, False)):
        caplog.clear()
        async with hosting(Short("turn:a"), extra_ice=ExtraIce(min_life=min_life)) as client:
            assert await links(client) == ([] if told else ["turn:a"])
        assert ("lower min_life" in caplog.text) is told


@pytest.mark.parametrize(
    "twice", [lambda given: [given, given], lambda given: [given, Given("turn:b"), given]]
)
def test_one_provider_stands_in_one_place(twice: Callable[[Given], list[Given]]) -> None:
    """It would be started and closed twice; so it is refused."""
    providers = twice(Given("turn:a"))
    with pytest.raises(ConfigError, match=rf"ice_providers\[{len(providers) - 1}\]: is there already"):
        create_app(config_for(), ice_providers=providers)


@pytest.mark.parametrize("wrong", [Given, object(), None, "coturn"])
def test_what_is_no_provider_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"ice_providers\[0\]: must be an object with lease"):
        create_app(config_for(), ice_providers=[wrong])


async def test_two_of_liveman_in_one_application_have_providers_of_their_own() -> None:
    one, two = Given("turn:one"), Given("turn:two")
    async with raw_node(answer("201 Created", "Location: /session/cam/1", body=b"v=0")) as node:
        host = web.Application()
        host.add_subapp("/one", create_app(config_for(node), ice_providers=[one]))
        host.add_subapp("/two", create_app(config_for(node), ice_providers=[two]))
        async with serving(host, "127.0.0.1:0") as url, ClientSession(url) as client:
            assert await links(client, path="/one/whip/a") == ["turn:one"]
            assert await links(client, path="/two/whip/b") == ["turn:two"]
    assert one.steps == two.steps == ["start", "close"]
