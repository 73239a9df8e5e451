"""What decisions cost, without any network: choosing a node, counting a session, taking in a snapshot.

placement.py [--nodes 1,10,100,1000] [--total 100000] [--sessions 10000]

The total of sessions is spread over all nodes, whatever their number, in 100 streams on each. A decision
begins with the request's path and query. Exits with 1 when one is slower than wanted.
"""

import json
import statistics
import sys
import timeit
from collections.abc import Callable
from typing import Literal

from parts import parser

from liveman.access import stream_name
from liveman.cluster import Cluster, Node
from liveman.config import Cluster as Options
from liveman.proxy.routing import nodes_asked
from liveman.secret import build_session_id, parse_session_id, verify_session_id

ROW = "{:>5} {:>14} {:>14} {:>14} {:>18} {:>14} {:>22}"
COLUMNS = ("publish, new", "…?nodes= three", "publish, known", "subscribe, 3 nodes", "session's node")
STREAMS = 100
DECISION = 200.0
"""µs."""
SNAPSHOT = 50.0
"""ms."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", default="1,10,100,1000")
    arguments.add_argument("--total", type=int, default=100_000)
    arguments.add_argument("--sessions", type=int, default=10_000)
    options = arguments.parse_args()
    print(ROW.format("nodes", *COLUMNS, "session made + deleted"))
    slowest = 0.0
    for count in map(int, options.nodes.split(",")):
        figures = decisions(count, options.total)
        slowest = max(slowest, *figures)
        print(ROW.format(count, *(f"{each:.1f} µs" for each in figures)), flush=True)
    print(f"wanted: each under {DECISION:g} µs, alike for all numbers of nodes")
    first, changed, same = snapshots(options.sessions)
    print(
        f"a snapshot of {options.sessions} sessions in {STREAMS} streams: the first {first:.1f} ms, "
        f"one session changed {changed:.1f} ms, unchanged {same:.3f} ms"
    )
    print(f"wanted: under {SNAPSHOT:g} ms for 10000 sessions")
    sys.exit(0 if slowest < DECISION and max(first, changed) < SNAPSHOT else 1)


def decisions(count: int, total: int) -> list[float]:
    """Each in µs."""
    cluster = watched([f"n{i}" for i in range(count)])
    for i in range(count):
        cluster.state.apply(f"n{i}", snapshot(total // count, last="last", name=f"n{i}"))
    for i in range(min(count, 3)):
        cluster.session_created(f"n{i}", "subscribe", "wide", f"viewer {i}")
    query = "".join(f"&nodes=n{i * (count - 1) // 2}" for i in range(3))
    shown = build_session_id(b"secret", alias="n0", kind="s", stream="wide", id="0" * 32)

    def decide(kind: Literal["publish", "subscribe"], raw: str, query: str = "") -> Callable[[], object]:
        return lambda: cluster.place(kind, stream_name(raw), nodes=nodes_asked(query))

    def route() -> None:
        tag = parse_session_id(shown)
        assert tag is not None
        node = cluster.node_by_tag(tag.alias_tag)
        assert node is not None
        verify_session_id(b"secret", tag, alias=node.alias, stream=stream_name("wide"))

    def make_and_delete() -> None:
        reserved = cluster.reserve("n0", "publish", "new")
        cluster.session_created("n0", "publish", "new", "session", reserved)
        cluster.session_deleted("n0", "new", "session")

    calls = (
        decide("publish", "new"),
        decide("publish", "new", query),
        decide("publish", "n0-0"),
        decide("subscribe", "wide"),
        route,
        make_and_delete,
    )
    return [median_us(call) for call in calls]


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


def snapshot(sessions: int, *, last: str, streams: int = STREAMS, name: str = "stream") -> bytes:
    """One publisher for each stream, the others watch; the last session's id is given."""
    each = max(sessions // streams, 2)
    listed = []
    for number in range(streams):
        ids = [f"{number:08x}{session:024x}" for session in range(each)]
        if number == streams - 1:
            ids[-1] = last
        listed.append(
            {
                "id": f"{name}-{number}",
                "createdAt": 1_700_000_000_000,
                "publish": {"leaveAt": 0, "sessions": [described(ids[0])]},
                "subscribe": {"leaveAt": 0, "sessions": [described(id) for id in ids[1:]]},
                "codecs": [{"kind": "video", "codec": "VP8", "fmtp": ""}],
            }
        )
    return json.dumps(listed).encode()


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
