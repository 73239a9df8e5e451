"""Metered is asked as its pages say, nothing that it answers is trusted, and no secret of its urls is told."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from liveman.ice import IceLease, IceRequest, IceServer, ProviderError, Secret
from liveman.ice.testing import Answer, Asked, ContractBroken, FakeVendor, Script, check_provider
from liveman_ice_metered import Metered

REQUEST = IceRequest("publish", "cam")

#: As Metered's pages show them: the credential that is made, then its servers.
MADE: dict[str, Any] = {
    "username": "the-username",
    "password": "the-credential",
    "expiryInSeconds": 600,
    "label": "liveman",
    "apiKey": "the-api-key",
}
TURN = {"urls": "turn:a.relay.metered.ca:80", "username": "the-username", "credential": "the-credential"}
LISTED: list[Any] = [
    {"urls": "stun:stun.relay.metered.ca:80"},
    TURN,
    {**TURN, "urls": "turns:a.relay.metered.ca:443?transport=tcp"},
]


def script(made: Answer = Answer(json=MADE), listed: Answer = Answer(json=LISTED)) -> Script:  # noqa: B008
    return lambda asked: made if asked.path.endswith("/credential") else listed


def options(url: str) -> Mapping[str, Any]:
    return {"app_name": "example", "secret_key": "the-secret-key", "api_base": url}


def test_it_keeps_the_contract() -> None:
    check_provider(Metered, options, vendor=script())


def lease(vendor: FakeVendor, request: IceRequest = REQUEST) -> IceLease:
    """A lease with a ttl of 600 seconds; the time is 1000 before it is asked for, and later after that."""

    async def ask() -> IceLease:
        read = Metered.Options("example", Secret("the-secret+key/"), 600, f"{vendor.url}/base")
        clock = itertools.count(1000.0)
        metered = Metered(read, clock=lambda: next(clock))
        await metered.start()
        try:
            return await metered.lease(request)
        finally:
            await metered.close()

    return asyncio.run(ask())


def told(asked: Asked) -> tuple[str, str, Mapping[str, str]]:
    return asked.method, asked.path, asked.query


def test_it_is_asked_as_its_pages_say() -> None:
    """A credential is made, then its servers are asked for; the life is counted from the first request."""
    with FakeVendor(script()) as vendor:
        found = lease(vendor)
        made, listed = vendor.asked
    credential = Secret("the-credential")
    assert found == IceLease(
        (
            IceServer(("stun:stun.relay.metered.ca:80",)),
            IceServer(("turn:a.relay.metered.ca:80",), "the-username", credential),
            IceServer(("turns:a.relay.metered.ca:443?transport=tcp",), "the-username", credential),
        ),
        1600.0,
    )
    assert told(made) == ("POST", "/base/api/v1/turn/credential", {"secretKey": "the-secret+key/"})
    assert made.json() == {"expiryInSeconds": 600, "label": "liveman"}
    assert told(listed) == ("GET", "/base/api/v1/turn/credentials", {"apiKey": "the-api-key"})


def test_a_request_may_want_another_life() -> None:
    with FakeVendor(script()) as vendor:
        assert lease(vendor, IceRequest("publish", "cam", ttl=60)).expires_at == 1060
        assert vendor.asked[0].json()["expiryInSeconds"] == 60


@pytest.mark.parametrize(("life", "expires_at"), [("600", 1600), (60, 1060), (604_800, 1600), (10**30, 1600)])
def test_a_life_is_never_longer_than_asked(life: Any, expires_at: float) -> None:
    with FakeVendor(script(Answer(json={**MADE, "expiryInSeconds": life}))) as vendor:
        assert lease(vendor).expires_at == expires_at


UNUSABLE: list[tuple[Any, Any, str]] = [
    ({**MADE, "expiryInSeconds": 0}, LISTED, "has no expiryInSeconds that is a number"),
    ({**MADE, "expiryInSeconds": -1}, LISTED, "has no expiryInSeconds that is a number"),
    ({**MADE, "apiKey": ""}, LISTED, "has no text apiKey"),
    ({**MADE, "apiKey": ["the-api-key"]}, LISTED, "has no text apiKey"),
    ([MADE], LISTED, "is no JSON object"),
    (MADE, [], "holds no TURN server"),
    (MADE, LISTED[:1], "holds no TURN server"),
    (MADE, "turn:a", "has no list of ICE servers"),
    (MADE, [{**TURN, "urls": ["turn:a\r\nLink: <b>"]}], "holds no TURN server"),
    (MADE, [{**TURN, "credential": 5}], "holds no TURN server"),
]


@pytest.mark.parametrize(("made", "listed", "problem"), UNUSABLE)
def test_an_answer_that_cannot_be_used_is_an_error(made: Any, listed: Any, problem: str) -> None:
    with FakeVendor(script(Answer(json=made), Answer(json=listed))) as vendor:
        with pytest.raises(ProviderError, match=problem):
            lease(vendor)


ODD = [Answer(401), Answer(500, body=b"<html>"), Answer(body=b"<html>"), Answer(fault="garbage"), Answer(302)]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("which", ["made", "listed"])
def test_no_error_shows_the_secrets_that_stand_in_the_urls(odd: Answer, which: str) -> None:
    with FakeVendor(script(odd) if which == "made" else script(listed=odd)) as vendor:
        with pytest.raises(ProviderError) as raised:
            lease(vendor)
    text = f"{raised.value!r} {raised.value.__cause__!r}"
    assert "the-secret" not in text
    assert "the-api-key" not in text


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "-a", "a b", "ü", "a" * 64])
def test_an_app_name_is_one_label_of_a_host(name: str) -> None:
    from liveman_ice_metered.provider import _app_name

    with pytest.raises(ValueError, match="first part"):
        _app_name(name)


@pytest.mark.parametrize(("ttl", "right"), [(60, True), (86_400, True), *((ttl, False) for ttl in [59, -1])])
def test_a_ttl_is_one_that_the_vendor_takes(ttl: int, right: bool) -> None:
    table = {"app_name": "Example", "secret_key": "the-secret-key", "ttl": ttl}
    if right:
        check_provider(Metered, lambda url: {**table, "api_base": url}, vendor=script())
    else:
        with pytest.raises(ContractBroken, match="ttl: must be a whole number from 60"):
            check_provider(Metered, table)


def test_an_app_name_is_in_lower_case() -> None:
    from liveman_ice_metered.provider import _app_name

    assert _app_name("ExAmple-1") == "example-1"
