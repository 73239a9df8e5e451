"""What the list of streams costs: answers a second of one core, and how long others wait meanwhile.

lists.py [--nodes 42] [--streams 200] [--sessions 5] [--seconds 3] [--rounds 3]

The list is asked for as it is, compressed, and with its entity tag, by 4 connections while nothing changes.
Then it is asked for again and again while a session of one node after another changes, ten times a second,
and other connections ask for /healthz: no answer may take longer than the event loop may be held. Exits with
1 when something was not as wanted.
"""

import asyncio
import http.client
import re
import subprocess
import sys
import time
from urllib.parse import urlsplit

from attrs import frozen
from parts import CPUS, Peer, liveman, parser, telling_nodes

LIST = "/api/streams/"
PLAIN, GZIP, TAG = "as it is", "gzip", "304"
WANTED = {PLAIN: 100.0, GZIP: 1000.0, TAG: 3000.0}
"""Answers a second."""
HELD = 50.0
"""ms."""
CHANGES = 10
"""A second."""


@frozen
class Answers:
    """The best round."""

    per_second: float
    cpu_us: float


@frozen
class Waiting:
    """What was seen while the list changed."""

    p99_ms: float
    longest_ms: float
    asked: int
    lists: int
    tags: int


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=42)
    arguments.add_argument("--streams", type=int, default=200)
    arguments.add_argument("--sessions", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    with (
        telling_nodes(options.nodes, streams=options.streams, sessions=options.sessions) as nodes,
        liveman(nodes, mode="sse") as peer,
    ):
        plain, _ = asked(peer)
        zipped, tag = asked(peer, gzip=True)
        told = options.nodes * options.streams * options.sessions
        print(f"{told} sessions: {plain / 1e6:.1f} MB, {zipped / 1e6:.2f} MB compressed")
        headers: dict[str, list[str]] = {
            PLAIN: [],
            GZIP: ["Accept-Encoding: gzip"],
            TAG: ["Accept-Encoding: gzip", f"If-None-Match: {tag}"],
        }
        best = {
            name: max(
                (answers(peer, fields, seconds=options.seconds) for _ in range(options.rounds)),
                key=lambda each: each.per_second,
            )
            for name, fields in headers.items()
        }
        waited = asyncio.run(waiting(peer, nodes[0], seconds=options.seconds * options.rounds))
        size = peer.memory_mb()
    for name, figure in best.items():
        print(
            f"{name:>8}: {figure.per_second:.0f} answers a second, {figure.cpu_us:.0f} µs of processor each; "
            f"wanted: {WANTED[name]:g}"
        )
    print(
        f"/healthz {waited.asked} times while {waited.lists} lists were given, {waited.tags} different ones: "
        f"99 of 100 took under {waited.p99_ms:.1f} ms, the longest {waited.longest_ms:.1f} ms; "
        f"wanted: under {HELD:g}; {size:.0f} MB"
    )
    as_wanted = all(best[name].per_second >= WANTED[name] for name in best) and waited.longest_ms < HELD
    sys.exit(0 if as_wanted else 1)


def asked(peer: Peer, *, gzip: bool = False) -> tuple[int, str]:
    """The list's size as it is sent, and its entity tag."""
    connection = http.client.HTTPConnection(urlsplit(peer.url).netloc)
    connection.request("GET", LIST, headers={"Accept-Encoding": "gzip" if gzip else "identity"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200 or (answer.getheader("Content-Encoding") == "gzip") != gzip:
        raise SystemExit(f"{LIST} answers {answer.status}")
    return len(body), answer.getheader("ETag", "")


def answers(peer: Peer, fields: list[str], *, seconds: int) -> Answers:
    """By wrk."""
    argv = ["taskset", "-c", str(CPUS[-1]), "wrk", "-t1", "-c4", f"-d{seconds}"]
    for field in fields:
        argv += ["-H", field]
    before = peer.cpu_seconds()
    said = subprocess.run([*argv, peer.url + LIST], capture_output=True, text=True, check=True).stdout
    used = peer.cpu_seconds() - before
    found = re.search(r"(\d+) requests in .*Requests/sec:\s+([\d.]+)", said, re.DOTALL)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"not all was answered:\n{said}")
    return Answers(float(found[2]), used / int(found[1]) * 1e6)


async def waiting(peer: Peer, node: Peer, *, seconds: float) -> Waiting:
    """How long /healthz takes at the most, while the list changes and is asked for."""
    end = time.monotonic() + seconds
    took: list[float] = []
    tags: list[str] = []

    async def look() -> None:
        async with Client(peer.url) as client:
            while time.monotonic() < end:
                start = time.perf_counter()
                await client.ask("GET", "/healthz")
                took.append((time.perf_counter() - start) * 1000)
                await asyncio.sleep(0.001)

    async def read() -> None:
        async with Client(peer.url) as client:
            while time.monotonic() < end:
                tags.append(await client.ask("HEAD", LIST))

    async def change() -> None:
        async with Client(node.url) as client:
            while time.monotonic() < end:
                await client.ask("POST", "/change")
                await asyncio.sleep(1 / CHANGES)

    await asyncio.gather(look(), look(), read(), change())
    took.sort()
    return Waiting(took[len(took) * 99 // 100], took[-1], len(took), len(tags), len(set(tags)))


class Client:
    """One kept connection, for answers without much of a body."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc

    async def __aenter__(self) -> "Client":
        host, _, port = self.host.partition(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, method: str, path: str) -> str:
        """The answer's entity tag."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: 0\r\n\r\n"
        self.writer.write(head.encode())
        said = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        if not said.startswith("HTTP/1.1 20"):
            raise SystemExit(f"{path} answers {said}")
        fields = dict(re.findall(r"(?m)^([\w-]+): (.*)\r$", said))
        if method != "HEAD":
            await self.reader.readexactly(int(fields.get("Content-Length", 0)))
        return fields.get("ETag", "")


if __name__ == "__main__":
    main()
