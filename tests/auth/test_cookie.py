"""The dashboard's cookie: where it is safe, and only from Liveman's own pages where something changes."""

import asyncio
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import pytest
from aiohttp import ClientSession

from auth.asking import Said, ask, bearer, guarded, post
from liveman.auth import logins
from liveman.auth.revocation import Revocations
from liveman.config import Account, Http, Secret
from liveman.errors import DatabaseError
from support.raw_node import raw_node

ACCOUNTS = (Account("ann", Secret("her password")),)
HTTPS = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "live.example", "X-Forwarded-For": "192.0.2.7"}


async def login(client: ClientSession, **headers: str) -> Said:
    body = {"username": "ann", "password": "her password"}
    return await ask(client, "POST", "/api/login", json=body, headers=headers)


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with raw_node() as node, guarded(node, auth={"accounts": ACCOUNTS}) as client:
        yield client


@pytest.fixture
async def behind() -> AsyncIterator[ClientSession]:
    """Of a Liveman behind a proxy that is trusted."""
    http = Http(trusted_proxies=("127.0.0.0/8",))
    async with raw_node() as node, guarded(node, auth={"accounts": ACCOUNTS}, http=http) as client:
        yield client


def origin(client: ClientSession) -> str:
    return str(client._base_url).rstrip("/")


async def test_a_login_sets_the_token_as_a_cookie_that_no_script_reads(client: ClientSession) -> None:
    said = await login(client)
    name, *attributes = said.headers["Set-Cookie"].split("; ")
    assert name == f"liveman={said.json['access_token']}"
    assert sorted(attributes) == ["HttpOnly", "Max-Age=86400", "Path=/", "SameSite=Strict"]


async def test_by_https_it_is_secure_and_for_this_host_alone(behind: ClientSession) -> None:
    said = await login(behind, **HTTPS)
    name, *attributes = said.headers["Set-Cookie"].split("; ")
    assert name == f"__Host-liveman={said.json['access_token']}"
    assert sorted(attributes) == ["HttpOnly", "Max-Age=86400", "Path=/", "SameSite=Strict", "Secure"]
    forwarded = await login(behind, Forwarded="for=192.0.2.7;proto=https")
    assert forwarded.headers["Set-Cookie"].startswith("__Host-liveman=")


async def test_a_strangers_word_on_https_counts_for_nothing(client: ClientSession) -> None:
    assert (await login(client, **HTTPS)).headers["Set-Cookie"].startswith("liveman=")


async def test_by_https_the_cookie_without_prefix_is_not_looked_at(behind: ClientSession) -> None:
    """Any other host of the domain could have set it."""
    token = (await login(behind, **HTTPS)).json["access_token"]
    for name, status in (("liveman", 401), ("__Host-liveman", 200)):
        headers = {**HTTPS, "Cookie": f"{name}={token}"}
        assert (await ask(behind, "GET", "/api/nodes/", headers=headers)).status == status
    headers = {"Cookie": f"__Host-liveman={token}"}
    assert (await ask(behind, "GET", "/api/nodes/", headers=headers)).status == 401


async def test_the_cookie_stands_for_the_account(client: ClientSession) -> None:
    headers = {"Cookie": f"theme=dark; liveman={(await login(client)).json['access_token']}; other=1"}
    for path in ("/api/nodes/", "/api/streams/", "/api/streams/cam", "/whip/cam"):
        assert (await ask(client, "GET", path, headers=headers)).status in (200, 204)


SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (SAME, 201),
        ({"Origin": "self"}, 201),
        ({**SAME, "Origin": "self"}, 201),
        ({}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "SAME-ORIGIN"}, 403),
        ({"Sec-Fetch-Site": "same-origin, cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "self"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "self.evil.example"}, 403),
        ({"Origin": "https"}, 403),
        ({"Referer": "self"}, 403),
        ({"X-Forwarded-Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ],
)
async def test_what_changes_something_must_come_from_this_origin(
    client: ClientSession, shown: dict[str, str], status: int
) -> None:
    """By what a page of another site cannot forge."""
    own = origin(client)
    headers = {name: value.replace("self", own) for name, value in shown.items()}
    headers["Cookie"] = f"liveman={(await login(client)).json['access_token']}"
    assert (await post(client, "/whip/cam", headers)).status == status
    other = await ask(client, "DELETE", "/api/tokens/some", headers=headers)
    assert other.status == (204 if status == 201 else 403)
    assert (await ask(client, "GET", "/api/nodes/", headers=headers)).status == 200


async def test_behind_a_proxy_the_origin_is_the_one_that_the_client_sees(behind: ClientSession) -> None:
    cookie = {"Cookie": f"__Host-liveman={(await login(behind, **HTTPS)).json['access_token']}"}
    for shown, status in (
        ("https://live.example", 201),
        ("https://LIVE.example", 201),
        ("http://live.example", 403),
        (origin(behind), 403),
        ("https://live.example.evil.example", 403),
    ):
        assert (await post(behind, "/whip/cam", {**HTTPS, **cookie, "Origin": shown})).status == status


async def test_other_tokens_need_no_origin(client: ClientSession) -> None:
    said = await post(client, "/whip/cam", {**bearer(), "Sec-Fetch-Site": "cross-site"})
    assert said.status == 201


async def test_what_is_shown_on_purpose_goes_before_the_cookie(client: ClientSession) -> None:
    """Browsers send the cookie with everything, also when it is no good any more."""
    cookie = {"Cookie": f"liveman={(await login(client)).json['access_token']}"}
    stale = {"Cookie": "liveman=a.b.c"}
    wrong = {"Authorization": "Bearer wrong"}
    token = bearer()["Authorization"].removeprefix("Bearer ")
    assert (await ask(client, "GET", "/api/nodes/", headers={**cookie, **wrong})).status == 401
    assert (await ask(client, "GET", "/api/nodes/", headers={**stale, **bearer()})).status == 200
    assert (await ask(client, "GET", "/api/nodes/", headers=stale)).status == 401
    async with client.get("/api/sse/nodes", params={"token": token}, headers=stale) as stream:
        assert stream.status == 200


@pytest.mark.parametrize(
    "value",
    [
        "liveman",
        "liveman=",
        "liveman= ",
        "=liveman",
        "liveman==",
        "Liveman={token}",
        " liveman2={token}",
        "xliveman={token}",
        'liveman="{token}"',
        "liveman={token}x",
        "liveman=é",
        "liveman=" + "x" * 8100,
        ";" * 8000,
    ],
)
async def test_what_is_no_cookie_of_ours_opens_nothing(client: ClientSession, value: str) -> None:
    token = (await login(client)).json["access_token"]
    headers = {"Cookie": value.replace("{token}", token)}
    assert (await ask(client, "GET", "/api/nodes/", headers=headers)).status == 401


async def test_a_logout_takes_the_cookie_away(client: ClientSession, behind: ClientSession) -> None:
    """Under the name that it has there."""
    for who, headers, name in ((client, {}, "liveman"), (behind, HTTPS, "__Host-liveman")):
        said = await ask(who, "POST", "/api/logout", headers=headers)
        assert said.status == 204
        morsel = SimpleCookie(said.headers["Set-Cookie"])[name]
        assert (morsel.value, morsel["max-age"], morsel["path"]) == ("", "0", "/")
        assert bool(morsel["secure"]) == bool(headers)


async def test_what_a_login_has_made_is_good_no_more_after_its_logout_wherever_it_is(
    client: ClientSession,
) -> None:
    mine, other = [(await login(client)).json["access_token"] for _ in range(2)]
    headers = {"Cookie": f"liveman={mine}"}
    assert (await ask(client, "POST", "/api/logout", headers=headers)).status == 204
    for shown in (headers, {"Authorization": f"Bearer {mine}"}):
        assert (await ask(client, "GET", "/api/nodes/", headers=shown)).status == 401
    assert (await ask(client, "GET", "/api/nodes/", headers={"Cookie": f"liveman={other}"})).status == 200
    # Once more, and with what is none: there is nothing to end.
    for shown in (headers, {"Cookie": "liveman=x"}):
        assert (await ask(client, "POST", "/api/logout", headers=shown)).status == 204


async def test_who_logs_out_is_out_of_this_browser_also_while_the_database_is_away(
    client: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise DatabaseError("connection refused")

    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(logins, "_PATIENCE_SECONDS", 0.05)
    headers = {"Cookie": f"liveman={(await login(client)).json['access_token']}"}
    for away in (fails, hangs):
        monkeypatch.setattr(Revocations, "revoke", away)
        said = await ask(client, "POST", "/api/logout", headers=headers)
        assert (said.status, said.headers["Set-Cookie"][:17]) == (204, "liveman=; Path=/;")


async def test_a_logout_leaves_alone_what_somebody_has_logged_in_with(client: ClientSession) -> None:
    """It may be in use elsewhere."""
    for shown in (bearer(), bearer("cam", 6), bearer(sub="bob")):
        headers = {"Cookie": f"liveman={shown['Authorization'].removeprefix('Bearer ')}"}
        assert (await ask(client, "POST", "/api/logout", headers=headers)).status == 204
        assert (await ask(client, "GET", "/api/streams/cam", headers=shown)).status == 200


async def test_a_logout_by_another_sites_page_ends_nothing(client: ClientSession) -> None:
    headers = {"Cookie": f"liveman={(await login(client)).json['access_token']}"}
    said = await ask(client, "POST", "/api/logout", headers={**headers, "Origin": "http://evil.example"})
    assert said.status == 403
    assert "Set-Cookie" not in said.headers
    assert (await ask(client, "GET", "/api/nodes/", headers=headers)).status == 200


async def test_a_node_never_gets_the_cookie() -> None:
    async with raw_node() as node, guarded(node, auth={"accounts": ACCOUNTS}) as client:
        token = (await login(client)).json["access_token"]
        await post(client, "/whip/cam", {"Cookie": f"liveman={token}; a=b", **SAME})
        assert node.received
        assert not [value for each in node.received for _, value in each.fields if token in value]
