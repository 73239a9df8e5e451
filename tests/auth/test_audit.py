"""Who changed what: one line for each login, token, node and stream, and never a secret in it."""

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from auth.asking import HASH, Keeper, ask, basic, bearer, guarded, keeper, made
from auth.issuing import SECRET
from liveman.config import Account, Http, Secret

ANN = basic("ann", "her secret password")
AUTH = {
    "accounts": (Account("ann", Secret("her secret password")), Account("bob", Secret(HASH))),
    "tokens": (Secret("the-static-token"),),
}


@pytest.fixture
async def kept() -> AsyncIterator[Keeper]:
    async with keeper() as kept:
        yield kept


@pytest.fixture
async def client(kept: Keeper) -> AsyncIterator[ClientSession]:
    async with guarded(kept.node, auth=AUTH, http=Http(trusted_proxies=("127.0.0.1",))) as client:
        yield client


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.set_level(logging.DEBUG)
    return _Lines(caplog)  # type: ignore[return-value]


class _Lines:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog

    def take(self) -> list[str]:
        found = [each.getMessage() for each in self.caplog.records if each.name == "liveman.audit"]
        self.caplog.clear()
        return found


async def login(client: ClientSession, name: str, password: str) -> int:
    body = {"username": name, "password": password}
    headers = {"X-Forwarded-For": "192.0.2.7"}
    return (await ask(client, "POST", "/api/login", json=body, headers=headers)).status


async def test_logins(client: ClientSession, lines: Any) -> None:
    """A name that is no account's is not repeated: it may well be a password."""
    assert await login(client, "ann", "her secret password") == 200
    assert lines.take() == ["login subject=ann address=192.0.2.7"]
    token = bearer(sub="bob")["Authorization"].removeprefix("Bearer ")
    for cookie in (f"liveman={token}", "liveman=wrong", "other=1"):
        await ask(client, "POST", "/api/logout", headers={"Cookie": cookie})
    assert lines.take() == ["logout subject=bob address=127.0.0.1"]
    assert await login(client, "ann", "a wrong password") == 401
    assert lines.take() == ["login failed subject=ann address=192.0.2.7"]
    assert await login(client, "my-own-password", "x") == 401
    assert lines.take() == ["login failed subject=nobody address=192.0.2.7"]
    for _ in range(9):
        await login(client, "bob", "a wrong password")
    lines.take()
    for status in (401, 429, 429):
        assert await login(client, "bob", "a wrong password") == status
    assert [line.partition(" subject")[0] for line in lines.take()] == [
        "login failed",
        "login refused",
        "login refused",
    ]


async def test_tokens(client: ClientSession, lines: Any) -> None:
    wanted = {"id": "cam", "duration": 60, "publish": True}
    said = await ask(client, "POST", "/api/token", json=wanted, headers=ANN)
    (line,) = lines.take()
    match = re.fullmatch(
        r"token made subject=ann address=127.0.0.1 token=(\w{32}) stream=cam mode=2 until=\d+", line
    )
    assert match, line
    assert (await ask(client, "POST", "/api/token", json={}, headers=ANN)).status == 422
    assert (await ask(client, "POST", "/api/token", json=wanted, headers=bearer("*", 1))).status == 403
    assert not lines.take()
    await ask(client, "DELETE", f"/api/tokens/{match[1]}", headers=ANN)
    assert lines.take() == [f"token revoked subject=ann address=127.0.0.1 token={match[1]}"]
    assert said.json["access_token"] not in lines.caplog.text


async def test_nodes_and_streams(client: ClientSession, kept: Keeper, lines: Any) -> None:
    """By whom: an account, a static token by its place, a JWT by its subject or its name."""
    node = {"alias": "more", "url": kept.node.url, "token": "the-nodes-own-token"}
    static = {"Authorization": "Bearer the-static-token"}
    manager = bearer("cam", 1, sub="manager")
    for method, path, headers, body, wanted in (
        ("POST", "/api/nodes/", ANN, node, f"node added subject=ann address=127.0.0.1 node=more url={kept.node.url}"),
        ("PUT", "/api/nodes/more/drain", static, {}, "node is drained subject=auth.tokens[0] address=127.0.0.1 node=more"),
        ("DELETE", "/api/nodes/more/drain", static, None, "node is back in service subject=auth.tokens[0] address=127.0.0.1 node=more"),
        ("DELETE", "/api/nodes/more", bearer(jti="a-name"), None, "node removed subject=token:a-name address=127.0.0.1 node=more"),
        ("POST", "/api/streams/cam", manager, None, "stream made subject=manager address=127.0.0.1 stream=cam node=n0"),
    ):  # fmt: skip
        said = await ask(client, method, path, headers=headers, **({} if body is None else {"json": body}))
        assert said.status < 300, said.text
        assert lines.take() == [wanted]
    await made(client, "/whip/cam", bearer())
    said = await ask(client, "DELETE", "/api/streams/cam/sessions/whip-1", headers=manager)
    assert said.status == 204
    assert lines.take() == ["session ended subject=manager address=127.0.0.1 stream=cam session=whip-1"]
    await made(client, "/whip/cam", bearer())
    assert (await ask(client, "DELETE", "/api/streams/cam", headers=manager)).status == 204
    assert lines.take() == ["stream deleted subject=manager address=127.0.0.1 stream=cam"]


async def test_what_was_refused_changed_nothing_and_is_no_line(client: ClientSession, lines: Any) -> None:
    for method, path in (
        ("POST", "/api/nodes/"),
        ("DELETE", "/api/nodes/n0"),
        ("PUT", "/api/nodes/n0/drain"),
        ("POST", "/api/streams/cam"),
        ("DELETE", "/api/streams/cam"),
        ("POST", "/api/token"),
        ("DELETE", "/api/tokens/a"),
    ):
        for headers in ({}, bearer("other"), bearer("*", 6)):
            said = await ask(client, method, path, headers=headers, json={})
            assert said.status in (401, 403)
    assert not lines.take()


async def test_no_log_holds_a_secret(client: ClientSession, kept: Keeper, lines: Any) -> None:
    """Whatever is done with it, and at every level."""
    token = bearer()["Authorization"].removeprefix("Bearer ")
    await login(client, "ann", "her secret password")
    await login(client, "ann", "a-wrong-password")
    said = await ask(client, "POST", "/api/token", json={"id": "*", "duration": 9}, headers=ANN)
    session = await made(client, "/whip/cam", {"Authorization": f"Bearer {token}"})
    await ask(client, "GET", "/api/nodes/", headers={"Cookie": f"liveman={token}"})
    await ask(client, "GET", "/api/sse/nothing?token=" + token)
    await ask(client, "PATCH", session, headers=bearer("other"))
    await ask(client, "DELETE", session, headers=bearer())
    node = {"alias": "more", "url": kept.node.url, "token": "the-nodes-own-token"}
    await ask(client, "POST", "/api/nodes/", json=node, headers=ANN)
    await ask(client, "POST", "/api/nodes/", json={**node, "tokens": "x"}, headers=ANN)
    text = lines.caplog.text
    proof = session.rpartition(".")[2]
    secrets = (
        *("her secret password", "a-wrong-password", "the-static-token", "the-nodes-own-token", SECRET),
        *(token, said.json["access_token"], ANN["Authorization"].split()[1], proof),
    )
    assert "path=/session/cam/whip-1.*" in text
    assert not [each for each in secrets if each in text]
