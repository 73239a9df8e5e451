"""For how long snapshots stop everything else: 120 000 sessions on 100 nodes that all report at once.

snapshots.py [--nodes 100] [--sessions 1200] [--seconds 10]

The nodes are stubs whose lists change every second, all at the same moment. Liveman's own watchers follow
them in this process, by event streams and by polling. In turn all nodes have so many sessions, and one of
them has a list of nearly 16 MiB. How late a timer comes tells for how long the event loop did nothing else;
what this process itself did meanwhile is told beside it, as a busy machine is late too. Exits with 1 when
that, or taking in a snapshot of 10 000 sessions, was longer than wanted.
"""

import asyncio
import gc
import os
import statistics
import sys
import time
from typing import Literal

from attrs import frozen
from parts import CPUS, Peer, parser, reporting_nodes
from placement import snapshots

import liveman.app  # noqa: F401  What a real one has in memory.
from liveman.cluster import Cluster, Node
from liveman.cluster.wire import MAX_BYTES
from liveman.config import Cluster as Options
from liveman.tasks import TaskOwner

Mode = Literal["sse", "poll"]

LAG = 50.0
"""ms."""
APPLY = 50.0
"""ms, for 10 000 sessions."""
TICK = 0.001
"""How often the loop is probed, seconds."""
ROW = "{:>5} {:>17} {:>9} {:>14} {:>11} {:>15} {:>8}"
COLUMNS = (
    "watch",
    "one of the nodes",
    "sessions",
    "taken in / s",
    "p99 lag ms",
    "longest lag ms",
    "its own doing",
)


@frozen
class Seen:
    sessions: int
    per_second: float
    """Snapshots taken in."""
    lags: list[tuple[float, float]]
    """ms: how late the timer was, and how much of that the process has worked."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=100)
    arguments.add_argument("--sessions", type=int, default=1200)
    arguments.add_argument("--seconds", type=float, default=10)
    options = arguments.parse_args()
    os.sched_setaffinity(0, {CPUS[0]})
    gc.collect()
    gc.freeze()  # As `liveman` does.
    first, changed, _ = snapshots(10_000)
    print(f"a snapshot of 10000 sessions: the first {first:.1f} ms, one session changed {changed:.1f} ms")
    print(ROW.format(*COLUMNS))
    worst = 0.0
    with reporting_nodes(options.sessions, MAX_BYTES) as peer:
        for mode in ("sse", "poll"):
            for odd in ("as the others", "one-stream", "small-streams"):
                names = [*(f"n{i}" for i in range(1, options.nodes)), odd.replace("as the others", "n0")]
                seen = asyncio.run(watch(peer, names, mode, options.seconds))
                late, own = ([lag[i] for lag in seen.lags] for i in (0, 1))
                p99 = statistics.quantiles(late, n=100)[-1]
                worst = max(worst, *own)
                figures = f"{seen.per_second:.0f}", f"{p99:.1f}", f"{max(late):.1f}", f"{max(own):.1f}"
                print(ROW.format(mode, odd, seen.sessions, *figures), flush=True)
    print(f"wanted: 10000 sessions under {APPLY:g} ms, longest under {LAG:g} ms")
    sys.exit(0 if max(first, changed) < APPLY and worst < LAG else 1)


async def watch(peer: Peer, names: list[str], mode: Mode, seconds: float) -> Seen:
    """Watch these nodes, from before the first connection on."""
    lags: list[tuple[float, float]] = []
    nodes = [Node(name, f"{peer.url}/{name}", mode=mode) for name in names]
    async with TaskOwner() as tasks:
        tasks.start("probe", probe(lags))
        async with Cluster(nodes, options=Options(poll_interval_ms=1000)) as cluster:
            await asyncio.sleep(2)
            before = cluster.state.version
            await asyncio.sleep(seconds)
            state = cluster.state
            sessions = sum(node.publishers + node.subscribers for node in state.nodes.values())
            return Seen(sessions, (state.version - before) / seconds, lags)


async def probe(lags: list[tuple[float, float]]) -> None:
    while True:
        start, worked = time.perf_counter(), time.process_time()
        await asyncio.sleep(TICK)
        late = time.perf_counter() - start - TICK
        lags.append((late * 1000, min(late, time.process_time() - worked) * 1000))


if __name__ == "__main__":
    main()
