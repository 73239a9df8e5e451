"""What an access service says, and what it said last.

| answer | means |
|---|---|
| 2xx with ``{"allow": flag, "reason"?: text, "ttl"?: seconds}`` | what it says |
| 2xx without a body | allowed |
| 4xx but 408 and 429, ``{"reason"?: text}`` | denied |
| anything else | no answer |

The status alone is enough, as for nginx-rtmp and MediaMTX, and the document is as short as OvenMediaEngine's.
A body that is none of ours says nothing, so that a web server's page for wrong paths lets nobody in. All of
4xx denies: what a client can provoke by a name or a token must never be taken for an outage, in which
``on_failure`` decides.
"""

import msgspec
from attrs import define, field, frozen

__all__ = ["LONGEST_ANSWER", "Key", "Verdict", "Verdicts", "parse_verdict"]

#: Bytes of a body.
LONGEST_ANSWER = 16 * 1024

#: Who (a digest), which stream, which action.
Key = tuple[bytes, str, str]

#: Longer times count as this, seconds.
_LONGEST_ALLOWED = 3600.0
_LONGEST_DENIED = 10.0
#: How long a denial without ``ttl`` counts: clients that try on and on are not passed on each time.
_DENIED = 2.0
#: Of a reason, characters.
_LONGEST_REASON = 200
#: Verdicts of each kind that are kept.
_MOST = 10_000


@frozen
class Verdict:
    """Whether it is allowed."""

    allow: bool
    reason: str = ""
    """Why not, for the client."""
    seconds: float = 0.0
    """How long it counts without asking again."""


def parse_verdict(status: int, body: bytes) -> Verdict:
    """The verdict in a service's answer. Raises ValueError with the problem when it is none."""
    if 200 <= status < 300:
        if not body:
            return Verdict(True)
        answer = _document(body)
        if answer.allow is None:
            raise ValueError("its answer has no flag allow")
        if answer.ttl is not None and not answer.ttl >= 0:
            raise ValueError("its answer has a negative ttl")
        if answer.allow:
            return Verdict(True, seconds=min(answer.ttl or 0.0, _LONGEST_ALLOWED))
        seconds = _DENIED if answer.ttl is None else min(answer.ttl, _LONGEST_DENIED)
        return Verdict(False, _reason(answer), seconds)
    if 400 <= status < 500 and status not in (408, 429):
        try:
            return Verdict(False, _reason(_document(body)), _DENIED)
        except ValueError:
            return Verdict(False, _reason(_Answer()), _DENIED)
    raise ValueError(f"it answered with status {status}")


@define
class Verdicts:
    """The last verdict on each question, bounded; ``now`` is monotonic, in seconds.

    Denials, which everyone can provoke in any number, have a memory of their own, so that they push out no
    allowance.
    """

    _allowed: dict[Key, tuple[Verdict, float]] = field(factory=dict)
    _denied: dict[Key, tuple[Verdict, float]] = field(factory=dict)

    def __len__(self) -> int:
        return len(self._allowed) + len(self._denied)

    def keep(self, key: Key, verdict: Verdict, now: float) -> None:
        kept, other = self._allowed, self._denied
        if not verdict.allow:
            kept, other = other, kept
        other.pop(key, None)
        # The place in a dict is that of the first time, unless it is taken out.
        kept.pop(key, None)
        while len(kept) >= _MOST:
            del kept[next(iter(kept))]
        kept[key] = verdict, now + verdict.seconds

    def fresh(self, key: Key, now: float) -> Verdict | None:
        """The verdict that still counts."""
        verdict, until = self._allowed.get(key) or self._denied.get(key) or (None, 0.0)
        return verdict if now < until else None

    def last(self, key: Key) -> Verdict | None:
        """The verdict, however old."""
        return (self._allowed.get(key) or self._denied.get(key) or (None, 0.0))[0]


@frozen
class _Answer:
    allow: bool | None = None
    reason: str | None = None
    ttl: float | None = None


def _document(body: bytes) -> _Answer:
    if len(body) > LONGEST_ANSWER:
        raise ValueError(f"its answer is longer than {LONGEST_ANSWER} bytes")
    try:
        return msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = error if isinstance(error, msgspec.ValidationError) else "it is no JSON"
        raise ValueError(f"its answer cannot be used: {problem}") from None


def _reason(answer: _Answer) -> str:
    text = "".join(c if c.isprintable() else " " for c in (answer.reason or "")[:_LONGEST_REASON]).strip()
    return text or "The access service denies this."
