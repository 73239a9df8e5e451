"""Keys of signed tokens: the shared secret, and public keys as PEM or JWK (RFC 7517, RFC 8037).

A key verifies by one algorithm alone, which its type decides and no token.
"""

import json
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWTError, get_algorithm_by_name

__all__ = ["PUBLIC", "Key", "parse_jwk", "parse_public_key", "shared_key"]

#: By the type in a JWK.
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}

#: The algorithms of public keys (RFC 7518 section 3.1, RFC 8037).
PUBLIC = frozenset(_ALGORITHMS.values())

#: RFC 7518 section 3.3 forbids shorter ones; longer ones than 8192 would make checking slow.
_RSA_BITS = (2048, 8192)

_KINDS = "it must be of RSA (RS256), of the curve P-256 (ES256) or Ed25519 (EdDSA)"


@frozen
class Key:
    """One key."""

    algorithm: str
    """``HS256``, or one of PUBLIC."""
    id: str
    """What tokens name it by (``kid``); empty: it has no name."""
    _key: Any = field(repr=False, eq=False)

    def fits(self, algorithm: str, id: str) -> bool:
        """Whether it may be the key of a token that names this algorithm and, unless empty, this key."""
        return self.algorithm == algorithm and (not id or self.id in ("", id))

    def verifies(self, message: bytes, signature: bytes) -> bool:
        return get_algorithm_by_name(self.algorithm).verify(message, self._key, signature)

    def sign(self, message: bytes) -> bytes:
        """The signature; public keys cannot make one."""
        return get_algorithm_by_name(self.algorithm).sign(message, self._key)


def shared_key(secret: bytes) -> Key:
    """The key of HS256. Raises ValueError for an empty secret, with which anyone could sign."""
    if not secret:
        raise ValueError("must not be empty")
    return Key("HS256", "", secret)


def parse_public_key(text: str) -> Key:
    """A public key as PEM (``-----BEGIN PUBLIC KEY-----``) or as the JSON of a JWK. Raises ValueError."""
    if text.lstrip().startswith("{"):
        try:
            return parse_jwk(json.loads(text))
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        except json.JSONDecodeError:
            raise ValueError("is a JWK that is not JSON") from None
    if "PRIVATE KEY" in text:
        raise ValueError("is a private key, which nobody but the issuer should have; give the public one")
    if "CERTIFICATE" in text:
        raise ValueError('is a certificate; give its key, from "openssl x509 -pubkey -noout"')
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be PEM (-----BEGIN PUBLIC KEY-----) or the JSON of a JWK") from None
    return _bound(key, "")


def parse_jwk(jwk: object) -> Key:
    """A public key of a JWK, which may be any JSON value. Raises ValueError with what is wrong about it."""
    if not isinstance(jwk, Mapping):
        raise ValueError("is no JSON object")
    if "keys" in jwk:
        raise ValueError('is a set of keys; write each of its "keys" for itself')
    kind, id = jwk.get("kty"), jwk.get("kid", "")
    if kind == "oct":
        raise ValueError("is a symmetric key, which is no public one")
    if not isinstance(kind, str) or kind not in _ALGORITHMS:
        raise ValueError(f"has an unknown kty; {_KINDS}")
    if "d" in jwk:
        raise ValueError("is a private key, which nobody but the issuer should have; give the public one")
    if not isinstance(id, str) or len(id) > 255:
        raise ValueError("has a kid that is no text of up to 255 characters")
    if jwk.get("use", "sig") != "sig" or not _may_verify(jwk.get("key_ops", ["verify"])):
        raise ValueError("is not for verifying signatures")
    algorithm = _ALGORITHMS[kind]
    if jwk.get("alg", algorithm) != algorithm:
        raise ValueError(f"is for another algorithm than {algorithm}")
    try:
        key: Any = get_algorithm_by_name(algorithm).from_jwk(dict(jwk))
    except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(f"has members that make no key; {_KINDS}") from None
    return _bound(key, id)


def _may_verify(operations: object) -> bool:
    return isinstance(operations, list) and "verify" in operations


def _bound(key: object, id: str) -> Key:
    if isinstance(key, RSAPublicKey):
        low, high = _RSA_BITS
        if not low <= key.key_size <= high:
            raise ValueError(f"has {key.key_size} bits; RSA keys of {low} to {high} are accepted")
        return Key("RS256", id, key)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return Key("ES256", id, key)
    if isinstance(key, Ed25519PublicKey):
        return Key("EdDSA", id, key)
    raise ValueError(f"is a key that is not supported; {_KINDS}")
