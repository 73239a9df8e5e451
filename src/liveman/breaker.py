"""When somebody outside may be asked: a circuit breaker. Time and luck are arguments; nothing here waits."""

from attrs import define, field

__all__ = ["Breaker"]

#: So many failures in a row open the breaker; a single one is no outage.
_ENOUGH = 3
#: The first wait, seconds; it doubles with each probe that fails.
_FIRST = 0.5
#: The longest wait, seconds, where its owner names no other.
_LONGEST = 60.0
#: After a refusal that asking again does not change, as of a revoked key, seconds.
_PERMANENT = 600.0
#: The longest that a Retry-After is obeyed, seconds.
_LONGEST_ASKED = 3600.0


@define
class Breaker:
    """| state | when | may be asked |
    |---|---|---|
    | closed | `retry_at` is None | as often as the caller likes |
    | open | before `retry_at` | not at all |
    | half-open | from `retry_at` on | once: it closes, or opens for longer |

    Several questions in a row or at once that fail are one outage: those that began before the breaker opened
    neither open it further nor close it.
    """

    longest: float | None = None
    """The longest wait between two probes, seconds; None: a minute."""
    retry_at: float | None = None
    """On the caller's monotonic clock."""
    openings: int = 0
    """In all."""
    under_way: int = 0
    """Questions since the last opening that have no answer yet."""
    _failures: int = field(default=0, init=False)
    """In a row, while closed."""
    _outage: int = field(default=0, init=False)
    """Openings in a row."""

    def wait(self, now: float) -> float:
        """For how long asking is of no use, seconds."""
        return 0.0 if self.retry_at is None else max(0.0, self.retry_at - now)

    def room(self, now: float, most: int) -> int:
        """How many more questions may begin now, when there may be ``most`` at once."""
        if self.retry_at is not None:
            most = 0 if now < self.retry_at else min(most, 1)
        return max(0, most - self.under_way)

    def begin(self) -> int:
        """A question begins; what is given back says to `worked`, `failed`, `left` which one it was."""
        self.under_way += 1
        return self.openings

    def left(self, ticket: int) -> None:
        """A question ended without telling anything of the one asked, as when its client has gone."""
        if ticket == self.openings:
            self.under_way -= 1

    def worked(self, ticket: int) -> None:
        if ticket != self.openings:
            return
        self.under_way -= 1
        self._failures = self._outage = 0
        self.retry_at = None

    def failed(
        self,
        ticket: int,
        now: float,
        luck: float,
        *,
        retry_after: float | None = None,
        permanent: bool = False,
    ) -> bool:
        """Whether it opened by this. luck: from 0 to 1, so that not everyone comes back at once."""
        if ticket != self.openings:
            return False
        self.under_way -= 1
        self._failures += 1
        asked = min(retry_after or 0.0, _LONGEST_ASKED)
        if self.retry_at is None and self._failures < _ENOUGH and not permanent and not asked > 0:
            return False
        longest = _LONGEST if self.longest is None else self.longest
        wait = min(_FIRST * 2.0 ** min(self._outage, 30), longest)
        if permanent:
            wait = _PERMANENT
        # Never before the one asked wants it.
        self.retry_at = now + max(wait * (0.5 + luck / 2), asked * (1 + luck / 10) if asked > 0 else 0.0)
        self.openings += 1
        self._outage += 1
        self._failures = self.under_way = 0
        return True
