"""A recording read as a player reads it: by its manifest, the files that it names, and a decoder."""

from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
from attrs import field, frozen

from support.nodes import until

__all__ = ["Played", "Presentation", "grown", "play"]

_DASH = "{urn:mpeg:dash:schema:mpd:2011}"


@frozen
class Played:
    """One kind of media, decoded from beginning to end."""

    mime_type: str
    codecs: str
    segments: int
    starts: float
    """Seconds, of the manifest."""
    ends: float
    times: tuple[float, ...] = field(repr=False)
    """Of each frame, seconds."""
    frames: tuple[Any, ...] = field(repr=False)

    @property
    def longest_gap(self) -> float:
        """Seconds between two frames."""
        return max(after - before for before, after in pairwise(self.times))


@frozen
class Presentation:
    """What a manifest holds at a moment."""

    is_live: bool
    seconds: float | None
    """The whole duration, once it is known."""
    tracks: dict[str, Played]
    files: frozenset[str]
    """All that it names."""


def play(folder: Path) -> Presentation:
    """Play all that the manifest names now. Raises for anything that is missing or cannot be decoded."""
    root = ElementTree.fromstring((folder / "manifest.mpd").read_text())
    duration = root.get("mediaPresentationDuration")
    files: set[str] = set()
    tracks = {
        each.attrib["contentType"]: _played(folder, each, files)
        for each in root.iter(f"{_DASH}AdaptationSet")
    }
    return Presentation(
        is_live=root.attrib["type"] == "dynamic",
        seconds=None if duration is None else float(duration.removeprefix("PT").removesuffix("S")),
        tracks=tracks,
        files=frozenset(files),
    )


async def grown(folder: Path, segments: int) -> Presentation:
    """The presentation once it has so many segments of video; on the way there it is played as it grows."""
    seen = b""

    async def look() -> Presentation | None:
        nonlocal seen
        manifest = folder / "manifest.mpd"
        if not manifest.exists() or manifest.read_bytes() == seen:
            return None
        seen = manifest.read_bytes()
        played = play(folder)
        video = played.tracks.get("video")
        return played if video and video.segments >= segments else None

    return await until(look, within=30)


def _played(folder: Path, adaptation_set: ElementTree.Element, files: set[str]) -> Played:
    (representation,) = adaptation_set.iter(f"{_DASH}Representation")
    (template,) = adaptation_set.iter(f"{_DASH}SegmentTemplate")
    clock = int(template.attrib["timescale"])
    at = start = int(next(adaptation_set.iter(f"{_DASH}S")).attrib["t"])
    count = 0
    for entry in adaptation_set.iter(f"{_DASH}S"):
        repeated = int(entry.get("r", 0)) + 1
        count += repeated
        at += repeated * int(entry.attrib["d"])
    media = template.attrib["media"].replace("$Number%04d$", "{:04d}")
    first = int(template.attrib["startNumber"])
    names = [media.format(first + i) for i in range(count)]
    files |= {template.attrib["initialization"], *names}
    frames = []
    for name in names:
        # Each by itself, as a player seeks.
        data = (folder / template.attrib["initialization"]).read_bytes() + (folder / name).read_bytes()
        with av.open(BytesIO(data)) as container:
            frames += list(container.decode(container.streams[0]))
    return Played(
        mime_type=representation.attrib["mimeType"],
        codecs=representation.attrib["codecs"],
        segments=count,
        starts=start / clock,
        ends=at / clock,
        times=tuple(float(frame.pts * frame.time_base) for frame in frames),
        frames=tuple(frames),
    )
