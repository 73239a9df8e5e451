"""The compact form: one way of reading each token, and none of reading what is not one."""

import codecs
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.issuing import NOW, as_json, base64url, compact, good, hs256, native
from liveman.auth.jws import MAX_BYTES, build_jws, parse_jws, parse_object
from liveman.errors import NotAuthenticated
from liveman.token_key import shared_key

HEADER = '{"alg":"HS256"}'


def b64(text: str | bytes) -> str:
    return base64url(text.encode() if isinstance(text, str) else text).decode()


def headed(header: str | bytes) -> str:
    """A token with this header, which nobody signed."""
    return f"{b64(header)}.{b64('{}')}.c3M"


def test_what_is_built_is_parsed_again() -> None:
    key = shared_key(b"secret")
    jws = parse_jws(build_jws(good(sub="ü"), key))
    assert (jws.algorithm, jws.key_id) == ("HS256", "")
    assert parse_object(jws.payload) == good(sub="ü")
    assert key.verifies(jws.signed, jws.signature)


def test_a_token_of_just_the_longest_length_is_read() -> None:
    token = native(good())
    fitting = native(good(pad="x" * ((MAX_BYTES - len(token)) * 3 // 4 - 11)))
    assert MAX_BYTES - 4 <= len(fitting) <= MAX_BYTES
    assert parse_jws(fitting).algorithm == "HS256"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "not known"),
        ("a", "not known"),
        ("a.b", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}.", "not known"),
        (f"{b64(HEADER)}..{b64('s')}", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}.{b64('s')}.{b64('s')}", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}.{b64('s')}=", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}.{b64('s')}\n", "not known"),
        (f" {b64(HEADER)}.{b64('{}')}.{b64('s')}", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}.a+/b", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}.a\0bc", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}.äbcd", "not known"),
        ("\udcff.\udcff.\udcff", "not known"),
        (f"{b64(HEADER)}.{b64('{}')}.c3N", "base64"),
        (f"{b64(HEADER)}.{b64('{}')}.abcde", "malformed"),
        (headed("[]"), "no JSON object"),
        (headed("null"), "no JSON object"),
        (headed("nonsense"), "no JSON"),
        (headed(HEADER + "x"), "no JSON"),
        (headed(bytes([0xFF, 0xFE])), "no JSON"),
        (headed(HEADER.encode("utf-16")), "no JSON"),
        (headed(codecs.BOM_UTF8 + HEADER.encode()), "no JSON"),
        (headed('{"alg":"none","alg":"HS256"}'), "repeated"),
        (headed('{"alg":NaN}'), "no JSON"),
        (headed('{"alg":' + "9" * 5000 + "}"), "no JSON"),
        (headed('{"alg":' + "[" * 3000), "JSON"),
        (headed("{}"), "alg"),
        (headed('{"alg":null}'), "alg"),
        (headed('{"alg":["HS256"]}'), "alg"),
        (headed('{"alg":"HS256","kid":5}'), "kid"),
        (headed('{"alg":"HS256","crit":["exp"],"exp":1}'), "crit"),
        (headed('{"alg":"HS256","crit":["b64"],"b64":false}'), "crit"),
        (headed('{"alg":"HS256","crit":[]}'), "crit"),
        (headed('{"alg":"HS256","crit":null}'), "crit"),
        ("x" * (MAX_BYTES + 1), "8192"),
        (native(good(pad="x" * MAX_BYTES)), "8192"),
    ],
)
def test_what_is_no_token_is_refused_with_the_reason(token: str, reason: str) -> None:
    with pytest.raises(NotAuthenticated, match=reason) as caught:
        parse_jws(token)
    assert len(token) < 8 or token not in caught.value.detail


@pytest.mark.parametrize(
    "data",
    [
        b'{"exp":1,"exp":2}',
        b'{"a":{"b":1,"b":1}}',
        b"",
        b"5",
        b'"a"',
        b"{]",
        b'{"a":Infinity}',
        b'{"a":"\xff"}',
    ],
)
def test_claims_that_can_be_read_in_two_ways_or_none_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        parse_object(data)


def test_what_tells_tokens_apart_does_not_hang_on_how_the_signature_is_written() -> None:
    one = compact(json.loads(HEADER), good(), hs256())
    other = compact(json.loads(HEADER), good(), lambda message: b"another")
    assert parse_jws(one).signed == parse_jws(other).signed
    assert parse_jws(native(good(exp=NOW))).signed != parse_jws(native(good())).signed


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: f"{b64(raw)}.{b64(raw)}.{b64(raw)}"))
def test_no_text_does_more_than_be_refused(token: str) -> None:
    with pytest.raises(NotAuthenticated):
        parse_jws(token)


@given(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=9), max_size=4))
def test_any_object_comes_back_from_its_json(value: dict[str, object]) -> None:
    assert parse_object(as_json(value)) == value
