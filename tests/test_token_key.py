"""Keys of tokens: what each verifies, and what is refused as a key."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from liveman.auth.jws import parse_jws
from liveman.token_key import Key, parse_jwk, parse_public_key, shared_key

RSA_JWK = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd"
    "2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2"
    "R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9"
    "gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
EC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
OKP_JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}

CLAIMS = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
HS_TOKEN = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{CLAIMS}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
RS_TOKEN = (
    f"eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5"
    "YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K"
    "0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5"
    "AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
ES_TOKEN = (
    f"eyJhbGciOiJFUzI1NiJ9.{CLAIMS}"
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
ED_TOKEN = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
HS_SECRET = bytes.fromhex(
    "0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebf"
    "d3fb5a92d20647ef968ab4c377623d223d2e2172052e4f08c0cd9af567d080a3"
)

VECTORS = [
    pytest.param(shared_key(HS_SECRET), HS_TOKEN, id="RFC 7515 A.1"),
    pytest.param(parse_jwk(RSA_JWK), RS_TOKEN, id="RFC 7515 A.2"),
    pytest.param(parse_jwk(EC_JWK), ES_TOKEN, id="RFC 7515 A.3"),
    pytest.param(parse_jwk(OKP_JWK), ED_TOKEN, id="RFC 8037 A.4"),
]


@pytest.mark.parametrize(("key", "token"), VECTORS)
def test_a_key_verifies_the_example_of_its_standard(key: Key, token: str) -> None:
    jws = parse_jws(token)
    assert key.fits(jws.algorithm, jws.key_id)
    assert key.verifies(jws.signed, jws.signature)


@pytest.mark.parametrize(("key", "token"), VECTORS)
def test_a_key_verifies_nothing_else(key: Key, token: str) -> None:
    """Each bit of text and signature counts, and a signature of a wrong length is wrong, not an accident."""
    jws = parse_jws(token)
    last = bytes([jws.signature[-1] ^ 1])
    others = [b"", b"\0", jws.signature[:-1], jws.signature + b"\0", jws.signature[:-1] + last]
    for signature in [*others, b"\0" * len(jws.signature), b"\xff" * len(jws.signature)]:
        assert not key.verifies(jws.signed, signature)
    assert not key.verifies(jws.signed + b"x", jws.signature)


@pytest.mark.parametrize(("key", "token"), VECTORS)
def test_a_key_fits_the_algorithm_of_its_type_alone(key: Key, token: str) -> None:
    own = parse_jws(token).algorithm
    for algorithm in (
        "HS256",
        "RS256",
        "ES256",
        "EdDSA",
        "none",
        "None",
        "",
        "HS512",
        "RS512",
        "PS256",
        "hs256",
    ):
        assert key.fits(algorithm, "") == (algorithm == own)


def test_a_named_key_fits_tokens_that_name_it_or_none() -> None:
    named, nameless = parse_jwk({**OKP_JWK, "kid": "a"}), parse_jwk(OKP_JWK)
    assert [named.fits("EdDSA", id) for id in ("a", "", "b")] == [True, True, False]
    assert [nameless.fits("EdDSA", id) for id in ("a", "", "b")] == [True, True, True]


def test_an_empty_secret_is_no_key() -> None:
    with pytest.raises(ValueError, match="empty"):
        shared_key(b"")


def test_no_key_shows_itself() -> None:
    assert "topsecret" not in repr(shared_key(b"topsecret"))


def pem(private: Any) -> str:
    kind, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return str(private.public_key().public_bytes(kind, form).decode())


def private_pem(private: Any) -> str:
    kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return str(private.private_bytes(kind, form, serialization.NoEncryption()).decode())


def rsa_pkcs1(private: rsa.RSAPrivateKey) -> str:
    kind, form = serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
    return private.public_key().public_bytes(kind, form).decode()


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    ("text", "algorithm", "id"),
    [
        (pem(RSA), "RS256", ""),
        (rsa_pkcs1(RSA), "RS256", ""),
        (f"\n{pem(EC)}\n", "ES256", ""),
        (pem(ED), "EdDSA", ""),
        (json.dumps(RSA_JWK), "RS256", ""),
        (
            json.dumps({**EC_JWK, "kid": "a", "use": "sig", "alg": "ES256", "key_ops": ["verify"]}),
            "ES256",
            "a",
        ),
        (json.dumps(OKP_JWK, indent=1), "EdDSA", ""),
    ],
)
def test_a_public_key_is_taken_as_pem_and_as_jwk(text: str, algorithm: str, id: str) -> None:
    key = parse_public_key(text)
    assert (key.algorithm, key.id) == (algorithm, id)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "PEM"),
        ("a secret", "PEM"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "PEM"),
        ("\ud800", "PEM"),
        (private_pem(RSA), "private"),
        (private_pem(ED), "private"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "openssl x509"),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "1024 bits"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (pem(ed448.Ed448PrivateKey.generate()), "Ed25519"),
        (pem(x25519.X25519PrivateKey.generate()), "Ed25519"),
        ("{", "JSON"),
        ('{"a":' * 100_000, "deep"),
        ('{"keys": []}', "set of keys"),
    ],
)
def test_what_is_no_public_key_is_refused_with_a_remedy(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_public_key(text)
    assert len(text) < 20 or text not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        [],
        "a",
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "AKP"},
        {"kty": ["RSA"]},
        {"kty": None},
        {**OKP_JWK, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"},
        {**RSA_JWK, "d": 5},
        {**EC_JWK, "use": "enc"},
        {**EC_JWK, "key_ops": ["encrypt"]},
        {**EC_JWK, "key_ops": "verify"},
        {**RSA_JWK, "alg": "RS512"},
        {**RSA_JWK, "alg": "HS256"},
        {**RSA_JWK, "alg": None},
        {**RSA_JWK, "kid": 5},
        {**RSA_JWK, "kid": "x" * 256},
        {**RSA_JWK, "n": "AQAB"},
        {**RSA_JWK, "n": 5},
        {**RSA_JWK, "n": ""},
        {**RSA_JWK, "n": "é"},
        {**RSA_JWK, "n": "_" * 4000},
        {**RSA_JWK, "e": "AA"},
        {**RSA_JWK, "e": None},
        {**EC_JWK, "x": "AAAA"},
        {**EC_JWK, "y": EC_JWK["x"]},
        {**EC_JWK, "crv": "secp256k1"},
        {**EC_JWK, "crv": []},
        {**OKP_JWK, "x": "AAAA"},
        {**OKP_JWK, "x": {}},
        {**OKP_JWK, "crv": "X25519"},
        {key: value for key, value in OKP_JWK.items() if key != "x"},
        {key: value for key, value in RSA_JWK.items() if key != "n"},
    ],
    ids=lambda jwk: json.dumps(jwk)[:60],
)
def test_what_is_no_jwk_for_verifying_is_refused(jwk: object) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) "):
        parse_jwk(jwk)


@pytest.mark.parametrize("jwk", [RSA_JWK, EC_JWK, OKP_JWK], ids=lambda jwk: jwk["kty"])
def test_a_private_jwk_is_called_so(jwk: dict[str, str]) -> None:
    """Whoever published it by mistake learns of it."""
    with pytest.raises(ValueError, match="private key"):
        parse_jwk({**jwk, "d": "AQAB"})


ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=60)
    | st.lists(st.text(max_size=5), max_size=2)
)


@given(
    base=st.sampled_from([RSA_JWK, EC_JWK, OKP_JWK]),
    changes=st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"]), ODD, max_size=3
    ),
)
def test_no_jwk_does_more_than_be_refused(base: dict[str, Any], changes: dict[str, Any]) -> None:
    try:
        key = parse_jwk({**base, **changes})
    except ValueError:
        return
    assert key.algorithm in ("RS256", "ES256", "EdDSA")
