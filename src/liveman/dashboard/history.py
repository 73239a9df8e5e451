"""The last quarter of an hour of the cluster, in memory, and its curves as paths of SVG."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

from attrs import define, field, frozen

from liveman.cluster.state import NodeState

__all__ = ["HEIGHT", "KEPT", "SECONDS", "Curve", "History", "Sample", "curve", "sample"]

#: Between two samples.
SECONDS = 5.0
#: Samples, which is 15 minutes.
KEPT = 180
#: Of a curve, in units of SVG; it is `KEPT` wide.
HEIGHT = 60


@frozen
class Sample:
    """The cluster at one moment."""

    at: float
    """Unix time, seconds."""
    publishers: int
    viewers: int
    bits_in: float
    """What all nodes get from publishers, and from each other, bits per second."""
    bits_out: float
    """What they send to viewers, and to each other."""


def sample(nodes: Iterable[NodeState], at: float) -> Sample:
    """The cluster as it is."""
    publishers = viewers = 0
    bits_in = bits_out = 0.0
    for node in nodes:
        publishers += node.publishers
        viewers += node.subscribers
        bits_in += node.bits_in
        bits_out += node.bits_out
    return Sample(at, publishers, viewers, bits_in, bits_out)


@define
class History:
    """The samples, the oldest first."""

    samples: deque[Sample] = field(factory=lambda: deque(maxlen=KEPT))

    def add(self, now: Sample) -> None:
        self.samples.append(now)

    def values(self, name: str) -> list[float]:
        """One figure of all samples."""
        return [getattr(each, name) for each in self.samples]


@frozen
class Curve:
    """The area under one figure of all samples, as SVG draws it; the newest is at the right."""

    left: int
    """Where the oldest sample is, of `KEPT`."""
    path: str
    """From there, and from 0 to a little over the highest value. It is closed outside of what is seen there,
    so that only the curve has a line."""


def curve(values: Sequence[float]) -> Curve:
    """``values``: at most `KEPT`."""
    if not values:
        return Curve(KEPT, "")
    most = max(*values, 1e-9) * 1.1
    heights = [round((HEIGHT - 1) * (1 - value / most)) for value in values]
    steps = "".join(f"l1 {then - now}" for now, then in pairwise(heights))
    floor = HEIGHT + 3
    return Curve(KEPT - len(values), f"M-3 {floor}V{heights[0]}h3{steps}h4V{floor}z")
