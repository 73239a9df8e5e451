"""From claims to the one who asks: tables of what is taken and what is refused, and why."""

import math
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from auth.issuing import NOW, good
from liveman.access import Identity, stream_name
from liveman.auth.claims import fingerprint, issued_identity, native_identity
from liveman.config import Auth, Claims
from liveman.errors import BadStreamName, NotAuthenticated

MAPPED = Auth(
    issuer="https://id.example.org",
    audience="liveman",
    claims=Claims(stream="room", mode="realm_access.roles", subject="email"),
)
OUTSIDE = {
    "iss": "https://id.example.org",
    "aud": "liveman",
    "exp": int(NOW) + 300,
    "room": "cam",
    "realm_access": {"roles": ["offline_access", "publish", "subscribe"]},
    "email": "ada@example.org",
}


def identity(claims: dict[str, Any], now: float = NOW) -> Identity:
    return native_identity(claims, now=now, token_id="print")


def issued(claims: dict[str, Any], auth: Auth = MAPPED) -> Identity:
    return issued_identity(claims, auth=auth, now=NOW, token_id="print")


def test_the_claims_of_a_node_s_token_suffice() -> None:
    """`{"id", "exp", "mode"}` is all that live777 writes; what a token is revoked by is then its fingerprint."""
    claims = {"id": "cam", "exp": int(NOW) + 60, "mode": 6}
    assert identity(claims) == Identity("token:print", "cam", 6, "print", NOW + 60)


def test_a_token_s_own_names_are_used() -> None:
    named = identity(good(sub="ada", jti="7b1f"))
    assert (named.subject, named.token_id) == ("ada", "7b1f")
    assert identity(good(jti="7b1f")).subject == "token:7b1f"


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"id": "*"}, "stream", "*"),
        ({"id": "ü b?"}, "stream", "ü b?"),
        ({"id": "100%"}, "stream", "100%"),
        ({"id": "%41"}, "stream", "%41"),
        ({"id": "x" * 255}, "stream", "x" * 255),
        ({"mode": 0}, "mode", 0),
        ({"mode": 7}, "mode", 7),
        ({"exp": NOW + 0.5}, "expires_at", NOW + 0.5),
        ({"exp": NOW - 59}, "expires_at", NOW - 59),
        ({"exp": 253_402_300_799}, "expires_at", 253_402_300_799.0),
        ({"nbf": NOW + 60}, "mode", 4),
        ({"nbf": 0}, "mode", 4),
        ({"iat": "yesterday"}, "mode", 4),
        ({"role": {"deep": [1]}}, "mode", 4),
        ({"sub": "Ada Lovelace"}, "subject", "Ada Lovelace"),
        ({"sub": "ü" * 255}, "subject", "ü" * 255),
    ],
)
def test_what_is_right_is_taken_as_it_is(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(identity(good(**changes)), field) == value


REFUSED: list[tuple[str, list[Any], str]] = [
    (
        "exp",
        [None, "1900000000", "soon", True, False, -1, -0.5, 1e308, 10**400, math.inf, -math.inf, [], {}, ""],
        "exp",
    ),
    ("exp", [253_402_300_800, int(NOW) * 1000 + 10**13], "exp"),
    ("exp", [NOW - 60, NOW - 61, 0, 1], "expired"),
    ("nbf", [NOW + 61, NOW + 3600], "not valid yet"),
    ("nbf", ["0", True, -1, 1e308, math.inf, []], "nbf"),
    (
        "mode",
        [None, True, False, -1, 8, 15, 256, 2**64, 7.0, 0.5, "7", "publish", ["publish"], {}, ""],
        "mode",
    ),
    ("id", [None, "", ".", "..", "a/b", "../b", "a\\b", "a\0", "a\nb", "\x7f", "x" * 256, "ü" * 128], "id"),
    ("id", [5, True, ["cam"], {"cam": 1}, "\ud800", "a\udc00b"], "id"),
    ("sub", [5, True, [], {}, "", "x" * 256, "a\nb", "a\0", "\ud800", "\u202e"], "sub"),
    ("jti", [5, True, [], {}, "", "x" * 256, "a\nb", "a\0", "\ud800"], "jti"),
    ("aud", ["liveman", "", [], 5], "aud"),
]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [(name, value, reason) for name, values, reason in REFUSED for value in values],
)
def test_what_is_wrong_is_refused_with_the_claim_s_name(name: str, value: object, reason: str) -> None:
    with pytest.raises(NotAuthenticated, match=reason) as caught:
        identity(good(**{name: value}))
    assert caught.value.status == 401
    assert not isinstance(value, str) or len(value) < 6 or value not in caught.value.detail


@pytest.mark.parametrize("name", ["exp", "id", "mode"])
def test_null_is_no_value(name: str) -> None:
    with pytest.raises(NotAuthenticated, match=name):
        identity({**good(), name: None})


def test_the_leeway_is_a_minute_to_the_second() -> None:
    identity(good(exp=1000), now=1059.9)
    with pytest.raises(NotAuthenticated, match="expired"):
        identity(good(exp=1000), now=1060)
    identity(good(nbf=1000), now=940)
    with pytest.raises(NotAuthenticated, match="not valid yet"):
        identity(good(nbf=1000), now=939.9)


def test_an_outside_token_is_read_by_the_names_that_are_configured() -> None:
    assert issued(OUTSIDE) == Identity("ada@example.org", "cam", 6, "print", NOW + 300)


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        (0, 0),
        (7, 7),
        ("subscribe", 4),
        ("openid publish  subscribe profile", 6),
        (["manage"], 1),
        (["publish", "publish", "manage", "subscribe"], 7),
        ([], 0),
        ("", 0),
        (["Publish", "publisher", "publish subscribe"], 0),
    ],
)
def test_a_mode_may_be_a_number_or_words(value: object, mode: int) -> None:
    """Words of other meanings are left out, as roles and scopes have many."""
    assert issued({**OUTSIDE, "realm_access": {"roles": value}}).mode == mode


@pytest.mark.parametrize(
    "value", [None, True, 8, -1, 7.0, [4], [["publish"]], ["publish", None], {"publish": 1}]
)
def test_another_mode_is_refused(value: object) -> None:
    with pytest.raises(NotAuthenticated, match="realm_access"):
        issued({**OUTSIDE, "realm_access": {"roles": value}})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": None}, "iss"),
        ({"iss": "https://id.example.org/"}, "iss"),
        ({"iss": ["https://id.example.org"]}, "iss"),
        ({"aud": None}, "aud"),
        ({"aud": "other"}, "aud"),
        ({"aud": "liveman2"}, "aud"),
        ({"aud": []}, "aud"),
        ({"aud": {"liveman": 1}}, "aud"),
        ({"room": None, "id": "cam"}, "room"),
        ({"room": ["cam"]}, "room"),
        ({"exp": NOW - 61}, "expired"),
        ({"exp": None}, "exp"),
        ({"realm_access": None}, "realm_access.roles"),
        ({"realm_access": "roles"}, "realm_access.roles"),
        ({"email": 5}, "email"),
    ],
)
def test_an_outside_token_that_is_wrong_is_refused(changes: dict[str, Any], reason: str) -> None:
    claims = {name: value for name, value in {**OUTSIDE, **changes}.items() if value is not None}
    with pytest.raises(NotAuthenticated, match=reason):
        issued(claims)


def test_one_of_several_audiences_suffices() -> None:
    assert issued({**OUTSIDE, "aud": ["account", "liveman"]}).stream == "cam"


def test_a_token_for_an_audience_is_refused_where_none_is_configured() -> None:
    """RFC 7519, section 4.1.3: who is not named must not take it."""
    auth = evolve(MAPPED, audience="")
    with pytest.raises(NotAuthenticated, match="aud"):
        issued(OUTSIDE, auth)
    assert issued({name: value for name, value in OUTSIDE.items() if name != "aud"}, auth).stream == "cam"


def test_a_name_with_dots_is_first_a_claim_of_that_name() -> None:
    """Auth0 names claims by URLs."""
    auth = evolve(MAPPED, claims=evolve(MAPPED.claims, mode="https://example.org/roles"))
    assert issued({**OUTSIDE, "https://example.org/roles": ["manage"]}, auth).mode == 1


def test_names_are_those_of_our_own_tokens_unless_configured() -> None:
    assert issued(good(sub="ada"), Auth()) == identity(good(sub="ada"))


def test_a_fingerprint_names_what_was_signed() -> None:
    assert fingerprint(b"a") == fingerprint(b"a") != fingerprint(b"b")


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["id", "exp", "mode", "nbf", "sub", "jti", "iss", "aud", "x"]), ODD))
def test_no_claims_do_more_than_be_refused(changes: dict[str, Any]) -> None:
    """Whatever stands there: the outcome is an identity of well-formed values, or a reason."""
    claims = {**good(), **changes}
    for read in (identity, lambda claims: issued(claims, Auth())):
        try:
            who = read(claims)
        except NotAuthenticated as error:
            assert error.detail.startswith("The token")
            continue
        assert type(who.mode) is int
        assert 0 <= who.mode <= 7
        assert who.subject.isprintable()
        assert who.token_id
        assert who.expires_at is not None
        assert NOW - 60 < who.expires_at < math.inf


@given(st.text(max_size=20))
def test_a_token_is_for_just_the_names_that_paths_can_hold(name: str) -> None:
    def in_path() -> str | None:
        try:
            return stream_name("".join(f"%{byte:02X}" for byte in name.encode("utf-8", "surrogatepass")))
        except BadStreamName:
            return None

    if in_path() is None:
        with pytest.raises(NotAuthenticated):
            identity(good(id=name))
    else:
        assert identity(good(id=name)).stream == name
