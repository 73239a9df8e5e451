"""One stream: where its publisher is, its way from node to node, its sessions, and why they are there."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from msgspec import Raw

from liveman.access import SUBSCRIBE, Rule
from liveman.cluster import Cluster, Decision, Role
from liveman.cluster.cascade import Relay, relays
from liveman.cluster.state import StreamOnNode
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.dashboard.rows import SessionRow, invisible, said, session_rows, state_of
from liveman.dashboard.tables import Column, Shown, Table, Wanted
from liveman.dashboard.tree import Kind, Spot, draw
from liveman.errors import LivemanError

__all__ = ["Recording", "pages", "recording_of"]

_Part = tuple[str, Raw | None, Sequence[tuple[str, Role]]]

#: So long a node is waited for that is to say whether it records, seconds.
ASK_SECONDS = 1.0
#: So many of the last decisions are shown.
DECISIONS = 10

#: The most important first.
_ROLES: dict[Role, str] = {"publish": "publisher", "relay": "relay", "subscribe": "viewer"}

_SESSIONS: Table[SessionRow] = Table(
    columns=[
        Column("role", "Role", lambda row: ([*_ROLES].index(row.role), row.alias)),
        Column("node", "Node", lambda row: row.alias),
        Column("state", "State", lambda row: row.state or None),
        Column("age", "Age", lambda row: None if row.since is None else -row.since, number=True),
        Column("bitrate", "Bitrate", lambda row: row.bitrate, number=True),
    ],
    order="role",
    text=lambda row: f"{row.alias}\n{row.state}",
)


@frozen
class Recording:
    """What is known of a stream's recording now."""

    runs: bool
    node: str = ""
    since: float = 0.0
    problem: str = ""
    """Why it is not known."""


def pages(dashboard: Dashboard) -> list[Page]:
    async def stream(asked: Asked) -> View:
        name = asked.segments["stream"]
        wanted = _SESSIONS.parse(asked.query)
        recording = await recording_of(dashboard, name)
        cluster = dashboard.cluster
        state = cluster.state
        here = state.streams.get(name, {})
        hops = relays(state, name)
        sees_all = asked.identity.stream == "*"
        parts = [(alias, entry.raw, state.sessions(alias, name)) for alias, entry in sorted(here.items())]
        origin = min((alias for alias, entry in here.items() if entry.publishers), default=None)
        best = here[origin or min(here)] if here else StreamOnNode()
        spots = _spots(here, hops)
        values: dict[str, Any] = {
            "name": name,
            "invisible": invisible,
            "state": state_of(here.values()) if here else "absent",
            "origin": origin,
            "about": said(best.raw),
            "bits_in": best.bits_in,
            "bits_out": sum(entry.bits_out for entry in here.values()),
            "viewers": sum(entry.subscribers for entry in here.values()),
            "spots": spots,
            "picture": draw(name, spots),
            "recording": recording,
            "roles": _ROLES,
            "sees_all": sees_all,
            # Their ids are a way to end them.
            "with_ids": sees_all and asked.may_manage,
            "previews": _previews(cluster, name) if sees_all else [],
            "decisions": cluster.journal.newest(stream=name, limit=DECISIONS) if sees_all else [],
            "now": time.time(),
            "utc": _utc,
        }
        # One stream may have thousands of them; nothing of the state is read any more.
        values["table"] = await asyncio.to_thread(_shown, parts, hops, wanted)
        return View("stream.html", values)

    return [Page("/streams/{stream}", stream, Rule(SUBSCRIBE, "stream"))]


def _shown(parts: Sequence[_Part], hops: Mapping[str, Relay], wanted: Wanted) -> Shown[SessionRow]:
    return _SESSIONS.show(session_rows(parts, hops), wanted)


def _spots(here: Mapping[str, StreamOnNode], hops: Mapping[str, Relay]) -> list[Spot]:
    spots = []
    for alias, entry in sorted(here.items()):
        kind: Kind = "origin" if entry.publishers else "relay" if entry.relayed else "waiting"
        hop = hops.get(alias)
        spots.append(Spot(alias, kind, entry.subscribers, hop.source if hop else None))
    return spots


def _previews(cluster: Cluster, stream: str) -> list[tuple[str, str, Decision]]:
    """What would be decided now: who comes, what the candidates' figures are, and the decision."""
    known = stream in cluster.state.streams
    return [
        (
            "A publisher",
            "Viewers there" if known else "Free places",
            cluster.preview("publish", stream, random=_first),
        ),
        ("A viewer", "Free places", cluster.preview("subscribe", stream, random=_first)),
    ]


def _first(_count: int) -> int:
    """Among equals always the same, so that the page is quiet."""
    return 0


def _utc(seconds: float) -> str:
    """Of Unix time, as in RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


async def recording_of(dashboard: Dashboard, stream: str) -> Recording:
    """What its node says, without waiting for it long."""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            running = await dashboard.recordings.recorder.status(stream)
    except TimeoutError:
        return Recording(False, problem="Its node did not say in time whether it records.")
    except LivemanError as error:
        return Recording(False, problem=error.detail)
    if running is None:
        return Recording(False)
    return Recording(True, running.origin.alias, running.since)
