"""Twilio is asked as its pages say, and nothing that it answers is trusted."""

import asyncio
import base64
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from liveman.ice import IceLease, IceRequest, IceServer, ProviderError, Secret
from liveman.ice.testing import Answer, ContractBroken, FakeVendor, check_provider
from liveman_ice_twilio import Twilio

SID = "AC" + "0123456789abcdef" * 2
KEY = "SK" + "fedcba9876543210" * 2
REQUEST = IceRequest("publish", "cam")

#: As Twilio's pages show it: the life is a text, each url stands alone.
ANSWER: dict[str, Any] = {
    "account_sid": SID,
    "username": "the-username",
    "password": "the-credential",
    "ttl": "600",
    "date_created": "Sat, 21 Nov 2026 10:00:00 +0000",
    "date_updated": "Sat, 21 Nov 2026 10:00:00 +0000",
    "ice_servers": [
        {"url": "stun:global.stun.twilio.com:3478", "urls": "stun:global.stun.twilio.com:3478"},
        {
            "url": "turn:global.turn.twilio.com:3478?transport=udp",
            "urls": "turn:global.turn.twilio.com:3478?transport=udp",
            "username": "the-username",
            "credential": "the-credential",
        },
        {
            "url": "turn:global.turn.twilio.com:443?transport=tcp",
            "urls": "turn:global.turn.twilio.com:443?transport=tcp",
            "username": "the-username",
            "credential": "the-credential",
        },
    ],
}
GOOD = Answer(201, json=ANSWER)


def options(url: str) -> Mapping[str, Any]:
    return {"account_sid": SID, "auth_token": "the-auth-token", "api_base": url}


def test_it_keeps_the_contract() -> None:
    check_provider(Twilio, options, vendor=GOOD)


def lease(vendor: FakeVendor, request: IceRequest = REQUEST, **more: Any) -> IceLease:
    """A lease with a ttl of 600 seconds; the time is 1000 before it is asked for, and later after that."""

    async def ask() -> IceLease:
        secrets = more or {"auth_token": Secret("the-auth-token")}
        read = Twilio.Options(account_sid=SID, ttl=600, api_base=f"{vendor.url}/base", **secrets)
        clock = itertools.count(1000.0)
        twilio = Twilio(read, clock=lambda: next(clock))
        await twilio.start()
        try:
            return await twilio.lease(request)
        finally:
            await twilio.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("secrets", "user"),
    [
        ({"auth_token": Secret("the-auth-token")}, f"{SID}:the-auth-token"),
        ({"api_key": KEY, "api_secret": Secret("the-api-secret")}, f"{KEY}:the-api-secret"),
    ],
)
def test_it_is_asked_as_its_pages_say(secrets: dict[str, Any], user: str) -> None:
    """By the account's token, or by an API key; the life is counted from the request."""
    with FakeVendor(GOOD) as vendor:
        found = lease(vendor, **secrets)
        (asked,) = vendor.asked
    credential = Secret("the-credential")
    assert found == IceLease(
        (
            IceServer(("stun:global.stun.twilio.com:3478",)),
            IceServer(("turn:global.turn.twilio.com:3478?transport=udp",), "the-username", credential),
            IceServer(("turn:global.turn.twilio.com:443?transport=tcp",), "the-username", credential),
        ),
        1600.0,
    )
    assert (asked.method, asked.path) == ("POST", f"/base/2010-04-01/Accounts/{SID}/Tokens.json")
    assert base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode() == user
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.body == b"Ttl=600"


@pytest.mark.parametrize(
    ("wanted", "sent"), [(None, b"Ttl=600"), (60, b"Ttl=60"), (7 * 86_400, b"Ttl=86400")]
)
def test_a_request_may_want_another_life_within_what_twilio_gives(wanted: int | None, sent: bytes) -> None:
    with FakeVendor(GOOD) as vendor:
        lease(vendor, IceRequest("publish", "cam", ttl=wanted))
        assert vendor.asked[0].body == sent


LIVES: list[tuple[Any, float]] = [("600", 1600), (600, 1600), ("60", 1060), ("604800", 1600), (10**30, 1600)]


@pytest.mark.parametrize(("ttl", "expires_at"), LIVES)
def test_a_life_is_never_longer_than_asked(ttl: Any, expires_at: float) -> None:
    with FakeVendor(Answer(201, json={**ANSWER, "ttl": ttl})) as vendor:
        assert lease(vendor).expires_at == expires_at


TURN = ANSWER["ice_servers"][1]
UNUSABLE: list[tuple[Any, str]] = [
    ({**ANSWER, "ttl": "0"}, "has no ttl that is a number of seconds"),
    ({**ANSWER, "ttl": "-5"}, "has no ttl that is a number of seconds"),
    ({**ANSWER, "ttl": None}, "has no ttl that is a number of seconds"),
    ({**ANSWER, "ice_servers": []}, "holds no TURN server"),
    ({**ANSWER, "ice_servers": "turn:a"}, "has no list of ICE servers"),
    ({**ANSWER, "ice_servers": [ANSWER["ice_servers"][0]]}, "holds no TURN server"),
    ({**ANSWER, "ice_servers": [{**TURN, "urls": "turn:a\r\nSet-Cookie: b=c"}]}, "holds no TURN server"),
    ({**ANSWER, "ice_servers": [{**TURN, "urls": 'turn:a>; rel="x"'}]}, "holds no TURN server"),
    ({**ANSWER, "ice_servers": [{**TURN, "username": "a\x00"}]}, "holds no TURN server"),
    ({k: v for k, v in ANSWER.items() if k != "ice_servers"}, "has no list of ICE servers"),
    ([ANSWER], "is no JSON object"),
]


@pytest.mark.parametrize(("answer", "problem"), UNUSABLE)
def test_an_answer_that_cannot_be_used_is_an_error(answer: Any, problem: str) -> None:
    with (
        FakeVendor(Answer(201, json=answer)) as vendor,
        pytest.raises(ProviderError, match=problem) as raised,
    ):
        lease(vendor)
    assert "the-credential" not in str(raised.value)
    assert not raised.value.permanent


def test_a_bad_server_costs_only_itself() -> None:
    servers = [{**TURN, "urls": "turn:a b"}, *ANSWER["ice_servers"]]
    with FakeVendor(Answer(201, json={**ANSWER, "ice_servers": servers})) as vendor:
        assert len(lease(vendor).servers) == 3


@pytest.mark.parametrize(
    ("secrets", "problem"),
    [
        ({}, "either auth_token, or api_key"),
        (
            {"auth_token": Secret("a"), "api_key": KEY, "api_secret": Secret("b")},
            "either auth_token, or api_key",
        ),
        ({"api_key": KEY}, "belong together"),
        ({"auth_token": Secret("a"), "api_secret": Secret("b")}, "belong together"),
    ],
)
def test_one_way_to_sign_in_is_needed(secrets: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Twilio.Options(account_sid=SID, **secrets)


@pytest.mark.parametrize(
    ("ttl", "right"), [(60, True), (86_400, True), *((ttl, False) for ttl in [59, 86_401])]
)
def test_a_ttl_is_one_that_the_vendor_takes(ttl: int, right: bool) -> None:
    table = {"account_sid": SID, "auth_token": "the-auth-token", "ttl": ttl}
    if right:
        check_provider(Twilio, lambda url: {**table, "api_base": url}, vendor=Answer(201, json=ANSWER))
    else:
        with pytest.raises(ContractBroken, match="ttl: must be a whole number from 60"):
            check_provider(Twilio, table)
