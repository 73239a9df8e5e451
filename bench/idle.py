"""What Liveman costs while nobody asks: 100 nodes that are polled.

idle.py [--nodes 100] [--seconds 20]

Exits with 1 when it is more than wanted.
"""

import sys
import time

from parts import liveman, parser, stub_nodes

SHARE = 5.0
"""Per cent of a core."""
SIZE = 120.0
"""MB."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=100)
    arguments.add_argument("--seconds", type=int, default=20)
    options = arguments.parse_args()
    with stub_nodes(options.nodes) as nodes, liveman(nodes, mode="poll") as peer:
        time.sleep(3)  # The first look at the nodes is not idling.
        before, start = peer.cpu_seconds(), time.monotonic()
        time.sleep(options.seconds)
        share = (peer.cpu_seconds() - before) / (time.monotonic() - start) * 100
        size = peer.memory_mb()
    print(f"idle with {options.nodes} polled nodes: {share:.1f} % of a core, {size:.0f} MB")
    print(f"wanted: under {SHARE:g} %, under {SIZE:g} MB")
    sys.exit(0 if share < SHARE and size < SIZE else 1)


if __name__ == "__main__":
    main()
