"""Liveman for a long time: it does not grow."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from support.liveman import OFFER, request_bytes
from support.raw_node import Received, answer, raw_node

pytestmark = pytest.mark.long

PAIRS = 20_000
SDP_TYPE = "Content-Type: application/sdp"


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def pairs(port: int, count: int, number: int) -> None:
    """POST and DELETE over one kept connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for i in range(count):
        writer.write(request_bytes("POST", f"/whip/s{number}-{i}", SDP_TYPE, body=OFFER))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 "), head
        await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
        writer.write(request_bytes("DELETE", re.search(rb"Location: (\S+)", head)[1].decode()))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
    writer.close()


async def test_it_does_not_grow_with_what_it_has_served(tmp_path: Path) -> None:
    """Neither in memory nor in open files, with event streams that come and go besides."""

    async def reply(received: Received, writer: asyncio.StreamWriter) -> None:
        node.received.clear()
        if received.method == "POST":
            writer.write(answer("201 Created", "Location: /session/x/1", body=b"v=0"))
        elif received.method == "GET":
            writer.write(answer("200 OK", "Content-Type: text/event-stream", length=False) + b"data: 1\n\n")
        else:
            writer.write(answer("204 No Content"))

    async with raw_node(reply) as node:
        (tmp_path / "liveman.toml").write_text(
            f'[http]\nlisten = "127.0.0.1:0"\n[[nodes]]\nalias = "a"\nurl = "{node.url}"\n'
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "liveman",
            "-c",
            "liveman.toml",
            cwd=tmp_path,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            while not (match := re.search(rb"serves url=\S+:(\d+)", await process.stderr.readline())):
                assert process.returncode is None
            port = int(match[1])
            drain = asyncio.create_task(process.stderr.read())
            await asyncio.gather(*(pairs(port, PAIRS // 20, i) for i in range(4)))
            await events(port, 200)
            await settled(process.pid)
            memory, files = memory_mb(process.pid), open_files(process.pid)
            await asyncio.gather(*(pairs(port, PAIRS // 4, i) for i in range(4)))
            await events(port, 200)
            await settled(process.pid)
            assert memory_mb(process.pid) - memory < 6
            assert open_files(process.pid) <= files + 4
        finally:
            process.terminate()
            await process.wait()
            await drain


async def events(port: int, count: int) -> None:
    """So many event streams, opened and dropped."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes("POST", "/whip/events", SDP_TYPE, body=OFFER))
    path = re.search(rb"Location: (\S+)", await reader.readuntil(b"\r\n\r\n"))[1].decode()
    writer.close()
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, one in streams:
        one.write(request_bytes("GET", path + "/events"))
    for listener, _ in streams:
        await listener.readuntil(b"data: 1\n\n")
    for _, one in streams:
        one.transport.abort()


async def settled(pid: int) -> None:
    """Until what was dropped is noticed: a silent stream looks for its client every 5 s."""
    async with asyncio.timeout(30):
        while open_files(pid) > 20:
            await asyncio.sleep(0.2)
