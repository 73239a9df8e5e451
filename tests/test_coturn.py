"""The credentials of a 201 against a real TURN server."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from liveman.config import ExtraIce
from support.liveman import OFFER, liveman
from support.raw_node import raw_node

SECRET = "the-static-auth-secret"


def free_port() -> int:
    """A port that is free, with its neighbour, for TCP and UDP: turnserver listens on both of both."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            wanted = [
                (socket.SOCK_DGRAM, port),
                (socket.SOCK_STREAM, port + 1),
                (socket.SOCK_DGRAM, port + 1),
            ]
            try:
                for kind, number in wanted:
                    stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", number))
            except OSError:
                continue
            return port


@asynccontextmanager
async def coturn(folder: Path) -> AsyncIterator[int]:
    """A turnserver on the loopback; its port."""
    port = free_port()
    options = (
        f"-n --no-cli --no-tls --no-dtls -L 127.0.0.1 -p {port} --use-auth-secret --static-auth-secret={SECRET} "
        f"-r liveman --allow-loopback-peers --pidfile {folder}/pid --log-file stdout"
    )
    process = await asyncio.create_subprocess_exec(
        "turnserver",
        *options.split(),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    assert process.returncode is None, "turnserver has ended"
                    await asyncio.sleep(0.05)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def allocates(port: int, username: str, password: str) -> bool:
    """Whether turnserver gives this user an allocation through which packets pass."""
    process = await asyncio.create_subprocess_exec(
        *f"turnutils_uclient -y -n 2 -m 1 -p {port} -u {username} -w {password} 127.0.0.1".split(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode == 0 and b"Total lost packets 0" in said


@pytest.fixture
async def credentials() -> tuple[str, str]:
    """Username and credential from a 201 of Liveman."""
    extra_ice = ExtraIce(
        providers={"coturn": {"secret": SECRET, "urls": ["turn:127.0.0.1:3478?transport=udp"]}}
    )
    async with raw_node() as node, liveman(node, extra_ice=extra_ice) as url, ClientSession(url) as client:
        headers = {"Content-Type": "application/sdp"}
        async with client.post("/whip/cam", data=OFFER, headers=headers) as response:
            found = dict(re.findall(r'; (\w+)="([^"]*)"', response.headers["Link"]))
            return found["username"], found["credential"]


async def test_an_allocation_succeeds_with_the_credentials_of_a_201_and_no_others(
    tmp_path: Path, credentials: tuple[str, str]
) -> None:
    """Altered or expired ones fail."""
    username, password = credentials
    expired = f"{int(time.time()) - 60}:{username.partition(':')[2]}"
    async with coturn(tmp_path) as port:
        assert await allocates(port, username, password)
        assert not await allocates(port, username, password[::-1])
        assert not await allocates(port, expired, password)
