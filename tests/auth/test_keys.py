"""An issuer's keys: fetched, kept, renewed; whatever the issuer's service answers, or does not."""

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define, field

from auth.issuing import NOW, SECRET, Issuer, compact, good, hs256, native
from liveman.auth import keys as keys_module
from liveman.auth.keys import IssuerKeys, parse_jwks
from liveman.auth.tokens import Tokens
from liveman.config import Auth, Secret
from liveman.errors import LivemanError, NotAuthenticated

RS, ES, ED = Issuer("RS256", "rs"), Issuer("ES256", "es"), Issuer("EdDSA", "ed")
NEW = Issuer("EdDSA", "new")


def jwks(*issuers: Issuer) -> bytes:
    return json.dumps({"keys": [issuer.jwk for issuer in issuers]}).encode()


@define
class Service:
    """An issuer's service, as it is now."""

    body: bytes = field(factory=lambda: jwks(RS, ES, ED))
    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    open: asyncio.Event = field(factory=asyncio.Event)
    """Unset: every request waits."""
    asked: int = 0
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/moved":
            return web.Response(body=jwks(NEW))
        self.asked += 1
        await self.open.wait()
        return web.Response(body=self.body, status=self.status, headers=self.headers)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    service.open.set()
    app = web.Application()
    app.router.add_get("/{any:.*}", service.answer)
    server = TestServer(app)
    await server.start_server()
    service.url = str(server.make_url("/certs?p=live"))
    yield service
    service.open.set()
    await server.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def fetched(service: Service, clock: Clock | None = None) -> AsyncIterator[IssuerKeys]:
    """The keys, once they were fetched for the first time."""
    async with IssuerKeys(service.url, changed=lambda: None, clock=clock or Clock()) as keys:
        await until(lambda: len(keys))
        yield keys


async def test_keys_are_fetched_without_being_asked_for(service: Service) -> None:
    async with fetched(service) as keys:
        for issuer in (RS, ES, ED):
            key = await keys.find(issuer.algorithm, issuer.id)
            assert key
            assert key.verifies(b"text", issuer.sign(b"text"))
        assert service.asked == 1


async def test_a_key_verifies_by_the_algorithm_of_its_type_alone(service: Service) -> None:
    async with fetched(service) as keys:
        assert await keys.find("ES256", RS.id) is None
        assert await keys.find("HS256", RS.id) is None


async def test_without_a_name_the_only_key_of_the_algorithm_is_meant(service: Service) -> None:
    service.body = jwks(RS, ED, NEW)
    async with fetched(service) as keys:
        only = await keys.find("RS256", "")
        assert only
        assert only.id == RS.id
        assert await keys.find("EdDSA", "") is None


async def test_a_new_key_is_fetched_when_a_token_names_it(service: Service) -> None:
    async with fetched(service) as keys:
        service.body = jwks(NEW)
        assert await keys.find("EdDSA", NEW.id)
        assert service.asked == 2
        assert await keys.find("EdDSA", NEW.id)
        assert service.asked == 2


async def test_unknown_names_are_asked_for_once_a_minute(service: Service) -> None:
    """However many come, and from whomever."""
    clock = Clock()
    async with fetched(service, clock) as keys:
        for now, asked in [(100, 2), (100, 2), (130, 2), (159.9, 2), (160, 3), (161, 3), (500, 4)]:
            clock.now = now
            for number in range(5):
                assert await keys.find("EdDSA", f"../{number}\0") is None
            assert service.asked == asked


async def test_all_who_wait_share_one_request(service: Service) -> None:
    async with fetched(service) as keys:
        service.open.clear()
        service.body = jwks(NEW)
        waiting = [asyncio.ensure_future(keys.find("EdDSA", NEW.id)) for _ in range(50)]
        await until(lambda: service.asked == 2)
        service.open.set()
        assert all(await asyncio.gather(*waiting))
        assert service.asked == 2


async def test_who_comes_before_the_first_answer_waits_for_it(service: Service) -> None:
    service.open.clear()
    async with IssuerKeys(service.url, changed=lambda: None) as keys:
        await until(lambda: service.asked)
        waiting = asyncio.ensure_future(keys.find("EdDSA", ED.id))
        await asyncio.sleep(0)
        service.open.set()
        assert await waiting
        assert service.asked == 1


async def test_one_who_leaves_does_not_end_the_request_of_the_others(service: Service) -> None:
    async with fetched(service) as keys:
        service.open.clear()
        service.body = jwks(NEW)
        leaving, staying = (asyncio.ensure_future(keys.find("EdDSA", NEW.id)) for _ in range(2))
        await until(lambda: service.asked == 2)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        service.open.set()
        assert await staying


async def test_who_waits_while_liveman_ends_is_let_go(service: Service) -> None:
    service.open.clear()
    async with IssuerKeys(service.url, changed=lambda: None) as keys:
        await until(lambda: service.asked)
        waiting = asyncio.ensure_future(keys.find("EdDSA", ED.id))
        await asyncio.sleep(0)
    assert await waiting is None


async def test_a_service_that_does_not_answer_costs_its_time_and_no_more(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys_module, "TIMEOUT", 0.05)
    service.open.clear()
    async with IssuerKeys(service.url, changed=lambda: None) as keys:
        assert await keys.find("EdDSA", ED.id) is None
    assert "cannot be had" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"status": 500},
        {"status": 404},
        {"status": 302, "headers": {"Location": "/moved"}},
        {"status": 204, "body": b""},
        {"body": b""},
        {"body": b"<html>down for maintenance</html>"},
        {"body": b"null"},
        {"body": b"[]"},
        {"body": b"{}"},
        {"body": b'{"keys": null}'},
        {"body": b'{"keys": {}}'},
        {"body": b'{"keys": []}'},
        {"body": b'{"keys": [null, 5, [], {}]}'},
        {"body": b'{"keys": ' + b"[" * 100_000},
        {"body": b'{"keys": "\xff"}'},
        {"body": json.dumps({"keys": [NEW.jwk] * 101}).encode()},
        {"body": json.dumps({"keys": [{"kty": "oct", "kid": "new", "k": "c2VjcmV0"}]}).encode()},
        {"body": json.dumps({"keys": [{**NEW.private_jwk, "kid": "new"}]}).encode()},
        {"body": b" " * 300_000 + jwks(NEW)},
        {"body": gzip.compress(jwks(NEW)), "headers": {"Content-Encoding": "gzip"}},
    ],
    ids=range(20),
)
async def test_an_answer_that_cannot_be_used_changes_nothing(
    change: dict[str, Any], service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good keys stay; one line says why, without the URL's query."""
    async with fetched(service) as keys:
        for name, value in change.items():
            setattr(service, name, value)
        assert await keys.find("EdDSA", NEW.id) is None
        assert service.asked == 2
        assert await keys.find("EdDSA", ED.id)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "liveman.auth"]
    assert "cannot be had" in line
    assert "kept=3" in line
    assert "p=live" not in line


async def test_while_the_service_is_down_the_last_keys_stay(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is asked again, sooner than usual, until it answers."""
    for name, value in (("REFRESH", 0.01), ("RETRY_LEAST", 0.005), ("RETRY_MOST", 0.02)):
        monkeypatch.setattr(keys_module, name, value)
    async with fetched(service) as keys:
        service.status, service.body = 503, b"down"
        await until(lambda: caplog.text.count("cannot be had") > 5)
        assert await keys.find("EdDSA", ED.id)
        service.status, service.body = 200, jwks(NEW)
        await until(lambda: len(keys) == 1)
        assert await keys.find("EdDSA", NEW.id)


async def test_a_changed_set_is_told_and_an_unchanged_one_is_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "REFRESH", 0.005)
    changes: list[int] = []
    async with IssuerKeys(service.url, changed=lambda: changes.append(service.asked)) as keys:
        await until(lambda: service.asked > 5)
        assert changes == [1]
        service.body = jwks(NEW)
        await until(lambda: len(changes) == 2)
        assert len(keys) == 1


async def test_nothing_runs_on_after_the_end(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    before = asyncio.all_tasks()
    async with fetched(service):
        pass
    await until(lambda: not {task for task in asyncio.all_tasks() - before if "key" in task.get_name()})


def test_keys_that_cannot_be_used_are_left_out_and_named() -> None:
    entries = [
        RS.jwk,
        {"kty": "oct", "kid": "hs", "k": "c2VjcmV0"},
        {**ED.private_jwk, "kid": "private"},
        {**RS.jwk, "kid": "enc", "use": "enc"},
        {**ES.jwk, "kid": RS.id},
        {**NEW.jwk, "kid": ED.id},
        ED.jwk,
        "a",
    ]
    keys, ignored = parse_jwks(json.dumps({"keys": entries}).encode())
    assert set(keys) == {("RS256", RS.id), ("ES256", RS.id), ("EdDSA", ED.id)}
    assert keys["EdDSA", ED.id].verifies(b"text", NEW.sign(b"text")), "of two with one name the first is kept"
    assert [line.partition(" ")[0] for line in ignored] == [
        "keys[1]",
        "keys[2]",
        "keys[3]",
        "keys[6]",
        "keys[7]",
    ]
    assert "c2VjcmV0" not in str(ignored)
    assert str(ED.private_jwk["d"]) not in str(ignored)


def test_a_set_without_any_usable_key_says_why() -> None:
    with pytest.raises(LivemanError, match="symmetric"):
        parse_jwks(b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}')


# Tokens by these keys


def outside(service: Service, **more: Any) -> Auth:
    return Auth(jwks_url=service.url, issuer="https://id.example.org", audience="liveman", **more)


def claims(**changes: Any) -> dict[str, Any]:
    return good(**{"iss": "https://id.example.org", "aud": ["liveman"], **changes})


async def test_a_token_of_the_issuer_is_known(service: Service) -> None:
    """From the first moment on, when the keys are still on their way."""
    async with Tokens(outside(service), clock=lambda: NOW) as tokens:
        for issuer in (RS, ES, ED):
            token = issuer.token(claims(sub="ada"))
            who = await tokens.identify(token)
            assert (who.subject, who.stream, who.mode) == ("ada", "cam", 4)
            assert tokens.known(token) is who
        assert service.asked == 1


@pytest.mark.parametrize(
    ("token", "reason", "asked"),
    [
        (NEW.token(claims()), "signature", 2),
        (Issuer("EdDSA", "ed").token(claims()), "signature", 1),
        (compact({"alg": "HS256", "kid": "rs"}, claims(), hs256(RS.pem)), "signature", 1),
        (compact({"alg": "none", "kid": "rs"}, claims(), hs256()), "algorithm", 1),
        (RS.token(claims(), crit=["x"]), "crit", 1),
        (RS.token(claims(aud="other")), "aud", 1),
        (RS.token(good(iss="https://id.example.org")), "aud", 1),
        (RS.token(good(aud="liveman")), "iss", 1),
        (RS.token(claims(exp=NOW - 61)), "expired", 1),
        (native(claims()), "signature", 1),
    ],
)
async def test_another_token_is_refused(token: str, reason: str, asked: int, service: Service) -> None:
    """And only one with an unknown key's name makes Liveman ask the issuer."""
    async with Tokens(outside(service), clock=lambda: NOW) as tokens:
        await tokens.identify(RS.token(claims()))
        with pytest.raises(NotAuthenticated, match=reason):
            await tokens.identify(token)
        assert service.asked == asked


async def test_a_token_by_a_withdrawn_key_is_not_known_any_more(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotation: the new key's tokens are good at once, and those of the one that was withdrawn end."""
    monkeypatch.setattr(keys_module, "REFRESH", 0.01)
    async with Tokens(outside(service), clock=lambda: NOW) as tokens:
        old, new = ED.token(claims()), NEW.token(claims())
        await tokens.identify(old)
        service.body = jwks(NEW)
        await until(lambda: tokens.known(old) is None)
        assert await tokens.identify(new)
        with pytest.raises(NotAuthenticated, match="key is not known"):
            await tokens.identify(old)


async def test_an_issuer_that_is_down_keeps_nobody_else_out(service: Service) -> None:
    service.status = 503
    auth = outside(service, secret=Secret(SECRET), tokens=(Secret("static-one"),))
    async with Tokens(auth, clock=lambda: NOW) as tokens:
        assert tokens.known("static-one")
        assert await tokens.identify(native(good()))
        with pytest.raises(NotAuthenticated, match="cannot be had now"):
            await tokens.identify(ED.token(claims()))


async def test_keys_by_plain_http_are_warned_of(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with Tokens(outside(service)):
            pass
    assert "auth.jwks_url is not https" in caplog.text
