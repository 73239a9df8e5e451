"""The last quarter of an hour of the cluster, in memory."""

from collections import deque

from attrs import define, field, frozen

__all__ = ["KEPT", "SECONDS", "History", "Sample"]

#: Between two samples.
SECONDS = 5.0
#: Samples, which is 15 minutes.
KEPT = 180


@frozen
class Sample:
    """The cluster at one moment."""

    at: float
    """Unix time, seconds."""
    publishers: int
    viewers: int
    bits_in: float
    """What publishers send to all nodes, bits per second."""
    bits_out: float
    """What all nodes send to viewers, and to each other, bits per second."""


@define
class History:
    """The samples, the oldest first."""

    samples: deque[Sample] = field(factory=lambda: deque(maxlen=KEPT))
