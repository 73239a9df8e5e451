"""What placement decides, as values: the caller carries them out, others only show them."""

from typing import Any, Literal

from attrs import frozen

from liveman.cluster.node import Node

__all__ = ["CANDIDATES", "Action", "Candidate", "Decision", "Refusal", "decision_row"]

Action = Literal["existing", "place", "cascade", "refuse"]
"""``existing``: where the stream is; ``place``: where it is not yet; ``cascade``: there too, by a relay."""

Refusal = Literal["unknown_stream", "full", "no_node"]
"""``unknown_stream``: nobody has it; ``full``: no free place; ``no_node``: none is up, or left to try."""


#: The most candidates that a decision lists.
CANDIDATES = 8


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
    source: Node | None = None
    """Where a relay begins."""


def decision_row(decision: Decision) -> dict[str, Any]:
    """A decision as JSON shows it."""
    return {
        "target": decision.target.alias if decision.target else None,
        "action": decision.action,
        "source": decision.source.alias if decision.source else None,
        "reason": decision.reason,
        "candidates": [
            {"alias": each.alias, "score": each.score, "rejected": each.rejected}
            for each in decision.candidates
        ],
        "at": decision.at,
    }
