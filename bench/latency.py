"""What Liveman adds to the time of a request when there is nothing else to do: POST and DELETE, one by one.

latency.py [--rounds 9] [--seconds 1]

One connection goes straight to a stub node, through a bare aiohttp proxy, and through Liveman, in turns. The
figures are medians of the rounds. When the bare proxy adds many ms to p99 too, other work had the CPU. Exits
with 1 when Liveman adds more than wanted, or a request failed.
"""

import statistics
import sys
from collections.abc import Sequence

from parts import Load, floor, liveman, load, parser, stub_nodes

STRAIGHT, BARE, LIVEMAN = "straight to the node", "bare aiohttp proxy", "Liveman"
P50 = 0.5
"""Added at the most, ms."""
P99 = 2.0
"""Added at the most, ms."""
ROW = "{:<20} {:>8} {:>8} {:>8} {:>8} {:>7}"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--seconds", type=int, default=1)
    options = arguments.parse_args()
    with stub_nodes(1) as nodes, floor(nodes) as least, liveman(nodes, mode="sse") as peer:
        urls = {STRAIGHT: nodes[0].url, BARE: least.url, LIVEMAN: peer.url}
        failed = failures([load(url, seconds=1, connections=1) for url in urls.values()])
        seen: dict[str, list[Load]] = {name: [] for name in urls}
        for _ in range(options.rounds):
            for name, url in urls.items():
                seen[name].append(load(url, seconds=options.seconds, connections=1))
    print(ROW.format("one connection", "p50 ms", "p99 ms", "added", "added", "failed"))
    for name, loads in seen.items():
        figures = (*percentiles(loads), *added(loads, seen[STRAIGHT]))
        print(ROW.format(name, *(f"{each:.3f}" for each in figures), failures(loads)))
        failed += failures(loads)
    print(f"wanted: {LIVEMAN} adds under {P50:g} ms to p50 and under {P99:g} ms to p99, 0 failed")
    p50, p99 = added(seen[LIVEMAN], seen[STRAIGHT])
    sys.exit(0 if p50 < P50 and p99 < P99 and not failed else 1)


def added(loads: Sequence[Load], straight: Sequence[Load]) -> tuple[float, float]:
    """p50 and p99, ms."""
    (p50, p99), (p50_straight, p99_straight) = percentiles(loads), percentiles(straight)
    return p50 - p50_straight, p99 - p99_straight


def percentiles(loads: Sequence[Load]) -> tuple[float, float]:
    """p50 and p99, ms."""
    return statistics.median(each.p50_ms for each in loads), statistics.median(each.p99_ms for each in loads)


def failures(loads: Sequence[Load]) -> int:
    return sum(each.failed for each in loads)


if __name__ == "__main__":
    main()
