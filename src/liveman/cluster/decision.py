"""What placement decides, as values: the caller carries them out, others only show them."""

from typing import Literal

from attrs import frozen

from liveman.cluster.state import Node

__all__ = ["Action", "Candidate", "Decision", "Refusal"]

Action = Literal["existing", "place", "refuse"]
"""``existing``: where the stream is; ``place``: where it is not yet."""

Refusal = Literal["unknown_stream", "full", "no_node"]
"""``unknown_stream``: nobody has it; ``full``: no free place; ``no_node``: none is up, or left to try."""


@frozen
class Candidate:
    """A node that was looked at."""

    alias: str
    score: int
    """Its free places; for a publisher of a known stream, the stream's subscribers there."""
    rejected: str | None = None
    """Why it cannot be the target."""


@frozen
class Decision:
    action: Action
    target: Node | None
    """None when refused."""
    reason: str
    """In words, for people."""
    candidates: tuple[Candidate, ...]
    """Those that were looked at, the best first, at most 8."""
    at: float
    """Unix time, seconds."""
    refusal: Refusal | None = None
    """Why it was refused, for programs."""
