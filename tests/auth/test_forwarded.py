"""Who the client is behind trusted proxies: a table of what they, and liars, say."""

import pytest
from attrs import frozen

from liveman import forwarded
from liveman.forwarded import Client, client_of, is_trusted, parse_networks

PROXIES = parse_networks(["10.0.0.0/8", "fd00::/8"])


@frozen
class Said:
    """A request, as far as it matters here."""

    remote: str
    fields: dict[str, str]
    scheme: str = "http"

    def header(self, name: bytes) -> str:
        return {"host": "inside:8888", **self.fields}.get(name.decode(), "")


FOR, PROTO, HOST = "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, "10.0.0.1"),
        ({FOR: "192.0.2.7"}, "192.0.2.7"),
        ({FOR: "192.0.2.7:4711"}, "192.0.2.7"),
        ({FOR: "[2001:db8::7]:4711"}, "2001:db8::7"),
        ({FOR: "2001:db8::7"}, "2001:db8::7"),
        ({FOR: "2001:DB8:0::7"}, "2001:db8::7"),
        ({FOR: "fe80::1%eth0 status=200"}, "fe80::1"),
        # What the client itself wrote stands before what the proxy has seen.
        ({FOR: "203.0.113.9, 192.0.2.7"}, "192.0.2.7"),
        ({FOR: "127.0.0.1, 10.0.0.9, 192.0.2.7"}, "192.0.2.7"),
        # A chain of proxies.
        ({FOR: "203.0.113.9, 192.0.2.7, 10.0.0.2, 10.0.0.3"}, "192.0.2.7"),
        ({FOR: "10.0.0.2, 10.0.0.3"}, "10.0.0.2"),
        # What is no address ends it.
        ({FOR: "192.0.2.7, unknown"}, "10.0.0.1"),
        ({FOR: "192.0.2.7, unknown, 10.0.0.2"}, "10.0.0.2"),
        ({FOR: "203.0.113.9, <script>"}, "10.0.0.1"),
        ({FOR: ","}, "10.0.0.1"),
        ({FOR: "192.0.2.7\udcff"}, "10.0.0.1"),
        ({"forwarded": "for=192.0.2.7"}, "192.0.2.7"),
        ({"forwarded": 'For="[2001:db8::7]:4711";proto=https'}, "2001:db8::7"),
        ({"forwarded": "for=203.0.113.9, for=192.0.2.7"}, "192.0.2.7"),
        ({"forwarded": "for=203.0.113.9;proto=http, for=192.0.2.7, for=10.0.0.2"}, "192.0.2.7"),
        ({"forwarded": "for=unknown"}, "10.0.0.1"),
        ({"forwarded": "for=_hidden"}, "10.0.0.1"),
        ({"forwarded": 'for="192.0.2.7'}, "10.0.0.1"),
        ({"forwarded": "by=192.0.2.7"}, "10.0.0.1"),
        # Both: believed when they agree, as one of them may be the client's own.
        ({FOR: "192.0.2.7", "forwarded": "for=192.0.2.7"}, "192.0.2.7"),
        ({FOR: "192.0.2.7", "forwarded": "for=203.0.113.9"}, "10.0.0.1"),
    ],
)
def test_the_address_is_the_last_that_is_no_proxys(fields: dict[str, str], address: str) -> None:
    assert client_of(Said("10.0.0.1", fields), PROXIES).address == address


@pytest.mark.parametrize(
    ("fields", "scheme", "host"),
    [
        ({}, "http", "inside:8888"),
        ({PROTO: "https", HOST: "live.example"}, "https", "live.example"),
        ({PROTO: "HTTPS"}, "https", "inside:8888"),
        ({PROTO: "javascript"}, "http", "inside:8888"),
        ({PROTO: "https, http"}, "http", "inside:8888"),
        ({PROTO: "http,https", HOST: "evil.example, live.example"}, "https", "live.example"),
        ({"forwarded": "for=192.0.2.7;proto=https;host=live.example"}, "https", "live.example"),
        ({"forwarded": "proto=https, for=192.0.2.7"}, "http", "inside:8888"),
        ({PROTO: "http", "forwarded": "proto=https"}, "http", "inside:8888"),
        ({PROTO: "https", "forwarded": "proto=http"}, "http", "inside:8888"),
        ({HOST: "live.example", "forwarded": "host=evil.example"}, "http", "inside:8888"),
    ],
)
def test_scheme_and_host_are_the_nearest_proxys_word(fields: dict[str, str], scheme: str, host: str) -> None:
    found = client_of(Said("10.0.0.1", fields), PROXIES)
    assert (found.scheme, found.host) == (scheme, host)


@pytest.mark.parametrize("remote", ["192.0.2.7", "::1", "fe80::1%eth0", "unknown", ""])
def test_nobody_else_is_believed(remote: str) -> None:
    said = {
        FOR: "127.0.0.1",
        PROTO: "https",
        HOST: "evil.example",
        "forwarded": "for=127.0.0.1;proto=https;host=evil.example",
    }
    assert client_of(Said(remote, said), PROXIES) == Client(remote, "http", "inside:8888")
    assert client_of(Said(remote, said), ()) == Client(remote, "http", "inside:8888")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::1%eth0", True),
        ("11.0.0.1", False),
        ("::ffff:11.0.0.1", False),
        ("10.0.0.256", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_which_addresses_are_proxies(address: str, trusted: bool) -> None:
    assert is_trusted(address, PROXIES) is trusted


def test_a_long_word_costs_no_more_than_its_length() -> None:
    """A client writes it, and a proxy passes it on: tried from each of its letters, it would take a second."""
    for said in ("a" * 2_000_000, "a=" * 1_000_000, 'a="' * 600_000, "for=," * 400_000):
        found = client_of(Said("10.0.0.1", {"forwarded": said}), PROXIES)
        assert found.address == "10.0.0.1"
    assert list(forwarded._pairs("xfor=1;for=2")) == [("xfor", "1"), ("for", "2")]
