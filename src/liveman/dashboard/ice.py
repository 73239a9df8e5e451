"""The page of the ICE providers: how each does, and a test of the servers from the browser."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from liveman.access import MANAGE, Rule
from liveman.dashboard import words
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.ice.source import Status

__all__ = ["pages", "row"]

_WAYS = {"computes": "computed here", "asked": "asked for by each session", "pooled": "fetched ahead"}


def pages(dashboard: Dashboard) -> list[Page]:
    async def ice(_asked: Asked) -> View:
        return View("ice.html", {"providers": [row(each) for each in dashboard.broker.status]})

    return [Page("/ice/", ice, Rule(MANAGE))]


def row(status: Status) -> Mapping[str, Any]:
    """What the table shows of a provider."""
    state, kind, note = _state(status)
    at = status.problem_at
    return {
        "name": status.name,
        "vendor": status.vendor,
        "state": state,
        "kind": kind,
        "note": note,
        "problem": status.problem,
        "problem_at": "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
        "way": _WAYS[status.way],
        "held": status.held,
        "given": status.counts.given,
        "missed": status.counts.missed,
        "failed": status.counts.failed,
    }


def _state(status: Status) -> tuple[str, str, str]:
    """In a word, its colour, and what follows from it."""
    if not status.started:
        return "off", "bad", "Its start failed, so it is not asked. Mend that, then start Liveman again."
    if status.wait:
        return "paused", "bad", f"After failures in a row it is asked again in {words.duration(status.wait)}."
    if not status.works:
        held = f" Sessions still get the {status.held} that wait." if status.held else ""
        return "failing", "warn", f"The last lease did not come.{held}"
    if not status.counts.fetched:
        return "idle", "mute", "Nobody has needed it yet."
    return "works", "good", ""
