"""``?token=``, for players and event sources, which cannot set headers."""

import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from auth.asking import SUBSCRIBE, ask, bearer, exactly, guarded, made, post
from auth.test_matrix import fill
from support.raw_node import RawNode, raw_node


def anything() -> str:
    """A token that may do everything."""
    return bearer()["Authorization"].removeprefix("Bearer ")


@pytest.fixture
async def node() -> AsyncIterator[RawNode]:
    async with raw_node() as node:
        yield node


@pytest.fixture
async def client(node: RawNode) -> AsyncIterator[ClientSession]:
    async with guarded(node) as client:
        yield client


@pytest.mark.parametrize("path", ["/api/sse/nodes", "/api/sse/streams"])
async def test_it_opens_event_streams(client: ClientSession, path: str) -> None:
    async with client.get(f"{path}?token={anything()}") as stream:
        assert stream.status == 200
        assert (await stream.content.readline()).startswith(b"data: ")


async def test_it_opens_what_a_session_sends(client: ClientSession, node: RawNode) -> None:
    """And the node does not hear of it, nor of a name that only looks otherwise."""
    path = fill("/session/s/{subscriber's session}")
    mine = bearer("s", SUBSCRIBE)["Authorization"].removeprefix("Bearer ")
    for query in (f"token={mine}", f"a=1&%74oken={mine}&b=%74", f"b=&token={mine}"):
        assert (await ask(client, "GET", f"{path}/layer?{query}")).status == 204
    assert [each.target.partition("?")[2] for each in node.received] == ["", "a=1&b=%74", "b="]
    assert not [value for each in node.received for _, value in each.fields if mine in value]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/whip/s"),
        ("POST", "/whep/s"),
        ("OPTIONS", "/whep/s"),
        ("GET", "/whep/s"),
        ("PATCH", "/session/s/{subscriber's session}"),
        ("DELETE", "/session/s/{subscriber's session}"),
        ("POST", "/session/s/{subscriber's session}/layer"),
        ("POST", "/api/whip/n0/s"),
        ("GET", "/api/nodes/"),
        ("GET", "/api/streams/"),
        ("GET", "/api/streams/s"),
        ("POST", "/api/streams/s"),
        ("DELETE", "/api/streams/s"),
        ("GET", "/api/placement"),
        ("POST", "/api/token"),
        ("DELETE", "/api/tokens/some"),
        ("GET", "/api/nodes/n0/drain"),
    ],
)
async def test_it_opens_nothing_else(client: ClientSession, node: RawNode, method: str, path: str) -> None:
    said = await ask(client, method, f"{fill(path)}?token={anything()}")
    assert said.status == 401
    assert not node.received


async def test_beside_a_good_header_it_does_not_reach_the_node_either(
    client: ClientSession, node: RawNode
) -> None:
    for path in ("/whip/cam", "/whep/cam", "/api/whip/n0/cam"):
        assert (await post(client, f"{path}?x=1&token=my-secret&tok%65n=my-secret", bearer())).status == 201
    await ask(client, "DELETE", f"{await made(client, '/whip/cam', bearer())}?token=s", headers=bearer())
    assert [each.target.partition("?")[2] for each in node.received] == ["x=1"] * 3 + ["", ""]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("token=", 401),
        ("token", 401),
        ("token=wrong", 401),
        ("Token={token}", 401),
        ("tokens={token}", 401),
        ("token={token}&token={token}", 400),
        ("token={token}&%74oken=x", 400),
        ("token=&token={token}", 400),
        ("a=1;token={token}", 401),
        ("token={token}%00", 401),
        ("token=+{token}", 401),
        ("token=%ff", 401),
        ("token=" + "x" * 8100, 401),
        ("token=" + "x" * 8193, 400),
        ("&&=&token={token}", 200),
    ],
)
async def test_what_counts_as_one(client: ClientSession, query: str, status: int) -> None:
    url = exactly(client, f"/api/sse/nodes?{query.replace('{token}', anything())}")
    async with client.get(url) as response:
        assert response.status == status


async def test_no_log_ever_shows_it(
    client: ClientSession, node: RawNode, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it is good, refused, malformed, or the node behind it fails."""
    caplog.set_level(logging.DEBUG)
    shown = (anything(), "not-a-good-one", "x" * 100)
    session = fill("/session/s/{subscriber's session}")
    for token in shown:
        for path in ("/api/sse/nodes", session, "/whip/s", "/nowhere", "/api/nodes/", "/whip/%00"):
            async with client.get(f"{path}?token={token}"):
                pass
    node.reply = b"nonsense\r\n\r\n"
    await ask(client, "GET", f"{session}?token={anything()}")
    assert "path=/api/sse/nodes" in caplog.text and "status=502" in caplog.text
    assert not [token for token in shown if token in caplog.text]
