"""The credentials that Liveman gives, against a real TURN server."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnection

from liveman.config import ExtraIce, Liveion
from liveman.demo.client import Subscriber, publish
from liveman.demo.pictures import MovingPicture
from liveman.ice.coturn import password as sign
from support.liveman import OFFER, liveman
from support.nodes import until
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
async def coturn(folder: Path, *secrets: str) -> AsyncIterator[int]:
    """A turnserver on the loopback, with these secrets or the one above; its port."""
    port = free_port()
    accepted = " ".join(f"--static-auth-secret={secret}" for secret in secrets or (SECRET,))
    options = (
        f"-n --no-cli --no-tls --no-dtls -L 127.0.0.1 -p {port} --use-auth-secret {accepted} "
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


def with_coturn(port: int, **more: Any) -> ExtraIce:
    urls = [f"turn:127.0.0.1:{port}?transport=udp"]
    return ExtraIce(providers={"coturn": {"secret": SECRET, "urls": urls} | more})


async def credentials(port: int, **more: Any) -> tuple[str, str]:
    """Username and credential from a 201 of Liveman."""
    async with raw_node() as node, liveman(node, extra_ice=with_coturn(port, **more)) as url:
        headers = {"Content-Type": "application/sdp"}
        async with ClientSession(url) as client:
            async with client.post("/whip/cam", data=OFFER, headers=headers) as response:
                assert response.status == 201
                found = dict(re.findall(r'; (\w+)="([^"]*)"', response.headers["Link"]))
    return found["username"], found["credential"]


async def test_an_allocation_succeeds_with_the_credentials_of_a_201_and_no_others(tmp_path: Path) -> None:
    """Each half altered alone fails."""
    async with coturn(tmp_path) as port:
        username, password = await credentials(port)
        assert await allocates(port, username, password)
        assert not await allocates(port, username, password[::-1])
        assert not await allocates(port, f"1{username}", password)


async def test_credentials_that_have_expired_allocate_nothing(tmp_path: Path) -> None:
    """What a 201 gave is refused once its time is over, though it is signed as it should be."""
    async with coturn(tmp_path) as port:
        username, password = await credentials(port, ttl=1)
        expires_at = int(username.partition(":")[0])
        assert password == sign(SECRET, username)

        async def over() -> bool:
            return time.time() > expires_at + 1

        await until(over)
        assert not await allocates(port, username, password)


async def test_a_secret_is_changed_without_refusing_anyone(tmp_path: Path) -> None:
    """First coturn learns the new one, then Liveman: both sides of that moment are served."""
    async with coturn(tmp_path, "the-new-secret", SECRET) as port:
        before = await credentials(port)
        after = await credentials(port, secret=["the-new-secret", SECRET])
        assert after[1] == sign("the-new-secret", after[0])
        assert await allocates(port, *before)
        assert await allocates(port, *after)


async def relayed_viewer(url: str) -> Subscriber:
    """A viewer who has no way but TURN, with the ICE servers that an OPTIONS names before the offer."""
    async with ClientSession() as client, client.options(url) as response:
        (link,) = response.headers.getall("Link")
    turn = re.match(r"<([^>]*)>", link)
    found = dict(re.findall(r'; (\w+)="([^"]*)"', link))
    assert turn is not None
    server = RTCIceServer([turn[1]], username=found["username"], credential=found["credential"])
    peer = RTCPeerConnection(
        RTCConfiguration(iceServers=[server], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
    )
    peer.addTransceiver("video", direction="recvonly")
    await peer.setLocalDescription()
    viewer = Subscriber(url, peer, None)
    await viewer.start()
    return viewer


async def test_a_client_that_may_only_relay_sees_pictures_of_a_built_in_node(tmp_path: Path) -> None:
    """All its candidates are the TURN server's, so all its media goes through it."""
    async with coturn(tmp_path) as port:
        async with liveman(liveion=Liveion(count=1), extra_ice=with_coturn(port)) as url:
            async with await publish(f"{url}/whip/cam", [MovingPicture()]):
                async with await relayed_viewer(f"{url}/whep/cam") as viewer:
                    offer = viewer.peer.localDescription.sdp
                    kinds = re.findall(r"a=candidate:.* typ (\w+)", offer)
                    assert set(kinds) == {"relay"}
                    await viewer.wait_connected(20)
                    await viewer.wait_for_frames(3, timeout=20)
