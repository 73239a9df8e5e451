"""Liveman's own requests to nodes, as they arrive there, and every way in which they fail."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from cluster.fake import EVENTS_HEAD, FakeNode, answer, as_json, fake_node, hang, until
from liveman.cluster.client import Client, Listing, NoEvents
from liveman.cluster.node import Node
from liveman.config import Secret
from liveman.errors import NodeError, NodeTimeout, NodeUnreachable

LIMITS = {"connect": 0.3, "total": 0.3, "retries": (0.01, 0.01)}


@pytest.fixture
async def fake() -> AsyncIterator[FakeNode]:
    async with fake_node() as node:
        yield node


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(**LIMITS) as client:  # type: ignore[arg-type]
        yield client


def unused_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


async def test_a_request_carries_the_nodes_token_and_nothing_invented(client: Client, fake: FakeNode) -> None:
    """No User-Agent, no Accept-Encoding, no length on a GET."""
    node = Node("a", fake.url, Secret("s3cret"))
    assert await client.streams(node) == Listing(b"[]")
    assert fake.fields("GET /api/streams/") == {
        "host": f"127.0.0.1:{fake.port}",
        "authorization": "Bearer s3cret",
        "accept": "application/json",
    }
    assert await client.delete_session(node, "x", "id")
    assert fake.fields("DELETE /session/x/id") == {
        "host": f"127.0.0.1:{fake.port}",
        "authorization": "Bearer s3cret",
        "content-length": "0",
    }


async def test_without_a_token_none_is_sent(client: Client, fake: FakeNode) -> None:
    """An empty Bearer is not nothing."""
    await client.streams(Node("a", fake.url))
    assert "authorization" not in fake.fields("GET /api/streams/")


@pytest.mark.parametrize(
    ("suffix", "prefix"), [("", ""), ("/", ""), ("/base", "/base"), ("/base/%41/", "/base/%41")]
)
async def test_a_node_may_live_below_a_path(client: Client, fake: FakeNode, suffix: str, prefix: str) -> None:
    """The path is kept as it is written."""
    fake.answers[f"GET {prefix}/api/streams/"] = as_json(b"[]")
    assert await client.streams(Node("a", fake.url + suffix)) == Listing(b"[]")


async def test_a_node_may_have_an_ipv6_address(client: Client) -> None:
    """As a literal, in brackets."""
    seen = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.write(as_json(b"[]"))
        writer.close()

    try:
        server = await asyncio.start_server(serve, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await client.streams(Node("a", f"http://[::1]:{port}")) == Listing(b"[]")
        assert f"Host: [::1]:{port}".encode() in await seen


@pytest.mark.parametrize(
    ("stream", "target"),
    [
        ("cam", "/api/streams/cam"),
        ("a b/ü?", "/api/streams/a%20b%2F%C3%BC%3F"),
        ("%41", "/api/streams/%2541"),
    ],
)
async def test_one_stream_is_asked_for_by_its_decoded_name(
    client: Client, fake: FakeNode, stream: str, target: str
) -> None:
    """It is encoded here."""
    fake.answers[f"GET {target}"] = as_json(b"{}")
    assert await client.stream(Node("a", fake.url), stream) == b"{}"
    assert await client.stream(Node("a", fake.url), "another") is None


@pytest.mark.parametrize(
    ("stream", "session", "target"),
    [
        ("cam", "id-1", "/session/cam/id-1"),
        ("%41%2e", "a%20b", "/session/%41%2e/a%20b"),
        ("a b", "?x#y", "/session/a%20b/%3Fx%23y"),
    ],
)
async def test_a_deletion_keeps_the_raw_path(
    client: Client, fake: FakeNode, stream: str, session: str, target: str
) -> None:
    """Byte for byte where it is a path segment already."""
    assert await client.delete_session(Node("a", fake.url), stream, session)
    assert fake.received[-1][0] == f"DELETE {target}"


async def test_cookies_and_redirects_of_a_node_are_ignored(client: Client, fake: FakeNode) -> None:
    """Nothing is kept, nothing is followed."""
    node = Node("a", fake.url.replace("127.0.0.1", "localhost"))
    fake.answers["GET /api/streams/"] = answer("200 OK", "Set-Cookie: a=b; Path=/", body=b"[]")
    await client.streams(node)
    fake.answers["GET /api/streams/"] = answer("307 Temporary Redirect", "Location: /elsewhere")
    with pytest.raises(NodeError, match="answered with 307"):
        await client.streams(node)
    assert "cookie" not in fake.fields("GET /api/streams/")
    assert fake.asked("GET /elsewhere") == 0


async def test_a_compressed_body_is_not_unpacked(client: Client, fake: FakeNode) -> None:
    """Nobody asked for it, and a small one may grow without limit."""
    packed = gzip.compress(b"[]")
    fake.answers["GET /api/streams/"] = answer("200 OK", "Content-Encoding: gzip", body=packed)
    assert await client.streams(Node("a", fake.url)) == Listing(packed)


async def test_what_a_node_does_not_tell_is_none(client: Client, fake: FakeNode) -> None:
    """Older nodes lack these."""
    node = Node("a", fake.url)
    assert await client.strategy(node) is None
    assert await client.info(node) is None
    fake.answers["GET /api/info"] = as_json(b"{}")
    assert await client.info(node) == b"{}"


async def half(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
    writer.close()


async def half_chunked(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n")
    writer.close()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.02)


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for _ in range(17):
        writer.write(b" " * 1024 * 1024)
        await writer.drain()
    writer.close()


FAILURES = [
    ("garbage", b"garbage\r\n\r\n", NodeError),
    ("half a body", half, NodeError),
    ("half a chunked body", half_chunked, NodeError),
    ("a header of 5 MB", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5_000_000 + b"\r\n\r\n", NodeError),
    ("closed at once", close, NodeError),
    ("reset", reset, NodeError),
    ("nothing at all", hang, NodeTimeout),
    ("drop by drop", drip, NodeTimeout),
    ("an endless body", flood, NodeError),
    ("refused token", answer("401 Unauthorized"), NodeError),
    ("internal error", answer("500 Internal Server Error", body=b"oh"), NodeError),
    ("no such path", answer("404 Not Found"), NodeError),
]


@pytest.mark.parametrize(("script", "error"), [f[1:] for f in FAILURES], ids=[f[0] for f in FAILURES])
async def test_every_failure_is_a_node_error(fake: FakeNode, script: object, error: type[NodeError]) -> None:
    """It says what was asked, in a line, without the token; the next request is served again."""
    async with Client(connect=0.3, total=3.0 if script is flood else 0.3, retries=()) as client:
        node = Node("a", fake.url, Secret("s3cret"))
        fake.answers["GET /api/streams/"] = script  # type: ignore[assignment]
        with pytest.raises(error) as caught:
            await client.streams(node)
        assert "GET /api/streams/" in caught.value.detail
        assert "s3cret" not in caught.value.detail
        assert len(caught.value.detail) < 300
        del fake.answers["GET /api/streams/"]
        assert await client.streams(node) == Listing(b"[]")


async def test_a_list_that_has_not_changed_is_not_sent_again(client: Client, fake: FakeNode) -> None:
    """It is asked for by the name that the node gave it, and what one has already is given back."""
    node = Node("a", fake.url)
    fake.answers["GET /api/streams/"] = answer("200 OK", 'ETag: W/"1"', body=b"[]")
    seen = await client.streams(node)
    assert seen == Listing(b"[]", 'W/"1"')
    assert "if-none-match" not in fake.fields("GET /api/streams/")
    fake.answers["GET /api/streams/"] = b'HTTP/1.1 304 Not Modified\r\nETag: W/"1"\r\n\r\n'
    assert await client.streams(node, seen) is seen
    assert fake.fields("GET /api/streams/")["if-none-match"] == 'W/"1"'
    fake.answers["GET /api/streams/"] = answer("200 OK", 'ETag: "2"', body=b"[ ]")
    assert await client.streams(node, seen) == Listing(b"[ ]", '"2"')


@pytest.mark.parametrize("seen", [None, Listing(b"[]")])
async def test_not_modified_answers_only_who_has_asked_so(
    client: Client, fake: FakeNode, seen: Listing | None
) -> None:
    """Otherwise it is an answer like any other that is of no use."""
    fake.answers["GET /api/streams/"] = b"HTTP/1.1 304 Not Modified\r\n\r\n"
    with pytest.raises(NodeError, match="answered with 304"):
        await client.streams(Node("a", fake.url), seen)


async def test_a_refused_connection_is_told_apart(client: Client) -> None:
    """Nothing was sent then."""
    with pytest.raises(NodeUnreachable):
        await client.streams(Node("a", f"http://127.0.0.1:{unused_port()}"))


@pytest.mark.parametrize(
    "node", [Node("a", "http://[::1"), Node("a", "nonsense"), Node("a", "http://x", Secret("a\nb"))]
)
async def test_a_node_that_cannot_be_asked_is_a_node_error(client: Client, node: Node) -> None:
    """Whatever its declaration holds."""
    with pytest.raises(NodeError):
        await client.streams(node)


async def test_sixteen_mebibytes_are_accepted(fake: FakeNode) -> None:
    """A large cluster's list is no flood."""
    async with Client(connect=1, total=10, retries=()) as client:
        fake.answers["GET /api/streams/"] = as_json(b" " * 16 * 1024 * 1024)
        assert len((await client.streams(Node("a", fake.url))).body) == 16 * 1024 * 1024


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer("404 Not Found"), NoEvents),
        (answer("405 Method Not Allowed"), NoEvents),
        (answer("501 Not Implemented"), NoEvents),
        (answer("200 OK", "Content-Type: text/html", body=b"<html>"), NoEvents),
        (answer("401 Unauthorized"), NodeError),
        (answer("503 Service Unavailable"), NodeError),
    ],
)
async def test_a_node_without_events_is_told_apart(
    client: Client, fake: FakeNode, said: bytes, error: type[NodeError]
) -> None:
    """From one that has them and fails."""
    fake.answers["GET /api/sse/streams"] = said
    with pytest.raises(NodeError) as caught:
        async with client.events(Node("a", fake.url)):
            pass
    assert type(caught.value) is error


async def test_an_event_stream_is_read_as_it_comes(client: Client, fake: FakeNode) -> None:
    """The content type may have parameters."""
    head = EVENTS_HEAD.replace(b"event-stream", b"event-stream; charset=utf-8")
    fake.answers["GET /api/sse/streams"] = head + b"data: []\n\n"
    async with client.events(Node("a", fake.url)) as stream:
        assert await stream.readany() == b"data: []\n\n"
    assert fake.fields("GET /api/sse/streams")["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("said", "times", "gone"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 1, True),
        (answer("200 OK"), 1, True),
        (answer("404 Not Found", body=b"session not exists"), 1, True),
        (answer("401 Unauthorized"), 1, False),
        (answer("500 Internal Server Error"), 3, False),
        (answer("503 Service Unavailable"), 3, False),
        (hang, 3, False),
    ],
)
async def test_a_deletion_is_tried_a_few_times(
    client: Client, fake: FakeNode, said: object, times: int, gone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Where that can help; what remains is logged without the session's id, and never raised."""
    fake.answers["DELETE"] = said  # type: ignore[assignment]
    assert await client.delete_session(Node("alias-a", fake.url, Secret("s3cret")), "x", "id-1") is gone
    assert fake.asked("DELETE /session/x/id-1") == times
    assert ("node=alias-a" in caplog.text) is not gone
    assert "s3cret" not in caplog.text


async def test_a_deletion_succeeds_at_last(client: Client, fake: FakeNode) -> None:
    """The node was away for a moment."""

    async def script(writer: asyncio.StreamWriter) -> None:
        if fake.asked("DELETE") == 1:
            writer.close()
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    fake.answers["DELETE"] = script
    assert await client.delete_session(Node("a", fake.url), "x", "id")
    assert fake.asked("DELETE") == 2


async def test_each_node_has_the_way_that_is_given() -> None:
    """One connector per node, asked for once, closed at the end."""
    given: list[tuple[str, aiohttp.TCPConnector]] = []

    def connector(node: Node) -> aiohttp.BaseConnector:
        given.append((node.alias, aiohttp.TCPConnector()))
        return given[-1][1]

    async with fake_node() as one, fake_node() as other:
        async with Client(connector=connector, **LIMITS) as client:  # type: ignore[arg-type]
            for _ in range(2):
                await client.streams(Node("a", one.url))
                await client.streams(Node("b", other.url))
        assert [alias for alias, _ in given] == ["a", "b"]
        assert all(each.closed for _, each in given)


async def test_a_node_can_be_forgotten() -> None:
    """Its own connections are closed, a request on them fails; others', and those to come, are not touched."""
    async with fake_node() as one, fake_node() as other:
        one.answers["GET /api/info"] = hang
        a, b = Node("a", one.url), Node("b", other.url)
        connectors = {node.alias: aiohttp.TCPConnector() for node in (a, b)}
        async with Client(
            connector=lambda node: connectors[node.alias], connect=1, total=10, retries=()
        ) as client:
            await client.streams(a)
            await client.streams(b)
            waiting = asyncio.ensure_future(client.info(a))
            await until(lambda: one.asked("GET /api/info"))
            await client.forget("a")
            with pytest.raises(NodeError):
                await waiting
            assert connectors["a"].closed
            assert not connectors["b"].closed
            await client.forget("a")
            await client.forget("nobody")
            connectors["a"] = aiohttp.TCPConnector()
            assert await client.streams(a) == Listing(b"[]")
        assert all(each.closed for each in connectors.values())


async def test_a_node_without_a_way_of_its_own_is_forgotten_harmlessly(
    client: Client, fake: FakeNode
) -> None:
    """All share one connector then."""
    await client.streams(Node("a", fake.url))
    await client.forget("a")
    assert await client.streams(Node("b", fake.url)) == Listing(b"[]")
