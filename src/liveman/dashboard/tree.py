"""A stream's way from node to node as a picture: where boxes and lines stand, and the same in words.

The publisher's node is at the left, each relay one column further right. Lengths are in pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from unicodedata import combining, east_asian_width

from attrs import define, field, frozen

__all__ = ["MOST", "Box", "Kind", "Line", "Picture", "Spot", "draw", "shortened"]

BOX_WIDTH = 176
BOX_HEIGHT = 60
COLUMN_GAP = 56
ROW_GAP = 16
#: Around the whole, so that outlines are not cut.
MARGIN = 2
#: The most boxes that stand for themselves behind one box; what is more is summed up in one.
MOST = 12
#: No column stands further right.
DEEPEST = 8
#: The most nodes that the words name.
MOST_WORDS = 40
#: Characters of a box's name; wide ones count twice.
NAME_COLUMNS = 19

Kind = Literal["origin", "relay", "waiting"]
"""``origin``: its publisher is there; ``relay``: it comes by a relay; ``waiting``: it does not come there."""

_WORDS: dict[Kind, str] = {"origin": "publisher", "relay": "by a relay", "waiting": "waiting"}
#: In a sentence.
_LONG: dict[Kind, str] = {
    "origin": "the publisher is here",
    "relay": "by a relay",
    "waiting": "nothing comes here yet",
}


@frozen
class Spot:
    """A node that has the stream."""

    alias: str
    kind: Kind
    viewers: int
    source: str | None = None
    """The alias of the node that relays to it."""


@frozen
class Box:
    """A node in the picture, or several that are summed up."""

    x: float
    y: float
    kind: Kind | Literal["more"]
    name: str
    """As it fits in."""
    full: str
    note: str
    width: int = BOX_WIDTH
    height: int = BOX_HEIGHT


@frozen
class Line:
    """A relay."""

    path: str
    """Of an SVG path."""
    words: str


@frozen
class Picture:
    width: float
    height: float
    boxes: Sequence[Box]
    lines: Sequence[Line]
    words: str
    """All that it shows."""


def draw(stream: str, spots: Iterable[Spot]) -> Picture:
    """The picture of a stream on these nodes. A source that is none of them is left out, and where relays
    feed each other in a circle it is cut open."""
    known = {spot.alias: spot for spot in sorted(spots, key=lambda each: each.alias)}
    drawing = _Drawing(_behind(known))
    roots = drawing.behind.pop(None, [])
    drawing.column(None, roots, 0)
    width = max((box.x + box.width for box in drawing.boxes), default=0) + MARGIN
    height = max((box.y + box.height for box in drawing.boxes), default=0) + MARGIN
    return Picture(width, height, drawing.boxes, drawing.lines, _in_words(stream, known))


def shortened(text: str, columns: int) -> str:
    """As much of a text as fits, with an ellipsis for the rest."""
    if sum(map(_columns, text)) <= columns:
        return text
    kept = ""
    for char in text:
        columns -= _columns(char)
        if columns < 1:
            break
        kept += char
    return kept + "…"


@define
class _Drawing:
    behind: dict[str | None, list[Spot]]
    """What each node relays to; under None those where it begins."""
    boxes: list[Box] = field(factory=list)
    lines: list[Line] = field(factory=list)
    bottom: float = MARGIN
    """Where the next box without others behind it stands."""

    def column(self, source: Spot | None, spots: Sequence[Spot], depth: int) -> list[Box]:
        """The boxes behind one box, with all behind them; those of this column."""
        alone = spots if len(spots) <= MOST else spots[: MOST - 1]
        if depth == DEEPEST:
            alone = []
        boxes = [self.place(spot, depth) for spot in alone]
        if summed := spots[len(alone) :]:
            boxes.append(self.sum_up(summed, depth))
        return boxes

    def place(self, spot: Spot, depth: int) -> Box:
        behind = self.behind.get(spot.alias, [])
        after = self.column(spot, behind, depth + 1)
        y = (after[0].y + after[-1].y) / 2 if after else self.take_row()
        note = f"{_WORDS[spot.kind]}, {_viewers(spot.viewers)}"
        box = Box(_x(depth), y, spot.kind, shortened(spot.alias, NAME_COLUMNS), spot.alias, note)
        self.boxes.append(box)
        self.lines += [Line(_path(box, each), f"from {spot.alias} to {each.full}") for each in after]
        return box

    def sum_up(self, spots: Sequence[Spot], depth: int) -> Box:
        """One box for many, and for all behind them."""
        every = list(spots)
        for spot in every:
            every += self.behind.get(spot.alias, [])
        name = f"{len(every)} more node{'' if len(every) == 1 else 's'}"
        box = Box(
            _x(depth), self.take_row(), "more", name, name, _viewers(sum(each.viewers for each in every))
        )
        self.boxes.append(box)
        return box

    def take_row(self) -> float:
        y = self.bottom
        self.bottom += BOX_HEIGHT + ROW_GAP
        return y


def _behind(known: Mapping[str, Spot]) -> dict[str | None, list[Spot]]:
    behind: dict[str | None, list[Spot]] = {}
    reached: set[str] = set()
    for spot in known.values():
        source = spot.source if spot.source in known and spot.source != spot.alias else None
        behind.setdefault(source, []).append(spot)
    _reach(behind, behind.get(None, []), reached)
    for spot in known.values():
        # What no beginning leads to hangs on a circle.
        if spot.alias not in reached:
            begin = _on_circle(known, spot)
            behind[begin.source].remove(begin)
            behind.setdefault(None, []).append(begin)
            _reach(behind, [begin], reached)
    # Where it is published stands above where it is waited for.
    behind.get(None, []).sort(key=lambda each: (each.kind != "origin", each.kind != "relay", each.alias))
    return behind


def _reach(behind: Mapping[str | None, list[Spot]], spots: Iterable[Spot], reached: set[str]) -> None:
    waiting = list(spots)
    while waiting:
        spot = waiting.pop()
        reached.add(spot.alias)
        waiting += behind.get(spot.alias, [])


def _on_circle(known: Mapping[str, Spot], spot: Spot) -> Spot:
    """The first node by alias of the circle that a node's sources lead into."""
    passed: list[str] = []
    alias = spot.alias
    while alias not in passed:
        passed.append(alias)
        source = known[alias].source
        assert source is not None
        alias = source
    return known[min(passed[passed.index(alias) :])]


def _x(depth: int) -> float:
    return MARGIN + depth * (BOX_WIDTH + COLUMN_GAP)


def _path(source: Box, target: Box) -> str:
    """From the middle of the right side to the middle of the left one."""
    x, y = source.x + source.width, source.y + source.height / 2
    to_x, to_y = target.x, target.y + target.height / 2
    middle = (x + to_x) / 2
    return f"M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}"


def _in_words(stream: str, known: Mapping[str, Spot]) -> str:
    if not known:
        return f"No node has {stream}."
    parts = []
    for spot in list(known.values())[:MOST_WORDS]:
        how = _LONG[spot.kind]
        if spot.kind == "relay" and spot.source is not None:
            how = f"by a relay from {spot.source}"
        parts.append(f"{spot.alias}: {how}, {_viewers(spot.viewers)}")
    if len(known) > MOST_WORDS:
        parts.append(f"and {len(known) - MOST_WORDS} more nodes")
    return "; ".join(parts) + "."


def _viewers(count: int) -> str:
    return f"{count} viewer{'' if count == 1 else 's'}"


def _columns(char: str) -> int:
    if combining(char):
        return 0
    return 2 if east_asian_width(char) in "WF" else 1
