"""What reaches a client of what a node answers: bytes on both sides."""

import asyncio
import json
import re

import pytest

from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import SDP, RawNode, Received, answer, raw_node

CLOSE = "Connection: close"
POST = request_bytes("POST", "/whip/cam", "Content-Type: application/sdp", CLOSE, body=OFFER)
LOCATION = "Location: /session/cam/d6b4"


def head_of(data: bytes) -> tuple[int, dict[str, list[str]], bytes]:
    """Status, fields by lower-case name, and body."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        fields.setdefault(name.lower(), []).append(value)
    return int(first.split(" ")[1]), fields, body


async def made_by(node: RawNode, url: str) -> str:
    """A session made through Liveman; its path."""
    node.reply = None
    _, fields, _ = head_of(await exchange(url, POST))
    return fields["location"][0]


async def test_a_201_passes_with_its_bytes_and_liveman_s_location() -> None:
    reply = answer(
        "201 Created",
        "Content-Type: application/sdp",
        "Accept-Patch: application/trickle-ice-sdpfrag",
        'ETag: W/"x"',
        LOCATION,
        "X-Node: y",
        "Set-Cookie: a=b",
        "Access-Control-Allow-Origin: *",
        "Connection: X-Hop",
        "X-Hop: 1",
        body=SDP,
    )
    async with raw_node(reply) as node, liveman(node) as url:
        status, fields, body = head_of(await exchange(url, POST))
        assert (status, body) == (201, SDP)
        location = fields.pop("location")
        assert re.fullmatch(r"/session/cam/d6b4\.[a-z2-7]{8}p[a-z2-7]{8}", location[0])
        fields.pop("date")
        assert fields == {
            "content-type": ["application/sdp"],
            "accept-patch": ["application/trickle-ice-sdpfrag"],
            "etag": ['W/"x"'],
            "x-node": ["y"],
            "cache-control": ["no-store"],
            "content-length": [str(len(SDP))],
            "connection": ["close"],
        }


@pytest.mark.parametrize(
    ("status", "lines", "body"),
    [
        ("409 Conflict", ("Content-Type: text/plain; charset=utf-8", "Retry-After: 3"), b"A connection"),
        ("500 Internal Server Error", ("Content-Type: text/plain",), b"SdpInvalidSyntax: nonsense"),
        ("404 Not Found", ("Content-Type: text/plain",), b"none"),
        ("406 Not Acceptable", ("Content-Type: text/plain",), b"no"),
        ("200 OK", (), b"no type"),
        ("418 I'm a Teapot", ("Content-Encoding: gzip", "Content-Type: x/y"), b"\x1f\x8b\xff\x00"),
        ("422 Odd", ("Content-Type: application/octet-stream",), b"x"),
        ("405 Method Not Allowed", ("Allow: POST",), b""),
    ],
)
async def test_other_answers_pass_unchanged(status: str, lines: tuple[str, ...], body: bytes) -> None:
    """Status, reason, type (or none), coding and bytes."""
    async with raw_node(answer(status, *lines, body=body)) as node, liveman(node) as url:
        raw = await exchange(url, POST)
        assert raw.startswith(f"HTTP/1.1 {status}\r\n".encode())
        _, fields, got = head_of(raw)
        assert got == body
        assert fields["content-length"] == [str(len(body))]
        assert fields["cache-control"] == ["no-store"]
        for line in lines:
            name, _, value = line.partition(": ")
            assert fields[name.lower()] == [value]
        assert ("content-type" in fields) is any(line.startswith("Content-Type") for line in lines)
        assert "server" not in fields


async def test_a_counter_offer_is_as_sticky_as_an_answer() -> None:
    """406 with an SDP offer, a Location, and a type with a parameter."""
    kind = 'application/sdp; valid-until="2026-11-21T12:00:00Z"'
    reply = answer("406 Not Acceptable", f"Content-Type: {kind}", LOCATION, body=SDP)
    async with raw_node(reply) as node, liveman(node) as url:
        status, fields, body = head_of(await exchange(url, POST.replace(b"/whip/", b"/whep/")))
        assert status == 404  # Nobody has the stream yet.
        await exchange(url, POST)
        status, fields, body = head_of(await exchange(url, POST.replace(b"/whip/", b"/whep/")))
        assert (status, body, fields["content-type"]) == (406, SDP, [kind])
        node.reply = None
        path = fields["location"][0]
        await exchange(url, request_bytes("PATCH", path, "Content-Type: application/sdp", CLOSE, body=SDP))
        assert node.received[-1].target == "/session/cam/d6b4"


BROKEN = {
    "nothing": b"",
    "garbage": b"\x16\x03\x01garbage\r\n\r\n",
    "HTML without a head": b"<html>hello</html>",
    "half a head": b"HTTP/1.1 201 Created\r\nLoca",
    "half a body": answer("201 Created", LOCATION, "Content-Length: 100", body=b"v=0", length=False),
    "half a chunk": answer(
        "201 Created", LOCATION, "Transfer-Encoding: chunked", body=b"5\r\nv=", length=False
    ),
    "a head of 5 MB": answer("201 Created", LOCATION, "X: " + "a" * 5_000_000, body=SDP),
    "300 lines": answer("201 Created", LOCATION, *["X: a"] * 300, body=SDP),
    "two lengths": answer("201 Created", LOCATION, "Content-Length: 1", body=SDP),
    "a redirect": answer("307 Temporary Redirect", "Location: http://other/whip/cam"),
    "another protocol": answer("101 Switching", "Connection: upgrade", "Upgrade: x", length=False),
    "no Location": answer("201 Created", body=SDP),
    "an empty Location": answer("201 Created", "Location: /session/cam/", body=SDP),
    "401 on Liveman's own token": answer("401 Unauthorized"),
    "403 on Liveman's own token": answer("403 Forbidden", body=b"Don't permission"),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN.keys())
async def test_an_answer_that_cannot_be_used_is_a_502_that_says_so(reply: bytes) -> None:
    """And the other node's clients notice nothing."""

    async def say_and_close(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        writer.close()

    async with raw_node(say_and_close) as bad, raw_node() as good, liveman(bad, good) as url:
        direct = POST.replace(b"/whip/cam", b"/api/whip/n0/cam")
        status, fields, body = head_of(await exchange(url, direct))
        assert status == 502
        assert fields["content-type"] == ["application/problem+json"]
        problem = json.loads(body)
        assert (problem["status"], problem["title"]) == (502, "Bad Gateway")
        assert "n0" in problem["detail"]
        assert len(bad.targets("POST")) == 1
        assert head_of(await exchange(url, direct.replace(b"n0", b"n1")))[0] == 201


async def test_a_session_whose_answer_broke_off_is_deleted_at_the_node() -> None:
    async def half(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "POST":
            writer.write(answer("201 Created", LOCATION, "Content-Length: 100", body=b"v=0", length=False))
            writer.close()
        else:
            writer.write(answer("204 No Content"))

    async with raw_node(half) as node, liveman(node) as url:
        assert head_of(await exchange(url, POST))[0] == 502
        await node.wait_for(lambda n: n.targets("DELETE") == ["/session/cam/d6b4"])


async def test_a_long_answer_that_breaks_off_is_cut_not_completed() -> None:
    """Whether it has a length or comes in chunks, the client can tell."""
    for lines in (["Content-Length: 500000"], ["Transfer-Encoding: chunked"]):
        body = b"20000\r\n" + b"x" * 0x20000 + b"\r\n" if "chunked" in lines[0] else b"x" * 200_000

        async def half(_: Received, writer: asyncio.StreamWriter, lines=lines, body=body) -> None:
            writer.write(answer("200 OK", *lines, body=body, length=False))
            await writer.drain()
            writer.close()

        async with raw_node() as node, liveman(node) as url:
            path = await made_by(node, url)
            node.reply = half
            try:
                raw = await exchange(url, request_bytes("GET", path, CLOSE))
            except ConnectionResetError:
                continue
            _, fields, got = head_of(raw)
            if "content-length" in fields:
                assert len(got) < int(fields["content-length"][0])
            else:
                assert not got.endswith(b"0\r\n\r\n")


async def test_a_long_answer_passes_whole() -> None:
    body = bytes(range(256)) * 4000
    async with raw_node() as node, liveman(node) as url:
        path = await made_by(node, url)
        node.reply = answer("200 OK", "Content-Type: x/y", body=body)
        assert head_of(await exchange(url, request_bytes("GET", path, CLOSE)))[2] == body


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_without_body_stays_without(status: str) -> None:
    async with raw_node() as node, liveman(node) as url:
        path = await made_by(node, url)
        node.reply = answer(status, 'ETag: "1"', length=False)
        _, fields, body = head_of(await exchange(url, request_bytes("DELETE", path, CLOSE)))
        assert body == b""
        assert fields["etag"] == ['"1"']
        assert "content-type" not in fields
        assert "transfer-encoding" not in fields


async def test_every_request_of_a_session_goes_to_the_node_that_made_it() -> None:
    """Below the session too, with the body and type of the client; the node's answer comes back as it is."""
    async with raw_node() as other, raw_node() as node, liveman(other, node) as url:
        _, fields, _ = head_of(await exchange(url, POST.replace(b"/whip/cam", b"/whip/cam?nodes=n1")))
        path = fields["location"][0]
        fragment = b"a=ice-ufrag:x\r\n"
        lines = ("Content-Type: application/trickle-ice-sdpfrag", 'If-Match: "*"', CLOSE)
        raw = await exchange(url, request_bytes("PATCH", path, *lines, body=fragment))
        assert raw.startswith(b"HTTP/1.1 204 No Content\r\n")
        node.reply = answer("200 OK", "Content-Type: application/json", body=b'[{"encodingId":"q"}]')
        _, _, body = head_of(await exchange(url, request_bytes("GET", path + "/layer?x=%2F", CLOSE)))
        assert body == b'[{"encodingId":"q"}]'
        node.reply = answer("404 Not Found", body=b"gone")
        assert head_of(await exchange(url, request_bytes("DELETE", path, CLOSE)))[::2] == (404, b"gone")
        assert [(r.method, r.target, r.body) for r in node.received] == [
            ("POST", "/whip/cam", OFFER),
            ("PATCH", "/session/cam/session-0", fragment),
            ("GET", "/session/cam/session-0/layer?x=%2F", b""),
            ("DELETE", "/session/cam/session-0", b""),
        ]
        assert node.received[1].values("If-Match") == ['"*"']
        assert other.received == []


async def test_links_keep_their_meaning_below_liveman_s_session() -> None:
    """ICE links in the form that all clients read, layer links moved, malformed ones left out."""
    reply = answer(
        "201 Created",
        "Location: http://node/session/cam/d6b4",
        'Link: <stun:stun.example.org:3478>; rel="ice-server"',
        "Link: <turn:turn.example.org?transport=udp>;rel=ice-server;username=u;credential=p, <turn:none>; rel=ice-server",
        'Link: </session/cam/d6b4/layer>; rel="urn:ietf:params:whep:ext:core:layer"',
        'Link: <http://node/session/cam/d6b4/sse?x=1>; rel="urn:ietf:params:whep:ext:core:server-sent-events"',
        "Link: broken",
        body=SDP,
    )
    async with raw_node(reply) as node, liveman(node) as url:
        _, fields, _ = head_of(await exchange(url, POST))
        path = fields["location"][0]
        ice, layers = fields["link"][:2], fields["link"][2:]
        assert ice == [
            '<stun:stun.example.org:3478>; rel="ice-server"',
            '<turn:turn.example.org?transport=udp>; rel="ice-server"; username="u"; credential="p"; '
            'credential-type="password"',
        ]
        assert layers == [
            f'<{path}/layer>; rel="urn:ietf:params:whep:ext:core:layer"',
            f'<{path}/sse?x=1>; rel="urn:ietf:params:whep:ext:core:server-sent-events"',
        ]


async def test_events_pass_one_by_one_as_they_come() -> None:
    go_on = asyncio.Event()

    async def events(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", "Content-Type: text/event-stream", length=False) + b"data: 1\n\n")
        await writer.drain()
        await go_on.wait()
        writer.write(b"data: 2\n\n")
        writer.close()

    async with raw_node() as node, liveman(node) as url:
        path = await made_by(node, url)
        node.reply = events
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_bytes("GET", path + "/events", CLOSE))
        async with asyncio.timeout(5):
            await reader.readuntil(b"data: 1\n\n")
            go_on.set()
            await reader.readuntil(b"data: 2\n\n")
            await reader.read()
        writer.close()


async def test_a_node_that_is_too_slow_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveman.proxy.attempts.ANSWER_SECONDS", 0.2)

    async def silent(_: Received, _writer: asyncio.StreamWriter) -> None:
        return

    async with raw_node() as node, liveman(node) as url:
        path = await made_by(node, url)
        node.reply = silent
        status, fields, body = head_of(await exchange(url, request_bytes("DELETE", path, CLOSE)))
        assert (status, fields["content-type"]) == (504, ["application/problem+json"])
        assert "n0" in json.loads(body)["detail"]


@pytest.mark.parametrize("shown", ["unknown", "x.aaaaaaaapaaaaaaaa"])
async def test_a_session_that_no_node_has_is_404(shown: str) -> None:
    async with raw_node() as node, liveman(node) as url:
        status, _, body = head_of(
            await exchange(url, request_bytes("DELETE", f"/session/cam/{shown}", CLOSE))
        )
        assert status == 404
        assert json.loads(body)["detail"] == "No node has this session."
        assert node.received == []
