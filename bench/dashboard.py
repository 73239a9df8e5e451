"""What open dashboards cost: Liveman's processor time while many look at its first page, and what that loads.

dashboard.py [--nodes 1000] [--streams 20] [--sessions 3] [--dashboards 200] [--seconds 20]

The nodes tell of a change ten times a second, so that the page is another one whenever it is looked at. First
nobody looks; then so many have its event stream open. Exits with 1 when what they cost, or what a browser
loads beside the page (styles and scripts, compressed), is more than wanted.
"""

import asyncio
import os
import re
import sys
import time
import urllib.request
from urllib.parse import urljoin, urlsplit

from attrs import define
from parts import CPUS, Peer, liveman, parser, telling_nodes

CORE = 10.0
"""Percent, for all of them."""
WIRE = 60_000
"""Bytes."""
CHANGES = 10
"""A second."""


@define
class Seen:
    """By all dashboards."""

    events: int = 0
    bytes: int = 0


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=1000)
    arguments.add_argument("--streams", type=int, default=20)
    arguments.add_argument("--sessions", type=int, default=3)
    arguments.add_argument("--dashboards", type=int, default=200)
    arguments.add_argument("--seconds", type=float, default=20)
    options = arguments.parse_args()
    os.sched_setaffinity(0, {CPUS[-1]})
    with (
        telling_nodes(options.nodes, streams=options.streams, sessions=options.sessions) as nodes,
        liveman(nodes, mode="sse") as peer,
    ):
        page, wire = sizes(peer.url + "/")
        idle, _ = asyncio.run(measure(peer, nodes[0].url, 0, options.seconds))
        busy, seen = asyncio.run(measure(peer, nodes[0].url, options.dashboards, options.seconds))
    streams = options.nodes * options.streams
    cost = busy - idle
    print(
        f"the overview: {page / 1e3:.1f} kB; styles and scripts: {wire / 1e3:.1f} kB, wanted: {WIRE / 1e3:g}"
    )
    print(
        f"{options.nodes} nodes and {streams} streams, {CHANGES} changes a second: {idle:.1f} % of a core "
        "while nobody looks"
    )
    print(
        f"{options.dashboards} dashboards: {cost:.1f} % more, wanted: under {CORE:g}; "
        f"{seen.events} events of {seen.bytes / max(seen.events, 1) / 1e3:.1f} kB"
    )
    missed = seen.events < options.dashboards * options.seconds / 10
    sys.exit(1 if missed or cost >= CORE or wire > WIRE else 0)


def sizes(url: str) -> tuple[int, int]:
    """Bytes of the page as it is, and of what it loads, compressed."""
    page = fetched(url, "text/html")
    names = {urljoin(url, name) for name in re.findall(r'(?:src|href)="([^"]+\.(?:css|js))"', page.decode())}
    wire = 0
    while names:
        name = names.pop()
        wire += len(fetched(name, "*/*", "gzip"))
        imported = re.findall(r'from "(\./[^"]+)"', fetched(name, "*/*").decode())
        names |= {urljoin(name, each) for each in imported}
    return len(page), wire


def fetched(url: str, kind: str, coding: str = "identity") -> bytes:
    request = urllib.request.Request(url, headers={"Accept": kind, "Accept-Encoding": coding})
    with urllib.request.urlopen(request, timeout=10) as answer:
        body: bytes = answer.read()
    return body


async def measure(peer: Peer, node: str, dashboards: int, seconds: float) -> tuple[float, Seen]:
    """Percent of a core that Liveman takes."""
    seen = Seen()
    changing = asyncio.create_task(change(node))
    looking = [asyncio.create_task(look(peer.url, seen)) for _ in range(dashboards)]
    await asyncio.sleep(3)
    seen.events = seen.bytes = 0
    before, start = peer.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    used = (peer.cpu_seconds() - before) / (time.monotonic() - start)
    for task in (changing, *looking):
        if task.done():
            raise SystemExit(f"a client has ended: {task.exception()}")
        task.cancel()
    await asyncio.wait((changing, *looking))
    return used * 100, seen


async def look(url: str, seen: Seen) -> None:
    """Have the event stream of the first page open."""
    reader, writer = await asyncio.open_connection(*urlsplit(url).netloc.split(":"), limit=1 << 20)
    writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head.decode())
    while True:
        event = await reader.readuntil(b"\n\n")
        seen.events += b"event: live" in event
        seen.bytes += len(event)


async def change(node: str) -> None:
    parts = urlsplit(node)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    while True:
        writer.write(b"POST /change HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(1 / CHANGES)


if __name__ == "__main__":
    main()
