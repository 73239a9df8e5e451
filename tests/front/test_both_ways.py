"""Liveman answers the same, whether aiohttp carries a request or its own protocol does."""

import re

import pytest

from liveman.config import Http
from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import RawNode, answer, raw_node

SDP_TYPE = "Content-Type: application/sdp"
ORIGIN = "Origin: https://app.example"
#: aiohttp gets a request with any field twice.
TWICE = ("X-Way: aiohttp", "X-Way: aiohttp")

EVENT_STREAM = "Content-Type: text/event-stream"
MADE = answer("201 Created", SDP_TYPE, "Location: /session/cam/1", 'ETag: W/"x"', body=b"v=0\r\n")
EVENTS = (
    answer("200 OK", EVENT_STREAM, "Transfer-Encoding: chunked", length=False)
    + b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"
)
CHUNKS = (
    answer("200 OK", "Transfer-Encoding: chunked", "X-Two: a", "X-Two: b", length=False)
    + b"3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"
)

#: what a client sends, and what the node answers to it
REQUESTS = [
    ("an offer", ("POST", "/whip/cam", SDP_TYPE), OFFER, MADE),
    ("an offer that is refused", ("POST", "/whip/cam", SDP_TYPE), OFFER, answer("409 Conflict", body=b"no")),
    ("an offer that breaks", ("POST", "/whip/cam", SDP_TYPE), OFFER, b"HTTP/1.1 2x1 OK\r\n\r\n"),
    ("a counter-offer", ("POST", "/whip/cam", SDP_TYPE), OFFER, MADE.replace(b"201 Created", b"406 Not")),
    ("another type", ("POST", "/whip/cam", "Content-Type: text/plain"), OFFER, None),
    ("no type", ("POST", "/whip/cam"), OFFER, None),
    ("no body", ("POST", "/whip/cam", SDP_TYPE), b"", None),
    ("a coding", ("POST", "/whip/cam", SDP_TYPE, "Content-Encoding: gzip"), OFFER, None),
    ("an unknown stream", ("POST", "/whep/unknown", SDP_TYPE), OFFER, None),
    ("a bad name", ("POST", "/whip/a%2Fb", SDP_TYPE), OFFER, None),
    ("a bad escape", ("GET", "/whip/a%zz"), b"", None),
    ("a dot segment", ("GET", "/whip/.."), b"", None),
    ("GET on an endpoint", ("GET", "/whip/cam"), b"", None),
    ("HEAD on an endpoint", ("HEAD", "/whep/cam"), b"", None),
    ("OPTIONS", ("OPTIONS", "/whip/cam"), b"", None),
    ("OPTIONS on a session", ("OPTIONS", "/session/cam/1"), b"", None),
    ("a preflight", ("OPTIONS", "/whip/cam", ORIGIN, "Access-Control-Request-Method: POST"), b"", None),
    ("an answer to another origin", ("GET", "/whip/cam", ORIGIN), b"", None),
    ("DELETE on an endpoint", ("DELETE", "/whip/cam"), b"", None),
    ("DELETE", ("DELETE", "/session/cam/1/layer"), b"", answer("204 No Content")),
    ("an unknown session", ("DELETE", "/session/cam/x.aaaaaaaapaaaaaaaa"), b"", None),
    ("PATCH", ("PATCH", "/session/cam/1", "If-Match: *"), b"a=x", answer("200 OK", 'ETag: "2"', body=b"a=y")),
    ("a redirect", ("GET", "/session/cam/1"), b"", answer("302 Found", "Location: http://evil/")),
    ("HEAD on a session", ("HEAD", "/session/cam/1"), b"", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
    ("HEAD on events", ("HEAD", "/session/cam/1"), b"", answer("200 OK", EVENT_STREAM, length=False)),
    ("an end of events", ("GET", "/session/cam/1"), b"", answer("204 No Content", EVENT_STREAM)),
    ("more than the answer", ("GET", "/session/cam/1"), b"", answer("200 OK", body=b"hi") + answer("200 OK")),
    ("304", ("GET", "/session/cam/1"), b"", b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'),
    ("an odd status", ("GET", "/session/cam/1"), b"", answer("299 Quite Fine", body=b"x")),
    ("no reason", ("GET", "/session/cam/1"), b"", answer("200 ", body=b"x")),
    ("no reason and an odd status", ("GET", "/session/cam/1"), b"", answer("299 ", body=b"x")),
    ("a date", ("GET", "/session/cam/1"), b"", answer("200 OK", "Date: today", body=b"x")),
    ("a server", ("GET", "/session/cam/1"), b"", answer("200 OK", "Server: node", body=b"x")),
    ("UTF-8", ("GET", "/session/cam/1"), b"", answer("200 OK", "X: \xfc", body=b"x")),
    ("chunks", ("GET", "/session/cam/1/layer"), b"", CHUNKS),
    ("a long answer", ("GET", "/session/cam/1"), b"", answer("200 OK", body=b"x" * 200_000)),
    ("events", ("GET", "/session/cam/1/events"), b"", EVENTS),
]

STREAMS = b'[{"id":"cam","createdAt":0,"publish":{"leaveAt":0,"sessions":[{"id":"1"}]},"subscribe":{}}]'


@pytest.mark.parametrize("cors", [False, True, ("https://app.example",), ("https://other.example",)], ids=str)
async def test_both_ways_answer_alike(cors: bool | tuple[str, ...]) -> None:
    """Status, fields and bytes; and the node gets the same."""
    async with raw_node() as node:
        node.streams = STREAMS
        async with liveman(node, http=Http(cors=cors)) as url:
            for name, (method, target, *lines), body, reply in REQUESTS:
                node.reply = reply
                seen = []
                for extra in ((), TWICE):
                    data = request_bytes(method, target, *lines, "Connection: close", *extra, body=body)
                    before = len(node.received)
                    said = read(await exchange(url, data))
                    seen.append((said, asked(node, before)))
                assert seen[0] == seen[1], name


def read(said: bytes) -> tuple[bytes, list[bytes], bytes]:
    """The status line, the fields in an order of their own, and the body without chunks."""
    head, _, body = said.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    if b"Transfer-Encoding: chunked" in fields:
        assert body.endswith(b"0\r\n\r\n")
        body = b"".join(re.findall(rb"[0-9a-f]+\r\n(.+?)\r\n", body, re.DOTALL))
    return line, sorted(re.sub(rb"^Date: .*GMT$", b"Date", each) for each in fields), body


def asked(node: RawNode, before: int) -> list[tuple]:
    """What reached the node, its own ids aside; a session that nobody wants is deleted at any time."""
    return [
        (each.method, each.target, [f for f in each.fields if f[0] != "X-Way"], each.body)
        for each in node.received[before:]
        if each.method != "DELETE" or len(node.received) - before == 1
    ]
