"""The WHIP and WHEP clients, and the pictures that they carry."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import aioice.ice
import aiortc.rtcrtpreceiver
import pytest
from aiohttp import web
from aiortc import RTCIceServer, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCSessionDescription

from liveman.demo import peers
from liveman.demo.client import SignallingFailed, publish, publishing_peer, subscribe
from liveman.demo.nodes import BuildinNode
from liveman.demo.pictures import QUADRANTS, MovingPicture, Quadrants, Tone, quadrant_colours
from support.nodes import settled


@asynccontextmanager
async def endpoint(location: str, links: list[str]) -> AsyncIterator[tuple[str, list[str]]]:
    """A WHEP endpoint whose node is a peer connection of this process; the DELETEs that came."""
    peer = RTCPeerConnection()
    deleted: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription()
        response = web.Response(status=201, text=peer.localDescription.sdp, headers={"Location": location})
        for link in links:
            response.headers.add("Link", link)
        return response

    async def delete(request: web.Request) -> web.Response:
        deleted.append(request.path)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/live/whep/{stream}", answer)
    app.router.add_delete("/{path:.*}", delete)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", deleted
    finally:
        await peer.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/live/session/cam/1", "/live/session/cam/1"),
        ("../session/cam/1", "/live/session/cam/1"),
        ("1", "/live/whep/1"),
    ],
)
async def test_location_is_resolved_against_the_endpoint(location: str, path: str) -> None:
    """As RFC 3986 says; the DELETE goes there."""
    async with endpoint(location, []) as (url, deleted):
        assert await (await subscribe(f"{url}/live/whep/cam")).close() == 204
    assert deleted == [path]


async def test_links_become_ice_servers() -> None:
    """One for each url, also when a comma joins several, with the quotes of credentials undone."""
    links = [
        '<stun:a.example:3478>; rel="ice-server", <turn:b.example>; rel=ice-server; username="u,;\\"v"; credential="p"',
        '</session/cam/1/layer>; rel="urn:ietf:params:whep:ext:core:layer"',
    ]
    async with endpoint("/s/1", links) as (url, _), await subscribe(f"{url}/live/whep/cam") as viewer:
        assert viewer.ice_servers == [
            RTCIceServer(["stun:a.example:3478"]),
            RTCIceServer(["turn:b.example"], username='u,;"v', credential="p"),
        ]


async def test_a_refusal_says_what_the_endpoint_said(shared_node: BuildinNode) -> None:
    """With status and text, and nothing keeps running."""
    url = f"{shared_node.url}/whip/taken"
    async with await publish(url, [Quadrants()]):
        with pytest.raises(SignallingFailed, match="409: A connection has already been established"):
            await publish(url, [Quadrants()])
    assert await settled() == set()


async def test_closing_leaves_no_task(shared_node: BuildinNode) -> None:
    """Neither of ours nor of aiortc's, whether media flowed or the connection was still being made."""
    publisher = await publish(f"{shared_node.url}/whip/tidy", [Quadrants(), Tone()])
    viewer = await subscribe(f"{shared_node.url}/whep/tidy")
    await viewer.wait_for_frames(2)
    for pause in range(8):
        hasty = await subscribe(f"{shared_node.url}/whep/tidy")
        await asyncio.sleep(pause * 0.005)
        await hasty.close()
    await viewer.close()
    await publisher.close()
    assert await settled() == set()


@pytest.mark.parametrize("steps", range(0, 24, 2))
async def test_a_peer_may_be_closed_while_it_shakes_hands(steps: int) -> None:
    """However far DTLS has come: what is about to receive leaves no task behind."""
    sender, receiver = await publishing_peer([Quadrants(), Tone()]), peers.new_peer()
    await receiver.setRemoteDescription(sender.localDescription)
    dtls = receiver.getTransceivers()[0].receiver.transport
    begun = asyncio.Event()
    dtls.on("statechange", begun.set)
    await receiver.setLocalDescription()
    await sender.setRemoteDescription(receiver.localDescription)
    await begun.wait()
    for _ in range(steps):
        await asyncio.sleep(0)
    await receiver.close()
    await sender.close()
    assert await settled() == set()


async def test_waiting_in_vain_says_for_what(shared_node: BuildinNode) -> None:
    """A test that fails by it shows what was missing."""
    async with await subscribe(f"{shared_node.url}/whep/nothing") as viewer:
        with pytest.raises(TimeoutError, match=r"there are not 1 pictures after 0.05 s \(the peer is \w+\)"):
            await viewer.wait_for_frames(1, timeout=0.05)


async def test_the_moving_picture_moves_and_shows_the_time() -> None:
    """Two frames differ in the bars; two times differ in the clock's band."""
    times = iter(
        [datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 8, 8, 8)]
    )
    picture = MovingPicture(lambda: next(times))
    one, two, three = [bytes((await picture.recv()).planes[0]) for _ in range(3)]
    foot = 320 * (240 - 48)
    assert one[:foot] != two[:foot]
    assert one[foot:] == two[foot:] != three[foot:]


async def test_pictures_come_at_an_even_pace() -> None:
    """Timestamps count on by one frame, and the colours are those that were asked for."""
    track = Quadrants()
    frames = [await track.recv() for _ in range(3)]
    assert [frame.pts for frame in frames] == [0, 1, 2]
    for found, wanted in zip(quadrant_colours(frames[2]), QUADRANTS, strict=True):
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 8


@pytest.mark.parametrize(
    ("addresses", "offered"),
    [
        (["127.0.0.1"], ["127.0.0.1"]),
        (["127.0.0.1", "192.0.2.1", ("2001:db8::1", 0, 0)], ["192.0.2.1"]),
        (["127.0.0.1", ("::1", 0, 0), ("fe80::1", 0, 2), ("2001:db8::1", 0, 0)], ["2001:db8::1"]),
        ([f"192.0.2.{i}" for i in range(9)], [f"192.0.2.{i}" for i in range(4)]),
    ],
)
def test_hosts_offer_few_addresses(
    addresses: list, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loopback only where there is nothing else."""

    class Adapter:
        ips = [type("IP", (), {"ip": address}) for address in addresses]  # noqa: RUF012

    monkeypatch.setattr(peers.ifaddr, "get_adapters", lambda: [Adapter])
    peers.new_peer()
    assert aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == offered


def test_the_seams_of_aiortc_are_where_forwarding_needs_them() -> None:
    """These are not of its public interface: another version may have moved them."""
    assert callable(aiortc.rtcrtpreceiver.get_decoder)
    assert asyncio.iscoroutinefunction(RTCRtpReceiver._send_rtcp_pli)
    assert callable(RTCRtpSender._send_keyframe)
