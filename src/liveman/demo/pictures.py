"""Test pictures and a tone as aiortc tracks: what `liveman demo` publishes and tests recognise again."""

import asyncio
import math
import time
from array import array
from collections.abc import Callable, Sequence
from datetime import datetime
from fractions import Fraction

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

__all__ = ["QUADRANTS", "Colour", "MovingPicture", "Quadrants", "Tone", "quadrant_colours"]

WIDTH, HEIGHT = 320, 240
FRAMES_PER_SECOND = 15
SAMPLES_PER_SECOND = 48_000

Colour = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""

#: Top left, top right, bottom left, bottom right.
QUADRANTS: tuple[Colour, ...] = ((200, 40, 40), (40, 180, 40), (40, 60, 200), (220, 220, 60))

_BARS: tuple[Colour, ...] = (
    (235, 235, 235),
    (220, 210, 40),
    (40, 200, 210),
    (50, 190, 50),
    (200, 50, 190),
    (200, 50, 50),
    (50, 60, 200),
    (30, 30, 30),
)
_SPEED = 4  # pixels per frame, even because colour has half the resolution
_SCALE = 5
#: Rows of 5 pixels, from the top; the highest bit is the left pixel.
_GLYPHS = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ":": (0, 4, 4, 0, 4, 4, 0),
}


class _Paced(MediaStreamTrack):
    """A track whose frames come at an even pace in real time."""

    def __init__(self, per_second: int) -> None:
        super().__init__()
        self._per_second = per_second
        self._start: float | None = None
        self._count = 0

    async def _next(self) -> int:
        """Wait until the next frame is due; its number. Raises MediaStreamError when the track has ended."""
        if self.readyState != "live":
            raise MediaStreamError
        if self._start is None:
            self._start = time.monotonic()
        else:
            self._count += 1
            await asyncio.sleep(self._start + self._count / self._per_second - time.monotonic())
        return self._count


class MovingPicture(_Paced):
    """Colour bars that move to the left behind a clock."""

    kind = "video"

    def __init__(self, clock: Callable[[], datetime] = datetime.now) -> None:
        super().__init__(FRAMES_PER_SECOND)
        self._clock = clock
        self._rows = _planes(_painted(lambda x, _y: _BARS[x * len(_BARS) // WIDTH], height=2))

    async def recv(self) -> VideoFrame:
        number = await self._next()
        luma, *colours = self._rows
        offset = number * _SPEED % WIDTH
        moved = luma[offset:WIDTH] + luma[:offset]
        band = _clock_band(self._clock().strftime("%H:%M:%S"))
        picture = moved * (HEIGHT - len(band) // WIDTH) + band
        half, offset = WIDTH // 2, offset // 2
        chroma = [(row[offset:half] + row[:offset]) * (HEIGHT // 2) for row in colours]
        # The clock's band has no colour.
        grey = bytes([128]) * (len(band) // 4)
        return _frame(number, [picture, *(plane[: -len(grey)] + grey for plane in chroma)])


class Quadrants(_Paced):
    """A still picture of four colours, which `quadrant_colours` reads again."""

    kind = "video"

    def __init__(self, colours: Sequence[Colour] = QUADRANTS) -> None:
        super().__init__(FRAMES_PER_SECOND)
        self._picture = _planes(
            _painted(lambda x, y: colours[2 * (y >= HEIGHT // 2) + (x >= WIDTH // 2)], height=HEIGHT)
        )

    async def recv(self) -> VideoFrame:
        return _frame(await self._next(), self._picture)


class Tone(_Paced):
    """A quiet tone of 400 Hz."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__(50)
        self._samples = SAMPLES_PER_SECOND // 50
        wave = (math.sin(2 * math.pi * 400 * i / SAMPLES_PER_SECOND) for i in range(self._samples))
        self._sound = array("h", (int(3000 * value) for value in wave)).tobytes()

    async def recv(self) -> AudioFrame:
        number = await self._next()
        frame = AudioFrame(format="s16", layout="mono", samples=self._samples)
        frame.planes[0].update(self._sound)
        frame.sample_rate = SAMPLES_PER_SECOND
        frame.pts = number * self._samples
        frame.time_base = Fraction(1, SAMPLES_PER_SECOND)
        return frame


def quadrant_colours(frame: VideoFrame) -> tuple[Colour, ...]:
    """The colours in the middles of a picture's quadrants, in the order of `QUADRANTS`."""
    picture = frame.reformat(format="rgb24")
    data, stride = bytes(picture.planes[0]), picture.planes[0].line_size
    starts = [y * picture.height // 4 * stride + 3 * (x * picture.width // 4) for y in (1, 3) for x in (1, 3)]
    return tuple((data[start], data[start + 1], data[start + 2]) for start in starts)


def _painted(colour_at: Callable[[int, int], Colour], height: int) -> VideoFrame:
    frame = VideoFrame(WIDTH, height, "rgb24")
    stride = frame.planes[0].line_size
    rows = (bytes(value for x in range(WIDTH) for value in colour_at(x, y)) for y in range(height))
    frame.planes[0].update(b"".join(row.ljust(stride, b"\0") for row in rows))
    return frame


def _planes(frame: VideoFrame) -> list[bytes]:
    """The luma and colour planes; of a frame two rows high, one row's worth of each is its pattern."""
    planes = frame.reformat(format="yuv420p").planes
    return [
        b"".join(bytes(p)[y * p.line_size : y * p.line_size + p.width] for y in range(p.height))
        for p in planes
    ]


def _clock_band(text: str) -> bytes:
    """White digits on black, as rows of luma for the foot of the picture."""
    blank = bytes([16]) * WIDTH
    rows = [blank] * 4
    for line in range(7):
        dots = "".join(f"{_GLYPHS[character][line]:05b}0" for character in text)
        row = b"".join(bytes([235 if dot == "1" else 16]) * _SCALE for dot in dots)
        rows += [row.center(WIDTH, b"\x10")] * _SCALE
    return b"".join([*rows, *[blank] * (48 - len(rows))])


def _frame(number: int, planes: Sequence[bytes]) -> VideoFrame:
    frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane, data in zip(frame.planes, planes, strict=True):
        rows = (data[y : y + plane.width] for y in range(0, len(data), plane.width))
        plane.update(
            data
            if plane.line_size == plane.width
            else b"".join(row.ljust(plane.line_size, b"\0") for row in rows)
        )
    frame.pts = number
    frame.time_base = Fraction(1, FRAMES_PER_SECOND)
    return frame
