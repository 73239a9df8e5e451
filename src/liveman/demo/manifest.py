"""The manifest of a recording (ISO/IEC 23009-1, the live profile with a timeline of segments)."""

from collections.abc import Sequence
from itertools import groupby

from attrs import evolve, field, frozen

from liveman.demo.cutting import Segment

__all__ = ["Track", "manifest"]

_PREFIXES = {"video": "v", "audio": "a"}


@frozen
class Track:
    """One kind of media in a recording, as far as it has come."""

    kind: str
    """``video`` or ``audio``."""
    container: str
    """``webm`` or ``mp4``."""
    codec: str
    """As RFC 6381 writes it: ``vp8``, ``avc1.42e01f``, ``opus``."""
    clock: int
    """Ticks per second."""
    width: int = 0
    height: int = 0
    start: int = 0
    """Ticks, where its first segment begins."""
    durations: tuple[int, ...] = field(default=(), repr=False)
    """Ticks, one per segment."""
    size: int = 0
    """Bytes of all segments."""

    @property
    def init_name(self) -> str:
        return f"{_PREFIXES[self.kind]}_init.m4s"

    @property
    def end(self) -> int:
        """Ticks."""
        return self.start + sum(self.durations)

    def segment_name(self, number: int) -> str:
        return f"{_PREFIXES[self.kind]}_seg_{number:04d}.m4s"

    def with_segment(self, segment: Segment, size: int) -> "Track":
        """The track one segment later; ``size``: the segment's bytes."""
        return evolve(
            self,
            start=self.start if self.durations else segment.start,
            durations=(*self.durations, segment.end - segment.start),
            size=self.size + size,
        )


def manifest(tracks: Sequence[Track], *, began: str, now: str, ended: bool) -> str:
    """The document. ``began``, ``now``: ISO 8601; ``ended``: nothing follows any more."""
    if ended:
        seconds = max(track.end / track.clock for track in tracks)
        kind = f'type="static" mediaPresentationDuration="PT{seconds:.3f}S"'
    else:
        kind = (
            f'type="dynamic" availabilityStartTime="{began}" publishTime="{now}" minimumUpdatePeriod="PT2S"'
        )
    sets = "".join(_adaptation_set(number, track) for number, track in enumerate(tracks))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011"'
        f' {kind} minBufferTime="PT2S">\n'
        f' <Period id="0" start="PT0S">\n{sets} </Period>\n</MPD>\n'
    )


def _adaptation_set(number: int, track: Track) -> str:
    prefix = _PREFIXES[track.kind]
    bandwidth = max(1, track.size * 8 * track.clock // max(1, track.end - track.start))
    of_kind = (
        f' width="{track.width}" height="{track.height}"'
        if track.kind == "video"
        else f' audioSamplingRate="{track.clock}"'
    )
    return (
        f'  <AdaptationSet id="{number}" contentType="{track.kind}" segmentAlignment="true">\n'
        f'   <Representation id="{prefix}" mimeType="{track.kind}/{track.container}" codecs="{track.codec}"'
        f' bandwidth="{bandwidth}"{of_kind}>\n'
        f'    <SegmentTemplate timescale="{track.clock}" startNumber="1" initialization="{track.init_name}"'
        f' media="{prefix}_seg_$Number%04d$.m4s">\n'
        f"     <SegmentTimeline>{_timeline(track)}</SegmentTimeline>\n"
        "    </SegmentTemplate>\n   </Representation>\n  </AdaptationSet>\n"
    )


def _timeline(track: Track) -> str:
    """Each segment begins where the one before ends, so only the first says when."""
    runs = [(duration, len(list(run))) for duration, run in groupby(track.durations)]
    entries = [f'd="{duration}" r="{count - 1}"' for duration, count in runs]
    return f'<S t="{track.start}" ' + "/><S ".join(entries) + "/>"
