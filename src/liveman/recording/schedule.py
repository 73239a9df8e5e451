"""Which streams are to be recorded now, and where. Pure: what is known and the time are arguments."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Literal

from attrs import frozen

__all__ = ["Origin", "Running", "Step", "base_dir", "matches", "plan"]


@frozen
class Origin:
    """Where a stream is published."""

    alias: str
    """The node."""
    session: str
    """The publisher's, by the node's own id."""


@frozen
class Running:
    """A recording that runs."""

    origin: Origin
    since: int
    """Unix seconds."""
    mpd_path: str


@frozen
class Step:
    """What is to be done about one stream."""

    action: Literal["start", "stop", "rotate"]
    stream: str
    origin: Origin


def plan(
    origins: Mapping[str, Origin],
    running: Mapping[str, Running],
    *,
    wanted: Collection[str],
    globs: Sequence[str],
    now: float,
    longest: int,
    tried: Collection[tuple[str, str]] = (),
) -> list[Step]:
    """What is to be done now, at most one step for each stream.

    origins: the streams that are published; running: those that are recorded; wanted: those that somebody
    asked to be recorded, beside those that match the globs. longest: after so many seconds a recording is
    rotated, 0: never. tried: streams, and the aliases of nodes, that are not to be started again now.

    A recording follows its publisher: one at another node is ended before another begins. When the same node
    has another publisher it may have ended by itself, so it is started anew, which changes nothing where it
    runs.
    """
    steps = []
    for stream, known in running.items():
        origin = origins.get(stream)
        if origin is None or origin.alias != known.origin.alias:
            steps.append(Step("stop", stream, known.origin))
        elif origin != known.origin:
            steps.append(Step("start", stream, origin))
        elif longest and now - known.since >= longest:
            steps.append(Step("rotate", stream, origin))
    steps += [
        Step("start", stream, origin)
        for stream, origin in origins.items()
        if stream not in running
        and (stream, origin.alias) not in tried
        and (stream in wanted or matches(stream, globs))
    ]
    return steps


def matches(stream: str, globs: Iterable[str]) -> bool:
    """Whether a name is one of these; ``*``, ``?`` and ``[…]`` as in the names of files."""
    return any(_compiled(glob).match(stream) for glob in globs)


def base_dir(prefix: str, stream: str, day: str, at: int) -> str:
    """Where a recording goes that begins at this Unix time, on this day (``2026/11/21``, UTC)."""
    return "/".join([*filter(None, prefix.split("/")), stream, day, f"{at:010d}"])


@lru_cache(maxsize=256)
def _compiled(glob: str) -> "re.Pattern[str]":
    return re.compile(translate(glob))
