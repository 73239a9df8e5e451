"""The bytes that go to a node, and which answers of a node can be used."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.errors import NodeError
from liveman.proxy.http1 import AnswerReader, build_chunk, build_head

OK = b"HTTP/1.1 200 OK\r\n"

#: name, method, bytes (then the connection closes), status, body, whether the connection can be used again
GOOD = [
    ("a length", "GET", OK + b"Content-Length: 2\r\n\r\nhi", 200, b"hi", True),
    (
        "chunks",
        "GET",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n",
        200,
        b"hi!",
        True,
    ),
    (
        "trailers",
        "GET",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: x\r\n\r\n",
        200,
        b"hi",
        True,
    ),
    ("until the end", "GET", OK + b"\r\ntill the end", 200, b"till the end", False),
    ("HTTP/1.0", "GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    ("told to close", "GET", OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    ("an empty reason", "GET", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True),
    ("an empty value", "GET", OK + b"X:\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    ("204", "DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    ("204 with a length", "GET", b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nhi", 204, b"", False),
    (
        "204 in chunks",
        "GET",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        204,
        b"",
        False,
    ),
    ("304 with a length", "GET", b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\n", 304, b"", True),
    ("HEAD", "HEAD", OK + b"Content-Length: 2\r\n\r\n", 200, b"", False),
    (
        "informational ones before",
        "GET",
        b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nhi",
        200,
        b"hi",
        True,
    ),
    ("256 lines", "GET", OK + b"X: y\r\n" * 255 + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    (
        "a line of 16 KiB",
        "GET",
        OK + b"X: " + b"a" * 16384 + b"\r\nContent-Length: 0\r\n\r\n",
        200,
        b"",
        True,
    ),
]

BAD = [
    ("nothing", b""),
    ("garbage", b"garbage\r\n\r\n"),
    ("HTML", b"<html><body>Welcome</body></html>"),
    ("an early end of the head", OK + b"Content-Le"),
    ("an early end of the body", OK + b"Content-Length: 5\r\n\r\nhi"),
    ("an early end of a chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhi"),
    ("no last chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"),
    ("a broken chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n"),
    ("a signed chunk size", OK + b"Transfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n"),
    ("bytes after the end", OK + b"Content-Length: 2\r\n\r\nhiextra"),
    ("bytes after the last chunk", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore"),
    ("a second answer", OK + b"Content-Length: 0\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n"),
    ("equal lengths", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
    ("other lengths", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi"),
    ("a list of lengths", OK + b"Content-Length: 2, 2\r\n\r\nhi"),
    ("a negative length", OK + b"Content-Length: -2\r\n\r\nhi"),
    ("a signed length", OK + b"Content-Length: +2\r\n\r\nhi"),
    ("a length in hexadecimal", OK + b"Content-Length: 0x2\r\n\r\nhi"),
    ("a length of 5000 digits", OK + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\nhi"),
    ("a status below 100", b"HTTP/1.1 099 Evil\r\nContent-Length: 5\r\n\r\nEVIL!" + OK + b"\r\n"),
    (
        "an endless trailer",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n" + b"X: y\r\n" * 12_000 + b"\r\n",
    ),
    ("an endless length", OK + b"Content-Length: 99999999999999999999999\r\n\r\nhi"),
    ("a length and chunks", OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two codings", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("another coding", OK + b"Transfer-Encoding: gzip\r\n\r\nhi"),
    ("a folded line", OK + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi"),
    ("bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"),
    ("a name with a space", OK + b"A b: c\r\nContent-Length: 0\r\n\r\n"),
    ("an empty name", OK + b": c\r\nContent-Length: 0\r\n\r\n"),
    ("NUL in a value", OK + b"A: b\0c\r\nContent-Length: 0\r\n\r\n"),
    ("another protocol", b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("101 without a word", b"HTTP/1.1 101 Switch\r\n\r\n"),
    ("257 lines", OK + b"X: y\r\n" * 256 + b"Content-Length: 0\r\n\r\n"),
    ("a head over 64 KiB", OK + b"X: " + b"a" * 66000 + b"\r\nContent-Length: 0\r\n\r\n"),
    ("a head without end", OK + b"X: " + b"a" * 200_000),
]


def read(method: str, pieces: list[bytes]) -> tuple[AnswerReader, bytes]:
    reader = AnswerReader(method)
    body = b""
    for piece in pieces:
        reader.feed(piece)
        body += reader.take_body()
    if not reader.done:
        reader.eof()
    return reader, body + reader.take_body()


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("split", [lambda data: [data], bytewise], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    ("method", "data", "status", "body", "reusable"), [r[1:] for r in GOOD], ids=[r[0] for r in GOOD]
)
def test_a_good_answer_is_read_however_it_is_cut(method, data, status, body, reusable, split) -> None:
    reader, got = read(method, split(data))
    assert (reader.status, got, reader.done, reader.reusable) == (status, body, True, reusable)


@pytest.mark.parametrize("split", [lambda data: [data], bytewise], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("data", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_answer_is_never_taken_for_a_whole_one(data, split) -> None:
    with pytest.raises(NodeError) as caught:
        reader, _ = read("GET", split(data))
        # What comes after the end may come when the answer was read already.
        reader.feed(b"")
    assert caught.value.status == 502


@given(st.sampled_from(GOOD), st.data())
def test_the_cuts_between_pieces_change_nothing(row, data) -> None:
    _, method, raw, status, body, _ = row
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=12)) | {0, len(raw)})
    reader, got = read(method, [raw[a:b] for a, b in pairwise(cuts)])
    assert (reader.status, got) == (status, body)


def test_a_request_keeps_the_order_and_case_of_its_fields() -> None:
    head = build_head(
        "POST", "/whip/a%41", b"node:7777", [(b"x-B", b"1"), (b"A", b""), (b"x-b", b"\xc3\xbc")]
    )
    assert head == b"POST /whip/a%41 HTTP/1.1\r\nHost: node:7777\r\nx-B: 1\r\nA: \r\nx-b: \xc3\xbc\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/a b", (b"A", b"b")),
        ("/a\r\nX: y", (b"A", b"b")),
        ("http://evil/", (b"A", b"b")),
        ("", (b"A", b"b")),
        ("/a", (b"A b", b"c")),
        ("/a", (b"A:", b"c")),
        ("/a", (b"", b"c")),
        ("/a", (b"A", b"b\r\nX: y")),
        ("/a", (b"A", b"b\nX: y")),
        ("/a", (b"A", b"b\0c")),
    ],
)
def test_nothing_that_would_make_two_requests_of_one_is_written(target, field) -> None:
    with pytest.raises(ValueError, match="would break"):
        build_head("GET", target, b"node", [field])


def test_a_chunk_carries_its_size_in_hexadecimal() -> None:
    assert build_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
