"""How far a node is trusted: up → suspect → down, and back to up by one success."""

from typing import Literal

from attrs import frozen

__all__ = ["NEW", "UNSEEN", "Event", "Health", "Status", "after", "retry_after"]

Status = Literal["up", "suspect", "down"]
Event = Literal["success", "failure"]

#: So many failures in a row make a node down.
FATAL = 3

#: What follows from an event. Where two statuses stand, the second is for the third failure in a row.
TABLE: dict[tuple[Status, Event], tuple[Status, Status]] = {
    ("up", "success"): ("up", "up"),
    ("up", "failure"): ("suspect", "suspect"),
    ("suspect", "success"): ("up", "up"),
    ("suspect", "failure"): ("suspect", "down"),
    ("down", "success"): ("up", "up"),
    ("down", "failure"): ("down", "down"),
}


@frozen
class Health:
    """Suspect nodes are used last, down ones never."""

    status: Status
    failures: int
    """In a row."""


#: A node that was not asked yet.
NEW = Health("suspect", 0)

#: A node that somebody else has told of, which may long be gone: it must answer first.
UNSEEN = Health("down", FATAL)


def after(health: Health, event: Event) -> Health:
    """The health that follows from what happened."""
    failures = health.failures + 1 if event == "failure" else 0
    return Health(TABLE[health.status, event][failures >= FATAL], failures)


def retry_after(
    failures: int, *, quick: tuple[float, float], backoff: tuple[float, float], jitter: float
) -> float:
    """How long to wait after so many failures in a row, seconds.

    `quick`: after the first and the second; `backoff`: after the third, and the most, doubling in between;
    `jitter` (0 to 1) takes up to a quarter off it, so that nodes that fell together are not asked together.
    """
    if failures < FATAL:
        return quick[max(failures, 1) - 1]
    first, most = backoff
    return float(min(most, first * 2 ** min(failures - FATAL, 30))) * (1 - jitter / 4)
