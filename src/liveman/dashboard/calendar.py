"""A month with the days on which a stream was recorded. Days are (year, month, day), in UTC."""

import re
from bisect import bisect_left
from calendar import monthrange, weekday
from collections.abc import Sequence

from attrs import frozen

__all__ = ["Cell", "Day", "Month", "day_text", "day_title", "month_of", "parse_day"]

Day = tuple[int, int, int]

_MONTHS = ["January", "February", "March", "April", "May", "June"]
_MONTHS += ["July", "August", "September", "October", "November", "December"]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_FORM = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)


@frozen
class Cell:
    """A day of the month, or the room before its first and after its last."""

    number: int = 0
    """0: no day."""
    link: str = ""
    """The day as links name it, when something was recorded; else empty."""
    chosen: bool = False


@frozen
class Month:
    """A month as a calendar shows it."""

    title: str
    """Such as ``November 2026``."""
    weeks: tuple[tuple[Cell, ...], ...]
    """Seven cells each, from Monday."""
    earlier: str
    """The last day before this month on which something was recorded; "": there is none."""
    later: str
    """The first one after it."""


def parse_day(text: str) -> Day:
    """Of ``2026-11-21``. Raises ValueError for what is no day."""
    found = _FORM.fullmatch(text)
    year, month, day = map(int, found.groups()) if found else (0, 0, 0)
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]):
        raise ValueError("must be a day such as 2026-11-21 (UTC)")
    return year, month, day


def day_text(day: Day) -> str:
    """As links name it: ``2026-11-21``."""
    return "{:04d}-{:02d}-{:02d}".format(*day)


def day_title(day: Day) -> str:
    """As people read it: ``Saturday, 21 November 2026``."""
    year, month, number = day
    return f"{_DAYS[weekday(*day)]}, {number} {_MONTHS[month - 1]} {year}"


def month_of(chosen: Day, recorded: Sequence[Day]) -> Month:
    """The month that the chosen day is in; ``recorded``: the days with recordings, in order."""
    year, month, _ = chosen
    length = monthrange(year, month)[1]
    begin, end = bisect_left(recorded, (year, month, 1)), bisect_left(recorded, (year, month, length + 1))
    there = set(recorded[begin:end])
    cells = [Cell()] * weekday(year, month, 1)
    for number in range(1, length + 1):
        day = (year, month, number)
        cells.append(Cell(number, day_text(day) if day in there else "", day == chosen))
    cells += [Cell()] * (-len(cells) % 7)
    return Month(
        title=f"{_MONTHS[month - 1]} {year}",
        weeks=tuple(tuple(cells[at : at + 7]) for at in range(0, len(cells), 7)),
        earlier=day_text(recorded[begin - 1]) if begin else "",
        later=day_text(recorded[end]) if end < len(recorded) else "",
    )
