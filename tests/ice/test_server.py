"""`IceServer` holds nothing that a browser would refuse or that could break out of a header."""

from typing import Any

import pytest

from liveman.config import Secret
from liveman.ice.server import IceServer, parse_url

SECRET = "s3cret-credential"

URLS = [
    "stun:stun.example.org",
    "stun:stun.example.org:3478",
    "stuns:stun.example.org:5349",
    "turn:turn.example.org",
    "turn:turn.example.org:3478?transport=udp",
    "turn:turn.example.org?transport=tcp",
    "turns:turn.example.org:443?transport=tcp",
    "turn:192.0.2.1:3478",
    "turn:[2001:db8::1]:3478?transport=udp",
    "stun:[::1]",
    "stun:[::ffff:192.0.2.1]:1",
    "stun:localhost:65535",
    "stun:my_host-1.example.org.:3478",
    "stun:1and1.example",
]

CANONICAL = [
    ("STUN:Host.Example:3478", "stun:Host.Example:3478"),
    ("Turns:h?TRANSPORT=TCP", "turns:h?transport=tcp"),
    ("stun:[2001:DB8::1]", "stun:[2001:DB8::1]"),
]

BAD_URLS: list[Any] = [
    "",
    "stun:",
    "stun",
    "host:3478",
    "http://host",
    "stun://host:3478",
    "stun:host:",
    "stun:host:0",
    "stun:host:65536",
    "stun:host:123456",
    "stun:host:-1",
    "stun:host:+1",
    "stun:host:3478/path",
    "stun:host?transport=udp",
    "stuns:host?transport=tcp",
    "turn:host?transport=tls",
    "turn:host?transport=",
    "turn:host?transport=udp&x=y",
    "turn:host?other=udp",
    "turn:host#udp",
    "turn:user:password@host",
    "turn:host, turn:other",
    "turn:host;x",
    "turn:ho st",
    " turn:host",
    "turn:host ",
    "turn:host\n",
    "turn:host\r\nSet-Cookie: a=b",
    "turn:host\x00",
    'turn:host>; rel="x"',
    "turn:[::1",
    "turn:::1",
    "turn:[::1%eth0]",
    "turn:[1.2.3.4]",
    "turn:[:::]",
    "turn:1.2.3",
    "turn:1.2.3.256",
    "turn:1.2.3.4.5",
    "turn:a..b",
    "turn:.a",
    "turn:" + "a" * 254,
    "turn:h\u00f6st",
    "\u017ftun:host",
    "turn:host:\u0661",
    None,
    5,
    b"stun:host",
    ["stun:host"],
]


@pytest.mark.parametrize("url", URLS)
def test_urls_of_the_rfcs_are_taken_as_they_are(url: str) -> None:
    assert parse_url(url) == url


@pytest.mark.parametrize(("url", "canonical"), CANONICAL)
def test_scheme_and_transport_are_put_in_lower_case(url: str, canonical: str) -> None:
    """Their case has no meaning (RFC 7065, section 3.1), but naive clients compare it."""
    assert parse_url(url) == canonical
    credentials = ("u", Secret("c")) if canonical.startswith("turn") else ()
    assert IceServer((url,), *credentials).urls == (canonical,)


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_ice_url_is_refused(url: Any) -> None:
    """The message says what to write and does not repeat the text, which may hold a password."""
    with pytest.raises(ValueError, match=r"^(must|has) ") as raised:
        parse_url(url)
    assert "password" not in str(raised.value)
    with pytest.raises(ValueError, match=r"urls\[1\] "):
        IceServer(("stun:fine", url))


@pytest.mark.parametrize(
    ("username", "credential"),
    [("u", "c"), ("1700000000:ab/c+d==", 'all of !"#$%&\\;, these'), ("u" * 1024, "c" * 1024)],
)
def test_printable_credentials_are_taken(username: str, credential: str) -> None:
    server = IceServer(("turn:h",), username, Secret(credential))
    assert (server.username, server.credential.reveal()) == (username, credential)


@pytest.mark.parametrize(
    "text", ["a\r\nb", "a\nb", "a\tb", "a\x00b", "a\x7fb", "caf\u00e9", "\ud800", "a" * 1025]
)
def test_credentials_that_no_header_can_carry_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as raised:
        IceServer(("stun:h",), text)
    with pytest.raises(ValueError, match="printable ASCII"):
        IceServer(("stun:h",), "u", Secret(text))
    assert text not in str(raised.value)


@pytest.mark.parametrize("url", ["turn:h", "turns:h?transport=tcp"])
@pytest.mark.parametrize("credentials", [("", Secret()), ("u", Secret()), ("", Secret("c"))])
def test_turn_needs_username_and_credential(url: str, credentials: tuple[str, Secret]) -> None:
    with pytest.raises(ValueError, match="need a username and a credential"):
        IceServer(("stun:h", url), *credentials)


@pytest.mark.parametrize(
    "arguments", [("stun:h",), (5,), (("stun:h",), 5), (("stun:h",), None), (("stun:h",), "u", "c"), ((),)]
)
def test_values_of_the_wrong_kind_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        IceServer(*arguments)


def test_the_credential_is_never_shown() -> None:
    assert SECRET not in repr(IceServer(("turn:h",), "u", Secret(SECRET)))


JSON = [
    (
        [
            {"urls": ["turn:a", "stun:a"], "username": "", "credential": "c"},
            {"urls": "turn:b", "username": "u", "credential": ""},
            {"urls": "stun:c"},
        ],
        [(("stun:a",), "", ""), (("stun:c",), "", "")],
    ),
    ([{"urls": "stun:a"}], [(("stun:a",), "", "")]),
    ({"urls": ["stun:a", "stun:b"]}, [(("stun:a", "stun:b"), "", "")]),
    ([{"urls": ["turn:a"], "username": "u", "credential": "c"}], [(("turn:a",), "u", "c")]),
    ([{"urls": "turn:a", "username": "u", "credential": "c", "more": 1}], [(("turn:a",), "u", "c")]),
    # A bad part is left out, the rest stays.
    ([{"urls": ["stun:a", "stun://b", 5, None, "turn:c\r\nX: y"]}], [(("stun:a",), "", "")]),
    (
        [5, None, "x", [], {}, {"urls": None}, {"urls": []}, {"urls": {}}, {"urls": "stun:a"}],
        [(("stun:a",), "", "")],
    ),
    # Without whole credentials there is no turn.
    ([{"urls": ["stun:a", "turn:b"]}], [(("stun:a",), "", "")]),
    ([{"urls": ["turn:b"], "username": "u"}], []),
    ([{"urls": ["turn:b"], "username": "u", "credential": ""}], []),
    ([{"urls": ["turn:b"], "username": 5, "credential": "c"}], []),
    ([{"urls": ["turn:b"], "username": "u", "credential": ["c"]}], []),
    ([{"urls": ["turn:b", "stun:a"], "username": "u\r\n", "credential": "c"}], [(("stun:a",), "", "")]),
    ([{"urls": ["turn:b"], "username": "u", "credential": "c" * 1025}], []),
    ([], []),
    ({}, []),
]


@pytest.mark.parametrize(("data", "expected"), JSON)
def test_of_a_vendors_json_what_can_be_used_is_used(data: Any, expected: list[Any]) -> None:
    servers = IceServer.from_json(data)
    assert [(s.urls, s.username, s.credential.reveal()) for s in servers] == expected


@pytest.mark.parametrize("data", [None, 5, "stun:a", True, b"x"])
def test_json_of_another_shape_is_an_error(data: Any) -> None:
    with pytest.raises(ValueError, match="neither a list nor an object"):
        IceServer.from_json(data)


@pytest.mark.parametrize(
    ("transports", "urls"),
    [
        ((), ("stun:a", "turn:b", "turn:b?transport=tcp", "turns:c?transport=tcp", "stuns:d")),
        (("udp",), ("stun:a", "turn:b")),
        (("tcp",), ("turn:b?transport=tcp",)),
        (("tls",), ("turns:c?transport=tcp", "stuns:d")),
        (("udp", "tcp"), ("stun:a", "turn:b", "turn:b?transport=tcp")),
    ],
)
def test_a_client_gets_the_urls_that_it_can_reach(transports: tuple[str, ...], urls: tuple[str, ...]) -> None:
    server = IceServer(
        ("stun:a", "turn:b", "turn:b?transport=tcp", "turns:c?transport=tcp", "stuns:d"), "u", Secret("c")
    )
    kept = server.over(transports)
    assert kept is not None
    assert kept.urls == urls
    assert IceServer(("stun:a",)).over(("tls",)) is None
