"""POST and DELETE through a bare aiohttp proxy and through Liveman, in front of stub nodes, in one run.

signalling.py [--nodes 1,10,100] [--mode sse|poll] [--nginx] [--rounds 3] [--seconds 2] [--connections 16]

They take turns: while one is measured the others are stopped. The figures are medians of the rounds. `cpu µs`
is the processor time of one request, which other work on the machine disturbs least. Exits with 1 when a
request failed.
"""

import argparse
import contextlib
import statistics
import sys
from collections.abc import Iterator

from attrs import frozen
from parts import Load, Peer, floor, liveman, load, nginx, parser, stub_nodes

FLOOR = "bare aiohttp proxy"
ROW = "{:>5}  {:<20} {:>6} {:>6} {:>7} {:>7} {:>7} {:>7} {:>4}"
COTURN = (
    '[extra_ice.coturn]\nsecret = "a secret for measuring"\nurls = ["turn:127.0.0.1:3478?transport=udp"]\n'
)
WANTED = (
    "wanted: bare Liveman at least 0.6 times the proxy, alike within 10 % for all numbers of nodes, 0 failed"
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
    arguments.add_argument("--nodes", default="1,10,100")
    arguments.add_argument("--mode", choices=("sse", "poll"), default="sse")
    arguments.add_argument("--nginx", action="store_true")
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
        peers = {
            FLOOR: stack.enter_context(floor(nodes)),
            "Liveman": stack.enter_context(liveman(nodes, mode=options.mode)),
            "Liveman, coturn, log": stack.enter_context(
                liveman(nodes, mode=options.mode, extra=COTURN, level="info")
            ),
        }
        if options.nginx:
            peers["nginx"] = stack.enter_context(nginx(nodes))
        turns: dict[str, list[Turn]] = {name: [] for name in peers}
        for _ in range(options.rounds):
            for name, peer in peers.items():
                with alone(peer, list(peers.values())):
                    turns[name].append(turn(peer, options))
        base = statistics.median(each.seen.per_second for each in turns[FLOOR])
        for name, peer in peers.items():
            print(row(count, name, turns[name], base, peer.memory_mb()), flush=True)
        return sum(each.failed for all_of_one in turns.values() for each in all_of_one)


@contextlib.contextmanager
def alone(peer: Peer, peers: list[Peer]) -> Iterator[None]:
    others = [each for each in peers if each is not peer]
    for other in others:
        other.stop()
    try:
        yield
    finally:
        for other in others:
            other.go_on()


def turn(peer: Peer, options: argparse.Namespace) -> Turn:
    # It was stopped itself while others were measured: what is overdue passes in the first second.
    warm = load(peer.url, seconds=1, connections=options.connections)
    before = peer.cpu_seconds()
    seen = load(peer.url, seconds=options.seconds, connections=options.connections)
    cpu_us = (peer.cpu_seconds() - before) / max(seen.requests, 1) * 1e6
    return Turn(seen, cpu_us, warm.failed + seen.failed)


def row(count: int, name: str, turns: list[Turn], base: float, size: float) -> str:
    rate = statistics.median(each.seen.per_second for each in turns)
    return ROW.format(
        count,
        name,
        f"{rate:.0f}",
        f"{rate / base:.2f}",
        f"{statistics.median(each.cpu_us for each in turns):.0f}",
        f"{statistics.median(each.seen.p50_ms for each in turns):.2f}",
        f"{statistics.median(each.seen.p99_ms for each in turns):.2f}",
        sum(each.failed for each in turns),
        f"{size:.0f}",
    )


if __name__ == "__main__":
    main()
