"""The page of the ICE providers: how each does, and a test of the servers from the browser."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from liveman.access import MANAGE, Rule
from liveman.dashboard import words
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.ice.standing import Standing

__all__ = ["pages", "row"]

_WAYS = {"computes": "computed here", "asked": "asked for by each session", "pooled": "fetched ahead"}


def pages(dashboard: Dashboard) -> list[Page]:
    async def ice(_asked: Asked) -> View:
        return View("ice.html", {"providers": [row(each) for each in dashboard.broker.standings()]})

    return [Page("/ice/", ice, Rule(MANAGE))]


def row(standing: Standing) -> Mapping[str, Any]:
    """What the table shows of a provider."""
    state, kind, note = _state(standing)
    at = standing.problem_at
    return {
        "name": standing.name,
        "vendor": standing.vendor,
        "state": state,
        "kind": kind,
        "note": note,
        "problem": standing.problem,
        "problem_at": "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
        "way": _WAYS[standing.way],
        "held": standing.held,
        "given": standing.counts.given,
        "missed": standing.counts.missed,
        "failed": standing.counts.failed,
    }


def _state(standing: Standing) -> tuple[str, str, str]:
    """In a word, its colour, and what follows from it."""
    if not standing.started:
        return "off", "bad", "Its start failed, so it is not asked. Mend that, then start Liveman again."
    if standing.paused:
        return "paused", "bad", f"After failures in a row it is asked again in {words.duration(standing.paused)}."
    if standing.failing:
        held = f" Sessions still get the {standing.held} that wait." if standing.held else ""
        return "failing", "warn", f"The last lease did not come.{held}"
    if not standing.counts.fetched:
        return "idle", "mute", "Nobody has needed it yet."
    return "works", "good", ""
