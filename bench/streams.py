"""What an event stream costs that is open through Liveman: the memory of 1000, each on its own connection.

streams.py [--streams 1000]

Each has carried two events when the memory is read: one when it was opened, and one that the node says to
all. Exits with 1 when it is more than wanted, or when the event did not reach them all.
"""

import asyncio
import contextlib
import os
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from email.message import Message
from urllib.parse import urlsplit

from attrs import frozen
from parts import CPUS, Peer, event_node, liveman, parser

SIZE = 60.0
"""KB."""
WARM = 50
"""Streams that come and go before the memory is read first: what Liveman needs for any at all."""
OPENED, SAID = b"data: open\n\n", b"data: heard by all\n\n"
SECONDS = 10.0
"""The longest to wait for an event, or for memory that does not change any more."""


@frozen
class Seen:
    before_mb: float
    after_mb: float
    reached: int
    seconds: float
    """Until the event was everywhere, or given up."""


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--streams", type=int, default=1000)
    count = arguments.parse_args().streams
    os.sched_setaffinity(0, {CPUS[-1]})
    with event_node(count) as node, liveman([node], mode="sse") as peer:
        seen = asyncio.run(measure(node, peer, count))
    size = (seen.after_mb - seen.before_mb) * 1024 / count
    print(
        f"{count} event streams: {seen.before_mb:.1f} MB before, {seen.after_mb:.1f} MB with them, "
        f"{size:.1f} KB each; one event reached {seen.reached} in {seen.seconds * 1000:.0f} ms"
    )
    print(f"wanted: under {SIZE:g} KB each, all {count} reached")
    sys.exit(0 if size < SIZE and seen.reached == count else 1)


async def measure(node: Peer, peer: Peer, count: int) -> Seen:
    url = published(peer) + "/events"
    async with opened(url, WARM):
        pass
    before = await settled(peer)
    async with opened(url, count) as streams:
        start = time.monotonic()
        heard = [asyncio.create_task(hears(stream, SAID)) for stream in streams]
        # In a thread: the node may have to wait until the streams are read.
        await asyncio.to_thread(post, node.url + "/say", SAID.removeprefix(b"data: ").rstrip())
        reached = sum(await asyncio.gather(*heard))
        seconds = time.monotonic() - start
        return Seen(before, await settled(peer), reached, seconds)


def published(peer: Peer) -> str:
    """A session's URL."""
    return peer.url + post(peer.url + "/whip/bench", b"v=0\r\n", kind="application/sdp")["Location"]


@contextlib.asynccontextmanager
async def opened(url: str, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many streams, each of which has said so."""
    parts = urlsplit(url)
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: text/event-stream\r\n\r\n"
    streams, writers = [], []
    try:
        for number in range(count):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writers.append(writer)
            writer.write(head.encode())
            if not await hears(reader, OPENED):
                raise SystemExit(f"stream {number + 1} of {count} did not open at {url}")
            streams.append(reader)
        yield streams
    finally:
        for writer in writers:
            writer.transport.abort()


async def hears(stream: asyncio.StreamReader, event: bytes) -> bool:
    try:
        async with asyncio.timeout(SECONDS):
            await stream.readuntil(event)
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return False
    return True


async def settled(peer: Peer) -> float:
    """Its memory in MB, once that was the same for a second."""
    end = time.monotonic() + SECONDS
    size, before = peer.memory_mb(), -1.0
    while size != before and time.monotonic() < end:
        await asyncio.sleep(1)
        size, before = peer.memory_mb(), size
    return size


def post(url: str, body: bytes, *, kind: str = "text/plain") -> Message:
    """The answer's head."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind}, method="POST")
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        head: Message = answer.headers
    return head


if __name__ == "__main__":
    main()
