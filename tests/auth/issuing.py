"""Tokens as anyone might make them: by the rules or against them, with keys of our own."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import get_algorithm_by_name

NOW = 1_800_000_000.0
SECRET = "a secret of the thirty-two bytes that are wanted"

Sign = Callable[[bytes], bytes]


class Issuer:
    """A private key, and what of it is public."""

    def __init__(self, algorithm: str = "EdDSA", id: str = "") -> None:
        self.algorithm = algorithm
        self.id = id
        self._key: Any = {
            "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[algorithm]()
        kind, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        self.pem: str = self._key.public_key().public_bytes(kind, form).decode()

    @property
    def jwk(self) -> dict[str, Any]:
        jwk: Any = get_algorithm_by_name(self.algorithm).to_jwk(self._key.public_key(), as_dict=True)
        return {**jwk, "kid": self.id} if self.id else dict(jwk)

    @property
    def private_jwk(self) -> dict[str, Any]:
        jwk: Any = get_algorithm_by_name(self.algorithm).to_jwk(self._key, as_dict=True)
        return dict(jwk)

    def sign(self, message: bytes) -> bytes:
        return get_algorithm_by_name(self.algorithm).sign(message, self._key)

    def token(self, claims: object, **header: Any) -> str:
        named = {"kid": self.id} if self.id else {}
        return compact({"alg": self.algorithm, **named, **header}, claims, self.sign)


def hs256(secret: str | bytes = SECRET) -> Sign:
    key = secret.encode() if isinstance(secret, str) else secret
    return lambda message: hmac.digest(key, message, hashlib.sha256)


def compact(header: object, claims: object, sign: Sign) -> str:
    """A signed token; header and claims are turned into JSON unless they are bytes."""
    signed = b".".join(map(base64url, (as_json(header), as_json(claims))))
    return b".".join((signed, base64url(sign(signed)))).decode()


def native(claims: object, secret: str = SECRET, **header: Any) -> str:
    """A token as live777, the original and Liveman make them."""
    return compact({"alg": "HS256", "typ": "JWT", **header}, claims, hs256(secret))


def good(**changes: Any) -> dict[str, Any]:
    """Claims with nothing wrong about them but the changes; None leaves one out."""
    claims = {"id": "cam", "exp": int(NOW) + 3600, "mode": 4, **changes}
    return {name: value for name, value in claims.items() if value is not None}


def as_json(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
