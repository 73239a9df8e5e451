"""The nodes: a table of all, and a page for each with its streams."""

import time
from typing import Any

from attrs import frozen

from liveman.access import READ_ALL
from liveman.cluster.registry import Registry
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.dashboard.rows import NodeRow, StreamRow, invisible, linkable, node_row, said, stream_rows
from liveman.dashboard.tables import Choice, Column, Table
from liveman.errors import NotFound

__all__ = ["pages"]

#: What needs somebody first.
_ORDER = ("down", "suspect", "draining", "up")

_NODES: Table[NodeRow] = Table(
    columns=[
        Column("alias", "Node", lambda row: row.alias.casefold()),
        Column("health", "Health", lambda row: _ORDER.index(row.standing)),
        Column(
            "publishers", "Publishers", lambda row: (row.publishers.share, row.publishers.value), number=True
        ),
        Column("viewers", "Viewers", lambda row: row.viewers, number=True),
        Column("fullest", "Fullest stream", lambda row: (row.fullest.share, row.fullest.value), number=True),
        Column("streams", "Streams", lambda row: row.streams, number=True),
        Column("latency", "Latency", lambda row: row.latency, number=True),
        Column("version", "Version", lambda row: row.version or None),
    ],
    order="alias",
    text=lambda row: f"{row.alias}\n{row.node.url}\n{row.version}",
    choices=[
        Choice("up", "Up", lambda row: row.standing == "up"),
        Choice("suspect", "Suspect", lambda row: row.standing == "suspect"),
        Choice("down", "Down", lambda row: row.standing == "down"),
        Choice("draining", "Draining", lambda row: row.draining),
    ],
)

_STREAMS: Table[StreamRow] = Table(
    columns=[
        Column("name", "Stream", lambda row: row.name.casefold()),
        Column("state", "Here", lambda row: row.state),
        Column("viewers", "Viewers", lambda row: row.viewers, number=True),
        Column("bitrate", "Bitrate", lambda row: row.bits, number=True),
        Column("age", "Age", lambda row: said(row.raw).seniority, number=True),
    ],
    order="name",
    text=lambda row: row.name,
)


_KINDS = {
    "config": "the configuration",
    "api": "added here",
    "net4mqtt": "MQTT",
    "demo": "built in",
}


@frozen
class Drain:
    """How far the emptying of a node is."""

    publishers: int
    viewers: int
    relays: int
    seconds: float | None
    """Until what is left is closed; None: that stays."""
    done: bool

    @property
    def sessions(self) -> int:
        return self.publishers + self.viewers + self.relays


def pages(dashboard: Dashboard) -> list[Page]:
    cluster = dashboard.cluster

    async def nodes(asked: Asked) -> View:
        wanted = _NODES.parse(asked.query)
        shown = _NODES.show([node_row(known) for known in cluster.nodes()], wanted)
        drains = {row.alias: _drain(dashboard.registry, row.alias) for row in shown.rows if row.draining}
        return View("nodes.html", {"table": shown, "drains": drains, "kinds": _KINDS})

    async def node(asked: Asked) -> View:
        alias = asked.segments["alias"]
        wanted = _STREAMS.parse(asked.query)
        known = cluster.state.nodes.get(alias)
        if known is None:
            raise NotFound(f"There is no node named {alias!r}. It may have been removed.")
        shown = _STREAMS.show(stream_rows({alias: known.streams}), wanted)
        values: dict[str, Any] = {
            "row": node_row(known),
            "table": shown,
            "said": said,
            "linkable": linkable,
            "invisible": invisible,
            "kinds": _KINDS,
            "drain": _drain(dashboard.registry, alias) if known.draining else None,
            "listening": cluster.is_listening(alias),
            "now": time.time(),
        }
        return View("node.html", values)

    return [Page("/nodes/", nodes, READ_ALL), Page("/nodes/{alias}", node, READ_ALL)]


def _drain(registry: Registry, alias: str) -> Drain | None:
    try:
        row = registry.draining(alias)
    except NotFound:
        # It has ended since the node was looked at.
        return None
    deadline = row["deadline"]
    return Drain(
        row["publishers"],
        row["subscribers"],
        row["relays"],
        None if deadline is None else max(0.0, deadline - time.time()),
        row["done"],
    )
