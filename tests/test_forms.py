"""Tables of the forms that a value of the configuration may have."""

from collections.abc import Callable

import pytest

from liveman import forms
from liveman.forms import Between, parse_address

HASH = "$argon2id$v=19$m=8,t=1,p=1$UuNXVbSm1bIayr1UBACFVw$KVCvya+3Jpujw0qaiVoODA"

GOOD = [
    (forms.address, "0.0.0.0:8888", "0.0.0.0:8888"),
    (forms.address, "[::]:8888", "[::]:8888"),
    (forms.address, "localhost:0", "localhost:0"),
    (forms.public_url, "http://live.example.org/", "http://live.example.org"),
    (forms.public_url, "HTTPS://live.example.org/prefix/", "https://live.example.org/prefix"),
    (forms.node_url, "http://node", "http://node"),
    (forms.node_url, "http://10.0.0.1:7777", "http://10.0.0.1:7777"),
    (forms.node_url, "http://[::1]:7777/", "http://[::1]:7777"),
    (forms.node_url, "http://node_1.internal:80", "http://node_1.internal:80"),
    (forms.web_url, "https://id.example.org/keys/?p=live", "https://id.example.org/keys/?p=live"),
    (forms.origin, "https://example.org", "https://example.org"),
    (forms.origin, "https://Example.org:443", "https://example.org"),
    (forms.origin, "http://[::1]:3000", "http://[::1]:3000"),
    (forms.origin, "capacitor://localhost", "capacitor://localhost"),
    (forms.network, "10.0.0.0/8", "10.0.0.0/8"),
    (forms.network, "127.0.0.1", "127.0.0.1/32"),
    (forms.network, "fd00::/8", "fd00::/8"),
    (forms.alias, "buildin-0", "buildin-0"),
    (forms.alias, "Nœud 1", "Nœud 1"),
    (forms.alias, "a" * 255, "a" * 255),
    (forms.token, "abc.def-_~+/=", "abc.def-_~+/="),
    (forms.password, "plain", "plain"),
    (forms.password, "$ecret$", "$ecret$"),
    (forms.password, "nul \0 and ñ", "nul \0 and ñ"),
    (forms.password, HASH, HASH),
    (forms.agent_id, "Edge_7-a", "Edge_7-a"),
    (forms.topic_level, "", ""),
    (forms.topic_level, "liveman-0", "liveman-0"),
    (forms.domain, "Net4mqtt.local", "net4mqtt.local"),
    (forms.mqtt_url, "mqtt://u:p@host:1883/p?client_id={alias}", "mqtt://u:p@host:1883/p?client_id={alias}"),
    (forms.mqtt_url, "wss://host/net4mqtt", "wss://host/net4mqtt"),
    (forms.optional(forms.token), "", ""),
    (forms.filled, " ", " "),
    (forms.printable, "Ann Ä. ☃", "Ann Ä. ☃"),
    (forms.printable, "x" * 255, "x" * 255),
]

BAD = [
    (forms.address, ["", "8888", ":8888", "host", "host:", "host:http", "host:65536", "host:-1", "::1:80"]),
    (
        forms.address,
        ["::8888", "[::1:80", "[::1]", "[zz]:80", "a b:80", "1.2.3:80", "1.2.3.999:80", "host:8 8"],
    ),
    (forms.address, ["http://host:80", "host:٣", "user@host:80"]),
    (forms.node_url, ["", "node", "node:7777", "//node", "ftp://node", "http://", "http:///x", "http:node"]),
    (forms.node_url, ["http://u:p@node", "http://node?x=1", "http://node?", "http://node#f", "http://no de"]),
    (forms.node_url, ["http://node:0", "http://node:99999", "http://node:x", "http://node:", "http://[::1"]),
    (forms.node_url, ["http://[::1]x:80", "http://a\nb", "http://:80", "http://1.2.3", "http://a%b"]),
    (forms.web_url, ["", "id.example.org", "ftp://id", "https://u:p@id", "https://id#f", "https://a b"]),
    (
        forms.origin,
        ["*", "null", "example.org", "https://example.org/", "https://example.org/a", "https://u@e.org"],
    ),
    (forms.origin, ["https://", "https://a b", "https://e.org?x", "https://e.org:99999"]),
    (forms.network, ["", "10.0.0.1/8", "10.0.0.0/33", "fd00::1/8", "all", "10.0.0.0-10.0.0.9"]),
    (
        forms.alias,
        ["", ".", "..", "a/b", "a\\b", "a?b", "a#b", "a%b", "a\nb", " a", "a ", "a\u2028b", "é" * 128],
    ),
    (forms.alias, ["\ud800"]),
    (forms.token, ["", "a b", "a\r\nX: y", "é", "\x7f"]),
    (
        forms.password,
        [
            "",
            "a" * 1025,
            "ñ" * 513,
            "$2b$12$EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW",
            "$6$rounds=5000$salt$hash",
            "$1$salt$hash",
            "$pbkdf2-sha256$29000$salt$hash",
            "$scrypt$ln=16,r=8,p=1$c2FsdA$aGFzaA",
            HASH.replace("argon2id", "argon2i"),
            HASH.replace("argon2id", "argon2d"),
            HASH.replace("v=19", "v=16"),
            HASH.replace("v=19$", ""),
            HASH.replace("m=8,t=1,p=1", "t=1,m=8,p=1"),
            HASH.replace("t=1", "t=0"),
            HASH.replace("p=1", "p=0"),
            HASH.replace("p=1", "p=2"),
            HASH.replace("m=8", "m=9999999"),
            HASH.replace("m=8", "m=-8"),
            HASH.replace("t=1", "t=999"),
            HASH[:-1],
            HASH[:-1] + "x",
            HASH[:-10],
            HASH + "$",
            HASH + "=",
            HASH + "\n",
            "$argon2id$",
        ],
    ),
    (forms.agent_id, ["", "-", "a.b", "a b", "a/b", "é", "a\n", "a" * 64]),
    (forms.topic_level, ["-", "a/b", "+", "#", "a\n"]),
    (forms.domain, ["", ".", "a..b", ".localhost", "a b", "net4mqtt_local", "a/b"]),
    (
        forms.mqtt_url,
        ["", "host:1883", "http://host", "mqtt://", "mqtt://:1883", "mqtt://host:99999", "mqtt://a b"],
    ),
    (forms.filled, [""]),
    (forms.printable, ["", "x" * 256, "a\nb", "a\0", "\u202e", "a\u00a0b", "\ud800"]),
    (forms.optional(forms.token), ["a b"]),
]


@pytest.mark.parametrize(("form", "text", "kept"), GOOD)
def test_a_good_text_is_kept_in_its_normal_form(form: Callable[[str], str], text: str, kept: str) -> None:
    """What Liveman uses is one way of writing, whatever way the file had it; twice changes nothing more."""
    assert form(text) == kept
    assert form(kept) == kept


@pytest.mark.parametrize(("form", "text"), [(form, text) for form, texts in BAD for text in texts])
def test_a_bad_text_is_refused_with_a_sentence_that_does_not_repeat_it(
    form: Callable[[str], str], text: str
) -> None:
    """A faulty value may hold a password, so no message shows it."""
    with pytest.raises(ValueError, match=r"^(must|has|holds|stands)") as caught:
        form(text)
    assert "\n" not in str(caught.value)
    assert len(text) < 6 or text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("0.0.0.0:8888", ("0.0.0.0", 8888)), ("[::]:0", ("::", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_an_address_parts_into_host_and_port(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed


def test_a_network_with_bits_beyond_its_length_is_told_the_right_one() -> None:
    with pytest.raises(ValueError, match=r'write "10\.0\.0\.0/8"'):
        forms.network("10.0.0.1/8")


@pytest.mark.parametrize("value", [1, 5, 9])
def test_a_number_within_the_bounds_passes(value: int) -> None:
    assert Between(1, 9)(value) == value


@pytest.mark.parametrize("value", [0, 10, -1, 10**30])
def test_a_number_out_of_bounds_is_told_the_bounds(value: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 9"):
        Between(1, 9)(value)
