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


async def test_stun_urls_alone_do_not_expire() -> None:
    coturn = Coturn(Coturn.Options(secret=Secret("x"), urls=("stun:h",)))
    lease = await coturn.lease(REQUEST)
    assert (lease.servers, lease.expires_at) == ((IceServer(("stun:h",)),), None)
