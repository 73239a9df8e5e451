"""Accounts: by a login, which gives a token, and by HTTP Basic with each request."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from auth.asking import HASH, ask, basic, guarded, post
from liveman.config import Account, Auth, Http, Secret
from liveman.config_auth import RateLimits
from support.liveman import liveman
from support.raw_node import raw_node

ACCOUNTS = (Account("ann", Secret("plain password")), Account("bob", Secret(HASH)))
RIGHT = {"ann": "plain password", "bob": "her password"}


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with guarded(auth={"accounts": ACCOUNTS}) as client:
        yield client


async def login(client: ClientSession, name: str, password: str, **headers: str):
    return await ask(
        client, "POST", "/api/login", json={"username": name, "password": password}, headers=headers
    )


@pytest.mark.parametrize("name", RIGHT)
async def test_a_login_gives_a_token_that_may_do_everything(client: ClientSession, name: str) -> None:
    said = await login(client, name, RIGHT[name])
    assert said.status == 200
    assert said.headers["Cache-Control"] == "no-store"
    assert set(said.json) == {"token_type", "access_token"}
    assert said.json["token_type"] == "Bearer"
    header = {"Authorization": f"Bearer {said.json['access_token']}"}
    assert (await ask(client, "GET", "/api/nodes/", headers=header)).status == 200
    said = await ask(client, "POST", "/api/token", json={"id": "*", "duration": 60}, headers=header)
    assert said.status == 200


@pytest.mark.parametrize("name", RIGHT)
async def test_basic_does_with_each_request(client: ClientSession, name: str) -> None:
    for _ in range(3):
        said = await ask(client, "GET", "/api/nodes/", headers=basic(name, RIGHT[name]))
        assert said.status == 200


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "wrong"),
        ("ann", ""),
        ("ann", "plain password "),
        ("ann", "Plain password"),
        ("ann", RIGHT["bob"]),
        ("bob", "wrong"),
        ("bob", HASH),
        ("nobody", "wrong"),
        ("nobody", "plain password"),
        ("", ""),
        ("ann\0", "plain password"),
        ("ANN", "plain password"),
        ("änn", "pässwörd"),
    ],
)
async def test_anything_else_is_refused_alike(client: ClientSession, name: str, password: str) -> None:
    """By the same words, whether there is such an account or not."""
    said = await login(client, name, password)
    assert (said.status, said.json["detail"]) == (401, "The name or the password is wrong.")
    assert said.headers["WWW-Authenticate"].startswith('Bearer realm="liveman"')
    assert "Set-Cookie" not in said.headers
    assert (await login(client, "ann", RIGHT["ann"])).status == 200

    said = await ask(client, "GET", "/api/nodes/", headers=basic(name, password))
    assert (said.status, said.json["detail"]) == (401, "The name or the password is wrong.")
    assert said.headers["WWW-Authenticate"].startswith('Bearer realm="liveman"')


async def test_a_password_may_be_of_any_letters() -> None:
    accounts = (Account("ann", Secret("pässwörd ☃: with : colons")),)
    async with guarded(auth={"accounts": accounts}) as client:
        assert (await login(client, "ann", "pässwörd ☃: with : colons")).status == 200
        said = await ask(client, "GET", "/api/nodes/", headers=basic("ann", "pässwörd ☃: with : colons"))
        assert said.status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"ann"', 400),
        (b"null", 400),
        (b"\xff", 400),
        (b"[" * 60_000, 400),
        (b"{}", 422),
        (b'{"username": "ann"}', 422),
        (b'{"username": "ann", "password": null}', 422),
        (b'{"username": "ann", "password": 5}', 422),
        (b'{"username": ["ann"], "password": "x"}', 422),
        (b'{"username": "ann", "password": "x", "admin": true}', 422),
        (b'{"username": "ann", "password": "\\ud800"}', 400),
        (b'{"username": "ann", "password": "' + b"x" * 70_000 + b'"}', 413),
        (b'{"username": "ann", "password": "' + b"x" * 60_000 + b'"}', 401),
        (b'{"username": "' + b"x" * 60_000 + b'", "password": "x"}', 401),
    ],
)
async def test_a_body_that_is_no_login_says_why(client: ClientSession, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    said = await ask(client, "POST", "/api/login", data=body, headers=headers)
    assert said.status == status
    assert said.json["detail"]


@pytest.mark.parametrize("name", ["ann", "bob", "nobody"])
async def test_guesses_are_limited_by_address_and_name(client: ClientSession, name: str) -> None:
    """Ten; for a name that nobody has too. Then not even the right one is told from the others."""
    refused = []
    for guess in range(10):
        refused.append((await login(client, name, f"guess {guess}")).status)
    assert refused == [401] * 10
    for password in ("another guess", RIGHT.get(name, "")):
        said = await login(client, name, password)
        assert said.status == 429
        assert 1 <= int(said.headers["Retry-After"]) <= 30
        said = await ask(client, "GET", "/api/nodes/", headers=basic(name, password))
        assert said.status == 429
    other = "bob" if name == "ann" else "ann"
    assert (await login(client, other, RIGHT[other])).status == 200


async def test_guesses_at_one_moment_count_before_they_are_judged(client: ClientSession) -> None:
    said = await asyncio.gather(*(login(client, "bob", f"guess {i}") for i in range(40)))
    assert sorted(each.status for each in said) == [401] * 10 + [429] * 30


async def test_who_knows_the_password_is_never_limited(client: ClientSession) -> None:
    for name, password in RIGHT.items():
        for _ in range(30):
            assert (await ask(client, "GET", "/api/nodes/", headers=basic(name, password))).status == 200
        assert (await login(client, name, password)).status == 200


async def test_behind_a_trusted_proxy_each_client_has_guesses_of_its_own() -> None:
    http = Http(trusted_proxies=("127.0.0.1/32",))
    async with guarded(auth={"accounts": ACCOUNTS}, http=http) as client:
        for guess in range(10):
            await login(client, "ann", f"guess {guess}", **{"X-Forwarded-For": "192.0.2.7"})
        said = await login(client, "ann", RIGHT["ann"], **{"X-Forwarded-For": "192.0.2.7"})
        assert said.status == 429
        said = await login(client, "ann", RIGHT["ann"], **{"X-Forwarded-For": "192.0.2.8"})
        assert said.status == 200


async def test_what_a_stranger_says_of_its_address_counts_for_nothing(client: ClientSession) -> None:
    for guess in range(10):
        await login(client, "ann", f"guess {guess}", **{"X-Forwarded-For": f"192.0.2.{guess}"})
    assert (await login(client, "ann", RIGHT["ann"], **{"X-Forwarded-For": "192.0.2.77"})).status == 429


async def test_a_login_is_a_post_that_the_rate_limit_counts() -> None:
    """Whatever names are tried: each costs a hash."""
    limits = RateLimits(address_per_minute=5)
    async with guarded(auth={"accounts": ACCOUNTS, "rate_limits": limits}) as client:
        said = [await login(client, f"name {i}", "guess") for i in range(8)]
        assert [each.status for each in said] == [401] * 5 + [429] * 3
        assert int(said[-1].headers["Retry-After"]) >= 1


async def test_accounts_alone_switch_authentication_on() -> None:
    async with (
        raw_node() as node,
        liveman(node, auth=Auth(accounts=ACCOUNTS)) as url,
        ClientSession(url) as client,
    ):
        assert (await post(client, "/whip/cam")).status == 401
        assert (await post(client, "/whip/cam", basic("ann", RIGHT["ann"]))).status == 201
        token = (await login(client, "ann", RIGHT["ann"])).json["access_token"]
        assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", token)
        assert (await post(client, "/whip/cam", {"Authorization": f"Bearer {token}"})).status == 201
