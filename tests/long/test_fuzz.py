"""Bytes that nobody should send, from both sides, by the thousand. The seed stands in the failure."""

import asyncio
import random
import re
from collections.abc import Callable

import pytest

from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import SDP, Received, answer, raw_node

pytestmark = pytest.mark.long

ROUNDS = 4000
SDP_TYPE = "Content-Type: application/sdp"
POST = request_bytes("POST", "/whip/cam", SDP_TYPE, body=OFFER)
CHUNKED = (
    request_bytes("POST", "/whip/cam", SDP_TYPE, "Transfer-Encoding: chunked") + b"4\r\nv=0\r\n\r\n0\r\n\r\n"
)
REQUESTS = [
    POST,
    CHUNKED,
    POST + POST,
    CHUNKED + POST,
    request_bytes("OPTIONS", "/whip/cam", "Origin: https://a.example", "Access-Control-Request-Method: POST"),
    request_bytes(
        "PATCH", "/session/cam/x.aaaaaaaapaaaaaaaa", "Content-Type: x/y", 'If-Match: "*"', body=b"a=b\r\n"
    ),
    request_bytes("DELETE", "/session/cam/session-0"),
    request_bytes("GET", "http://other/whip/cam?x=1"),
    request_bytes("POST", "/api/whip/n0/cam", SDP_TYPE, "Expect: 100-continue", body=OFFER),
    request_bytes("GET", "/api/streams/%41?nodes=n0"),
]
ANSWERS = [
    answer("201 Created", "Content-Type: application/sdp", "Location: /session/cam/d6b4", body=SDP),
    answer(
        "201 Created",
        "Location: /session/cam/1",
        "Transfer-Encoding: chunked",
        body=b"3\r\nv=0\r\n0\r\n\r\n",
        length=False,
    ),
    answer("100 Continue", length=False) + answer("204 No Content"),
    answer(
        "200 OK",
        'Link: <stun:a>; rel="ice-server", <turn:b>; rel=ice-server; username="u\\"',
        body=b"x" * 5000,
    ),
    answer("409 Conflict", "Retry-After: 1", "Connection: close", body=b"taken"),
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
]
MORSELS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"%",
    b"\xff",
    b"..",
    b"/",
    b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content_Length: 1\r\n",
    b"GET /whip/evil HTTP/1.1\r\nHost: x\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"Host: y\r\n",
    b"Connection: close, x\r\n",
    b"Upgrade: x\r\n",
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The same bytes with one to four things done to them."""
    doings: list[Callable[[bytes, int], bytes]] = [
        lambda d, i: d[:i] + chance.choice(MORSELS) + d[i:],
        lambda d, i: d[:i] + d[i + chance.randint(1, 8) :],
        lambda d, i: d[:i] + bytes([chance.randrange(256)]) + d[i + 1 :],
        lambda d, i: d[:i] + d[max(0, i - 30) : i] + d[i:],
        lambda d, i: d[:i],
        lambda d, i: d[:i] + chance.choice(MORSELS) * chance.randint(1, 300) + d[i:],
    ]
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(doings)(data, chance.randrange(len(data) + 1))
    return data


async def hear(url: str, data: bytes) -> bytes:
    """Send bytes, then nothing more; what comes back."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("seed", range(2))
async def test_no_request_makes_liveman_fall_or_send_what_is_no_request(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The node parses strictly; what it does not understand fails at the end."""
    chance = random.Random(seed)
    async with raw_node() as node, liveman(node) as url:
        for _ in range(ROUNDS // 20):
            cases = [mutated(chance.choice(REQUESTS), chance) for _ in range(20)]
            await asyncio.gather(*(hear(url, data) for data in cases))
            made = await exchange(
                url, request_bytes("POST", "/whip/good", SDP_TYPE, "Connection: close", body=OFFER)
            )
            assert made.startswith(b"HTTP/1.1 201 "), (seed, cases)
            assert not node.malformed, (seed, cases, node.malformed)
            assert "evil" not in {r.target for r in node.received if r.method != "GET"}
            node.received.clear()
    faults = [r for r in caplog.records if r.exc_info and r.name.startswith("liveman")]
    assert not faults, (seed, faults[0].exc_text)


def is_whole(raw: bytes) -> bool:
    """Whether a client would take this for a complete answer."""
    head, end, body = raw.partition(b"\r\n\r\n")
    if not end:
        return False
    if length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
        return len(body) == int(length[1])
    if re.search(rb"(?i)\r\ntransfer-encoding: chunked", head):
        return body.endswith(b"0\r\n\r\n")
    return head.split(b" ")[1] in (b"204", b"304")


@pytest.mark.parametrize("seed", range(2))
async def test_no_answer_of_a_node_hangs_a_client_or_hurts_another(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an answer, a 502 or 504, or a cut connection, each in time."""
    chance = random.Random(1000 + seed)
    said = b""

    async def say(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    post = request_bytes("POST", "/api/whip/n0/cam", SDP_TYPE, "Connection: close", body=OFFER)
    good_post = post.replace(b"/n0/", b"/n1/")
    async with raw_node(say) as bad, raw_node() as good, liveman(bad, good) as url:
        for turn in range(ROUNDS // 4):
            said = mutated(chance.choice(ANSWERS), chance)
            try:
                raw = await exchange(url, post, timeout=20)
            except ConnectionResetError:
                raw = b""
            assert not raw or raw.startswith(b"HTTP/1.1 "), (seed, said, raw)
            if raw and not is_whole(raw):
                assert b"problem+json" not in raw, (seed, said, raw)
            if turn % 20 == 0:
                assert (await exchange(url, good_post)).startswith(b"HTTP/1.1 201 ")
            bad.received.clear()
    faults = [r for r in caplog.records if r.exc_info]
    assert not faults, (seed, faults[0].exc_text)
