"""Which header fields pass the proxy."""

import pytest

from liveman.forwarded import is_trusted, parse_networks
from liveman.proxy.headers import Peer, answer_fields, request_fields

PEER = Peer(address="192.0.2.7", scheme="http", host="live.example", version="1.1")
OWN = [
    (b"X-Forwarded-For", b"192.0.2.7"),
    (b"X-Forwarded-Proto", b"http"),
    (b"X-Forwarded-Host", b"live.example"),
    (b"Via", b"1.1 liveman"),
]


def shown(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What a client gets of an answer with these fields."""
    return answer_fields(
        fields, connection=[value for name, value in fields if name.lower() == b"connection"]
    )


def passed(*fields: tuple[bytes, bytes], peer: Peer = PEER, token: str = "") -> list[tuple[bytes, bytes]]:
    return request_fields(fields, peer=peer, token=token)


@pytest.mark.parametrize(
    "field",
    [
        (b"Accept", b"*/*"),
        (b"user-agent", b"OBS"),
        (b"If-Match", b'"*"'),
        (b"X-Empty", b""),
        (b"Icy-MetaData", b"1"),
        (b"X-Utf8", "ü".encode()),
        (b"Max-Forwards", b"3"),
    ],
)
def test_end_to_end_fields_reach_the_node_as_they_came(field: tuple[bytes, bytes]) -> None:
    assert passed(field) == [field, *OWN]


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"Proxy-Authenticate",
        b"Proxy-Authorization",
        b"TE",
        b"Trailer",
        b"Transfer-Encoding",
        b"Upgrade",
        b"Content-Length",
        b"Host",
        b"Expect",
        b"authorization",
        b"Cookie",
        b"X-Forwarded-For",
        b"X-Forwarded-Anything",
        b"Forwarded",
    ],
)
def test_what_belongs_to_the_clients_connection_or_to_liveman_does_not(name: bytes) -> None:
    assert passed((name, b"x")) == OWN


def test_fields_that_connection_names_go_with_it() -> None:
    fields = [
        (b"Connection", b"close, X-Secret"),
        (b"connection", b"x-two"),
        (b"X-Secret", b"1"),
        (b"X-Two", b"2"),
    ]
    assert passed(*fields, (b"X-Three", b"3")) == [(b"X-Three", b"3"), *OWN]
    assert shown([*fields, (b"X-Three", b"3")]) == [(b"X-Three", b"3")]


@pytest.mark.parametrize("value", [b"\xff", b"a\xc3", b"a\x00b", b"a\x7fb", b"a\x01"])
def test_a_value_that_would_be_cut_on_its_way_is_dropped_whole(value: bytes) -> None:
    assert passed((b"X", value)) == OWN


def test_the_nodes_own_token_replaces_the_clients() -> None:
    fields = passed((b"Authorization", b"Bearer of-the-client"), token="of-the-node")
    assert [value for name, value in fields if name == b"Authorization"] == [b"Bearer of-the-node"]


def test_an_offer_goes_as_exactly_application_sdp() -> None:
    fields = request_fields(
        [(b"content-type", b"application/sdp; charset=utf-8")],
        peer=PEER,
        token="",
        content_type=b"application/sdp",
    )
    assert fields == [(b"Content-Type", b"application/sdp"), *OWN]


def test_a_trusted_proxys_word_is_kept_and_continued() -> None:
    peer = Peer(address="2001:db8::1", scheme="http", host="inner", trusted=True)
    fields = passed(
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"live.example"),
        (b"Forwarded", b"for=203.0.113.9;proto=https"),
        peer=peer,
    )
    assert fields == [
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"live.example"),
        (b"Forwarded", b'for=203.0.113.9;proto=https, for="[2001:db8::1]";proto=http'),
        (b"X-Forwarded-For", b"203.0.113.9, 2001:db8::1"),
        (b"Via", b"1.1 liveman"),
    ]


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("2001:db8::5", True),
        ("fe80::1%eth0", False),
        ("unknown", False),
    ],
)
def test_trust_goes_by_network(address: str, trusted: bool) -> None:
    assert is_trusted(address, parse_networks(["10.0.0.0/8", "2001:db8::/32"])) is trusted
    assert not is_trusted(address, ())


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Transfer-Encoding",
        b"Content-Length",
        b"Location",
        b"Link",
        b"Set-Cookie",
        b"Access-Control-Allow-Origin",
        b"access-control-expose-headers",
    ],
)
def test_these_fields_of_a_node_never_reach_a_client_as_they_are(name: bytes) -> None:
    assert shown([(name, b"x"), (b"ETag", b'"1"')]) == [(b"ETag", b'"1"')]


def test_a_nodes_field_that_is_not_utf8_is_dropped_whole() -> None:
    assert shown([(b"X", b"\xff"), (b"\xff", b"x"), (b"Y", "ü".encode())]) == [(b"Y", "ü".encode())]
