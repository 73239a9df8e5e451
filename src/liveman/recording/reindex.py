"""The index built anew from what lies in the storage: recordings that no node tells of any more."""

import re
from calendar import timegm
from collections.abc import AsyncIterator

from liveman.access import stream_name
from liveman.errors import BadStreamName
from liveman.recording.index import Index
from liveman.recording.store import Entry, Storage
from liveman.recording.wire import Recorded

__all__ = ["found_in", "reindex"]

_TIME = re.compile(r"[0-9]{10}")
_DATE = re.compile(r"([0-9]{4})/(0[1-9]|1[0-2])/(0[1-9]|[12][0-9]|3[01])")


async def reindex(index: Index, storage: Storage) -> AsyncIterator[Recorded]:
    """Take in every manifest that the index has not; each is told when it is there.

    Raises DatabaseError, StorageError.
    """
    async for entry in storage.entries():
        if entry.path.endswith(".mpd") and not await index.has(entry.path):
            recorded = found_in(entry)
            if recorded is not None:
                await index.put("", [recorded])
                yield recorded


def found_in(entry: Entry) -> Recorded | None:
    """The recording that a manifest is of; None when its path does not say whose and when.

    That is ``[prefix/]stream[/2026/11/21][/1795219200]/manifest.mpd``, with a day or a time, or both.
    """
    parts = entry.path.split("/")[:-1]
    time = parts.pop() if parts and _TIME.fullmatch(parts[-1]) else None
    day = _DATE.fullmatch("/".join(parts[-3:]))
    if day:
        parts = parts[:-3]
    if not parts or not (time or day):
        return None
    stream = parts[-1]
    try:
        stream_name(stream.replace("%", "%25"))
    except BadStreamName:
        return None
    start = int(time) if time else timegm((*map(int, day.groups() if day else ()), 0, 0, 0))
    # Its manifest was written last when it ended.
    end = max(int(entry.modified), start)
    return Recorded(
        entry.path,
        stream,
        start * 1_000_000,
        end * 1_000_000,
        (end - start) * 1000 if time else None,
        entry.path,
        "Completed",
    )
