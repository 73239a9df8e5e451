"""A large recorded object by many clients at once, and seeks in it, beside nginx and a bare copy, in one run.

playback.py [--mb 2048] [--bucket-mb 512] [--clients 8] [--rounds 3] [--seeks 1000]

From a folder Liveman stands beside nginx, on both event loops; from a bucket, for which an nginx stands that
takes any signature, beside an aiohttp server that only copies. They take turns; the best of each counts.
The clients throw away what they get, in the kernel. A seek is a range of 64 KiB on a kept connection. Other
work on the machine disturbs the time of the processor least.
Exits with 1 when it is not as wanted.
"""

import argparse
import contextlib
import os
import random
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from attrs import frozen
from parts import CPUS, Peer, copier, files, liveman, parser

PREFIX = "/api/record/object"
OBJECT = "/cam/1700000000/v_seg_0001.m4s"
MANIFEST = "/cam/1700000000/manifest.mpd"
BUCKET = "recordings"
SEEK = 64 * 1024
ROOM = bytearray(1024 * 1024)
ROW = "{:<16} {:>6} {:>6} {:>10} {:>8} {:>7} {:>7}"
FOLDER_TOML = '[recorder.storage]\ntype = "fs"\nroot = "{root}"\n'
BUCKET_TOML = (
    f'[recorder.storage]\ntype = "s3"\nbucket = "{BUCKET}"\nregion = "r"\nendpoint = "{{url}}"\n'
    'access_key_id = "id"\nsecret_access_key = "key"\ndisable_config_load = true\n'
)


@frozen
class Place:
    """Where the object can be had."""

    peer: Peer
    path: str
    wanted: float | None = None
    """The least ratio to the first of the group; None: it is the first."""
    seeks: bool = False
    """Whether its seeks are judged beside those of the first."""


@frozen
class Turn:
    mb_per_second: float
    cpu_ms: float
    """Of the processor, for a GB."""
    seeks_ms: list[float]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--mb", type=int, default=2048)
    arguments.add_argument("--bucket-mb", type=int, default=512)
    arguments.add_argument("--clients", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seeks", type=int, default=1000)
    options = arguments.parse_args()
    os.sched_setaffinity(0, {CPUS[-1]})
    print(ROW.format("", "MB/s", "ratio", "cpu ms/GB", "MB more", "p50 ms", "p99 ms"))
    with folder(options.mb) as groups:
        missed = measure(groups, options.mb, options)
    with bucket(options.bucket_mb) as groups:
        missed += measure(groups, options.bucket_mb, options)
    print(
        "wanted: a folder at least 1.0 times nginx, on uvloop 0.7, a bucket 0.9 times the bare copy; less "
        "than 20 MB more at the peak; p99 of seeks in a folder less than 5 ms more"
    )
    for each in missed:
        print(f"not as wanted: {each}")
    sys.exit(1 if missed else 0)


@contextlib.contextmanager
def folder(mb: int) -> Iterator[Mapping[str, Place]]:
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(recording(mb))
        toml = FOLDER_TOML.format(root=root)
        yield {
            "nginx": Place(stack.enter_context(files(root, path=MANIFEST, measured=True)), OBJECT),
            "Liveman": Place(stack.enter_context(liveman([], extra=toml)), PREFIX + OBJECT, 1.0, seeks=True),
            "Liveman, uvloop": Place(
                stack.enter_context(liveman([], extra=toml, uvloop=True)), PREFIX + OBJECT, 0.7, seeks=True
            ),
        }


@contextlib.contextmanager
def bucket(mb: int) -> Iterator[Mapping[str, Place]]:
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(recording(mb, below=BUCKET))
        origin = stack.enter_context(files(root, path=f"/{BUCKET}{MANIFEST}", measured=False))
        toml = BUCKET_TOML.format(url=origin.url)
        path = f"/{BUCKET}{OBJECT}"
        yield {
            "bare copy": Place(stack.enter_context(copier(origin, path=f"/{BUCKET}{MANIFEST}")), path),
            "Liveman, bucket": Place(stack.enter_context(liveman([], extra=toml)), PREFIX + OBJECT, 0.9),
        }


@contextlib.contextmanager
def recording(mb: int, *, below: str = "") -> Iterator[str]:
    """A folder with a recording in it, all of it in the system's cache."""
    with TemporaryDirectory(prefix="liveman-bench-") as root:
        file = Path(root, below, OBJECT[1:])
        file.parent.mkdir(parents=True)
        file.with_name("manifest.mpd").write_text("<MPD></MPD>")
        piece = random.randbytes(1024 * 1024)
        with file.open("wb") as out:
            for _ in range(mb):
                out.write(piece)
        # nginx may be another user.
        os.chmod(root, 0o755)
        yield root


def measure(group: Mapping[str, Place], mb: int, options: argparse.Namespace) -> list[str]:
    """Every place in turn; what is not as wanted."""
    turns: dict[str, list[Turn]] = {name: [] for name in group}
    for place in group.values():
        seek(place, mb, 50)
    before = {name: place.peer.memory_mb() for name, place in group.items()}
    for _ in range(options.rounds):
        for name, place in group.items():
            cpu = place.peer.cpu_seconds()
            rate = download(place, mb, options.clients)
            cpu_ms = (place.peer.cpu_seconds() - cpu) * 1000 / (mb * options.clients * 1.048576 / 1000)
            turns[name].append(Turn(rate, cpu_ms, seek(place, mb, options.seeks)))
    missed = []
    base = next(iter(turns.values()))
    base_p99 = min(percentile(each.seeks_ms, 99) for each in base)
    for name, place in group.items():
        own = turns[name]
        # Whatever else the machine does only slows down.
        rate = max(each.mb_per_second for each in own)
        ratio = rate / max(each.mb_per_second for each in base)
        more = place.peer.peak_mb() - before[name]
        p50, p99 = (min(percentile(each.seeks_ms, n) for each in own) for n in (50, 99))
        cpu = min(each.cpu_ms for each in own)
        numbers = (f"{rate:.0f}", f"{ratio:.2f}", f"{cpu:.0f}", f"{more:.1f}", f"{p50:.2f}", f"{p99:.2f}")
        print(ROW.format(name, *numbers), flush=True)
        if place.wanted is not None:
            if ratio < place.wanted:
                missed.append(f"{name}: {ratio:.2f} instead of {place.wanted}")
            if more >= 20:
                missed.append(f"{name}: {more:.1f} MB more")
            if place.seeks and p99 - base_p99 >= 5:
                missed.append(f"{name}: p99 of seeks is {p99 - base_p99:.1f} ms more")
    return missed


def download(place: Place, mb: int, clients: int) -> float:
    """All of it by so many at once; MB a second."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        sizes = list(threads.map(lambda _: whole(place), range(clients)))
    seconds = time.perf_counter() - start
    if sizes != [mb * 1024 * 1024] * clients:
        raise SystemExit(f"not all of it came from {place.peer.url}: {sizes}")
    return sum(sizes) / 1e6 / seconds


def whole(place: Place) -> int:
    with connected(place) as sock:
        sock.sendall(request(place))
        rest, length = head(sock)
        got = len(rest)
        while got < length:
            if not (piece := discard(sock, length - got)):
                break
            got += piece
        return got


def discard(sock: socket.socket, most: int) -> int:
    """Throw away what comes next, uncopied (tcp(7)); how much it was."""
    return sock.recv_into(ROOM, min(most, len(ROOM)), socket.MSG_TRUNC)


def seek(place: Place, mb: int, count: int) -> list[float]:
    """Milliseconds of each of so many, one after another."""
    places = random.Random(count)
    taken = []
    with connected(place) as sock:
        for _ in range(count):
            first = places.randrange(mb * 1024 * 1024 - SEEK)
            start = time.perf_counter()
            sock.sendall(request(place, f"Range: bytes={first}-{first + SEEK - 1}"))
            rest, length = head(sock)
            if length != SEEK:
                raise SystemExit(f"{place.peer.url} sent {length} bytes")
            got = len(rest)
            while got < length:
                got += discard(sock, length - got) or sys.exit(f"{place.peer.url} broke off")
            taken.append((time.perf_counter() - start) * 1000)
    return taken


def connected(place: Place) -> socket.socket:
    parts = urlsplit(place.peer.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def request(place: Place, *lines: str) -> bytes:
    return "\r\n".join([f"GET {place.path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def head(sock: socket.socket) -> tuple[bytes, int]:
    """What has come of the body, and how long it is."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4096)
        if not piece:
            raise SystemExit("a connection was closed")
        data += piece
    lines, _, rest = data.partition(b"\r\n\r\n")
    status = lines.split(b" ")[1]
    if status not in (b"200", b"206"):
        raise SystemExit(f"the answer was {status.decode()}")
    length = next(line for line in lines.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return rest, int(length.partition(b":")[2])


def percentile(values: list[float], n: int) -> float:
    return sorted(values)[min(len(values) * n // 100, len(values) - 1)]


if __name__ == "__main__":
    main()
