"""The JSON of nodes and streams, as `GET /api/nodes/` and `GET /api/streams/` give it.

A node's words pass through byte for byte wherever they need not be merged. A member of an unexpected type is
left out of a merge.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from liveman.cluster.state import NodeState, State

__all__ = ["node_row", "nodes_of_stream", "streams"]

_Members = dict[str, Raw]
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
    return row


def streams(state: State, nodes: Iterable[str] = ()) -> list[dict[str, Any]]:
    """All streams that nodes have told of, each merged over its nodes; `nodes` narrows them (empty: all)."""
    wanted = frozenset(nodes)
    rows: list[dict[str, Any]] = []
    for name in sorted(state.streams):
        nodes_of_it = state.streams[name]
        parts = {
            alias: _members(entry.raw)
            for alias, entry in sorted(nodes_of_it.items())
            if entry.raw is not None and (not wanted or alias in wanted)
        }
        if len(parts) == 1:
            ((alias, only),) = parts.items()
            rows.append({**only, "node": alias})
        elif parts:
            rows.append(_merged(name, parts, {alias for alias in parts if nodes_of_it[alias].publishers}))
    return rows


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
