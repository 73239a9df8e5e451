"""Tables that can be sorted, filtered and paged by their URL alone, so that they work without a script.

| query | means |
|---|---|
| ``sort=viewers`` ``sort=-viewers`` | by this column, the least or (``-``) the greatest first |
| ``q=cam`` | only rows whose text holds this, whatever its case |
| ``show=down`` | only rows of this kind |
| ``page=2`` | one page of them; one after the last is the last, as tables shrink while they are looked at |
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from attrs import frozen

from liveman.errors import BadRequest

__all__ = ["PAGE", "Choice", "Column", "Shown", "Table", "Wanted"]

#: Rows of a page.
PAGE = 50

_NUMBER = re.compile(r"[0-9]{1,6}")

Row = TypeVar("Row")


@frozen
class Column(Generic[Row]):
    """What stands under one heading."""

    key: str
    """Its name in the query."""
    label: str
    by: Callable[[Row], Any] | None = None
    """What it is sorted by; that may be None, which comes last either way. Without it there is no sorting."""
    number: bool = False
    """Whether the greatest is what one wants to see first, and figures stand below each other."""


@frozen
class Choice(Generic[Row]):
    """A kind of rows that can be shown alone."""

    key: str
    label: str
    keeps: Callable[[Row], bool]


@frozen
class Wanted:
    """What a query asks of a table."""

    sort: str
    descending: bool
    text: str = ""
    choice: str = ""
    page: int = 1


@frozen
class Heading:
    """A column's head."""

    label: str
    number: bool
    order: str
    """``ascending`` or ``descending`` where the table is sorted by it, else ""."""
    query: str | None
    """What sorts by it, or the other way round; None: it cannot be sorted by."""


@frozen
class Order:
    query: str
    """The value of ``sort``."""
    label: str
    chosen: bool


@frozen
class Shown(Generic[Row]):
    """A page of a table."""

    rows: Sequence[Row]
    total: int
    """Rows of the table without any filter."""
    found: int
    page: int
    pages: int
    wanted: Wanted
    table: "Table[Row]"

    @property
    def first(self) -> int:
        """The number of the first row shown, from 1; 0: there is none."""
        return (self.page - 1) * PAGE + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return (self.page - 1) * PAGE + len(self.rows)

    @property
    def headings(self) -> list[Heading]:
        return [self._heading(column) for column in self.table.columns]

    @property
    def orders(self) -> list[Order]:
        """All that there are, for where there are no headings."""
        given = self._given
        return [
            Order(sign + column.key, f"{column.label} {arrow}", sign + column.key == given)
            for column in self.table.columns
            if column.by is not None
            for sign, arrow in (("", "↑"), ("-", "↓"))
        ]

    @property
    def previous(self) -> str | None:
        """The query of the page before; None: it is the first."""
        return self._query(page=self.page - 1) if self.page > 1 else None

    @property
    def next(self) -> str | None:
        return self._query(page=self.page + 1) if self.page < self.pages else None

    @property
    def sort(self) -> str:
        """The value of ``sort`` that gives this order; "": it is the usual one."""
        return "" if self._given == self.table.order else self._given

    @property
    def _given(self) -> str:
        return ("-" if self.wanted.descending else "") + self.wanted.sort

    def _heading(self, column: Column[Row]) -> Heading:
        if column.by is None:
            return Heading(column.label, column.number, "", None)
        order = ""
        descending = column.number
        if self.wanted.sort == column.key:
            order = "descending" if self.wanted.descending else "ascending"
            descending = not self.wanted.descending
        sort = ("-" if descending else "") + column.key
        return Heading(column.label, column.number, order, self._query(sort=sort))

    def _query(self, sort: str | None = None, page: int = 1) -> str:
        asked = {
            "q": self.wanted.text,
            "show": self.wanted.choice,
            "sort": self.sort if sort is None else sort,
            "page": str(page) if page > 1 else "",
        }
        return "?" + urlencode({name: value for name, value in asked.items() if value})


@frozen
class Table(Generic[Row]):
    """How rows of one kind are shown."""

    columns: Sequence[Column[Row]]
    order: str
    """The usual one, as in the query: ``-viewers``."""
    text: Callable[[Row], str]
    """What ``q`` is looked for in."""
    choices: Sequence[Choice[Row]] = ()

    def parse(self, query: Mapping[str, str]) -> Wanted:
        """What a query asks for; members of other names are none of ours. Raises BadRequest."""
        sort = query.get("sort") or self.order
        known = [column.key for column in self.columns if column.by is not None]
        if sort.removeprefix("-") not in known:
            raise BadRequest(
                "The table can be sorted by " + ", ".join(known) + "; a '-' before it turns it round."
            )
        choice = query.get("show", "")
        kinds = [each.key for each in self.choices]
        if choice and choice not in kinds:
            raise BadRequest(
                f"show is one of {', '.join(kinds)}." if kinds else "There is nothing to show alone."
            )
        page = query.get("page") or "1"
        if not _NUMBER.fullmatch(page) or int(page) < 1:
            raise BadRequest("page is a number from 1 on.")
        return Wanted(
            sort.removeprefix("-"), sort.startswith("-"), query.get("q", "").strip(), choice, int(page)
        )

    def show(self, rows: Iterable[Row], wanted: Wanted) -> Shown[Row]:
        """The page that is wanted of these rows, which come in the order of those that are alike."""
        every = list(rows)
        found = every
        if wanted.choice:
            keeps = next(each.keeps for each in self.choices if each.key == wanted.choice)
            found = [row for row in found if keeps(row)]
        if wanted.text:
            text = wanted.text.casefold()
            found = [row for row in found if text in self.text(row).casefold()]
        pages = max(1, -(-len(found) // PAGE))
        page = min(wanted.page, pages)
        ordered = self._sorted(found, wanted)
        cut = ordered[(page - 1) * PAGE : page * PAGE]
        return Shown(cut, len(every), len(found), page, pages, wanted, self)

    def _sorted(self, rows: Sequence[Row], wanted: Wanted) -> list[Row]:
        by = next(column.by for column in self.columns if column.key == wanted.sort)
        assert by is not None
        keyed = [(by(row), row) for row in rows]
        known = [each for each in keyed if each[0] is not None]
        # Sorting is stable, also in reverse.
        known.sort(key=lambda each: each[0], reverse=wanted.descending)
        return [row for _, row in known] + [row for key, row in keyed if key is None]
