"""The index of recordings with a million of them, on SQLite and on PostgreSQL.

index.py [--recordings 1000000] [--streams 1000]

A page is 100 recordings of a stream, from anywhere in its past. A put is what one of 100 nodes tells: 100
sessions, committed. PostgreSQL runs as the tests run it, without fsync; SQLite as Liveman runs it. Exits with
1 when something is slower than wanted.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from tempfile import TemporaryDirectory

from parts import HERE, parser

from liveman.database import Database, open_database
from liveman.recording.index import Index
from liveman.recording.wire import Recorded

sys.path.append(str(HERE.parent / "tests"))

from support.postgres import Postgres

NODES = 100
#: 2026-11-21, 00:00 UTC, seconds.
NOW = 1_795_219_200
HOUR = 3600
PAGE_MS = 5.0
PUTS_SECONDS = 5.0
ROW = "{:<12} {:>24} {:>20} {:>14} {:>14} {:>26}"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--recordings", type=int, default=1_000_000)
    arguments.add_argument("--streams", type=int, default=1000)
    options = arguments.parse_args()
    print(
        ROW.format(
            "",
            "page of 100, p50 · p99",
            "an object's stream",
            "all streams",
            "a new day",
            "10000 sessions put",
        )
    )
    with (
        TemporaryDirectory(prefix="liveman-bench-") as folder,
        Postgres.running() as server,
        server.database() as name,
    ):
        urls = {"SQLite": f"sqlite://{folder}/liveman.db", "PostgreSQL": server.url(name)}
        good = [
            asyncio.run(measure(title, url, options.recordings, options.streams))
            for title, url in urls.items()
        ]
    print(f"wanted: half of the pages under {PAGE_MS:g} ms, 10000 sessions under {PUTS_SECONDS:g} s")
    sys.exit(0 if all(good) else 1)


async def measure(title: str, url: str, recordings: int, streams: int) -> bool:
    each = recordings // streams
    async with open_database(url) as database:
        index = Index(database)
        await fill(index, streams, each)
        await settle(database, url)
        pages, found = [], []
        for _ in range(300):
            stream, back = f"stream {random.randrange(streams)}", random.randrange(each - 100)
            place = ((NOW - back * HOUR) * 1_000_000, "n", "")
            pages.append(await milliseconds(lambda s=stream, p=place: index.page(s, after=p, limit=100)))
            assert len(await index.page(stream, after=place, limit=100)) == 100
            path = f"{folder_of(stream, NOW - back * HOUR)}/v_seg_0001.m4s"
            found.append(await milliseconds(lambda p=path: index.stream_of(p)))
            assert await index.stream_of(path) == stream
        every = await milliseconds(index.streams)
        put = [
            (f"n{n}", [recorded(f"stream {n}", NOW + (1 + m) * HOUR) for m in range(100)])
            for n in range(NODES)
        ]
        begin = time.perf_counter()
        for node, rows in put:
            await index.put(node, rows)
        took = time.perf_counter() - begin
        day = await milliseconds(lambda: index.put("n0", [recorded("new", NOW)]))
    p50, p99 = statistics.median(pages), statistics.quantiles(pages, n=100)[98]
    shown = (
        f"{p50:.2f} · {p99:.2f} ms",
        f"{statistics.median(found):.2f} ms",
        f"{every:.1f} ms",
        f"{day:.1f} ms",
    )
    print(ROW.format(title, *shown, f"{took:.2f} s"), flush=True)
    return p50 < PAGE_MS and took < PUTS_SECONDS


async def fill(index: Index, streams: int, each: int) -> None:
    """One recording an hour of each stream, until now."""
    for number in range(streams):
        rows = [recorded(f"stream {number}", NOW - hour * HOUR) for hour in range(each)]
        await index.put(f"n{number % NODES}", rows)


async def settle(database: Database, url: str) -> None:
    """What the databases do by themselves in the course of time."""
    if url.startswith("postgresql"):
        await database.execute("ANALYZE")


def recorded(stream: str, start: int) -> Recorded:
    begun = start * 1_000_000
    path = f"{folder_of(stream, start)}/manifest.mpd"
    return Recorded(str(start), stream, begun, begun + HOUR * 1_000_000, HOUR * 1000, path, "Completed")


def folder_of(stream: str, start: int) -> str:
    return f"recordings/{stream}/{time.strftime('%Y/%m/%d', time.gmtime(start))}/{start}"


async def milliseconds(work: Callable[[], Awaitable[object]]) -> float:
    begin = time.perf_counter()
    await work()
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    main()
