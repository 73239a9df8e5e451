"""When an outside service may be asked: a circuit breaker."""

from attrs import define

__all__ = ["Breaker"]

#: So many failures in a row are an outage; a single one is not.
_ENOUGH = 3
#: The first wait, seconds; it doubles with each trial that fails.
_FIRST = 0.5
#: The longest wait, seconds: for so long at the most a service that is back is not asked.
_LONGEST = 10.0


@define
class Breaker:
    """Counts what became of the questions; ``now`` is monotonic, in seconds.

    | state | when | may ask |
    |---|---|---|
    | closed | there is no `_retry_at` | everyone |
    | open | before `_retry_at` | nobody |
    | half-open | from `_retry_at` on | one, on trial: it closes, or opens for longer |

    Questions that began before it opened do not open it further when they fail too.
    """

    _failures: int = 0
    """In a row."""
    _openings: int = 0
    _retry_at: float | None = None
    _wait: float = _FIRST

    def wait(self, now: float) -> float:
        """Seconds for which asking is no use."""
        return 0.0 if self._retry_at is None else max(0.0, self._retry_at - now)

    def begin(self, now: float, longest: float) -> int | None:
        """A ticket to hand back with the outcome, or None: not to be asked now.

        ``longest``: how long the question may take, seconds; so long a trial keeps the others out.
        """
        if self._retry_at is not None:
            if now < self._retry_at:
                return None
            self._retry_at = now + longest
        return self._openings

    def worked(self) -> None:
        self._failures, self._retry_at, self._wait = 0, None, _FIRST

    def failed(self, ticket: int, now: float) -> bool:
        """Whether it opened by this."""
        if ticket != self._openings:
            return False
        self._failures += 1
        if self._retry_at is None and self._failures < _ENOUGH:
            return False
        self._retry_at = now + self._wait
        self._wait = min(2 * self._wait, _LONGEST)
        self._openings += 1
        return True
