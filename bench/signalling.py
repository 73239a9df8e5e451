"""POST and DELETE through a bare aiohttp proxy and through Liveman, each on one CPU, in turns, in one run.

signalling.py [--nodes 1,10,100] [--rounds 2] [--seconds 3] [--connections 16]

Wanted: Liveman at least 0.6 times the bare proxy, alike within 10 % for any number of nodes, none failed.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys

from parts import Load, floor, liveman, load, memory_mb, stub_nodes

ROW = "{:>5} {:<22} {:>7} {:>6} {:>7} {:>7} {:>6} {:>5}"
COTURN = (
    '[extra_ice.coturn]\nsecret = "a secret for measuring"\nurls = ["turn:127.0.0.1:3478?transport=udp"]\n'
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", default="1,10,100")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    print(ROW.format("nodes", "what", "req/s", "ratio", "p50 ms", "p99 ms", "failed", "MB"))
    failed = sum(measure(int(count), options) for count in options.nodes.split(","))
    print("wanted: bare Liveman at least 0.6 times the proxy at any number of nodes, none failed")
    sys.exit(1 if failed else 0)


def measure(count: int, options: argparse.Namespace) -> int:
    """One number of nodes; how many requests failed."""
    with contextlib.ExitStack() as stack:
        nodes = stack.enter_context(stub_nodes(count, cpu=1))
        peers = {
            "bare aiohttp proxy": stack.enter_context(floor(nodes, cpu=0)),
            "Liveman": stack.enter_context(liveman(nodes, cpu=0)),
            "Liveman, coturn, log": stack.enter_context(liveman(nodes, cpu=0, extra=COTURN, level="info")),
        }
        loads: dict[str, list[Load]] = {name: [] for name in peers}
        for _ in range(options.rounds):
            for name, (url, process) in peers.items():
                others = [other for _, other in peers.values() if other is not process]
                with stopped(others):
                    # What was stopped itself has timers that are overdue: the first second is not counted.
                    load(url, seconds=1, connections=options.connections, cpu=1)
                    loads[name].append(
                        load(url, seconds=options.seconds, connections=options.connections, cpu=1)
                    )
        base = statistics.median(each.per_second for each in loads["bare aiohttp proxy"])
        for name, seen in loads.items():
            rate, p50, p99 = (
                statistics.median(getattr(each, key) for each in seen)
                for key in ("per_second", "p50_ms", "p99_ms")
            )
            bad = sum(each.failed for each in seen)
            size = memory_mb(peers[name][1])
            values = (f"{rate:.0f}", f"{rate / base:.2f}", f"{p50:.2f}", f"{p99:.2f}", bad, f"{size:.0f}")
            print(ROW.format(count, name, *values))
        return sum(each.failed for seen in loads.values() for each in seen)


@contextlib.contextmanager
def stopped(processes: list[subprocess.Popen[bytes]]):
    for process in processes:
        os.killpg(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGCONT)


if __name__ == "__main__":
    main()
