"""Tables are sorted, filtered and paged by their query alone."""

import pytest
from attrs import evolve, frozen

from liveman.dashboard.tables import PAGE, Choice, Column, Table
from liveman.errors import BadRequest


@frozen
class Cam:
    name: str
    viewers: int = 0
    latency: float | None = None


TABLE: Table[Cam] = Table(
    columns=[
        Column("name", "Name", lambda cam: cam.name.casefold()),
        Column("viewers", "Viewers", lambda cam: cam.viewers, number=True),
        Column("latency", "Latency", lambda cam: cam.latency, number=True),
        Column("link", ""),
    ],
    order="name",
    text=lambda cam: cam.name,
    choices=[Choice("watched", "With viewers", lambda cam: cam.viewers > 0)],
)
CAMS = [Cam("alpha", 2, 0.2), Cam("Beta", 0, None), Cam("gamma", 7, 0.1), Cam("delta 100%", 2, None)]


def names(**query: str) -> list[str]:
    return [cam.name for cam in TABLE.show(CAMS, TABLE.parse(query)).rows]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({}, ["alpha", "Beta", "delta 100%", "gamma"]),
        ({"sort": "name"}, ["alpha", "Beta", "delta 100%", "gamma"]),
        ({"sort": "-name"}, ["gamma", "delta 100%", "Beta", "alpha"]),
        ({"sort": "viewers"}, ["Beta", "alpha", "delta 100%", "gamma"]),
        ({"sort": "-viewers"}, ["gamma", "alpha", "delta 100%", "Beta"]),
        # What is not known comes last either way.
        ({"sort": "latency"}, ["gamma", "alpha", "Beta", "delta 100%"]),
        ({"sort": "-latency"}, ["alpha", "gamma", "Beta", "delta 100%"]),
        ({"q": "BET"}, ["Beta"]),
        ({"q": " beta "}, ["Beta"]),
        ({"q": "100%"}, ["delta 100%"]),
        ({"q": "nobody"}, []),
        ({"show": "watched"}, ["alpha", "delta 100%", "gamma"]),
        ({"show": "watched", "q": "a", "sort": "-name"}, ["gamma", "delta 100%", "alpha"]),
        ({"show": "", "sort": "", "q": "", "page": ""}, ["alpha", "Beta", "delta 100%", "gamma"]),
        ({"utm": "1", "token": "x"}, ["alpha", "Beta", "delta 100%", "gamma"]),
    ],
)
def test_a_query_chooses_rows_and_their_order(query: dict[str, str], shown: list[str]) -> None:
    assert names(**query) == shown


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"sort": "age"}, "name, viewers, latency"),
        ({"sort": "--name"}, "name, viewers, latency"),
        ({"sort": "link"}, "name, viewers, latency"),
        ({"sort": "<script>"}, "name, viewers, latency"),
        ({"show": "all"}, "watched"),
        ({"page": "0"}, "from 1"),
        ({"page": "-1"}, "from 1"),
        ({"page": "1.5"}, "from 1"),
        ({"page": "two"}, "from 1"),
        ({"page": "²"}, "from 1"),
        ({"page": "9" * 5000}, "from 1"),
    ],
)
def test_a_query_that_means_nothing_is_refused_in_words(query: dict[str, str], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        TABLE.parse(query)
    assert said in refused.value.detail


def test_a_table_without_kinds_says_that_there_are_none() -> None:
    with pytest.raises(BadRequest, match="nothing to show alone"):
        evolve(TABLE, choices=()).parse({"show": "watched"})


@pytest.mark.parametrize(
    ("rows", "page", "got", "pages", "first", "last", "neighbours"),
    [
        (0, "1", 1, 1, 0, 0, (None, None)),
        (1, "1", 1, 1, 1, 1, (None, None)),
        (PAGE, "1", 1, 1, 1, PAGE, (None, None)),
        (PAGE + 1, "1", 1, 2, 1, PAGE, (None, "?page=2")),
        (PAGE + 1, "2", 2, 2, PAGE + 1, PAGE + 1, ("?", None)),
        (3 * PAGE, "2", 2, 3, PAGE + 1, 2 * PAGE, ("?", "?page=3")),
        # It shrank meanwhile.
        (2 * PAGE, "999999", 2, 2, PAGE + 1, 2 * PAGE, ("?", None)),
    ],
)
def test_a_page_of_rows(
    rows: int,
    page: str,
    got: int,
    pages: int,
    first: int,
    last: int,
    neighbours: tuple[str | None, str | None],
) -> None:
    cams = [Cam(f"{at:04}") for at in range(rows)]
    shown = TABLE.show(cams, TABLE.parse({"page": page}))
    assert [cam.name for cam in shown.rows] == [f"{at:04}" for at in range(max(first - 1, 0), last)]
    assert (shown.page, shown.pages, shown.first, shown.last) == (got, pages, first, last)
    assert (shown.previous, shown.next) == neighbours


def test_how_many_rows_there_are_with_and_without_the_filter() -> None:
    shown = TABLE.show(CAMS, TABLE.parse({"q": "alpha"}))
    assert (shown.total, shown.found) == (4, 1)


@pytest.mark.parametrize(
    ("sort", "label", "order", "query"),
    [
        ("", "Name", "ascending", "?sort=-name"),
        ("-name", "Name", "descending", "?sort=name"),
        # What is greatest is what one wants to see first of numbers.
        ("", "Viewers", "", "?sort=-viewers"),
        ("-viewers", "Viewers", "descending", "?sort=viewers"),
        ("-viewers", "Name", "", "?sort=name"),
        ("", "", "", None),
    ],
)
def test_a_heading_sorts_by_it_and_then_the_other_way_round(
    sort: str, label: str, order: str, query: str | None
) -> None:
    headings = TABLE.show(CAMS, TABLE.parse({"sort": sort})).headings
    assert [(h.order, h.query) for h in headings if h.label == label] == [(order, query)]


def test_links_keep_the_filter_and_begin_at_the_first_page() -> None:
    cams = [Cam(f'"{at}&%') for at in range(3 * PAGE)]
    shown = TABLE.show(cams, TABLE.parse({"q": '"&'[:1], "sort": "-viewers", "page": "2"}))
    assert shown.next == "?q=%22&sort=-viewers&page=3"
    assert shown.headings[0].query == "?q=%22&sort=name"
    assert shown.sort == "-viewers"
