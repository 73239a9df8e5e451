"""Servers of buckets: moto's in a process of its own, and one that fails in every way that a test wants."""

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from attrs import define, field

from liveman.config import S3Storage, Secret

__all__ = ["KEY", "KEY_ID", "Faulty", "bucket_at", "faulty", "moto", "new_bucket"]

KEY_ID = "AKIDEXAMPLE"
KEY = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The URL of an S3 server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while True:
            assert process.poll() is None, "moto has ended"
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < end, "moto does not answer"
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def bucket_at(url: str, bucket: str = "recordings", **options: object) -> S3Storage:
    """How a bucket at this server is configured."""
    return S3Storage(
        bucket=bucket,
        region="eu-west-1",
        endpoint=url,
        access_key_id=Secret(KEY_ID),
        secret_access_key=Secret(KEY),
        disable_config_load=True,
        **options,  # type: ignore[arg-type]
    )


def new_bucket(moto: str, **options: object) -> S3Storage:
    """An empty bucket of moto's."""
    name = f"b-{uuid4().hex}"
    request = urllib.request.Request(f"{moto}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
    return bucket_at(moto, name, **options)


#: Writes an answer to a request, of which it gets the head; the connection is closed when it returns.
Script = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@define
class Faulty:
    """A server that says the bytes it was told to, or runs a script; and remembers what it was asked."""

    reply: bytes | Script
    url: str = ""
    heads: list[str] = field(factory=list)
    closed: int = 0
    """How many connections the other side has closed, or this one."""


@asynccontextmanager
async def faulty(reply: bytes | Script) -> AsyncIterator[Faulty]:
    server = Faulty(reply)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            server.heads.append(head)
            if isinstance(server.reply, bytes):
                writer.write(server.reply)
                await writer.drain()
            else:
                await server.reply(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            server.closed += 1
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield server
