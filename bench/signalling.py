"""POST and DELETE through a bare aiohttp proxy, Liveman and nginx, in front of stub nodes, in one run.

signalling.py [--nodes 1,10,100,1000] [--mode sse|poll] [--rounds 3] [--seconds 2] [--connections 16]

They take turns: while one is measured the others are stopped. The figures are medians of the rounds; a ratio
is to the bare proxy in the same round. `cpu µs` is the processor time of one request, which other work on the
machine disturbs least. Nodes and load share a CPU: the row "straight to the node" is all that they can do.
Exits with 1 when a request failed.
"""

import argparse
import contextlib
import statistics
import sys
from collections.abc import Iterator

from attrs import frozen
from parts import Load, Peer, floor, liveman, load, nginx, parser, stub_nodes

FLOOR, BARE = "bare aiohttp proxy", "Liveman"
ROW = "{:>5}  {:<20} {:>6} {:>6} {:>7} {:>7} {:>7} {:>7} {:>4}"
COTURN = (
    '[extra_ice.coturn]\nsecret = "a secret for measuring"\nurls = ["turn:127.0.0.1:3478?transport=udp"]\n'
)
WANTED = (
    f"wanted: {BARE} at least 2.0 times the {FLOOR} (aim 2.5), alike within 10 % for all numbers of nodes, "
    "0 failed"
)


@frozen
class Turn:
    """One peer in one round."""

    seen: Load
    cpu_us: float
    failed: int
    """Those of the warming-up too."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", default="1,10,100,1000")
    arguments.add_argument("--mode", choices=("sse", "poll"), default="sse")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--connections", type=int, default=16)
    options = arguments.parse_args()
    print(ROW.format("nodes", "what", "req/s", "ratio", "cpu µs", "p50 ms", "p99 ms", "failed", "MB"))
    failed = sum(measure(int(count), options) for count in options.nodes.split(","))
    print(WANTED)
    sys.exit(1 if failed else 0)


def measure(count: int, options: argparse.Namespace) -> int:
    """One number of nodes; how many requests failed."""
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(stub_nodes(count))
        proxies = {
            FLOOR: stack.enter_context(floor(nodes)),
            BARE: stack.enter_context(liveman(nodes, mode=options.mode)),
            "Liveman, coturn, log": stack.enter_context(
                liveman(nodes, mode=options.mode, extra=COTURN, level="info")
            ),
            "nginx": stack.enter_context(nginx(nodes)),
        }
        peers = {**proxies, "straight to the node": nodes[0]}
        turns: dict[str, list[Turn]] = {name: [] for name in peers}
        for _ in range(options.rounds):
            for name, peer in peers.items():
                with stopped([each for each in proxies.values() if each is not peer]):
                    turns[name].append(turn(peer, options))
        for name, peer in peers.items():
            print(row(count, name, turns[name], turns[FLOOR], peer.memory_mb()), flush=True)
        return sum(each.failed for all_of_one in turns.values() for each in all_of_one)


@contextlib.contextmanager
def stopped(peers: list[Peer]) -> Iterator[None]:
    for peer in peers:
        peer.stop()
    try:
        yield
    finally:
        for peer in peers:
            peer.go_on()


def turn(peer: Peer, options: argparse.Namespace) -> Turn:
    # It was stopped itself while others were measured: what is overdue passes in the first second.
    warm = load(peer.url, seconds=1, connections=options.connections)
    before = peer.cpu_seconds()
    seen = load(peer.url, seconds=options.seconds, connections=options.connections)
    cpu_us = (peer.cpu_seconds() - before) / max(seen.requests, 1) * 1e6
    return Turn(seen, cpu_us, warm.failed + seen.failed)


def row(count: int, name: str, turns: list[Turn], base: list[Turn], size: float) -> str:
    rate = statistics.median(each.seen.per_second for each in turns)
    ratio = statistics.median(
        each.seen.per_second / least.seen.per_second for each, least in zip(turns, base, strict=True)
    )
    return ROW.format(
        count,
        name,
        f"{rate:.0f}",
        f"{ratio:.2f}",
        f"{statistics.median(each.cpu_us for each in turns):.0f}",
        f"{statistics.median(each.seen.p50_ms for each in turns):.2f}",
        f"{statistics.median(each.seen.p99_ms for each in turns):.2f}",
        sum(each.failed for each in turns),
        f"{size:.0f}",
    )


if __name__ == "__main__":
    main()
