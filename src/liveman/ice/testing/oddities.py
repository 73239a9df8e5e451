"""What vendors, and what stands between, have been seen to answer instead of credentials. Pure."""

import json
from collections.abc import Iterator
from typing import Any, Literal

from attrs import evolve, frozen

from liveman.ice.testing.vendor import Answer

__all__ = ["ELSEWHERE", "Oddity", "mutants", "oddities"]

#: Where the redirects of `oddities` lead; nobody may ask there.
ELSEWHERE = "/elsewhere"

_HTML = b"<!DOCTYPE html><html><body>Sign in to the hotel's network</body></html>"


@frozen
class Oddity:
    """One way in which a vendor is odd, and what a lease must then come to."""

    name: str
    answer: Answer
    outcome: Literal["permanent", "error", "either"]
    """``permanent``: a ProviderError that says so. ``error``: any error but such a one. ``either``: an error
    or a sound lease."""


def oddities(good: Answer) -> Iterator[Oddity]:
    """All of them, for a request that ``good`` answers."""
    yield Oddity("401", Answer(401, json={"message": "revoked"}), "permanent")
    for status in (400, 404, 409, 500, 502, 503):
        yield Oddity(f"{status} with HTML", Answer(status, body=_HTML), "error")
    yield Oddity("503 with a good body", evolve(good, status=503), "error")
    for wait in ("7", "Wed, 21 Oct 2065 07:28:00 GMT", "-1", "soon", "9" * 400):
        yield Oddity(f"429, Retry-After: {wait[:40]}", Answer(429, headers={"Retry-After": wait}), "error")
    for status in (301, 302, 303, 307, 308):
        yield Oddity(f"redirect {status}", Answer(status, headers={"Location": ELSEWHERE}), "error")
    bodies = {
        "a captive portal": _HTML,
        "nothing": b"",
        "half of the JSON": good.payload[: len(good.payload) // 2],
        "60000 brackets": b"[" * 60_000,
        "5 MB": b'"' + b"x" * 5_000_000 + b'"',
        "no UTF-8": b'{"a": "\xff"}',
        "a number of 5000 digits": b"9" * 5000,
    }
    for name, body in bodies.items():
        yield Oddity(f"{good.status} with {name}", Answer(good.status, body=body), "error")
    # Clients ask again by themselves when a kept connection turns out to be closed (RFC 9110, section 9.2.2).
    yield Oddity("a closed connection", evolve(good, fault="reset"), "either")
    yield Oddity("half of the body", evolve(good, fault="break off"), "error")
    yield Oddity("what is no HTTP", evolve(good, fault="garbage"), "error")
    for path, value in mutants(json.loads(good.payload)):
        yield Oddity(path, Answer(good.status, json=value), "either")


#: In place of any value of an answer.
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    604_800,
    10**30,
    "",
    "x\r\nSet-Cookie: a=b",
    "turn:a>; rel=x, <b\x00",
    "ü" * 2000,
    [],
    [None],
    {},
)


def mutants(value: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    """The value with one thing in it replaced or left out, and the place and what stands there now."""
    for odd in _VALUES:
        yield f"{path} = {json.dumps(odd)[:40]}", odd
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key} left out", {k: v for k, v in value.items() if k != key}
            for where, mutant in mutants(inner, f"{path}.{key}"):
                yield where, {**value, key: mutant}
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            for where, mutant in mutants(inner, f"{path}[{index}]"):
                yield where, [*value[:index], mutant, *value[index + 1 :]]
