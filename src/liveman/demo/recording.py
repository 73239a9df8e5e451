"""One recording while it runs: from the hubs of a stream to files."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiortc import RTCRtpCodecParameters
from av import Packet

from liveman.demo.cutting import Cutter, Frame
from liveman.demo.dash import DashFolder
from liveman.demo.media import Hub

__all__ = ["Recording", "RecordingFailed"]

#: Frames that wait for the disk; some ten seconds of them.
QUEUED = 1000
#: What the disk takes longer for is given up, seconds.
WRITE_WITHIN = 10.0
#: Sound waits so long for the first picture, seconds.
_PICTURE_WITHIN = 3.0


class RecordingFailed(Exception):
    """The recording is over, and not whole; says why."""


class Recording:
    """Records what a publisher sends until `end` is called or he leaves."""

    def __init__(
        self, hubs: Mapping[str, Hub], codecs: Mapping[str, RTCRtpCodecParameters], folder: Path
    ) -> None:
        """``codecs``, by kind: those that can be recorded. `run` has to follow."""
        # One container for both: browsers take VP8 from WebM alone, all else from MP4.
        is_webm = any(codec.name == "VP8" for codec in codecs.values())
        self._folder = DashFolder(folder, "webm" if is_webm else "mp4")
        self._arrived: asyncio.Queue[_Arrival | None] = asyncio.Queue()
        self._is_late = False
        self._zero: float | None = None
        self._heard: float | None = None
        self._lanes = [_Lane(hubs[kind], codec, self._take, self.end) for kind, codec in codecs.items()]

    def end(self) -> None:
        """What has arrived by now is the last."""
        self._arrived.put_nowait(None)

    async def run(self) -> None:
        """Record to the end. Raises RecordingFailed; what was written until then can be played."""
        disk = _Disk()
        try:
            await self._record(disk)
            await self._finish(disk)
        except TimeoutError:
            raise RecordingFailed(f"the disk took longer than {WRITE_WITHIN:g} s") from None
        except RecordingFailed:
            await self._give_up(disk)
            raise
        except OSError as error:
            await self._give_up(disk)
            raise RecordingFailed(error.strerror or str(error)) from error
        except Exception as error:  # PyAV raises anything on what publishers send
            await self._give_up(disk)
            raise RecordingFailed(f"{type(error).__name__}: {error}") from error
        finally:
            self._let_go()
            disk.close()

    async def _record(self, disk: "_Disk") -> None:
        await disk.run(self._folder.make)
        while (arrived := await self._arrived.get()) is not None:
            lane, packet, is_keyframe = arrived
            if self._is_late:
                raise RecordingFailed("the disk is too slow")
            frame = self._frame(lane, packet, is_keyframe)
            segment = frame and lane.cutter.add(frame)
            if segment:
                await disk.run(self._folder.add, lane.codec, segment)
            if lane.is_video and lane.cutter.wants_keyframe:
                lane.hub.want_keyframe()

    async def _finish(self, disk: "_Disk") -> None:
        self._let_go()
        for lane in self._lanes:
            if segment := lane.cutter.end():
                await disk.run(self._folder.add, lane.codec, segment)
        if self._folder.is_empty:
            raise RecordingFailed("nothing came that could be recorded")
        await disk.run(self._folder.close)

    async def _give_up(self, disk: "_Disk") -> None:
        self._let_go()
        if not self._folder.is_empty:
            with suppress(OSError):
                await disk.run(self._folder.close)

    def _let_go(self) -> None:
        for lane in self._lanes:
            lane.hub.taps.discard(lane)

    def _take(self, arrival: "_Arrival") -> None:
        if self._arrived.qsize() < QUEUED:
            self._arrived.put_nowait(arrival)
        else:
            self._is_late = True

    def _frame(self, lane: "_Lane", packet: "Packet[Any]", is_keyframe: bool) -> Frame | None:
        """The frame in the recording's own time, which begins with the first picture; None: before that."""
        assert packet.pts is not None
        at = packet.pts / lane.codec.clockRate
        if self._zero is None:
            if not self._is_beginning(lane, at, is_keyframe):
                return None
            self._zero = at
        ticks = packet.pts - round(self._zero * lane.codec.clockRate)
        return Frame(ticks, bytes(packet), is_keyframe) if ticks >= 0 else None

    def _is_beginning(self, lane: "_Lane", at: float, is_keyframe: bool) -> bool:
        if lane.is_video or not any(each.is_video for each in self._lanes):
            return is_keyframe
        if self._heard is None:
            self._heard = at
        return at - self._heard > _PICTURE_WITHIN


class _Lane:
    """One kind of media on its way; a `Tap`."""

    def __init__(
        self,
        hub: Hub,
        codec: RTCRtpCodecParameters,
        take: Callable[["_Arrival"], None],
        end: Callable[[], None],
    ) -> None:
        self.hub = hub
        self.codec = codec
        self.is_video = hub.kind == "video"
        self.cutter = Cutter(codec.clockRate)
        self.end = end
        self._take = take
        hub.taps.add(self)

    def push(self, packet: "Packet[Any]", *, is_keyframe: bool) -> None:
        self._take((self, packet, is_keyframe))


_Arrival = tuple[_Lane, "Packet[Any]", bool]


class _Disk:
    """A thread of its own, so that a disk that hangs holds up nobody else."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "recording")

    async def run(self, call: Callable[..., None], *arguments: Any) -> None:
        """Raises TimeoutError after WRITE_WITHIN."""
        async with asyncio.timeout(WRITE_WITHIN):
            await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
