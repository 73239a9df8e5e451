"""What reaches a node of what a client sends: bytes on both sides."""

import re

import pytest

from liveman.config import Http, NodeConfig, Secret
from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import raw_node

CLOSE = "Connection: close"
SDP_TYPE = "Content-Type: application/sdp"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_an_offer_arrives_as_one_request_with_the_clients_own_fields() -> None:
    """Order, case and bytes are the client's; what is added is what a proxy must add."""
    async with raw_node() as node, liveman(node) as url:
        lines = ("user-agent: OBS/30", "X-Two: b", "Accept: */*", "x-one: a", SDP_TYPE, CLOSE)
        answer = await exchange(url, request_bytes("POST", "/whip/cam", *lines, body=OFFER))
        assert status(answer) == 201
        (got,) = node.received
        assert (got.method, got.target, got.body) == ("POST", "/whip/cam", OFFER)
        host = node.url.removeprefix("http://")
        assert got.fields == (
            ("Host", host),
            ("user-agent", "OBS/30"),
            ("X-Two", "b"),
            ("Accept", "*/*"),
            ("x-one", "a"),
            ("Content-Type", "application/sdp"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "live.example"),
            ("Via", "1.1 liveman"),
            ("Content-Length", str(len(OFFER))),
        )


@pytest.mark.parametrize(
    "raw",
    ["cam", "a%20b", "%41", "a%3fb", "%C3%BC", "a+b", "100%25", "a;b=c", "x" * 255, ".hidden", "a,b"],
)
async def test_the_name_of_a_stream_passes_byte_for_byte_both_ways(raw: str) -> None:
    """To the node, back in Location, and to the node again with the session."""
    wire = raw.encode().decode("latin-1")
    async with raw_node() as node, liveman(node) as url:
        answer = await exchange(url, request_bytes("POST", f"/whip/{wire}", SDP_TYPE, CLOSE, body=OFFER))
        assert status(answer) == 201
        location = re.search(rb"\r\nLocation: (.*?)\r\n", answer)
        assert location is not None
        prefix = f"/session/{raw}/session-0.".encode()
        assert location[1].startswith(prefix)
        path = location[1].decode("latin-1")
        assert status(await exchange(url, request_bytes("DELETE", path, CLOSE))) == 204
        assert [r.target for r in node.received] == [f"/whip/{wire}", f"/session/{wire}/session-0"]


async def test_a_chunked_offer_that_looks_like_a_second_request_stays_one() -> None:
    inner = b"v=0\r\n0\r\n\r\nPOST /whip/evil HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    async with raw_node() as node, liveman(node) as url:
        head = request_bytes("POST", "/whip/cam", SDP_TYPE, CLOSE, "Transfer-Encoding: chunked")
        assert status(await exchange(url, [head, chunked])) == 201
        assert [(r.target, r.body) for r in node.received] == [("/whip/cam", inner)]


async def test_a_long_offer_streams_through_whole() -> None:
    """Above what is held in memory, with a length and in chunks."""
    body = b"v=0\r\n" + bytes(range(32, 127)) * 4000
    pieces = [b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:1000], body[1000:200_000], body[200_000:])]
    async with raw_node() as node, liveman(node) as url:
        assert (
            status(await exchange(url, request_bytes("POST", "/whip/a", SDP_TYPE, CLOSE, body=body))) == 201
        )
        head = request_bytes("POST", "/whip/b", SDP_TYPE, CLOSE, "Transfer-Encoding: chunked")
        assert status(await exchange(url, [head, *pieces, b"0\r\n\r\n"])) == 201
        assert [r.body == body for r in node.received] == [True, True]
        assert node.received[0].values("Content-Length") == [str(len(body))]
        assert node.received[1].values("Transfer-Encoding") == ["chunked"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_request_without_body_stays_without(method: str) -> None:
    async with raw_node() as node, liveman(node) as url:
        await exchange(url, request_bytes("POST", "/whip/cam", SDP_TYPE, CLOSE, body=OFFER))
        listed = "/session/cam/session-0"
        await exchange(url, request_bytes(method, listed, CLOSE))
        got = node.received[-1]
        assert (got.method, got.target) == (method, listed)
        assert not got.values("Content-Length")
        assert not got.values("Transfer-Encoding")


async def test_credentials_of_the_client_never_reach_a_node() -> None:
    """The node's own token does; a query's token does not."""
    async with raw_node() as node:
        config = NodeConfig("n0", node.url, token=Secret("of-the-node"))
        async with liveman(config) as url:
            lines = ("Authorization: Bearer client", "Cookie: a=b", "Proxy-Authorization: x", SDP_TYPE, CLOSE)
            target = "/whip/cam?token=client&x=%41&nodes=n0"
            assert status(await exchange(url, request_bytes("POST", target, *lines, body=OFFER))) == 201
            (got,) = node.received
            assert got.target == "/whip/cam?x=%41"
            assert got.values("Authorization") == ["Bearer of-the-node"]
            assert "client" not in repr(got)
            assert not got.values("Cookie")


async def test_forwarding_fields_are_believed_from_trusted_proxies_alone() -> None:
    lines = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "Forwarded: for=203.0.113.9")
    offer = request_bytes("POST", "/whip/cam", *lines, SDP_TYPE, CLOSE, body=OFFER)
    async with raw_node() as node:
        async with liveman(node) as url:
            await exchange(url, offer)
        async with liveman(node, http=Http(trusted_proxies=("127.0.0.0/8",))) as url:
            await exchange(url, offer)
        stranger, friend = node.received
        assert stranger.values("X-Forwarded-For") == ["127.0.0.1"]
        assert stranger.values("X-Forwarded-Proto") == ["http"]
        assert not stranger.values("Forwarded")
        assert friend.values("X-Forwarded-For") == ["203.0.113.9, 127.0.0.1"]
        assert friend.values("X-Forwarded-Proto") == ["https"]
        assert friend.values("Forwarded") == ["for=203.0.113.9, for=127.0.0.1;proto=http"]


async def test_an_absolute_target_is_served_by_its_path() -> None:
    async with raw_node() as node, liveman(node) as url:
        target = "http://other.example:1/whip/cam?x=1"
        assert status(await exchange(url, request_bytes("POST", target, SDP_TYPE, CLOSE, body=OFFER))) == 201
        assert node.targets("POST") == ["/whip/cam?x=1"]


async def test_a_node_below_a_path_gets_its_requests_there() -> None:
    async with raw_node() as node, liveman(f"{node.url}/base/") as url:
        assert (
            status(await exchange(url, request_bytes("POST", "/whip/cam", SDP_TYPE, CLOSE, body=OFFER)))
            == 201
        )
        assert node.targets("POST") == ["/base/whip/cam"]


HOSTILE = {
    "two lengths": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        400,
    ),
    "length and chunks": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a signed length": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400),
    "another coding": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "an empty coding": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks in 1.0": (
        b"POST /whip/a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a posing length": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent_Length: 1\r\n\r\n", 400),
    "a posing coding": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nTransfer_Encoding: chunked\r\n\r\n", 400),
    "a name with a space": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na", 400),
    "a folded line": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
    "bare line feeds": (b"POST /whip/a HTTP/1.1\nHost: x\n\n", 400),
    "a bare CR": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
    "NUL": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", 400),
    "no Host": (b"POST /whip/a HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    "a Host with a space": (b"POST /whip/a HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a Host with a slash": (b"POST /whip/a HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a Host with a user": (b"POST /whip/a HTTP/1.1\r\nHost: x@a\r\n\r\n", 400),
    "a Host with a named port": (b"POST /whip/a HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    "HTTP/2.0": (b"POST /whip/a HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/3.1": (b"POST /whip/a HTTP/3.1\r\nHost: x\r\n\r\n", 400),
    "an unknown method": (b"BREW /whip/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a bad escape": (b"POST /whip/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no UTF-8": (b"POST /whip/%FF HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "raw bytes that are no UTF-8": (b"POST /whip/\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an encoded slash": (b"POST /whip/a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "dots": (b"POST /whip/.. HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "dots on the way": (b"POST /whip/../api/streams/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "encoded dots": (b"GET /session/%2e%2e/x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a fragment": (b"POST /whip/a#b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a backslash": (b"POST /whip/a\\b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an empty stream": (b"POST /whip/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a long stream": (b"POST /whip/" + b"x" * 256 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "another host in the path": (b"POST //evil/whip/a HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "more segments": (b"POST /whip/a/b HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "TRACE": (b"TRACE /whip/a HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "PUT": (b"PUT /whip/a HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "PUT on a session": (b"PUT /session/a/b HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "another type": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\na",
        415,
    ),
    "no type": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 415),
    "a coded body": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 1\r\n\r\na",
        415,
    ),
    "no body": (b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n\r\n", 400),
    "an empty body": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 0\r\n\r\n",
        400,
    ),
    "an empty chunked body": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a broken chunk": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
    ),
    "a length over 2 MiB": (
        b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 2097153\r\n\r\n",
        413,
    ),
}


@pytest.mark.parametrize(("data", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_request_that_is_not_well_formed_is_refused_and_no_node_hears_of_it(
    data: bytes, expected: int
) -> None:
    async with raw_node() as node, liveman(node) as url:
        head, _, rest = data.partition(b"\r\n\r\n")
        if rest or b"\r\n\r\n" in data:
            data = head + b"\r\nConnection: close\r\n\r\n" + rest
        answer = await exchange(url, data)
        assert status(answer) == expected
        assert node.received == []


async def test_a_body_that_grows_over_2_mib_is_cut_there() -> None:
    """The node sees a broken request, never one that looks whole, and the client 413."""
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    async with raw_node() as node, liveman(node) as url:
        head = request_bytes("POST", "/whip/a", SDP_TYPE, CLOSE, "Transfer-Encoding: chunked")
        answer = await exchange(url, [head, *[piece] * 33, b"0\r\n\r\n"])
        assert status(answer) == 413
        assert b"application/problem+json" in answer
        assert node.received == []


@pytest.mark.parametrize(
    ("target", "lines", "expected"),
    [
        ("/whip/a", ("Content-Type: text/plain", "Content-Length: 10"), 415),
        ("/whip/a", (SDP_TYPE, "Content-Length: 3000000"), 413),
        ("/whip/..", (SDP_TYPE, "Content-Length: 10"), 400),
        ("/nowhere", (SDP_TYPE, "Content-Length: 10"), 404),
        ("/api/streams/", (SDP_TYPE, "Content-Length: 10"), 405),
        ("/whip/a", (SDP_TYPE, "Content-Length: 10", "Expect: tea"), 417),
    ],
)
async def test_a_client_that_expects_100_is_refused_before_it_sends_its_body(target, lines, expected) -> None:
    expect = () if "Expect: tea" in lines else ("Expect: 100-continue",)
    async with raw_node() as node, liveman(node) as url:
        answer = await exchange(url, request_bytes("POST", target, *lines, *expect), timeout=15)
        assert status(answer) == expected
        assert b"100 Continue" not in answer
        assert node.received == []


async def test_a_client_that_expects_100_gets_it_and_then_one_answer() -> None:
    async with raw_node() as node, liveman(node) as url:
        lines = (SDP_TYPE, CLOSE, "Expect: 100-continue")
        answer = await exchange(url, request_bytes("POST", "/whip/a", *lines, body=OFFER))
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n")
        assert not node.received[0].values("Expect")


async def test_a_body_that_drips_is_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveman.proxy.body.BODY_SECONDS", 0.2)
    async with raw_node() as node, liveman(node) as url:
        head = request_bytes("POST", "/whip/a", SDP_TYPE, CLOSE, "Content-Length: 1000")
        answer = await exchange(url, [head, b"v=0"])
        assert status(answer) == 408
        assert node.received == []
