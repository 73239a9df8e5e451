"""Where a recording is cut: encoded frames in, segments out."""

from attrs import frozen

__all__ = ["LONGEST", "SECONDS", "Cutter", "Frame", "Segment"]

#: A segment ends at the first keyframe after so many seconds.
SECONDS = 2.0
#: A publisher that makes no keyframe is cut where it is, after so many seconds.
LONGEST = 10.0


@frozen
class Frame:
    """An encoded picture, or a packet of sound."""

    at: int
    """Ticks of its codec's clock since the recording's beginning."""
    data: bytes
    is_keyframe: bool


@frozen
class Segment:
    """What becomes one file."""

    number: int
    """From 1."""
    end: int
    """Ticks, where the next one begins; its own beginning is its first frame's."""
    frames: tuple[Frame, ...]

    @property
    def start(self) -> int:
        return self.frames[0].at


class Cutter:
    """Cuts one kind of media. A segment begins with a keyframe, unless the publisher makes none."""

    def __init__(self, clock: int) -> None:
        """``clock``: ticks per second."""
        self._clock = clock
        self._frames: list[Frame] = []
        self._number = 1

    @property
    def wants_keyframe(self) -> bool:
        """Whether the next segment waits for one, or the first does."""
        return not self._frames or self._lasts(self._frames[-1].at, SECONDS)

    def add(self, frame: Frame) -> Segment | None:
        """Take a frame; the segment that ends where it begins, if one does.

        A frame that is not later than the one before is dropped.
        """
        if not self._frames:
            if frame.is_keyframe:
                self._frames.append(frame)
            return None
        if frame.at <= self._frames[-1].at:
            return None
        is_over = self._lasts(frame.at, SECONDS if frame.is_keyframe else LONGEST)
        segment = self._cut(frame.at) if is_over else None
        self._frames.append(frame)
        return segment

    def end(self) -> Segment | None:
        """What is left. Its last frame lasts as long as the one before."""
        if not self._frames:
            return None
        times = [frame.at for frame in self._frames[-2:]]
        return self._cut(times[-1] + (times[-1] - times[0] or self._clock // 50))

    def _lasts(self, at: int, seconds: float) -> bool:
        return at - self._frames[0].at >= seconds * self._clock

    def _cut(self, end: int) -> Segment:
        segment = Segment(self._number, end, tuple(self._frames))
        self._number += 1
        self._frames = []
        return segment
