"""The last decisions, and what came of them: one log line each, and a thousand in memory."""

import logging
from collections import deque
from typing import Any

from attrs import define

from liveman.cluster.decision import Decision, decision_row
from liveman.cluster.state import Kind

__all__ = ["KEPT", "Entry", "Journal"]

_LOG = logging.getLogger("liveman.decisions")

#: The most decisions in memory.
KEPT = 1000


@define(eq=False)
class Entry:
    """One decision that is carried out."""

    stream: str
    kind: Kind
    decision: Decision
    outcome: str = "under way"
    """What came of it, in words."""

    def row(self) -> dict[str, Any]:
        return {
            "stream": self.stream,
            "kind": "whip" if self.kind == "publish" else "whep",
            **decision_row(self.decision),
            "outcome": self.outcome,
        }


class Journal:
    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)

    def record(self, kind: Kind, stream: str, decision: Decision) -> Entry:
        """Keep a decision that is about to be carried out; set its outcome when that is known."""
        entry = Entry(stream, kind, decision)
        self._entries.append(entry)
        if _LOG.isEnabledFor(logging.INFO):
            # The standard library's own formatting, as there is a line for each request.
            target = decision.target.alias if decision.target else "nowhere"
            _LOG.info("%s stream=%r: %s to %s, as %s", kind, stream, decision.action, target, decision.reason)
        return entry

    def newest(self, *, stream: str | None = None, limit: int = KEPT) -> list[dict[str, Any]]:
        """The newest first; of one stream, or of all."""
        rows: list[dict[str, Any]] = []
        for entry in reversed(self._entries):
            if len(rows) >= limit:
                break
            if stream is None or entry.stream == stream:
                rows.append(entry.row())
        return rows
