"""What Liveman costs when nobody asks: 100 nodes that are polled.

idle.py [--nodes 100] [--seconds 20]

Wanted: under 5 % of a core, under 120 MB.
"""

import argparse
import sys
import time

from parts import cpu_seconds, liveman, memory_mb, stub_nodes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    with stub_nodes(options.nodes, cpu=1) as nodes, liveman(nodes, cpu=0) as (_, process):
        time.sleep(3)  # The first look at the nodes is not idling.
        before, start = cpu_seconds(process), time.monotonic()
        time.sleep(options.seconds)
        share = (cpu_seconds(process) - before) / (time.monotonic() - start) * 100
        size = memory_mb(process)
    print(f"idle with {options.nodes} polled nodes: {share:.1f} % of a core, {size:.0f} MB")
    print("wanted: under 5 %, under 120 MB")
    sys.exit(0 if share < 5 and size < 120 else 1)


if __name__ == "__main__":
    main()
