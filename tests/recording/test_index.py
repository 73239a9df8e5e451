"""The index: nothing that a node told is lost, and the newest is found first; on both databases alike."""

from collections.abc import AsyncIterator

import pytest
from attrs import evolve

from liveman.database import Database, open_database
from liveman.recording.index import Index
from liveman.recording.wire import Recorded

#: 2026-11-21, 00:00 UTC, microseconds.
DAY = 1_795_219_200_000_000
HOUR = 3_600_000_000


def recorded(stream: str = "cam", start: int = DAY, **changes: object) -> Recorded:
    folder = f"{stream}/2026/11/21/{start // 1_000_000}"
    row = Recorded(
        f"id-{start}", stream, start, start + HOUR, 3_600_000, f"{folder}/manifest.mpd", "Completed"
    )
    return evolve(row, **changes)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def index(database: Database) -> Index:
    return Index(database)


async def days(database: Database) -> list[tuple[object, ...]]:
    rows = await database.fetch_all(
        "SELECT stream, year, month, day, mpd_path FROM recordings ORDER BY stream, year, month, day"
    )
    return [tuple(row.values()) for row in rows]


async def test_what_was_put_is_found(index: Index) -> None:
    row = recorded()
    await index.put("n0", [row])
    (entry,) = await index.page("cam")
    assert (entry.node, entry.record, entry.start, entry.end) == ("n0", row.id, row.start, row.end)
    assert (entry.duration_ms, entry.mpd_path, entry.status) == (3_600_000, row.mpd_path, "Completed")
    assert await index.streams() == ["cam"]
    assert await index.page("other") == []


async def test_the_same_again_changes_nothing(index: Index, database: Database) -> None:
    for _ in range(3):
        await index.put("n0", [recorded()])
    assert len(await index.page("cam")) == 1
    assert len(await days(database)) == 1


async def test_one_that_has_ended_is_not_running_again(index: Index) -> None:
    """A node's older answer may come after a newer one."""
    running = recorded(end=None, duration_ms=None, status="Active")
    await index.put("n0", [running])
    assert (await index.page("cam"))[0].status == "Active"
    await index.put("n0", [recorded()])
    await index.put("n0", [running])
    (entry,) = await index.page("cam")
    assert (entry.status, entry.end) == ("Completed", DAY + HOUR)


async def test_two_nodes_may_name_their_recordings_alike(index: Index) -> None:
    await index.put("n0", [recorded()])
    await index.put("n1", [recorded()])
    assert [entry.node for entry in await index.page("cam")] == ["n1", "n0"]


async def test_the_day_has_its_newest_manifest(index: Index, database: Database) -> None:
    """Whatever the order in which they become known; days are UTC, from the recording's start."""
    early, late, next_day = recorded(), recorded(start=DAY + 23 * HOUR), recorded(start=DAY + 24 * HOUR)
    await index.put("n0", [late])
    await index.put("n0", [early, next_day])
    assert await days(database) == [
        ("cam", 2026, 11, 21, late.mpd_path),
        ("cam", 2026, 11, 22, next_day.mpd_path),
    ]


async def test_pages_follow_each_other_without_gap_or_repetition(index: Index) -> None:
    rows = [recorded(start=DAY + (number // 2) * HOUR, id=f"id-{number}") for number in range(11)]
    await index.put("n0", rows)
    seen, after = [], None
    while page := await index.page("cam", after=after, limit=3):
        seen += page
        after = page[-1].place
    assert [entry.record for entry in seen] == [entry.record for entry in await index.page("cam")]
    assert len({entry.record for entry in seen}) == 11
    assert [entry.start for entry in seen] == sorted((row.start for row in rows), reverse=True)


async def test_a_page_may_be_of_some_days_alone(index: Index) -> None:
    await index.put("n0", [recorded(start=DAY + number * 24 * HOUR) for number in range(4)])
    found = await index.page("cam", first=DAY + 24 * HOUR, last=DAY + 3 * 24 * HOUR - 1)
    assert [entry.start for entry in found] == [DAY + 48 * HOUR, DAY + 24 * HOUR]


async def test_the_days_of_a_stream_are_listed_in_order(index: Index) -> None:
    """Each once; and those of no recordings any more are gone."""
    assert await index.days("cam") == []
    starts = (DAY + 24 * HOUR, DAY, DAY + HOUR, DAY - 31 * 24 * HOUR)
    await index.put("n0", [*(recorded(start=start) for start in starts), recorded("other", DAY + 48 * HOUR)])
    assert await index.days("cam") == [(2026, 10, 21), (2026, 11, 21), (2026, 11, 22)]
    await index.drop((await index.page("cam"))[:1])
    assert await index.days("cam") == [(2026, 10, 21), (2026, 11, 21)]


async def test_streams_are_listed_by_name(index: Index) -> None:
    await index.put("n0", [recorded(stream) for stream in ("b", "ä", "a", "a b", "B")])
    assert sorted(await index.streams()) == sorted(["B", "a", "a b", "b", "ä"])
    assert len(await index.streams()) == 5


async def test_an_object_belongs_to_the_stream_whose_folder_it_lies_in(index: Index) -> None:
    row = recorded()
    await index.put("n0", [row])
    folder = row.mpd_path.rpartition("/")[0]
    assert await index.stream_of(f"{folder}/v_seg_0001.m4s") == "cam"
    assert await index.stream_of(f"{folder}/more/v_seg_0001.m4s") is None
    assert await index.stream_of("cam/v_seg_0001.m4s") is None
    assert await index.stream_of("manifest.mpd") is None


async def test_a_folder_that_two_streams_claim_is_nobodys(index: Index) -> None:
    """So no node can open one stream's recordings to the viewers of another."""
    row = recorded("a")
    await index.put("n0", [row])
    await index.put("n1", [recorded("b", mpd_path=row.mpd_path)])
    assert await index.stream_of(row.mpd_path) is None


async def test_what_is_dropped_leaves_its_day_to_the_next_newest(index: Index, database: Database) -> None:
    early, late = recorded(), recorded(start=DAY + HOUR)
    await index.put("n0", [early, late])
    newest, oldest = await index.page("cam")
    await index.drop([newest])
    assert await days(database) == [("cam", 2026, 11, 21, early.mpd_path)]
    await index.drop([oldest])
    assert await days(database) == []
    assert await index.streams() == []


async def test_the_oldest_come_first_and_running_ones_never(index: Index) -> None:
    rows = [recorded(start=DAY + number * HOUR) for number in range(5)]
    await index.put("n0", [*rows, recorded("x", start=DAY - HOUR, status="Active", end=None)])
    first = await index.oldest(DAY + 3 * HOUR, after=None, limit=2)
    second = await index.oldest(DAY + 3 * HOUR, after=first[-1].place, limit=2)
    assert [entry.start for entry in [*first, *second]] == [DAY, DAY + HOUR, DAY + 2 * HOUR]
