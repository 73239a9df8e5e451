"""Who shows a token: the outcome for each kind of token, also for those that someone tampered with."""

import asyncio
import hmac
import json
import logging
from typing import Any

import jwt
import pytest

from auth.issuing import NOW, SECRET, Issuer, compact, good, hs256, native
from liveman.access import Identity
from liveman.auth import tokens as tokens_module
from liveman.auth.limits import Buckets
from liveman.auth.tokens import Tokens
from liveman.config import Auth, Secret
from liveman.errors import ConfigError, NotAuthenticated, TooMany

RS, ES, ED = Issuer("RS256"), Issuer("ES256"), Issuer("EdDSA", "ed-1")
OTHER = Issuer("RS256")
ALL = Auth(
    secret=Secret(SECRET),
    tokens=(Secret("static-one"), Secret("static-two")),
    jwt_public_keys=(RS.pem, ES.pem, json.dumps(ED.jwk)),
)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def tokens(auth: Auth = ALL, clock: Clock | None = None, **more: Any) -> Tokens:
    return Tokens(auth, clock=clock or Clock(), **more)


async def refusal(token: str, known: Tokens) -> str:
    """Why a token is refused; nothing is remembered of it, and nothing of it repeated."""
    for _ in range(2):
        with pytest.raises(NotAuthenticated) as caught:
            await known.identify(token)
        assert known.known(token) is None
    assert len(token) < 6 or token not in caught.value.detail
    assert SECRET not in caught.value.detail
    return caught.value.detail


def test_a_static_token_may_do_everything() -> None:
    known = tokens()
    assert known.known("static-one") == Identity("auth.tokens[0]", "*", 7)
    assert known.known("static-two") == Identity("auth.tokens[1]", "*", 7)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "static",
        "static-on",
        "static-onee",
        "STATIC-ONE",
        "static-one ",
        "stätic-one",
        "\udcff",
        "\0",
        "é" * 99,
    ],
)
async def test_nothing_like_a_static_token_will_do(token: str) -> None:
    known = tokens()
    assert known.known(token) is None
    assert await refusal(token, known) == "The token is not known."


def test_static_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By digests of one length that only this process can tell, so no look-up depends on the token itself."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    one, other = tokens(), tokens()
    assert one.known("static-one")
    assert other.known("static-one")
    assert [len(a) == len(b) == 16 for a, b in compared] == [True, True]
    assert compared[0] != compared[1]


@pytest.mark.parametrize(
    "token",
    [
        native(good()),
        native({"id": "cam", "exp": int(NOW) + 3600, "mode": 4}, typ="anything", kid="../../etc/passwd"),
        jwt.encode(good(), SECRET, "HS256"),
        RS.token(good()),
        ES.token(good()),
        ED.token(good()),
        RS.token(good(), kid="unnamed keys may have any name\0'; DROP TABLE"),
        ED.token(good(), kid=""),
    ],
)
async def test_a_token_by_the_rules_is_known_from_then_on(token: str) -> None:
    known = tokens()
    assert known.known(token) is None
    who = await known.identify(token)
    assert (who.stream, who.mode, who.expires_at) == ("cam", 4, NOW + 3600)
    assert known.known(token) is who
    assert await known.identify(token) is who


def confused(key: str) -> str:
    """Signed by HS256 with what everyone may know."""
    return compact({"alg": "HS256"}, good(), hs256(key))


HOSTILE = [
    ("alg none", compact({"alg": "none"}, good(), lambda _: b"x"), "algorithm"),
    ("alg none, unsigned", compact({"alg": "none"}, good(), lambda _: b""), "not known"),
    ("alg None", compact({"alg": "NoNe"}, good(), hs256()), "algorithm"),
    ("alg empty", compact({"alg": ""}, good(), hs256()), "algorithm"),
    ("alg HS512", jwt.encode(good(), SECRET * 2, "HS512"), "algorithm"),
    ("alg hs256", compact({"alg": "hs256"}, good(), hs256()), "algorithm"),
    ("alg with blank", compact({"alg": "HS256 "}, good(), hs256()), "algorithm"),
    ("HS256 with the public PEM", confused(RS.pem), "signature"),
    ("HS256 with the stripped PEM", confused(RS.pem.strip()), "signature"),
    ("HS256 with the public JWK", confused(json.dumps(ED.jwk)), "signature"),
    ("HS256 with nothing", compact({"alg": "HS256"}, good(), hs256(b"")), "signature"),
    ("HS256 with another secret", native(good(), "another secret"), "signature"),
    ("RS256 signed by the secret", compact({"alg": "RS256"}, good(), hs256()), "signature"),
    ("RS256 by another", OTHER.token(good()), "signature"),
    ("RS256 signed by P-256", compact({"alg": "RS256"}, good(), ES.sign), "signature"),
    ("ES256 signed by RSA", compact({"alg": "ES256"}, good(), RS.sign), "signature"),
    ("EdDSA signed by P-256", compact({"alg": "EdDSA"}, good(), ES.sign), "signature"),
    ("ES256 of zeros", compact({"alg": "ES256"}, good(), lambda _: b"\0" * 64), "signature"),
    ("a named key by another name", ED.token(good(), kid="ed-2"), "signature"),
    ("a key in the header", OTHER.token(good(), jwk=OTHER.jwk, jku="http://127.0.0.1:1/"), "signature"),
    ("HS512 by RSA's rules", compact({"alg": "RS512"}, good(), RS.sign), "algorithm"),
    ("crit", native(good(), crit=["exp"]), "crit"),
    ("exp as text", native(good(exp="1900000000")), "exp"),
    ("exp 1e308", native(good(exp=1e308)), "exp"),
    ("exp 1e999", native(b'{"id":"cam","mode":4,"exp":1e999}'), "exp"),
    ("exp NaN", native(b'{"id":"cam","mode":4,"exp":NaN}'), "JSON"),
    ("exp true", native(good(exp=True)), "exp"),
    ("exp negative", native(good(exp=-1)), "exp"),
    ("exp missing", native(good(exp=None)), "exp"),
    ("exp a second beyond the leeway", native(good(exp=NOW - 61)), "expired"),
    ("exp of RS256 beyond the leeway", RS.token(good(exp=NOW - 61)), "expired"),
    ("nbf ahead", native(good(nbf=NOW + 61)), "not valid yet"),
    ("mode 8", native(good(mode=8)), "mode"),
    ("mode true", native(good(mode=True)), "mode"),
    ("mode in words, signed by the secret", native(good(mode="publish")), "mode"),
    ("id a number", native(good(id=5)), "id"),
    ("id up the tree", native(good(id="../b")), "id"),
    ("id with NUL", native(good(id="cam\0")), "id"),
    ("an audience", native(good(aud="liveman")), "aud"),
    ("an audience, RS256", RS.token(good(aud="liveman")), "aud"),
    ("longer than 8 KiB", native(good(pad="x" * 8192)), "8192"),
    ("two parts", native(good()).rpartition(".")[0], "not known"),
    ("four parts", native(good()) + ".c3M", "not known"),
    ("tampered payload", native(good()).replace(".ey", ".eY", 1), "signature"),
    ("a byte short", compact({"alg": "HS256"}, good(), lambda text: hs256()(text)[:-1]), "signature"),
    ("cut within four characters", native(good())[:-2], "base64"),
    ("repeated members", native(b'{"id":"cam","exp":1900000000,"mode":4,"mode":7}'), "repeated"),
    ("a list", native([good()]), "no JSON object"),
    ("no JSON", native(b"\0"), "no JSON"),
    ("no UTF-8", native(b'{"id":"\xff"}'), "no JSON"),
    ("deep", native(b'{"exp":' + b"[" * 4000), "JSON"),
]


@pytest.mark.parametrize(("token", "reason"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
async def test_a_hostile_token_is_refused_with_the_reason(token: str, reason: str) -> None:
    assert reason in await refusal(token, tokens())


@pytest.mark.parametrize(
    "token", [native(good()), compact({"alg": "HS256"}, good(), hs256(b"")), native(good(), "x")]
)
async def test_without_a_secret_no_shared_key_is_good(token: str) -> None:
    known = tokens(Auth(tokens=(Secret("static-one"),), jwt_public_keys=(RS.pem,)))
    assert "signature" in await refusal(token, known)


@pytest.mark.parametrize("changes", [{"exp": NOW - 59}, {"nbf": NOW + 59}])
async def test_a_minute_of_clocks_apart_is_forgiven(changes: dict[str, Any]) -> None:
    assert (await tokens().identify(native(good(**changes)))).mode == 4


async def test_a_known_token_ends_when_it_says() -> None:
    clock = Clock()
    known = tokens(clock=clock)
    token = native(good(exp=NOW + 10))
    await known.identify(token)
    clock.now = NOW + 69.9
    assert known.known(token)
    clock.now = NOW + 70
    assert "expired" in await refusal(token, known)


async def test_a_token_without_a_name_gets_one_that_is_its_own_everywhere() -> None:
    """It can be revoked on every instance, however its signature is written, and does not give the token away."""
    token = native(good())
    one, other = await tokens().identify(token), await tokens().identify(token)
    assert one.token_id == other.token_id != ""
    assert one.token_id not in token
    assert one.subject == f"token:{one.token_id}"
    assert (await tokens().identify(native(good(mode=2)))).token_id != one.token_id
    # ECDSA signs one text in many ways.
    claims = good()
    first, second = ES.token(claims), ES.token(claims)
    assert first != second
    assert (await tokens().identify(first)).token_id == (await tokens().identify(second)).token_id


async def test_bogus_tokens_push_no_good_one_out_and_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "MOST_KNOWN", 3)
    known = tokens()
    token = native(good())
    await known.identify(token)
    for number in range(100):
        await refusal(native(good(n=number), "another secret"), known)
    assert known.known(token)
    assert len(known._verified) == 1


async def test_of_too_many_good_tokens_those_in_use_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "MOST_KNOWN", 3)
    known = tokens()
    used, *others = [native(good(n=number)) for number in range(10)]
    await known.identify(used)
    for token in others:
        await known.identify(token)
        assert known.known(used)
    assert len(known._verified) == 3
    assert known.known(others[-1])
    assert known.known(others[0]) is None
    assert await known.identify(others[0])


async def test_a_made_token_is_what_nodes_and_liveman_accept() -> None:
    known = tokens()
    token = known.make(stream="cam", mode=6, expires_at=NOW + 59.9, subject="ada")
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    claims = jwt.decode(token, SECRET, ["HS256"], {"verify_exp": False})
    assert {name: claims[name] for name in ("id", "exp", "mode", "sub")} == {
        "id": "cam",
        "exp": int(NOW) + 59,
        "mode": 6,
        "sub": "ada",
    }
    assert type(claims["exp"]) is int
    who = await known.identify(token)
    assert who == Identity("ada", "cam", 6, claims["jti"], NOW + 59)


def test_two_made_tokens_are_never_one() -> None:
    known = tokens()
    assert len({known.make(stream="*", mode=7, expires_at=NOW, subject="ada") for _ in range(9)}) == 9


async def test_the_cluster_s_own_secret_signs_where_none_is_configured() -> None:
    """Accounts alone suffice to log in, and every instance knows the tokens."""
    accounts_alone = Auth()
    one, other = (tokens(accounts_alone, own_secret=b"c" * 32) for _ in range(2))
    token = one.make(stream="*", mode=7, expires_at=NOW + 60, subject="ada")
    assert (await other.identify(token)).subject == "ada"
    assert "signature" in await refusal(token, tokens(accounts_alone, own_secret=b"d" * 32))


async def test_the_configured_secret_wins_over_the_cluster_s_own() -> None:
    known = tokens(own_secret=b"c" * 32)
    assert "signature" in await refusal(native(good(), "c" * 32), known)


def test_no_token_is_made_without_a_secret() -> None:
    with pytest.raises(ConfigError, match=r"auth\.secret"):
        tokens(Auth()).make(stream="*", mode=7, expires_at=NOW, subject="ada")


@pytest.mark.parametrize(
    ("secret", "warned"), [("", False), ("x", True), ("x" * 31, True), ("x" * 32, False), ("é" * 16, False)]
)
async def test_a_short_secret_is_warned_of_and_used(
    secret: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with tokens(Auth(secret=Secret(secret))) as known:
            if secret:
                assert (await known.identify(native(good(), secret))).mode == 4
    assert ("auth.secret is shorter" in caplog.text) == warned


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_who_forges_many_tokens_is_not_heard_for_a_while(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each costs a verification. Others are heard, and so is every token that is known already."""
    monkeypatch.setattr(tokens_module, "forgeries", lambda: Buckets(rate=1 / 600, burst=100, most_keys=9))
    known = tokens()
    shown_before = ES.token(good())
    await known.identify(shown_before, "192.0.2.1")
    for number in range(100):
        with pytest.raises(NotAuthenticated):
            await known.identify(
                compact({"alg": algorithm}, good(n=number), lambda _: b"\0" * 64), "192.0.2.1"
            )
    with pytest.raises(TooMany):
        await known.identify(RS.token(good()), "192.0.2.1")
    assert (await known.identify(shown_before, "192.0.2.1")).stream == "cam"
    assert (await known.identify(RS.token(good()), "192.0.2.2")).stream == "cam"
    assert (await known.identify(native(good()), "192.0.2.1")).stream == "cam"


async def test_good_tokens_are_heard_however_many() -> None:
    known = tokens()
    for number in range(300):
        assert (await known.identify(ED.token(good(n=number)), "192.0.2.1")).stream == "cam"


async def test_many_may_ask_at_once() -> None:
    known = tokens()
    asked = [known.identify(each) for each in [native(good()), RS.token(good())] * 20]
    assert {who.stream for who in await asyncio.gather(*asked)} == {"cam"}
