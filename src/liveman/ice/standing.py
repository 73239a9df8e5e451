"""How an ICE provider does, as a value to be shown."""

from typing import Literal

from attrs import frozen

from liveman.ice.pool import Counts

__all__ = ["Standing"]


@frozen
class Standing:
    """One provider at one moment. Holds no secret."""

    name: str
    """Its table's, or its class's where the host application gave it."""
    vendor: str
    """The name of its class."""
    way: Literal["computes", "asked", "pooled"]
    """Whether leases are computed, asked for by each session, or fetched ahead of need."""
    counts: Counts
    """Since the start."""
    started: bool
    """Whether its start went well; else it is not asked."""
    failing: bool
    """Whether what came of it last was a failure."""
    problem: str
    """The last failure; empty: there was none."""
    problem_at: float | None
    """Unix seconds."""
    paused: float = 0.0
    """For so many seconds it is left alone, as it failed again and again."""
    under_way: int = 0
    """Leases that it is being asked for."""
    held: int | None = None
    """Leases that wait for sessions; None: it has no pool."""
