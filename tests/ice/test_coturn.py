"""Coturn's credentials are what turnserver computes for itself."""

import base64
import hashlib
import hmac

import pytest

from liveman.config import Secret
from liveman.ice.coturn import Coturn, password
from liveman.ice.provider import IceRequest, load
from liveman.ice.server import IceServer

REQUEST = IceRequest("subscribe", "cam")


@pytest.mark.parametrize(
    ("secret", "username", "expected"),
    [
        # By `printf %s USERNAME | openssl dgst -sha1 -hmac SECRET -binary | base64`.
        ("live777", "1700000000:abc", "A7cC2Z+esK2Gc5FeM1+n7xJJY0Y="),
        ("north", "1234567890", "+Ek8BzNjXoaMVv9u+I60bt1ysj0="),
        ("geh\u00f6im", "1700000000:abc", "kqngVjXdNNeHhFelQf1S0vCbk94="),
    ],
)
def test_the_password_is_the_hmac_of_the_username(secret: str, username: str, expected: str) -> None:
    assert password(secret, username) == expected
    mac = hmac.new(secret.encode(), username.encode(), hashlib.sha1)
    assert base64.b64encode(mac.digest()).decode() == expected


async def test_a_lease_has_stun_without_and_turn_with_credentials() -> None:
    urls = ("stun:h:3478", "turn:h:3478?transport=udp", "stuns:h", "turns:h?transport=tcp")
    options = Coturn.Options(secret=Secret("live777"), urls=urls, ttl=3600)
    coturn = Coturn(options, clock=lambda: 1_699_996_400.9, random=lambda: "abc")
    lease = await coturn.lease(REQUEST)
    assert lease.servers == (
        IceServer(("stun:h:3478", "stuns:h")),
        IceServer(
            ("turn:h:3478?transport=udp", "turns:h?transport=tcp"),
            "1700000000:abc",
            Secret("A7cC2Z+esK2Gc5FeM1+n7xJJY0Y="),
        ),
    )
    assert lease.expires_at == 1_700_000_000


async def test_every_lease_has_a_username_of_its_own() -> None:
    """Also within one second, and none has what splits a Link header."""
    coturn = load({"coturn": {"secret": "x", "urls": ["turn:h"]}})["coturn"]
    servers = [(await coturn.lease(REQUEST)).servers[0] for _ in range(100)]
    assert len({server.username for server in servers}) == 100
    assert len({server.credential for server in servers}) == 100
    assert not any(set(server.username + server.credential.reveal()) & set(';," \\') for server in servers)


async def test_of_two_secrets_the_first_signs() -> None:
    """So coturn can have both while it is moved from one to the other."""
    table = {"secret": ["live777", "the old one"], "urls": ["turn:h"]}
    (server,) = (await load({"coturn": table})["coturn"].lease(REQUEST)).servers
    assert server.credential.reveal() == password("live777", server.username)


@pytest.mark.parametrize(
    ("subject", "suffix"),
    [
        (None, ""),
        ("", ""),
        ("alice@example.org", ":alice@example.org"),
        ('a:b;c,"\\ d\u00e9\r\n', ":a_b_c____d___"),
        ("x" * 1000, ":" + "x" * 64),
    ],
)
async def test_the_subject_may_end_the_username(subject: str | None, suffix: str) -> None:
    """Made safe: nothing of it splits a username or a Link header."""
    request = IceRequest("publish", "cam", subject=subject)
    for chosen, expected in (("subject", suffix), ("", "")):
        options = Coturn.Options(secret=Secret("x"), urls=("turn:h",), ttl=10, user_suffix=chosen)  # type: ignore[arg-type]
        coturn = Coturn(options, clock=lambda: 1000.0, random=lambda: "abc")
        assert (await coturn.lease(request)).servers[0].username == f"1010:abc{expected}"


@pytest.mark.parametrize(("wanted", "given"), [(None, 3600), (60, 60), (604_800, 3600)])
async def test_a_session_gets_the_life_that_it_wants_up_to_ttl(wanted: int | None, given: int) -> None:
    coturn = Coturn(Coturn.Options(secret=Secret("x"), urls=("turn:h",)), clock=lambda: 1000.0)
    assert (await coturn.lease(IceRequest("publish", "cam", ttl=wanted))).expires_at == 1000 + given


async def test_stun_urls_alone_do_not_expire() -> None:
    coturn = Coturn(Coturn.Options(secret=Secret("x"), urls=("stun:h",)))
    lease = await coturn.lease(REQUEST)
    assert (lease.servers, lease.expires_at) == ((IceServer(("stun:h",)),), None)
