"""The files of one recording. All of it blocks, and is called by one thread at a time."""

import os
from datetime import UTC, datetime
from pathlib import Path

from aiortc import RTCRtpCodecParameters

from liveman.demo.cutting import Segment
from liveman.demo.manifest import manifest
from liveman.demo.muxing import Muxer

__all__ = ["DashFolder"]

_MANIFEST = "manifest.mpd"
#: Liveman overlooks files with such an end.
_PART = ".manifest.liveman-part"


class DashFolder:
    """A folder that is a whole presentation after each call: the manifest names only what is there."""

    def __init__(self, path: Path, container: str) -> None:
        """``container``: ``webm`` or ``mp4``."""
        self._path = path
        self._container = container
        self._muxers: dict[str, Muxer] = {}
        self._began = ""

    @property
    def is_empty(self) -> bool:
        return not self._muxers

    def make(self) -> None:
        """Make it. Raises OSError, FileExistsError when there is a recording in it."""
        self._path.mkdir(parents=True, exist_ok=True)
        if (self._path / _MANIFEST).exists():
            raise FileExistsError("there is a recording in the folder")

    def add(self, codec: RTCRtpCodecParameters, segment: Segment) -> None:
        """Write a segment. Raises OSError, ValueError and PyAV's errors."""
        muxer = self._muxers.get(codec.mimeType) or Muxer(codec, self._container, segment.frames[0])
        init, data = muxer.mux(segment)
        if not muxer.track.durations:
            (self._path / muxer.track.init_name).write_bytes(init)
        (self._path / muxer.track.segment_name(segment.number)).write_bytes(data)
        muxer.track = muxer.track.with_segment(segment, len(data))
        self._muxers[codec.mimeType] = muxer
        self._began = self._began or _now()
        self._write_manifest(ended=False)

    def close(self) -> None:
        """Say that nothing follows. Raises OSError."""
        self._write_manifest(ended=True)

    def _write_manifest(self, *, ended: bool) -> None:
        tracks = sorted((muxer.track for muxer in self._muxers.values()), key=lambda t: t.kind, reverse=True)
        text = manifest(tracks, began=self._began, now=_now(), ended=ended)
        # Whoever reads meanwhile gets the one before.
        (self._path / _PART).write_text(text)
        os.replace(self._path / _PART, self._path / _MANIFEST)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
