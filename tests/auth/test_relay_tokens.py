"""Relays come with tokens of their own: for one node, kind and stream, and fresh where they begin."""

import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from auth.asking import Keeper, ask, bearer, client_of, guarded, keeper, post
from auth.issuing import SECRET, native
from liveman import create_app
from liveman.access import Identity
from liveman.config import Auth, Cascade, NodeConfig, Secret
from liveman.config_auth import Quotas, RateLimits
from liveman.demo.client import publish, subscribe
from liveman.demo.nodes import buildin_nodes
from liveman.demo.pictures import Quadrants, quadrant_colours
from liveman.secret import build_relay_token, build_session_id
from liveman.server import serving
from support.liveman import config_for, liveman
from support.nodes import alike, until

FAST_END = {"check_tick_time": 200, "maximum_idle_time": 500}


def relay(
    *, alias: str = "n0", kind: str = "p", stream: str = "cam", age: int = 0, secret: str = SECRET
) -> dict[str, str]:
    issued = int(time.time()) - age
    token = build_relay_token(secret.encode(), alias=alias, kind=kind, stream=stream, issued=issued)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("mode", ["push", "pull"])
async def test_nodes_relay_to_one_another_while_everyone_must_say_who_he_is(mode: str) -> None:
    """Through Liveman, as their addresses are its alone to know; viewers see the picture, and it ends."""
    options = Cascade(mode=mode, **FAST_END)  # type: ignore[arg-type]
    token = Secret("what the nodes want")
    async with buildin_nodes(2, token=token) as nodes:
        declared = [NodeConfig(each.alias, each.url, token=token, sub_max=1) for each in nodes]
        publisher, viewer = (
            native({"id": "cam", "mode": bit, "exp": int(time.time()) + 600}) for bit in (2, 4)
        )
        auth = Auth(secret=Secret(SECRET))
        async with (
            liveman(*declared, auth=auth, cascade=options) as url,
            client_of(url) as client,
            await publish(f"{url}/whip/cam", [Quadrants()], token=publisher),
        ):
            viewers = [await subscribe(f"{url}/whep/cam", kinds=["video"], token=viewer) for _ in range(2)]
            for each in viewers:
                await each.wait_for_picture(lambda frame: alike(quadrant_colours(frame)), timeout=20)
            rows = (await ask(client, "GET", "/api/nodes/", headers=bearer())).json
            assert [row["subscribers"] for row in rows] == [1, 1]
            for each in viewers:
                await each.close()

            async def alone() -> bool:
                return len((await ask(client, "GET", "/api/streams/cam", headers=bearer())).json) == 1

            await until(alone, within=20)


@pytest.fixture
async def kept() -> AsyncIterator[Keeper]:
    async with keeper() as kept:
        yield kept


@pytest.fixture
async def client(kept: Keeper) -> AsyncIterator[ClientSession]:
    async with guarded(kept.node, kept.node.url) as client:
        yield client


DIRECT = "/api/whip/n0/cam"


@pytest.mark.parametrize(
    ("changed", "path", "status"),
    [
        ({}, DIRECT, 201),
        ({"kind": "s"}, "/api/whep/n0/cam", 201),
        ({"age": 50}, DIRECT, 201),
        ({"age": -50}, DIRECT, 201),
        ({"age": 70}, DIRECT, 401),
        ({"age": -70}, DIRECT, 401),
        ({"kind": "s"}, DIRECT, 401),
        ({}, "/api/whep/n0/cam", 401),
        ({"alias": "n1"}, DIRECT, 401),
        ({}, "/api/whip/n1/cam", 401),
        ({"stream": "other"}, DIRECT, 401),
        ({}, "/api/whip/n0/other", 401),
        ({}, "/api/whip/n0/%63am", 201),
        ({"secret": "another secret"}, DIRECT, 401),
        ({}, "/whip/cam", 401),
        ({}, "/api/streams/cam", 401),
        ({}, "/api/token", 401),
    ],
)
async def test_where_a_relays_token_begins_something(
    client: ClientSession, kept: Keeper, changed: dict, path: str, status: int
) -> None:
    assert (await post(client, path, relay(**changed))).status == status
    assert len(kept.node.received) == (status == 201)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 204),
        ({"age": 86_400}, 204),
        ({"alias": "n1"}, 401),
        ({"kind": "s"}, 401),
        ({"stream": "other"}, 401),
        ({"secret": "another secret"}, 401),
    ],
)
async def test_a_relay_comes_back_to_its_own_session_alone_however_late(
    client: ClientSession, kept: Keeper, changed: dict, status: int
) -> None:
    session = (await post(client, DIRECT, relay())).headers["Location"]
    assert (await ask(client, "DELETE", session, headers=relay(**changed))).status == status
    assert bool(kept.sessions) is (status != 204)


async def test_a_relay_needs_a_true_id(client: ClientSession, kept: Keeper) -> None:
    """Its token proves the node, kind and stream; which session, the id's own mac does."""
    session = (await post(client, DIRECT, relay())).headers["Location"]
    for wrong in (session[:-1] + ("a" if session[-1] != "a" else "b"), session.partition(".")[0]):
        assert (await ask(client, "DELETE", wrong, headers=relay())).status in (401, 404)
    other = build_session_id(SECRET.encode(), alias="n0", kind="p", stream="other", id="whip-1")
    assert (await ask(client, "DELETE", f"/session/other/{other}", headers=relay())).status == 401
    assert kept.sessions


@pytest.mark.parametrize(
    "found", [None, Identity("host's", "nothing", 0), RuntimeError("the host is broken"), web.HTTPForbidden()]
)
async def test_a_relay_is_known_before_the_host_is_asked(kept: Keeper, found: object) -> None:
    """Whatever it says of it: nodes have no session with the host."""
    asked = []

    async def identity(request: web.Request) -> Identity | None:
        asked.append(request.path)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[return-value]

    config = config_for(kept.node, auth=Auth(secret=Secret(SECRET)))
    async with serving(create_app(config, identity=identity), "127.0.0.1:0") as url, client_of(url) as client:
        said = await post(client, DIRECT, relay())
        assert said.status == 201
        assert (await ask(client, "DELETE", said.headers["Location"], headers=relay(age=3600))).status == 204
        assert not asked
        assert (await post(client, DIRECT, relay(age=3600))).status in (401, 403, 500)
        assert asked == [DIRECT]


async def test_relays_use_up_no_quota_and_no_rate() -> None:
    auth = {
        "quotas": Quotas(publishers_per_subject=1, subscribers_per_subject=1, subscribers_per_stream=1),
        "rate_limits": RateLimits(address_per_minute=1, subject_per_minute=1),
    }
    async with keeper() as kept, guarded(kept.node, auth=auth) as client:
        for i in range(4):
            assert (await post(client, f"/api/whip/n0/s{i}", relay(stream=f"s{i}"))).status == 201
            headers = relay(stream="s0", kind="s")
            assert (await post(client, "/api/whep/n0/s0", headers)).status == 201
