"""Requests that nobody should send, by the thousand. Each client has an address of its own on the loopback,
and so the node's requests are told apart by what Liveman says of whom they come from."""

import asyncio
import random
import re
from collections import defaultdict
from itertools import count

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from attrs import define, field

from liveman.config import Http
from liveman.secret import alias_tag, build_session_id
from long.messages import Broken, Message, Unsure, mutated, read_answers, read_requests
from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import SDP, Received, answer, raw_node

pytestmark = pytest.mark.long

ROUNDS = 60
AT_ONCE = 64
#: A client that hears nothing for so long sees whether it has its answers, seconds.
QUIET = 0.2
#: So long it waits for them at the most; Liveman itself waits 30 s for the rest of a body.
HANGING = 45.0

SDP_TYPE = "Content-Type: application/sdp"
SESSION = "/session/cam/" + build_session_id(b"any", alias="n0", kind="p", stream="cam", id="a-b.c")
CHUNKED = "Transfer-Encoding: chunked"
LONG = b"v=0\r\n" + bytes(range(32, 127)) * 900
POST = request_bytes("POST", "/whip/cam", SDP_TYPE, body=OFFER)
CHUNKS = (
    request_bytes("POST", "/whip/cam", SDP_TYPE, CHUNKED) + b"5\r\nv=0\r\n\r\n6;a=b\r\ns=-\r\n\n\r\n0\r\n\r\n"
)
PATCH = request_bytes("PATCH", SESSION, "Content-Type: application/trickle-ice-sdpfrag", body=b"a=b\r\n")
DELETE = request_bytes("DELETE", SESSION)
LAST = request_bytes("GET", "/healthz", "Connection: close")
CORPUS = (
    POST,
    request_bytes(
        "POST", "/whep/cam?nodes=n0&token=x&y=%41", SDP_TYPE, "Authorization: Bearer x", body=OFFER
    ),
    CHUNKS,
    CHUNKS.replace(b"0\r\n\r\n", b"0\r\nX-Trailer: y\r\n\r\n"),
    PATCH,
    PATCH.replace(b"PATCH", b"POST").replace(b" HTTP", b"/layer HTTP"),
    PATCH.replace(
        b"Content-Type", b'If-Match: "x"\r\nTE: trailers\r\nConnection: te, if-match\r\nContent-Type'
    ),
    DELETE,
    DELETE.replace(b"DELETE", b"GET"),
    POST + DELETE + PATCH,
    CHUNKS + POST,
    POST + CHUNKS + LAST,
    request_bytes("POST", "http://other.example:1/whip/a%20b?x", SDP_TYPE, body=OFFER),
    request_bytes("POST", "/api/whip/n0/cam", SDP_TYPE, "Expect: 100-continue", body=OFFER),
    request_bytes("OPTIONS", "/whip/cam", "Origin: https://a.example", "Access-Control-Request-Method: POST"),
    request_bytes("OPTIONS", "/whep/cam", "Origin: https://a.example"),
    request_bytes("GET", "/api/streams/%41?nodes=n0"),
    request_bytes("GET", "/api/nodes/", "X-Forwarded-For: 1.2.3.4", "Forwarded: for=x"),
    request_bytes("POST", "/whip/long", SDP_TYPE, body=LONG) + DELETE,
    request_bytes("POST", "/whip/long", SDP_TYPE, CHUNKED)
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(LONG), LONG)
    + DELETE,
    request_bytes("POST", "/whip/cam", SDP_TYPE, "Content-Length: 10", CHUNKED) + b"0\r\n\r\n" + POST,
    request_bytes("POST", "/whip/cam", SDP_TYPE, "Content-Length: 3000000"),
    POST.replace(b"HTTP/1.1", b"HTTP/1.0") + POST,
    CHUNKS.replace(b"HTTP/1.1", b"HTTP/1.0"),
    POST.replace(b"Host", b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nHost") + CHUNKS,
    POST.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: websocket\r\nHost") + POST,
)


@define
class Client:
    """What one client sent and heard."""

    address: str
    sent: bytes
    heard: bytes = b""
    left: bool = False
    """Whether it hung up itself."""
    answers: list[Message] = field(factory=list)


async def converse(url: str, client: Client, chance: random.Random) -> None:
    """Send in pieces; read until Liveman closes, or all is answered and nothing more comes."""
    requests = read_requests(client.sent)
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(client.address, 0))
    cuts = sorted(chance.randint(0, len(client.sent)) for _ in range(chance.choice((0, 0, 1, 4))))
    hurried = chance.random() < 0.1
    end = loop.time() + HANGING
    try:
        for start, stop in zip([0, *cuts], [*cuts, len(client.sent)], strict=True):
            writer.write(client.sent[start:stop])
            await writer.drain()
            await asyncio.sleep(0)
        if hurried:
            client.left = True
            return
        while True:
            try:
                piece = await asyncio.wait_for(reader.read(1 << 16), QUIET)
            except TimeoutError:
                client.left = True
                answers = whole_answers(client.heard)
                if answers or (answers is not None and not requests):
                    return
                assert loop.time() < end, f"no answer to {client.sent!r}, only {client.heard!r}"
            else:
                client.heard += piece
                if not piece:
                    return
    except ConnectionError:
        # Liveman has closed while there were still bytes on their way to it.
        client.left = True
    finally:
        writer.transport.abort()


def whole_answers(heard: bytes) -> list[Message] | None:
    """The final answers; None: one is not whole."""
    try:
        return read_answers(heard.removesuffix(b"HTTP/1.1 100 Continue\r\n\r\n"))
    except (Broken, Unsure):
        return None


def as_forwarded(request: Message) -> tuple[str, str, bytes]:
    """Method, path and body as the node should get them."""
    path = re.sub(r"^[a-z]+://[^/]*", "", request.target, flags=re.IGNORECASE).partition("?")[0]
    path = re.sub(r"^/api/(whip|whep)/n0/", r"/\1/", path)
    path = re.sub(rf"^(/session/[^/]*/[^/]+)\.{alias_tag('n0')}[ps][a-z2-7]{{8}}(?=/|$)", r"\1", path)
    return request.method, path, request.body


def is_part_in_order(part: list[tuple[str, str, bytes]], whole: list[tuple[str, str, bytes]]) -> bool:
    rest = iter(whole)
    return all(each in rest for each in part)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_sent_nodes_get_the_well_formed_requests_alone(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No node request without a client's, none that differs from it, one answer to each; and no traceback."""
    chance = random.Random(seed)
    marks = count()
    given: dict[str, list[bytes]] = defaultdict(list)
    """The marks in the node's answers, by client."""

    async def reply(received: Received, writer: asyncio.StreamWriter) -> None:
        mark = next(marks)
        for address in received.values("X-Forwarded-For"):
            given[address].append(b"%d" % mark)
        if received.method == "POST" and "/session/" not in received.target:
            lines = (SDP_TYPE, f"Location: /session/x/made-{mark}", f"X-Mark: {mark}")
            writer.write(answer("201 Created", *lines, body=SDP))
        elif received.method == "GET":
            writer.write(answer("200 OK", f"X-Mark: {mark}", body=b"{}"))
        else:
            writer.write(answer("204 No Content", f"X-Mark: {mark}"))

    clients: list[Client] = []
    async with raw_node(reply) as node:
        async with liveman(node, http=Http(cors=True)) as url:
            for _ in range(ROUNDS):
                batch = []
                for _ in range(AT_ONCE):
                    number = len(clients) + len(batch) + 1
                    address = f"127.77.{number // 250}.{number % 250 + 1}"
                    batch.append(Client(address, mutated(chance.choice(CORPUS), CORPUS, chance)))
                clients += batch
                await asyncio.gather(*(converse(url, client, chance) for client in batch))
                well_formed = request_bytes("POST", "/whip/good", SDP_TYPE, "Connection: close", body=OFFER)
                assert (await exchange(url, well_formed)).startswith(b"HTTP/1.1 201 "), (seed, batch)
    asked_by_all = {as_forwarded(request) for client in clients for request in read_requests(client.sent)}
    received = defaultdict(list)
    for each in node.received:
        (address,) = each.values("X-Forwarded-For") or ["Liveman"]
        received[address].append((each.method, each.target.partition("?")[0], each.body))
        # Liveman itself deletes what clients who left had made, or were deleting.
        own = re.fullmatch(r"/session/[^/]+/made-\d+", each.target)
        own = own or (each.method, each.target.partition("?")[0], each.body) in asked_by_all
        assert address != "Liveman" or (each.method == "DELETE" and own), each
    assert received.keys() <= {"Liveman", "127.0.0.1", *(client.address for client in clients)}
    for client in clients:
        answers = whole_answers(client.heard)
        assert answers is not None or client.left, (seed, client)
        client.answers = answers or []
        assert 500 not in [each.status for each in client.answers], (seed, client)
        asked = [as_forwarded(request) for request in read_requests(client.sent)]
        assert is_part_in_order(received[client.address], asked), (seed, client, received[client.address])
        heard = [mark for each in client.answers for mark in each.values("x-mark")]
        if client.left:
            assert heard == given[client.address][: len(heard)], (seed, client)
        else:
            assert heard == given[client.address], (seed, client)
            assert client.answers or not asked, (seed, client)
    faults = [r for r in caplog.records if r.exc_info and not isinstance(r.exc_info[1], HttpProcessingError)]
    assert not faults, (seed, faults[0].name, faults[0].exc_text)
