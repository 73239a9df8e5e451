"""The streams: a table of all of the cluster's."""

import time

from liveman.access import READ_ALL
from liveman.cluster.listing import Streams, take_streams
from liveman.dashboard import stream
from liveman.dashboard.dashboard import Dashboard
from liveman.dashboard.page import Asked, Page, View
from liveman.dashboard.rows import StreamRow, invisible, linkable, said, stream_rows
from liveman.dashboard.tables import Choice, Column, Shown, Table, Wanted

__all__ = ["pages"]

#: What is of most interest first.
_ORDER = ("live", "connecting", "relayed", "on demand", "waiting")

_TABLE: Table[StreamRow] = Table(
    columns=[
        Column("name", "Stream", lambda row: row.name.casefold()),
        Column("state", "State", lambda row: _ORDER.index(row.state)),
        Column("node", "Publisher at", lambda row: row.publisher),
        Column("viewers", "Viewers", lambda row: row.viewers, number=True),
        Column("nodes", "Nodes", lambda row: row.nodes, number=True),
        Column("bitrate", "Bitrate", lambda row: row.bits, number=True),
        Column("age", "Age", lambda row: said(row.raw).seniority, number=True),
    ],
    order="name",
    text=lambda row: row.name,
    choices=[
        Choice("live", "Live", lambda row: row.state in ("live", "relayed")),
        Choice("idle", "Nobody publishes", lambda row: row.state in ("waiting", "on demand")),
        Choice("watched", "With viewers", lambda row: row.viewers > 0),
        Choice("relayed", "On several nodes", lambda row: row.nodes > 1),
    ],
)


def pages(dashboard: Dashboard) -> list[Page]:
    cluster = dashboard.cluster

    async def streams(asked: Asked) -> View:
        wanted = _TABLE.parse(asked.query)
        shown = await dashboard.aside(_shown, take_streams(cluster.state), wanted)
        values = {
            "table": shown,
            "recorded": dashboard.recordings.recorder.running,
            "said": said,
            "linkable": linkable,
            "invisible": invisible,
            "now": time.time(),
        }
        return View("streams.html", values)

    return [Page("/streams/", streams, READ_ALL), *stream.pages(dashboard)]


def _shown(streams: Streams, wanted: Wanted) -> Shown[StreamRow]:
    return _TABLE.show(stream_rows(streams), wanted)
