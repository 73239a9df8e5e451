"""The JSON of nodes and streams, as `GET /api/nodes/` and `GET /api/streams/` give it.

A node's words pass through byte for byte wherever they need not be merged. A member of an unexpected type is
left out of a merge.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from attrs import asdict
from msgspec import Raw

from liveman.cluster.state import NodeState, State, StreamOnNode

__all__ = [
    "StreamRows",
    "Streams",
    "encode_nodes",
    "node_row",
    "node_rows",
    "nodes_of_stream",
    "take_streams",
]

Streams = Mapping[str, Mapping[str, StreamOnNode]]
"""By alias, then by stream. Of each entry only what its snapshot said is read."""

_Members = dict[str, Raw]
_Parts = tuple[tuple[str, Raw, bool], ...]
"""A stream as each node said it, by alias: its JSON there, and whether its publisher is there."""
_STATS = ("bytes", "packets", "bitrate")


def node_row(state: NodeState) -> dict[str, Any]:
    """One node; never its token."""
    node = state.node
    row: dict[str, Any] = {
        "alias": node.alias,
        "url": node.url,
        "pub_max": node.pub_max,
        "sub_max": node.sub_max,
        "status": "stopped" if state.health.status == "down" else "running",
        "duration": "-" if state.polled is None else f"{state.polled * 1000:.0f}ms",
        "kind": node.kind,
        "health": state.health.status,
        "draining": state.draining,
        "publishers": state.publishers,
        "subscribers": state.subscribers,
    }
    if state.strategy is not None:
        row["strategy"] = Raw(state.strategy.raw)
    if state.version is not None:
        row["version"] = state.version
    if state.way is not None:
        row["net4mqtt"] = asdict(state.way)
    return row


def node_rows(state: State) -> list[dict[str, Any]]:
    """All nodes, by alias."""
    return [node_row(state.nodes[alias]) for alias in sorted(state.nodes)]


def encode_nodes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The JSON array, in one line."""
    return _array([_one_line(msgspec.json.encode(row)) for row in rows])


def take_streams(state: State, nodes: Collection[str] | None = None) -> Streams:
    """What the list of streams is made of, for a thread that makes it while the state changes.

    ``nodes`` narrows it to what these have said; None: all.
    """
    return {
        alias: node.streams.copy()
        for alias, node in sorted(state.nodes.items())
        if nodes is None or alias in nodes
    }


class StreamRows:
    """The list of streams. Each row is kept for as long as no node says anything new of its stream."""

    def __init__(self) -> None:
        self._parts: dict[str, _Parts] = {}
        """What each row was made of."""
        self._rows: dict[str, bytes] = {}

    def encode(self, streams: Streams) -> bytes:
        """All streams that nodes have told of, each merged over its nodes: the JSON array, in one line."""
        parts: dict[str, _Parts] = {}
        for alias, entries in streams.items():
            for name, entry in entries.items():
                if entry.raw is not None:
                    # No lists: tens of thousands of them would make the garbage collector look at everything.
                    part = alias, entry.raw, _has_publisher(entry)
                    parts[name] = (*parts.get(name, ()), part)
        before, rows = self._parts, self._rows
        self._rows = {
            name: rows[name] if before.get(name) == parts[name] else _row(name, parts[name])
            for name in sorted(parts)
        }
        # The new ones in any case: the old ones would keep the bodies that they are views into.
        self._parts = parts
        return _array(list(self._rows.values()))


def nodes_of_stream(state: State, stream: str, *, with_ids: bool) -> dict[str, Any]:
    """The stream as each node said it, by alias; without what names sessions for those who may not know."""
    said = {
        alias: entry.raw
        for alias, entry in sorted(state.streams.get(stream, {}).items())
        if entry.raw is not None
    }
    if with_ids:
        return dict(said)
    return {alias: _without_ids(raw) for alias, raw in said.items()}


def _has_publisher(entry: StreamOnNode) -> bool:
    """Whether the real publisher is there, and not a relay's end, as the nodes have said."""
    return entry.publishing is not None and entry.sessions.get(entry.publishing) != "relay"


def _row(name: str, parts: _Parts) -> bytes:
    members = {alias: _members(raw) for alias, raw, _ in parts}
    if len(parts) > 1:
        row = _merged(name, members, {alias for alias, _, origin in parts if origin})
    else:
        ((alias, only),) = members.items()
        row = {**only, "node": alias}
    return _one_line(msgspec.json.encode(row))


def _array(rows: list[bytes]) -> bytes:
    if not rows:
        return b"[]"
    # The brackets at the rows: to set them around the whole would take a copy of it.
    rows[0] = b"[" + rows[0]
    rows[-1] += b"]"
    return b",".join(rows)


def _one_line(row: bytes) -> bytes:
    """Without the line breaks that a node may have written; in JSON they are white space only."""
    return row.replace(b"\n", b" ").replace(b"\r", b" ")


def _merged(name: str, parts: Mapping[str, _Members], origins: Collection[str]) -> dict[str, Any]:
    merged: dict[str, Any] = {"id": name}
    if created := _read_all(parts, "createdAt", int):
        merged["createdAt"] = min(created.values())
    for side in ("publish", "subscribe"):
        if groups := _read_all(parts, side, _Members):
            merged[side] = _merged_group(groups)
    if codecs := _read_all(parts, "codecs", list[Raw]):
        # Of the publisher's node; a relay's where that is away.
        best = min(codecs, key=lambda alias: (alias not in origins, not codecs[alias]))
        merged["codecs"] = codecs[best]
    for flag in ("provisioned", "onDemand"):
        if values := _read_all(parts, flag, bool):
            merged[flag] = any(values.values())
    if stats := _read_all(parts, "stats", dict[str, Any]):
        merged["stats"] = {
            side: {key: sum(_number(each, side, key) for each in stats.values()) for key in _STATS}
            for side in ("publish", "subscribe")
        }
    merged["statsScope"] = "clusterNodeWork"
    return merged


def _merged_group(groups: Mapping[str, _Members]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    if left := _read_all(groups, "leaveAt", int):
        merged["leaveAt"] = 0 if 0 in left.values() else max(left.values())
    sessions = _read_all(groups, "sessions", list[Raw])
    merged["sessions"] = [session for each in sessions.values() for session in each]
    return merged


def _without_ids(raw: Raw) -> dict[str, Any]:
    members: dict[str, Any] = _members(raw)
    for side in ("publish", "subscribe"):
        if side in members:
            group: dict[str, Any] = _members(members[side])
            if "sessions" in group:
                group["sessions"] = [
                    {key: value for key, value in each.items() if key not in ("id", "cascade")}
                    for each in _decode(group["sessions"], list[_Members]) or ()
                ]
            members[side] = group
    return members


def _members(raw: Raw) -> _Members:
    return msgspec.json.decode(raw, type=_Members)


def _read_all(parts: Mapping[str, _Members], key: str, type: Any) -> dict[str, Any]:
    """This member of every part that has it, and has it of this type."""
    found = {alias: _decode(members[key], type) for alias, members in parts.items() if key in members}
    return {alias: value for alias, value in found.items() if value is not None}


def _decode(raw: Raw, type: Any) -> Any:
    """None: it is of another type."""
    try:
        return msgspec.json.decode(raw, type=type)
    except msgspec.MsgspecError:
        return None


def _number(stats: Mapping[str, Any], side: str, key: str) -> int | float:
    group = stats.get(side)
    value = group.get(key) if isinstance(group, dict) else None
    return value if isinstance(value, int | float) else 0
