"""Objects in a bucket: what its server is asked, and what becomes of its failures."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from liveman.config import Playback, Recorder
from liveman.recording import bucket, fetch
from recording.buckets import KEY, KEY_ID, Faulty, Script, bucket_at, faulty
from recording.serving import reading, until
from recording.signatures import sigv4
from support.liveman import liveman

PATH = "cam 1/ü/v_seg_0001.m4s"
URL = "cam%201/%C3%BC/v_seg_0001.m4s"
OBJECT = f"/api/record/object/{URL}"
SIZE = 64 * 1024 * 1024


@asynccontextmanager
async def scene(reply: bytes | Script, **playback: object) -> AsyncIterator[tuple[ClientSession, Faulty]]:
    """Liveman in front of a bucket's server that says this."""
    async with faulty(reply) as server:
        sections = {
            "recorder": Recorder(storage=bucket_at(server.url, root="pre")),
            "playback": Playback(**playback),  # type: ignore[arg-type]
        }
        async with liveman(**sections) as url, ClientSession(url) as client:
            yield client, server


def says(status: str, *lines: str, body: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *lines, "Connection: close", "", ""]
    return "\r\n".join(head).encode() + body


FINE = says("200 OK", 'ETag: "t"', "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", body=b"recorded")


async def test_its_server_is_asked_once_and_only_what_concerns_it() -> None:
    """By a URL that is signed, with the range and the conditions, without who asks and what for."""
    async with scene(FINE) as (client, server):
        headers = {
            "Range": "bytes=5-",
            "If-None-Match": '"a", "b"',
            "Authorization": "Bearer secret-token",
            "Cookie": "liveman=secret-cookie",
            "Accept-Encoding": "gzip",
            "Referer": "https://player.example/",
            "X-Amz-Meta-A": "b",
        }
        async with client.get(OBJECT, headers=headers) as answer:
            assert (answer.status, await answer.read()) == (200, b"recorded")
        (head,) = server.heads
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    assert sigv4(method, server.url + target, key=KEY, region="eu-west-1") == ""
    assert urlsplit(target).path == f"/recordings/pre/{URL}"
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert fields == {
        "host": server.url.removeprefix("http://"),
        "range": "bytes=5-",
        "if-none-match": '"a", "b"',
        "accept-encoding": "identity",
    }


async def test_what_it_adds_about_itself_is_not_passed_on() -> None:
    reply = says(
        "200 OK",
        'ETag: "t"',
        "Server: AmazonS3",
        "x-amz-id-2: internal",
        "Content-Type: text/html",
        "Content-Encoding: gzip",
        "Set-Cookie: a=b",
        "Access-Control-Allow-Origin: https://other.example",
        "Cache-Control: no-store",
        body=b"zipped",
    )
    async with scene(reply) as (client, _), client.get(OBJECT, auto_decompress=False) as answer:  # type: ignore[call-arg]
        names = {name.lower() for name in answer.headers}
        assert answer.headers["Content-Type"] == "video/mp4"
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Cache-Control"] == "max-age=31536000, immutable"
    assert not names & {"server", "x-amz-id-2", "set-cookie", "access-control-allow-origin"}


@pytest.mark.parametrize(
    ("reply", "status", "tries"),
    [
        (says("503 Slow Down"), 503, 3),
        (says("500 Internal Server Error"), 503, 3),
        (says("429 Too Many"), 503, 3),
        (b"", 503, 6),  # The client asks once more by itself each time.
        (b"nonsense\r\n\r\n", 503, 3),
        (says("404 Not Found", body=b"<Code>NoSuchKey</Code>"), 404, 1),
        (says("403 Forbidden", body=f"<Code>SignatureDoesNotMatch</Code>{KEY_ID}".encode()), 502, 1),
        (says("400 Bad Request"), 502, 1),
        (says("301 Moved Permanently", "Location: http://127.0.0.1:1/"), 502, 1),
        (says("302 Found", "Location: file:///etc/passwd"), 502, 1),
        (says("204 No Content"), 502, 1),
    ],
    ids=["503", "500", "429", "closed", "nonsense", "404", "403", "400", "301", "302", "204"],
)
async def test_what_fails_before_the_first_byte_is_a_problem(reply: bytes, status: int, tries: int) -> None:
    """Tried again where that may help; no redirect is followed, and nothing of the signature is told."""
    async with scene(reply) as (client, server):
        async with client.get(OBJECT) as answer:
            body = await answer.text()
            assert answer.status == status
            assert answer.content_type == "application/problem+json"
        assert len(server.heads) == tries
    assert KEY not in body and KEY_ID not in body and "Signature" not in body and "X-Amz" not in body


async def test_a_server_that_is_gone_is_503() -> None:
    async with faulty(b"") as server:
        pass
    async with liveman(recorder=Recorder(storage=bucket_at(server.url))) as url, ClientSession(url) as client:
        async with client.get(OBJECT) as answer:
            assert answer.status == 503
        async with client.head(OBJECT) as answer:
            assert answer.status == 503
        async with client.get("/api/storage/ping") as answer:
            assert answer.status == 503


async def test_a_server_that_is_better_again_is_no_failure() -> None:
    async def reply(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(FINE if len(server.heads) == 3 else says("503 Slow Down"))
        await writer.drain()

    async with scene(reply) as (client, server):
        async with client.get(OBJECT) as answer:
            assert (answer.status, await answer.read()) == (200, b"recorded")


async def test_a_server_that_hangs_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_READ_SECONDS", 0.3)
    monkeypatch.setattr(bucket, "CALL_SECONDS", 0.3)

    async def hang(head: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with scene(hang) as (client, _):
        for method in ("GET", "HEAD"):
            async with client.request(method, OBJECT) as answer:
                assert answer.status == 504


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_server_that_breaks_off_cuts_the_answer(hangs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes what came for the whole."""
    monkeypatch.setattr(fetch, "_READ_SECONDS", 0.3)

    async def reply(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(says("200 OK", length=1000, body=b"x" * 500))
        await writer.drain()
        if hangs:
            await asyncio.sleep(5)

    async with scene(reply) as (client, server):
        async with reading(str(client._base_url), URL) as reader:
            assert (reader.status, reader.length) == (200, 1000)
            assert await reader.rest() == b"x" * 500
        assert len(server.heads) == 1


@pytest.mark.parametrize(
    "part",
    [
        says("412 Precondition Failed"),
        says("200 OK", body=b"x" * 1000),
        says("206 Partial Content", "Content-Range: bytes 0-9/999", body=b"x" * 10),
        says("503 Slow Down"),
    ],
    ids=["412", "whole", "other size", "503"],
)
async def test_parts_of_two_versions_are_not_mixed(part: bytes) -> None:
    """An object that changes between two parts cuts the answer."""

    async def reply(head: str, writer: asyncio.StreamWriter) -> None:
        if head.startswith("HEAD"):
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "t"\r\nConnection: close\r\n\r\n')
        elif "bytes=0-9\r\n" in head:
            writer.write(says("206 Partial Content", "Content-Range: bytes 0-9/1000", body=b"y" * 10))
        else:
            writer.write(part)
        await writer.drain()

    async with scene(reply) as (client, server):
        async with reading(str(client._base_url), URL, "Range: bytes=0-9,500-509") as reader:
            assert reader.status == 206
            body = await reader.rest()
        assert all('If-Match: "t"\r\n' in each for each in server.heads if each.startswith("GET"))
    assert len(body) < reader.length
    assert b"HTTP/1.1" not in body
    assert b"x" not in body.replace(b"multipart/byteranges", b"")


async def endless(head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(says("200 OK", 'ETag: "t"', length=SIZE))
    for _ in range(SIZE // 65536):
        writer.write(b"x" * 65536)
        await writer.drain()
        sent.append(65536)


sent: list[int] = []


async def test_a_slow_client_slows_the_server_down() -> None:
    """What is not taken is not fetched, and comes whole in the end."""
    sent.clear()
    async with scene(endless) as (client, _):
        async with reading(str(client._base_url), URL, room=4096) as reader:
            before = -1
            while before < len(sent):  # Until nothing moves any more.
                before = len(sent)
                await asyncio.sleep(0.2)
            assert sum(sent) < SIZE // 2
            assert len(await reader.rest()) == SIZE


async def test_a_client_that_leaves_ends_the_fetching() -> None:
    sent.clear()
    async with scene(endless) as (client, server):
        async with reading(str(client._base_url), URL, room=4096) as reader:
            await reader.some(1000)
        await until(lambda: server.closed == 1)
    assert sum(sent) < SIZE


async def test_an_object_without_a_length_comes_in_chunks() -> None:
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with scene(reply) as (client, _), client.get(OBJECT) as answer:
        assert await answer.read() == b"abc"


# Redirects.


async def test_players_are_sent_to_the_bucket_where_that_is_wanted() -> None:
    """By a URL that is signed for as long as was said; who keeps the answer keeps it for less."""
    async with scene(FINE, signed_redirect=True, signed_ttl_seconds=100) as (client, server):
        async with client.get(OBJECT, allow_redirects=False) as answer:
            assert answer.status == 307
            assert answer.headers["Cache-Control"] == "private, max-age=50"
            where = answer.headers["Location"]
        assert server.heads == []
    assert where.startswith(f"{server.url}/recordings/pre/{URL}?")
    for after, said in ((0, ""), (95, ""), (102, "expired")):
        assert sigv4("GET", where, key=KEY, region="eu-west-1", now=time.time() + after) == said


async def test_manifests_and_heads_are_not_redirected() -> None:
    """A manifest's relative names would lead to the bucket, where they are not signed."""
    async with scene(FINE, signed_redirect=True) as (client, _):
        async with client.get("/api/record/object/cam/manifest.mpd", allow_redirects=False) as answer:
            assert (answer.status, await answer.read()) == (200, b"recorded")
        async with client.head(OBJECT, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, "8")
        async with client.get("/api/record/object/..%2fx", allow_redirects=False) as answer:
            assert answer.status == 404
