"""What decisions cost, without any network: choosing a node, counting a session, taking in a snapshot.

placement.py [--nodes 1,10,100,1000] [--sessions 10000]
"""

import json
import statistics
import timeit
from collections.abc import Callable

from parts import parser

from liveman.cluster import Cluster, Node
from liveman.config import Cluster as Options

ROW = "{:>5} {:>24} {:>24} {:>24}"
STREAMS = 100


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", default="1,10,100,1000")
    arguments.add_argument("--sessions", type=int, default=10_000)
    options = arguments.parse_args()
    print(ROW.format("nodes", "place an unknown stream", "place a known stream", "session made + deleted"))
    for count in map(int, options.nodes.split(",")):
        print(ROW.format(count, *(f"{each:.1f} µs" for each in decisions(count))), flush=True)
    print("wanted: each under 50 µs, alike for all numbers of nodes")
    first, changed, same = snapshots(options.sessions)
    print(
        f"a snapshot of {options.sessions} sessions in {STREAMS} streams: the first {first:.1f} ms, "
        f"one session changed {changed:.1f} ms, unchanged {same:.3f} ms"
    )
    print("wanted: a changed one under 100 ms for 10000 sessions")


def decisions(count: int) -> tuple[float, float, float]:
    """Each in µs."""
    cluster = watched([f"n{i}" for i in range(count)])
    cluster.session_created("n0", "publish", "known", "publisher")

    def make_and_delete() -> None:
        cluster.session_created("n0", "publish", "new", "session")
        cluster.session_deleted("n0", "new", "session")

    return (
        median_us(lambda: cluster.place("publish", "unknown")),
        median_us(lambda: cluster.place("subscribe", "known")),
        median_us(make_and_delete),
    )


def snapshots(sessions: int) -> tuple[float, float, float]:
    """Each in ms: the first one, one in which a session is another, the same one again."""
    state = watched(["n0"]).state
    bodies = [snapshot(sessions, last=f"last-{i}") for i in range(11)]
    first, *changed = (timeit.timeit(lambda body=body: state.apply("n0", body), number=1) for body in bodies)
    again = bytes(bytearray(bodies[-1]))  # Equal, but as from the network: not the same object.
    same = timeit.timeit(lambda: state.apply("n0", again), number=100) / 100
    return first * 1000, statistics.median(changed) * 1000, same * 1000


def watched(aliases: list[str]) -> Cluster:
    """A cluster whose nodes are up and empty, though nobody watches them."""
    nodes = [Node(alias, f"http://{alias}.example.org") for alias in aliases]
    cluster = Cluster(nodes, options=Options())
    for alias in aliases:
        cluster.state.apply(alias, b"[]")
        cluster.state.happened(alias, "success")
    return cluster


def snapshot(sessions: int, *, last: str) -> bytes:
    """One publisher for each stream, the others watch; the last session's id is given."""
    each = max(sessions // STREAMS, 2)
    streams = []
    for number in range(STREAMS):
        ids = [f"{number:08x}{session:024x}" for session in range(each)]
        if number == STREAMS - 1:
            ids[-1] = last
        streams.append(
            {
                "id": f"stream-{number}",
                "createdAt": 1_700_000_000_000,
                "publish": {"leaveAt": 0, "sessions": [described(ids[0])]},
                "subscribe": {"leaveAt": 0, "sessions": [described(id) for id in ids[1:]]},
                "codecs": [{"kind": "video", "codec": "VP8", "fmtp": ""}],
            }
        )
    return json.dumps(streams).encode()


def described(id: str) -> dict[str, object]:
    return {
        "id": id,
        "createdAt": 1_700_000_000_000,
        "leaveAt": 0,
        "state": "connected",
        "hasDataChannel": False,
        "stats": {"bytes": 123_456_789, "packets": 123_456, "bitrate": 2_500_000},
    }


def median_us(call: Callable[[], object], *, number: int = 500, rounds: int = 31) -> float:
    return statistics.median(timeit.repeat(call, number=number, repeat=rounds)) / number * 1e6


if __name__ == "__main__":
    main()
