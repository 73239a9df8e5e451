"""Months with the days on which something was recorded."""

import calendar

import pytest

from liveman.dashboard.calendar import Day, day_text, day_title, month_of, parse_day

DAYS = [("2026-11-21", (2026, 11, 21)), ("1970-01-01", (1970, 1, 1)), ("2028-02-29", (2028, 2, 29))]


@pytest.mark.parametrize(("text", "day"), DAYS)
def test_a_day_is_written_as_it_is_read(text: str, day: Day) -> None:
    assert parse_day(text) == day
    assert day_text(day) == text


def test_a_day_has_a_title_for_people() -> None:
    assert day_title((2026, 11, 21)) == "Saturday, 21 November 2026"
    assert day_title((2028, 2, 29)) == "Tuesday, 29 February 2028"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-31",
        "2027-02-29",
        "2026-13-01",
        "2026-00-01",
        "2026-01-00",
        "1969-12-31",
        "0000-00-00",
        "2026-1-1",
        "2026-11-21 ",
        "2026-11-21\n",
        "20261121",
        "\u0662\u0660\u0662\u0666-11-21",
        "<b>",
    ],
)
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 2026-11-21"):
        parse_day(text)


@pytest.mark.parametrize(
    ("chosen", "first", "length"),
    [((2026, 11, 21), 6, 30), ((2027, 2, 1), 0, 28), ((2028, 2, 29), 1, 29), ((9999, 12, 31), 2, 31)],
)
def test_a_month_has_all_its_days_below_their_weekdays(chosen: Day, first: int, length: int) -> None:
    weeks = month_of(chosen, []).weeks
    cells = [cell for week in weeks for cell in week]
    assert {len(week) for week in weeks} == {7}
    assert [cell.number for cell in cells][:first] == [0] * first
    assert [cell.number for cell in cells if cell.number] == list(range(1, length + 1))
    assert calendar.weekday(*chosen) == next(i for i, cell in enumerate(cells) if cell.chosen) % 7
    assert [cell.number for cell in cells if cell.chosen] == [chosen[2]]


def test_only_days_with_recordings_have_links() -> None:
    month = month_of((2026, 11, 21), [(2026, 10, 31), (2026, 11, 1), (2026, 11, 30), (2026, 12, 1)])
    assert month.title == "November 2026"
    links = {cell.number: cell.link for week in month.weeks for cell in week if cell.link}
    assert links == {1: "2026-11-01", 30: "2026-11-30"}


@pytest.mark.parametrize(
    ("recorded", "earlier", "later"),
    [
        ([], "", ""),
        ([(2026, 11, 3)], "", ""),
        ([(2024, 1, 9), (2025, 3, 8), (2026, 11, 3)], "2025-03-08", ""),
        ([(2026, 11, 30), (2027, 1, 5), (2027, 1, 6)], "", "2027-01-05"),
        ([(2026, 10, 31), (2026, 12, 1)], "2026-10-31", "2026-12-01"),
    ],
)
def test_the_ways_to_other_months_leave_out_the_empty_ones(
    recorded: list[Day], earlier: str, later: str
) -> None:
    """Back to the last day of the nearest month before, on to the first day of the nearest after."""
    month = month_of((2026, 11, 21), recorded)
    assert (month.earlier, month.later) == (earlier, later)
