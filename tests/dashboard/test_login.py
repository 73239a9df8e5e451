"""Logging in and out by forms."""

import re

import pytest

from auth.asking import bearer
from dashboard.browsing import CLOSED, browsing, get, post
from dashboard.html import parse
from liveman.access import SUBSCRIBE, Identity
from liveman.config import Auth, Http, Secret
from liveman.dashboard.login import own_page

ANN = {"username": "ann", "password": "her password"}


@pytest.mark.parametrize("prefix", ["", "/live"])
async def test_one_logs_in_and_goes_on_where_one_was(prefix: str) -> None:
    async with browsing(auth=CLOSED, prefix=prefix) as client:
        page = await get(client, "login?next=/%3Fa=1")
        assert page.status == 200
        assert 'value="/?a=1"' in page.text
        answer = await post(client, "login", next="/?a=1", **ANN)
        assert (answer.status, answer.headers["Location"]) == (303, "./?a=1")
        assert "HttpOnly; SameSite=Strict" in answer.headers["Set-Cookie"]
        overview = await get(client, "")
        assert overview.status == 200
        assert "<bdi>ann</bdi>" in overview.text


async def test_after_logging_out_one_is_nobody() -> None:
    async with browsing(auth=CLOSED) as client:
        await post(client, "login", **ANN)
        assert (await get(client, "")).status == 200
        answer = await post(client, "logout")
        assert (answer.status, answer.headers["Location"]) == (303, "./login")
        assert (await get(client, "")).status == 303


async def test_a_wrong_password_is_told_in_the_form_which_still_knows_the_way_back() -> None:
    async with browsing(auth=CLOSED) as client:
        answer = await post(client, "login", next="/nodes/", username="ann", password="wrong")
        assert answer.status == 401
        assert "The name or the password is wrong." in answer.text
        assert 'value="/nodes/"' in answer.text
        assert "Set-Cookie" not in answer.headers
        assert "wrong</" not in answer.text.replace("is wrong.</", "")


async def test_what_was_typed_is_kept_but_for_what_is_secret() -> None:
    name, secret = '"><b>ann', "s3cret"
    async with browsing(auth=CLOSED) as client:
        by_name = await post(client, "login", username=name, password=secret)
        assert parse(by_name.text).first("input", name="username")["value"] == name
        by_token = await post(client, "login", token=secret)
        assert "open" in parse(by_token.text).first("details").attributes, "else one sees no form for a token"
        assert secret not in by_name.text + by_token.text


async def test_too_many_guesses_are_told_so() -> None:
    async with browsing(auth=CLOSED) as client:
        for _ in range(12):
            answer = await post(client, "login", username="ann", password="wrong")
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert "try again later" in answer.text


@pytest.mark.parametrize("path", ["login", "logout", "api/logout"])
@pytest.mark.parametrize(
    "said",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "self"},
        {"Origin": "http://evil.example"},
        # As of a page that tells nobody where it is.
        {"Origin": "null"},
    ],
)
async def test_other_sites_log_nobody_in_or_out(path: str, said: dict[str, str]) -> None:
    """Also where a browser sends no Sec-Fetch-Site, as without https."""
    async with browsing(auth=CLOSED) as client:
        own = str(client._base_url).rstrip("/")
        answer = await post(
            client, path, {name: text.replace("self", own) for name, text in said.items()}, **ANN
        )
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("said", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "self"}, {}])
async def test_own_pages_and_programs_log_in_and_out(said: dict[str, str]) -> None:
    async with browsing(auth=CLOSED) as client:
        own = str(client._base_url).rstrip("/")
        headers = {name: text.replace("self", own) for name, text in said.items()}
        for path in ("login", "logout"):
            answer = await post(client, path, headers, **ANN)
            assert answer.status == 303
            assert "Set-Cookie" in answer.headers


async def test_behind_a_proxy_own_pages_are_those_that_the_browser_sees() -> None:
    there = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "live.example"}
    async with browsing(auth=CLOSED, http=Http(trusted_proxies=("127.0.0.1",))) as client:
        for origin, status in (("https://live.example", 303), ("http://live.example", 403)):
            assert (await post(client, "login", {**there, "Origin": origin}, **ANN)).status == status


@pytest.mark.parametrize("headers", [{"Content-Type": "application/json"}, {"Content-Type": "text/plain"}])
async def test_what_is_no_form_is_refused(headers: dict[str, str]) -> None:
    async with browsing(auth=CLOSED) as client:
        async with client.post("login", data=b"{}", headers=headers) as response:
            assert response.status == 415


@pytest.mark.parametrize(
    ("body", "status"), [(b"username=%ff", 400), (b"username=\xff", 400), (b"x=" + b"x" * 70_000, 413)]
)
async def test_a_form_that_is_not_well_formed_is_refused(body: bytes, status: int) -> None:
    async with browsing(auth=CLOSED) as client:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with client.post("login", data=body, headers=headers) as response:
            assert response.status == status


async def test_where_there_is_no_account_one_logs_in_with_a_token() -> None:
    async with browsing(auth=Auth(tokens=(Secret("t0ken"),))) as client:
        page = await get(client, "login?next=/nodes/")
        assert 'name="password"' not in page.text
        assert "[[auth.accounts]]" in page.text
        wrong = await post(client, "login", token="wrong", next="/nodes/")
        assert wrong.status == 401
        assert "Set-Cookie" not in wrong.headers
        assert 'role="alert"' in wrong.text
        assert (await get(client, "nodes/")).status == 303
        answer = await post(client, "login", token=" t0ken ", next="/nodes/")
        assert (answer.status, answer.headers["Location"]) == (303, "./nodes/")
        assert "HttpOnly; SameSite=Strict" in answer.headers["Set-Cookie"]
        assert (await get(client, "nodes/")).status == 200


async def test_who_has_logged_in_with_a_token_can_log_out_though_there_are_no_accounts() -> None:
    async with browsing(auth=Auth(tokens=(Secret("t0ken"),))) as client:
        await post(client, "login", token="t0ken")
        form = parse((await get(client, "")).text).first("form", class_="who")
        assert form.first("button").words == "Log out"
        await post(client, form["action"])
        assert (await get(client, "")).status == 303


async def test_whom_a_host_has_logged_in_is_offered_no_way_out_that_is_none() -> None:
    async with browsing(identity=lambda _: Identity("guest", mode=SUBSCRIBE)) as client:
        page = await get(client, "")
        assert "<bdi>guest</bdi>" in page.text
        assert "Log out" not in page.text


async def test_a_token_for_one_stream_leads_to_its_page_and_lasts_as_long_as_it() -> None:
    token = bearer("a b", 4, seconds=600)["Authorization"].partition(" ")[2]
    async with browsing(auth=CLOSED) as client:
        answer = await post(client, "login", token=token)
        assert (answer.status, answer.headers["Location"]) == (303, "./streams/a%20b")
        (life,) = re.findall(r"Max-Age=(\d+)", answer.headers["Set-Cookie"])
        assert 0 < int(life) <= 600
        assert (await get(client, "streams/a%20b")).status == 200
        assert (await get(client, "nodes/")).status == 403


async def test_a_token_that_no_cookie_can_hold_is_refused_in_words() -> None:
    async with browsing(auth=Auth(tokens=(Secret("semi;colon"),))) as client:
        answer = await post(client, "login", token="semi;colon")
        assert answer.status == 401
        assert "no cookie can" in answer.text
        assert "semi;colon" not in answer.text


async def test_a_token_that_is_too_long_for_a_cookie_is_refused_in_words() -> None:
    """Browsers drop what is longer, name and value together, and say nothing."""
    token = bearer(pad="x" * 3500)["Authorization"].partition(" ")[2]
    assert len(token) > 4096
    async with browsing(auth=CLOSED) as client:
        answer = await post(client, "login", token=token)
        assert answer.status == 401
        assert "too long for a cookie" in answer.text
        assert "Set-Cookie" not in answer.headers


async def test_with_a_token_in_the_header_nobody_needs_to_log_in() -> None:
    async with browsing(auth=CLOSED) as client:
        assert (await get(client, "", bearer())).status == 200


@pytest.mark.parametrize("path", ["/", "/nodes/", "/streams/a%20b?x=1&y=%2F", "/streams/a:b", "/?q=//x"])
def test_pages_of_ours_are_gone_back_to(path: str) -> None:
    assert own_page(path) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nodes/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/../outside",
        "/a/../../b",
        "/%2e%2e/x",
        "/x\r\nSet-Cookie: a=b",
        "/x\tb",
        "/\N{RIGHT-TO-LEFT OVERRIDE}",
        '/"><script>',
        "/a b",
        "/x#y",
        "/%zz",
        "/login",
        "/logout",
        "/login?next=/login",
    ],
)
def test_nothing_else_is(text: str) -> None:
    assert own_page(text) == "/"
