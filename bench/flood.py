"""Offers with bogus tokens, each another one, at a steady rate; prints how many came and were refused.

flood.py URL RATE SECONDS ALGORITHM

The tokens are whole but for their signatures, which is what costs most to find out.
"""

import asyncio
import json
import sys
import time
from base64 import urlsafe_b64encode
from itertools import count
from urllib.parse import urlsplit

URL, RATE, SECONDS, ALGORITHM = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
TICK = 0.01
CONNECTIONS = 8
OFFER = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" + "a=rtpmap:96 VP8/90000\r\n" * 60
PARTS = urlsplit(URL)
numbers = count()


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


CLAIMS = {"id": "*", "exp": int(time.time()) + 86_400, "mode": 7}
SIGNED = f"{part({'alg': ALGORITHM, 'typ': 'JWT'})}.{part(CLAIMS)}"
#: The last character of a signature has bits that must be 0.
SIGNATURE = "{:08d}" + ("x" * 34 + "A" if ALGORITHM == "HS256" else "x" * 77 + "A")


def request() -> bytes:
    number = next(numbers)
    return (
        f"POST /whip/bogus-{number} HTTP/1.1\r\nHost: {PARTS.netloc}\r\nContent-Type: application/sdp\r\n"
        f"Authorization: Bearer {SIGNED}.{SIGNATURE.format(number)}\r\n"
        f"Content-Length: {len(OFFER)}\r\n\r\n{OFFER}"
    ).encode()


async def read(reader: asyncio.StreamReader, statuses: list[bytes]) -> None:
    """Until it is cancelled."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        statuses.append(head[9:12])


async def main() -> None:
    streams = [await asyncio.open_connection(PARTS.hostname, PARTS.port) for _ in range(CONNECTIONS)]
    statuses: list[bytes] = []
    readers = [asyncio.create_task(read(reader, statuses)) for reader, _ in streams]
    start = time.monotonic()
    sent = 0
    while (now := time.monotonic() - start) < SECONDS:
        due = int(now * RATE) - sent
        for _ in range(due):
            streams[sent % CONNECTIONS][1].write(request())
            sent += 1
        await asyncio.gather(*(writer.drain() for _, writer in streams))
        await asyncio.sleep(TICK)
    took = time.monotonic() - start
    ended: set[asyncio.Task[None]] = set()
    while len(statuses) < sent and not ended:
        ended, _ = await asyncio.wait(readers, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
    for each in readers:
        each.cancel()
    refused = sum(each in (b"401", b"429") for each in statuses)
    print(json.dumps({"per_second": sent / took, "sent": sent, "refused": refused}))


asyncio.run(main())
