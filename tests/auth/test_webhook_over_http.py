"""An outside service decides who publishes and watches; what it does not know of goes on without it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from attrs import define, field

from auth.issuing import SECRET, native
from liveman.config import Auth, Secret
from liveman.config_auth import Webhook
from support.liveman import OFFER, liveman
from support.raw_node import RawNode, raw_node

SDP = {"Content-Type": "application/sdp"}


@define
class Service:
    """The access service: it lets in who shows the token ``good``."""

    asked: list[dict] = field(factory=list)
    down: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        question = await request.json()
        self.asked.append(question)
        if self.down:
            await asyncio.sleep(3600)
        return web.json_response({"allow": question["token"] == "good", "reason": "not in the list"})


@asynccontextmanager
async def guarded(
    service: Service, *, timeout_ms: int = 2000, **auth: object
) -> AsyncIterator[tuple[ClientSession, RawNode]]:
    app = web.Application()
    app.router.add_post("/access", service.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    webhook = Webhook(f"http://127.0.0.1:{port}/access", Secret("shared"), timeout_ms=timeout_ms)
    try:
        async with (
            raw_node() as node,
            liveman(node, auth=Auth(webhook=webhook, **auth)) as url,
            ClientSession(url) as client,
        ):
            yield client, node
    finally:
        await runner.cleanup()


async def post(client: ClientSession, token: str, path: str = "/whip/cam") -> tuple[int, str, str]:
    headers = {**SDP, **({"Authorization": f"Bearer {token}"} if token else {})}
    async with client.post(path, data=OFFER, headers=headers) as response:
        return response.status, response.headers.get("Location", ""), await response.text()


async def test_the_service_lets_in_and_turns_away() -> None:
    """With its reason; who shows nothing is told to show something."""
    service = Service()
    async with guarded(service) as (client, node):
        assert (await post(client, "good"))[0] == 201
        status, _, text = await post(client, "bad")
        assert status == 403
        assert "not in the list" in text
        assert (await post(client, ""))[0] == 401
        assert node.targets("POST") == ["/whip/cam"]
    question = service.asked[0]
    assert (question["action"], question["stream"], question["address"]) == ("publish", "cam", "127.0.0.1")


async def test_a_session_goes_on_without_the_service() -> None:
    """PATCH and DELETE ask nobody: the session's id proves that its POST was let in."""
    service = Service()
    async with guarded(service) as (client, _):
        _, location, _ = await post(client, "good")
        asked = len(service.asked)
        service.down = True
        for headers in ({"Authorization": "Bearer good"}, {}):
            async with client.patch(location, data=b"a=candidate", headers=headers) as response:
                assert response.status == 204
        async with client.delete(location[:-1] + ("a" if location[-1] != "a" else "b")) as response:
            assert response.status == 404
        async with client.delete(location) as response:
            assert response.status == 204
        assert len(service.asked) == asked


async def test_a_service_that_does_not_answer_costs_its_budget_alone() -> None:
    service = Service(down=True)
    async with guarded(service, timeout_ms=50) as (client, node):
        status, _, _ = await post(client, "good")
        assert status == 503
        assert not node.received


@pytest.mark.parametrize("path", ["/api/streams/cam", "/api/nodes/", "/api/streams/"])
async def test_a_token_that_the_service_alone_knows_opens_nothing_else(path: str) -> None:
    async with (
        guarded(Service()) as (client, _),
        client.get(path, headers={"Authorization": "Bearer good"}) as response,
    ):
        assert response.status == 403


async def test_options_hand_out_credentials_only_to_those_who_are_let_in() -> None:
    async with guarded(Service()) as (client, _):
        for token, status in (("good", 200), ("bad", 403)):
            async with client.options("/whip/cam", headers={"Authorization": f"Bearer {token}"}) as response:
                assert response.status == status


async def test_a_token_of_liveman_s_own_must_please_both() -> None:
    """Its scope first, then the service, which is told whose it is; a manager of everything is not asked for."""
    service = Service()
    claims = {"exp": 4_000_000_000, "sub": "ann"}
    async with guarded(service, secret=Secret(SECRET)) as (client, _):
        assert (await post(client, native({**claims, "id": "other", "mode": 2})))[0] == 403
        assert not service.asked
        assert (await post(client, native({**claims, "id": "cam", "mode": 2})))[0] == 403
        assert service.asked[0]["subject"] == "ann"
        assert (await post(client, native({**claims, "id": "*", "mode": 3})))[0] == 201
        assert len(service.asked) == 1
