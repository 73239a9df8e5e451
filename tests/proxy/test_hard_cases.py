"""Cases that a quick reading gets wrong: two at once, the end in the middle, halves, drips, and odd names."""

import asyncio
import gzip
import json
import re

import pytest
from aiohttp import ClientSession, web

from liveman import create_app
from liveman.config import NodeConfig
from support.liveman import OFFER, config_for, exchange, liveman, request_bytes
from support.raw_node import SDP, Received, answer, raw_node

CLOSE = "Connection: close"
SDP_TYPE = "Content-Type: application/sdp"
POST = request_bytes("POST", "/whip/cam", SDP_TYPE, CLOSE, body=OFFER)


def status(data: bytes) -> int:
    return int(data.split(b" ", 2)[1])


def held(go_on: asyncio.Event):
    """Answers offers when it is told to, each with a session of its own."""

    async def reply(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "POST":
            await go_on.wait()
            session = f"Location: /session/x/{received.target.rpartition('/')[2]}-{received.connection}"
            writer.write(answer("201 Created", session, body=SDP))
        else:
            writer.write(answer("204 No Content"))

    return reply


async def test_a_body_that_a_host_s_server_decodes_cannot_smuggle_a_request() -> None:
    """A host's runner decodes by the last Content-Encoding; the first one must not hide it."""
    inside = b"x" * 70_000 + b"DELETE /session/victim/secret HTTP/1.1\r\nHost: n\r\n\r\n"
    packed = gzip.compress(inside)
    async with raw_node() as node:
        host = web.Application()
        host.add_subapp("/live", create_app(config_for(node)))
        runner = web.AppRunner(host)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            for codings in (("identity", "gzip"), ("gzip",), ("gzip", "identity")):
                lines = [f"Content-Encoding: {coding}" for coding in codings]
                said = await exchange(
                    url,
                    request_bytes("POST", "/live/whip/cam", SDP_TYPE, CLOSE, *lines, body=packed),
                    timeout=20,
                )
                assert status(said) == 415
        finally:
            await runner.cleanup()
        assert node.received == []


@pytest.mark.parametrize(
    "line",
    ["Transfer-Encoding: gzip, chunked", "Transfer-Encoding: ,chunked", "Content_Length: 5", "Host: a b"],
)
async def test_a_preflight_that_is_not_well_formed_is_refused_too(line: str) -> None:
    head = "OPTIONS /whip/cam HTTP/1.1\r\nOrigin: https://a\r\nAccess-Control-Request-Method: POST\r\n"
    host = "" if line.startswith("Host") else "Host: x\r\n"
    async with raw_node() as node, liveman(node) as url:
        said = await exchange(url, f"{head}{host}{line}\r\n\r\n".encode() + b"0\r\n\r\n")
        assert status(said) == 400


async def test_offers_under_way_take_their_places_already() -> None:
    """Three at once on two nodes with one place each: two are made, on two nodes, and one finds no place."""
    go_on = asyncio.Event()
    async with raw_node(held(go_on)) as one, raw_node(held(go_on)) as two:
        nodes = [NodeConfig(f"n{i}", node.url, pub_max=1) for i, node in enumerate((one, two))]
        async with liveman(*nodes) as url:
            posts = [asyncio.create_task(exchange(url, POST.replace(b"cam", b"cam%d" % i))) for i in range(3)]
            done, _ = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
            go_on.set()
            assert sorted(map(status, await asyncio.gather(*posts))) == [201, 201, 503]
            assert [status(post.result()) for post in done] == [503]
            assert len(one.targets("POST")) == len(two.targets("POST")) == 1


async def test_two_publishers_of_one_name_at_once_meet_at_one_node() -> None:
    """So that the node can refuse the second."""
    go_on = asyncio.Event()
    async with raw_node(held(go_on)) as one, raw_node(held(go_on)) as two, liveman(one, two) as url:
        posts = [
            asyncio.create_task(exchange(url, POST.replace(b"cam", name)))
            for name in (b"cam", b"other", b"cam")
        ]
        async with asyncio.timeout(5):
            while len(one.received) + len(two.received) < 3:
                await asyncio.sleep(0.01)
        go_on.set()
        await asyncio.gather(*posts)
        homes = [node for node in (one, two) if "/whip/cam" in node.targets("POST")]
        assert len(homes) == 1


async def test_a_place_under_way_is_free_again_when_nothing_came_of_it() -> None:
    async with raw_node(answer("500 Internal Server Error", body=b"no")) as node:
        async with liveman(NodeConfig("n0", node.url, pub_max=1)) as url:
            for _ in range(3):
                assert status(await exchange(url, POST)) == 500
            async with ClientSession(url) as client, client.get("/api/nodes/") as response:
                assert [row["publishers"] for row in await response.json()] == [0]


async def test_a_slow_node_s_session_is_deleted_though_liveman_is_ending() -> None:
    """The client has left, the server knows of no request any more, and the node answers after its patience."""
    go_on = asyncio.Event()
    async with raw_node(held(go_on)) as node:
        async with liveman(node) as url:
            host, port = url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(POST)
            await node.wait_for(lambda n: n.targets("POST") == ["/whip/cam"])
            writer.transport.abort()
            asyncio.get_running_loop().call_later(1.5, go_on.set)
        assert [target.rpartition("/")[0] for target in node.targets("DELETE")] == ["/session/cam"]


async def test_a_refusal_that_comes_in_pieces_passes_whole() -> None:
    async def pieces(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("503 Service Unavailable", "Retry-After: 7", "Content-Length: 4", length=False))
        await writer.drain()
        await asyncio.sleep(0)
        for byte in (b"bu", b"sy"):
            writer.write(byte)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_node(pieces) as node, liveman(node) as url:
        said = await exchange(url, POST)
        assert status(said) == 503
        assert said.endswith(b"\r\n\r\nbusy")


@pytest.mark.parametrize("drip", [b"X", b"HTTP/1.1 102 Processing\r\n\r\n"])
async def test_a_node_that_drips_its_head_is_too_slow_all_the_same(
    monkeypatch: pytest.MonkeyPatch, drip: bytes
) -> None:
    monkeypatch.setattr("liveman.proxy.attempts.POST_SECONDS", 0.3)

    async def dripping(_: Received, writer: asyncio.StreamWriter) -> None:
        if drip == b"X":
            writer.write(b"HTTP/1.1 201 Created\r\nX: ")
        while not writer.is_closing():
            writer.write(drip)
            await asyncio.sleep(0.05)

    async with raw_node(dripping) as node, liveman(node) as url:
        said = await exchange(url, POST, timeout=5)
        assert status(said) == 504
        assert b"application/problem+json" in said


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_client_that_breaks_off_its_body_makes_no_node_suspect(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_node() as node, liveman(node) as url:
        made = await exchange(url, POST)
        path = re.search(rb"Location: (\S+)", made)[1].decode()
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        target = "/whip/other" if method == "POST" else path
        writer.write(request_bytes(method, target, SDP_TYPE, "Content-Length: 200000") + b"x" * 100_000)
        await writer.drain()
        writer.transport.abort()
        await exchange(url, POST.replace(b"cam", b"after"))
        async with ClientSession(url) as client, client.get("/api/nodes/") as response:
            assert [row["health"] for row in await response.json()] == ["up"]
        assert [received.target for received in node.received] == ["/whip/cam", "/whip/after"]
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("odd", ["..", "%2e%2e", ".", "..%2f..%2fapi", "a%5cb", "a%zz", "a b"])
async def test_a_session_id_never_leads_anywhere_else_on_the_node(odd: str) -> None:
    """With the tag that a client can copy from an id of its own."""
    async with raw_node() as node, liveman(node) as url:
        made = await exchange(url, POST)
        tag = re.search(rb"Location: \S+\.(\w+)\r\n", made)[1].decode()
        for path in (
            f"/session/x/{odd}.{tag}/other",
            f"/session/x/{odd}",
            f"/session/cam/session-0.{tag}/{odd}/x",
        ):
            assert status(await exchange(url, request_bytes("DELETE", path, CLOSE))) in (400, 404)
        assert node.targets("DELETE") == []


@pytest.mark.parametrize("made", ["200 OK", "202 Accepted", "201 Created"])
async def test_any_success_with_a_location_is_a_session(made: str) -> None:
    async with raw_node(answer(made, "Location: /session/cam/d6b4", body=SDP)) as node, liveman(node) as url:
        said = await exchange(url, POST)
        assert re.search(rb"\r\nLocation: /session/cam/d6b4\.\w+\r\n", said)


async def test_two_ways_to_name_a_type_end_in_one() -> None:
    """Also where Connection claims the field for itself."""
    async with raw_node() as node, liveman(node) as url:
        lines = (SDP_TYPE, "Connection: close, Content-Type")
        assert status(await exchange(url, request_bytes("POST", "/whip/cam", *lines, body=OFFER))) == 201
        assert node.received[0].values("Content-Type") == ["application/sdp"]


async def test_a_body_over_the_limit_never_puts_a_second_answer_into_the_first() -> None:
    """When the node has begun to answer already, the client is cut off; else it gets the refusal alone."""

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /api/streams/ "):
            writer.write(answer("200 OK", "Content-Type: application/json", body=b"[]"))
            writer.close()
        elif head.startswith(b"GET "):
            writer.write(answer("404 Not Found"))
            writer.close()
        else:
            writer.write(
                answer(
                    "200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", length=False
                )
            )
            writer.write(b"3\r\nabc\r\n")
            while await reader.read(65536):
                pass

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    async with server:
        node = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with liveman(node) as url:
            head = request_bytes("POST", "/whip/cam", SDP_TYPE, "Transfer-Encoding: chunked")
            piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            try:
                said = await exchange(url, [head, *[piece] * 40], timeout=20)
            except (ConnectionResetError, BrokenPipeError):
                said = b""
            assert said.count(b"HTTP/1.1 ") <= 1
            assert said.startswith(b"HTTP/1.1 413") or b"413" not in said
            assert not said.endswith(b"0\r\n\r\n")


async def test_the_detail_of_a_problem_survives_bytes_that_are_no_text() -> None:
    async with raw_node() as node, liveman(node) as url:
        data = POST.replace(b"application/sdp", b"a\xff/b")
        said = await exchange(url, data)
        assert status(said) == 415
        assert json.loads(said.partition(b"\r\n\r\n")[2])["status"] == 415
