"""What it costs to know who shows a token, without any network, and what a flood of bogus ones leaves behind.

tokens.py [--flood 200000]

Each bogus token is another one: a wrong signature, or no JWT at all. Exits with 1 when a token that is known
costs more than wanted, a good one was forgotten, or the memory grew.
"""

import asyncio
import re
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import encode
from parts import parser

from liveman.auth.tokens import Tokens
from liveman.config import Auth, Secret
from liveman.errors import NotAuthenticated

ROW = "{:<28} {:>10} {:>10} {:>10}"
SECRET = "a secret of the thirty-two bytes that are wanted"
KEYS = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
CACHED = 30.0
"""µs."""
GROWTH = 2.0
"""MB."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--flood", type=int, default=200_000)
    sys.exit(asyncio.run(measure(arguments.parse_args().flood)))


async def measure(flood: int) -> int:
    tokens = Tokens(
        Auth(
            secret=Secret(SECRET),
            tokens=tuple(Secret(f"static-{i}") for i in range(10)),
            jwt_public_keys=tuple(
                key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
                for key in KEYS.values()
            ),
        )
    )
    print(ROW.format("token", "first µs", "known µs", "bogus µs"))
    print(ROW.format("static", "", f"{known_us(tokens, 'static-9'):.1f}", ""))
    slowest = 0.0
    for algorithm in ("HS256", *KEYS):
        shown = [good(algorithm, number) for number in range(300)]
        first = statistics.median([await first_us(tokens, token) for token in shown])
        cached = known_us(tokens, shown[-1])
        bogus = statistics.median([await first_us(tokens, spoilt(token)) for token in shown])
        slowest = max(slowest, cached)
        print(ROW.format(algorithm, f"{first:.1f}", f"{cached:.1f}", f"{bogus:.1f}"), flush=True)
    print(f"wanted: known in no more than {CACHED:g} µs")

    kept = good("HS256", 1)
    await tokens.identify(kept)
    for each in bogus_tokens(flood // 10):
        await first_us(tokens, each)
    before = memory_mb()
    start = time.perf_counter()
    for each in bogus_tokens(flood):
        await first_us(tokens, each)
    took = time.perf_counter() - start
    grown = memory_mb() - before
    still = tokens.known(kept) is not None
    print(
        f"{flood} bogus tokens, each another: {took / flood * 1e6:.1f} µs each with their making, "
        f"{grown:+.1f} MB, the good one is {'still known' if still else 'forgotten'}"
    )
    print(f"wanted: less than {GROWTH:g} MB more, still known")
    return 0 if slowest <= CACHED and grown < GROWTH and still else 1


def good(algorithm: str, number: int) -> str:
    claims = {"id": "cam", "exp": int(time.time()) + 86_400, "mode": 4, "jti": f"{number:032x}", "sub": "ada"}
    return encode(claims, KEYS.get(algorithm, SECRET), algorithm)


def spoilt(token: str) -> str:
    """The same with another signature."""
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{signature[:10][::-1]}{signature[10:]}"


def bogus_tokens(count: int) -> Iterator[str]:
    models = [good(algorithm, 0).split(".") for algorithm in ("HS256", *KEYS)]
    for number in range(count):
        header, payload, signature = models[number % len(models)]
        if number % 5 == 0:
            yield f"{number:x}-is-no-token-of-any-kind"
        else:
            yield f"{header}.{payload}.{number:08d}{signature[8:]}"


async def first_us(tokens: Tokens, token: str) -> float:
    start = time.perf_counter()
    try:
        await tokens.identify(token, token)  # Each from another address, as one alone would be slowed down.
    except NotAuthenticated:
        pass
    return (time.perf_counter() - start) * 1e6


def known_us(tokens: Tokens, token: str, *, number: int = 1000, rounds: int = 31) -> float:
    if tokens.known(token) is None:
        raise SystemExit("a good token is not known")
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(number):
            tokens.known(token)
        taken.append((time.perf_counter() - start) / number * 1e6)
    return statistics.median(taken)


def memory_mb() -> float:
    size = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(size[1]) / 1024 if size else 0.0


if __name__ == "__main__":
    main()
