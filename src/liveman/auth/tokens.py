"""Bearer tokens: who shows this one? Static tokens, and JWTs signed with the secret or by outside issuers."""

import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from attrs import frozen

from liveman.access import MANAGE, PUBLISH, SUBSCRIBE, Identity
from liveman.auth.claims import LEEWAY, fingerprint, issued_identity, native_identity
from liveman.auth.jws import Jws, build_jws, parse_jws, parse_object
from liveman.auth.keys import IssuerKeys
from liveman.auth.limits import Buckets, forgeries
from liveman.config import Auth
from liveman.errors import ConfigError, Fault, NotAuthenticated, TooMany
from liveman.logs import get_logger
from liveman.token_key import PUBLIC, Key, parse_public_key, shared_key

__all__ = ["Tokens"]

log = get_logger("liveman.auth")

_ALGORITHMS = ("HS256", *sorted(PUBLIC))

#: Verified JWTs that are remembered; the one that was not shown for longest makes room.
MOST_KNOWN = 10_000

#: RFC 7518 section 3.2.
LEAST_SECRET = 32


@frozen
class _Known:
    proof: bytes
    identity: Identity
    until: float


class Tokens:
    """An async context that knows tokens. Those that are no good leave nothing behind."""

    def __init__(
        self, auth: Auth, *, own_secret: bytes = b"", clock: Callable[[], float] = time.time
    ) -> None:
        """``own_secret`` signs where ``auth.secret`` is empty; ``clock``: Unix seconds."""
        self._auth = auth
        self._clock = clock
        secret = auth.secret.reveal().encode() or own_secret
        self._secret = shared_key(secret) if secret else None
        self._configured = [parse_public_key(text) for text in auth.jwt_public_keys]
        if self._secret is not None:
            self._configured.append(self._secret)
        # Nobody else can tell which digest a token has here, so nothing about it shows in how long a look-up
        # takes: neither a static token's beginning or length, nor how many there are.
        self._digest_key = secrets.token_bytes(32)
        self._static: dict[bytes, _Known] = {}
        self._verified: OrderedDict[bytes, _Known] = OrderedDict()
        self._forgeries: Buckets = forgeries()
        self._issuer = IssuerKeys(auth.jwks_url, changed=self._verified.clear) if auth.jwks_url else None
        for index, token in enumerate(auth.tokens):
            name, proof = self._digest(token.reveal())
            identity = Identity(f"auth.tokens[{index}]", "*", MANAGE | PUBLISH | SUBSCRIBE)
            self._static[name] = _Known(proof, identity, math.inf)

    async def __aenter__(self) -> Self:
        if 0 < len(self._auth.secret.reveal().encode()) < LEAST_SECRET:
            log.warning(f"auth.secret is shorter than {LEAST_SECRET} bytes; who has a token may guess it")
        if self._issuer is not None:
            if self._auth.jwks_url.startswith("http:"):
                log.warning("auth.jwks_url is not https; who is on the way to it can make tokens")
            await self._issuer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._issuer is not None:
            await self._issuer.__aexit__(kind, error, trace)

    def known(self, token: str) -> Identity | None:
        """Who shows a static token, or a JWT that was verified before; None: `identify` must find out."""
        name, proof = self._digest(token)
        known = self._static.get(name)
        if known is None:
            known = self._verified.get(name)
            if known is None or self._clock() >= known.until:
                return None
            self._verified.move_to_end(name)
        return known.identity if hmac.compare_digest(known.proof, proof) else None

    async def identify(self, token: str, network: str = "") -> Identity:
        """Who shows this token. Raises NotAuthenticated with what is wrong about it, without repeating it,
        and TooMany, for a token that is not known yet, after too many forged ones from the same ``network``
        (`client_network`).

        It waits for nothing but the issuer's keys, when the token names one that is not known.
        """
        identity = self.known(token)
        if identity is None:
            jws = parse_jws(token)
            identity = self._identity(jws, await self._key_of(jws, network))
            self._remember(token, identity)
        return identity

    def make(self, *, stream: str, mode: int, expires_at: float, subject: str = "") -> str:
        """A token that Liveman and its nodes accept, with a name of its own (``jti``).

        ``stream``: one, or ``*``; ``expires_at``: Unix seconds; ``subject``: whose it is, empty: it stands
        for itself. Raises ConfigError without a secret.
        """
        if self._secret is None:
            raise ConfigError(Fault("auth.secret", "is empty; tokens are signed with it"))
        claims = {
            "id": stream,
            "exp": int(expires_at),
            "mode": mode,
            "jti": secrets.token_hex(16),
            **({"sub": subject} if subject else {}),
        }
        return build_jws(claims, self._secret)

    async def _key_of(self, jws: Jws, network: str) -> Key:
        """The key that verifies it. Raises NotAuthenticated, TooMany."""
        if jws.algorithm not in _ALGORITHMS:
            raise NotAuthenticated(f"The token's algorithm is none of {', '.join(_ALGORITHMS)}.")
        fitting = [key for key in self._configured if key.fits(jws.algorithm, jws.key_id)]
        if key := self._verifying(fitting, jws, network):
            return key
        if self._issuer is not None and jws.algorithm in PUBLIC:
            issued = await self._issuer.find(jws.algorithm, jws.key_id)
            if issued is not None and self._verifying([issued], jws, network):
                return issued
            if not self._issuer:
                raise NotAuthenticated("The keys of the token's issuer cannot be had now; try again later.")
        raise NotAuthenticated("The token's signature is wrong, or its key is not known.")

    def _verifying(self, keys: Sequence[Key], jws: Jws, network: str) -> Key | None:
        """The one that verifies it. A public key takes as long for that as a whole request does, so forgers
        get only so many tries. Raises TooMany."""
        costly = bool(keys) and jws.algorithm in PUBLIC
        if costly and (wait := self._forgeries.take(network, time.monotonic())):
            raise TooMany("Too many tokens with a wrong signature; try again later.", retry_after=wait)
        key = next((key for key in keys if key.verifies(jws.signed, jws.signature)), None)
        if costly and key is not None:
            self._forgeries.give_back(network)
        return key

    def _identity(self, jws: Jws, key: Key) -> Identity:
        try:
            claims = parse_object(jws.payload)
        except ValueError as error:
            raise NotAuthenticated(f"The token's payload is malformed: {error}.") from None
        now, token_id = self._clock(), fingerprint(jws.signed)
        if key is self._secret:
            return native_identity(claims, now=now, token_id=token_id)
        return issued_identity(claims, auth=self._auth, now=now, token_id=token_id)

    def _remember(self, token: str, identity: Identity) -> None:
        assert identity.expires_at is not None
        name, proof = self._digest(token)
        self._verified[name] = _Known(proof, identity, identity.expires_at + LEEWAY)
        if len(self._verified) > MOST_KNOWN:
            self._verified.popitem(last=False)

    def _digest(self, token: str) -> tuple[bytes, bytes]:
        """One half finds what is known of a token, the other one proves it."""
        data = token.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(data, key=self._digest_key, digest_size=32).digest()
        return digest[:16], digest[16:]
