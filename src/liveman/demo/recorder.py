"""The recordings of one node: those that run, and what is told of all until it is acknowledged."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from attrs import define

from liveman.demo.muxing import RECORDABLE
from liveman.demo.recording import Recording, RecordingFailed
from liveman.demo.refusal import Refused
from liveman.demo.streams import Stream
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["Recorder", "Row"]

log = get_logger("liveman.demo")

#: A node that nobody asks forgets the oldest of so many.
MOST_ROWS = 10_000
#: How long a stop waits for the last segment, seconds.
STOP_WITHIN = 5.0
#: How long recordings may take to end when the node ends, seconds.
_CLOSE_WITHIN = 0.5

_RECORD_ID = re.compile(r"[0-9]{10}")
_BAD = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")


@define
class Row:
    """What a node tells of a recording; times in microseconds."""

    stream: str
    id: str
    """The record: a unix time of 10 digits."""
    record_id: str
    """The same, or "" when the folder's name does not end in it."""
    record_dir: str
    start_ts: int
    changed: int
    """No two rows have the same."""
    end_ts: int | None = None
    status: str = "Active"

    @property
    def mpd_path(self) -> str:
        return f"{self.record_dir}/manifest.mpd"

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "stream": self.stream,
            "start_ts": self.start_ts,
            "end_ts": self.end_ts,
            "duration_ms": None if self.end_ts is None else (self.end_ts - self.start_ts) // 1000,
            "mpd_path": self.mpd_path,
            "status": self.status,
        }


class Recorder:
    """Records streams into folders below a root. An async context: leaving it ends all recordings."""

    def __init__(self, root: Path, streams: Mapping[str, Stream]) -> None:
        self._root = root
        self._streams = streams
        self._rows: list[Row] = []
        self._running: dict[str, tuple[Row, Recording, asyncio.Task[None]]] = {}
        self._tasks = TaskOwner()
        self._changed = 0

    def is_recording(self, stream: str) -> bool:
        return stream in self._running

    def start(self, stream: str, base_dir: str | None) -> Row:
        """Begin to record a stream, into ``base_dir`` if it is given; or the recording of it that runs.

        Raises Refused (400 for a bad path; 500 without a publisher or a codec that can be recorded).
        """
        if stream in self._running:
            return self._running[stream][0]
        found = self._streams.get(stream)
        if found is None or found.publisher is None:
            # A real node leaves the request hanging.
            raise Refused(500, "nobody publishes the stream")
        codecs = {k: c for k, c in found.publisher.codecs.items() if c.mimeType in RECORDABLE}
        if not codecs:
            raise Refused(500, f"nothing can be recorded but {', '.join(RECORDABLE)}")
        row = self._new_row(stream, base_dir)
        recording = Recording(found.hubs, codecs, self._root / row.record_dir)
        task = self._tasks.start("record", self._record(row, recording))
        self._running[stream] = row, recording, task
        return row

    async def stop(self, stream: str) -> None:
        """End the recording of a stream, if there is one, and wait until it has ended."""
        if stream in self._running:
            _, recording, task = self._running.pop(stream)
            recording.end()
            await asyncio.wait([task], timeout=STOP_WITHIN)

    def listed(self, limit: int, stream: str | None, since: int) -> list[Row]:
        """At the most so many that are not acknowledged and changed after ``since``, by their last change."""
        rows = sorted(self._rows, key=lambda row: row.changed)
        wanted = (row for row in rows if row.status != "Acked" and row.changed > since)
        return [row for row in wanted if stream in (None, row.stream)][:limit]

    def acknowledge(self, records: Sequence[tuple[str, str]]) -> int:
        """Mark these (stream, record) as acknowledged; how many were not yet."""
        named = set(records)
        rows = [row for row in self._rows if row.status != "Acked" and (row.stream, row.id) in named]
        for row in rows:
            self._change(row, "Acked")
        return len(rows)

    def forget(self, records: Sequence[tuple[str, str]]) -> int:
        """Forget those that are acknowledged; how many."""
        before, named = len(self._rows), set(records)
        self._rows = [row for row in self._rows if row.status != "Acked" or (row.stream, row.id) not in named]
        return before - len(self._rows)

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        for _, recording, _ in self._running.values():
            recording.end()
        await self._tasks.drain(_CLOSE_WITHIN)
        await self._tasks.__aexit__(*error)

    async def _record(self, row: Row, recording: Recording) -> None:
        status = "Failed"
        try:
            await recording.run()
            status = "Completed"
        except RecordingFailed as error:
            log.warning("a recording failed", stream=row.stream, folder=row.record_dir, reason=str(error))
        finally:
            row.end_ts = _now()
            self._change(row, status)
            if self._running.get(row.stream, (None,))[0] is row:
                del self._running[row.stream]

    def _new_row(self, stream: str, base_dir: str | None) -> Row:
        second = int(time.time())
        taken = {row.id for row in self._rows if row.stream == stream}
        while str(second) in taken:
            second += 1
        folder = f"{stream}/{second}" if base_dir is None else base_dir.rstrip("/")
        if not _is_path(folder):
            raise Refused(400, "the folder is no path below the storage: no empty segments, no . and ..")
        last = folder.rpartition("/")[2]
        record_id = last if _RECORD_ID.fullmatch(last) else ""
        row = Row(stream, record_id or str(second), record_id, folder, _now(), self._tick())
        self._rows = [*self._rows, row][-MOST_ROWS:]
        return row

    def _change(self, row: Row, status: str) -> None:
        row.changed = self._tick()
        # What was acknowledged while it ran is told no more.
        row.status = row.status if row.status == "Acked" else status

    def _tick(self) -> int:
        self._changed = max(_now(), self._changed + 1)
        return self._changed


def _now() -> int:
    return time.time_ns() // 1000


def _is_path(path: str) -> bool:
    return (
        not _BAD.search(path)
        and len(path.encode()) < 1000
        and all(part not in ("", ".", "..") and len(part.encode()) < 256 for part in path.split("/"))
    )
