"""Which requests are plain: read alike by every parser, so that no server need be asked how it reads them."""

import asyncio
from itertools import pairwise

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from liveman.plain import MAX_BODY, MAX_HEAD, MAX_LINES, Plain, recognise

POST = b"POST /whip/cam HTTP/1.1\r\nHost: live.example\r\n"
BIG = b"x" * MAX_BODY

PLAIN = [
    ("an offer", POST + b"Content-Length: 3\r\n\r\nv=0", "POST", "/whip/cam", "", b"v=0"),
    ("no body", b"DELETE /session/a/b HTTP/1.1\r\nHost: h\r\n\r\n", "DELETE", "/session/a/b", "", None),
    ("an empty body", POST + b"Content-Length: 0\r\n\r\n", "POST", "/whip/cam", "", b""),
    ("a query", b"GET /whip/a?b=c%20d HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "/whip/a", "b=c%20d", None),
    ("an empty query", b"GET /whip/a? HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "/whip/a", "", None),
    ("escapes", b"GET /whip/%41%2f HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "/whip/%41%2f", "", None),
    ("an empty host", b"GET /whip/a HTTP/1.1\r\nHost:\r\n\r\n", "GET", "/whip/a", "", None),
    ("an IPv6 host", b"GET /whip/a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET", "/whip/a", "", None),
    ("white space", b"GET /whip/a HTTP/1.1\r\nHost: \t h \t\r\nX:\t\r\n\r\n", "GET", "/whip/a", "", None),
    ("a long body", POST + b"Content-Length: 65536\r\n\r\n" + BIG, "POST", "/whip/cam", "", BIG),
]

OTHER = [
    ("another method", b"PUT /whip/a HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a method in lower case", b"get /whip/a HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("HTTP/1.0", b"GET /whip/a HTTP/1.0\r\nHost: h\r\n\r\n"),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\n"),
    ("an absolute target", b"GET http://h/whip/a HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("an asterisk", b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a fragment", b"GET /whip/a#b HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a fragment in the query", b"GET /whip/a?b#c HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("two spaces", b"GET  /whip/a HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("a target beyond ASCII", b"GET /whip/\xc3\xbc HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("no host", b"GET /whip/a HTTP/1.1\r\nA: b\r\n\r\n"),
    ("no fields at all", b"GET /whip/a HTTP/1.1\r\n\r\n"),
    ("two hosts", b"GET /whip/a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
    ("a host that is none", b"GET /whip/a HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("chunks", POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks and a length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("an expectation", POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"),
    ("an upgrade", POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    ("a connection that names a field", POST + b"Connection: close, X\r\n\r\n"),
    ("any field twice", POST + b"X: 1\r\nx: 1\r\n\r\n"),
    ("two lengths", POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
    ("a signed length", POST + b"Content-Length: +1\r\n\r\nx"),
    ("a list of lengths", POST + b"Content-Length: 1, 1\r\n\r\nx"),
    ("an empty length", POST + b"Content-Length:\r\n\r\n"),
    ("a body over 64 KiB", POST + b"Content-Length: 65537\r\n\r\n"),
    ("an endless length", POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    ("a name that poses", POST + b"Content_Length: 1\r\n\r\nx"),
    ("a name with a space", POST + b"A b: c\r\n\r\n"),
    ("a space before the colon", POST + b"A : c\r\n\r\n"),
    ("an empty name", POST + b": c\r\n\r\n"),
    ("a folded line", POST + b"A: b\r\n c\r\n\r\n"),
    ("a bare line feed", POST + b"A: b\nB: c\r\n\r\n"),
    ("a bare carriage return", POST + b"A: b\rB: c\r\n\r\n"),
    ("NUL", POST + b"A: b\0c\r\n\r\n"),
    ("a value beyond ASCII", POST + b"A: \xc3\xbc\r\n\r\n"),
    ("an empty line first", b"\r\n\r\n" + POST + b"\r\n"),
    ("many lines", POST + b"".join(b"X-%d: y\r\n" % i for i in range(MAX_LINES)) + b"\r\n"),
    ("a long head", POST + b"X: " + b"a" * MAX_HEAD + b"\r\n\r\n"),
    ("a long head without end", POST + b"X: " + b"a" * MAX_HEAD),
]


@pytest.mark.parametrize(
    ("data", "method", "path", "query", "body"), [row[1:] for row in PLAIN], ids=[row[0] for row in PLAIN]
)
def test_a_plain_request_is_read_whole_and_what_follows_is_left(data, method, path, query, body) -> None:
    for rest in (b"", b"GET /next"):
        found = recognise(data + rest)
        assert isinstance(found, Plain)
        assert (found.method, found.path, found.query, found.body) == (method, path, query, body)
        assert found.size == len(data)


@pytest.mark.parametrize("data", [row[1] for row in OTHER], ids=[row[0] for row in OTHER])
def test_everything_else_is_left_to_aiohttp(data: bytes) -> None:
    assert recognise(data) == "other"


@pytest.mark.parametrize("data", [row[1] for row in PLAIN], ids=[row[0] for row in PLAIN])
def test_a_request_that_is_not_there_whole_is_waited_for(data: bytes) -> None:
    assert all(recognise(data[:size]) == "more" for size in {0, 1, 20, len(data) - 1})


def test_fields_keep_their_order_and_case() -> None:
    found = recognise(POST + b"x-B: 1\r\nA:  two words \r\nConnection: Close\r\n\r\n")
    assert isinstance(found, Plain)
    assert found.fields == [
        (b"Host", b"live.example"),
        (b"x-B", b"1"),
        (b"A", b"two words"),
        (b"Connection", b"Close"),
    ]
    assert found.named[b"x-b"] == b"1"
    assert not found.keeps


#: Pieces of which requests are made that are often plain, and often nearly so.
LINES = [
    b"Host: h\r\n",
    b"Content-Length: 3\r\n",
    b"content-length:3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: close\r\n",
    b"X-Odd: \x0b\r\n",
    b"X: y \t\r\n",
    b"X;: y\r\n",
    b" folded\r\n",
    b"Expect: 100-continue\r\n",
]


@given(
    st.sampled_from([b"GET", b"POST", b"PATCH", b"PUT", b"QUIT"]),
    st.sampled_from([b"/whip/a", b"/whip/a?b=c", b"/a%zz", b"//a", b"/a b", b"*", b"http://h/a"]),
    st.lists(st.sampled_from(LINES), max_size=5),
    st.binary(max_size=6),
    st.one_of(st.none(), st.tuples(st.integers(0, 80), st.binary(min_size=1, max_size=2))),
)
@example(b"POST", b"/whip/a", [LINES[0], LINES[1]], b"v=0", None)
def test_aiohttp_reads_every_plain_request_alike(method, target, lines, body, change) -> None:
    """Whatever is taken for plain, aiohttp's parser takes for one request with the same parts."""
    data = method + b" " + target + b" HTTP/1.1\r\n" + b"".join(lines) + b"\r\n" + body
    if change is not None:
        at, put = change
        data = data[:at] + put + data[at + len(put) :]
    found = recognise(data)
    if not isinstance(found, Plain):
        return
    messages = aiohttp_reads(data[: found.size])
    assert len(messages) == 1
    message, payload = messages[0]
    assert (message.method, message.path) == (
        found.method,
        found.path + ("?" + found.query if b"?" in data.split(b" ")[1] else ""),
    )
    assert list(message.raw_headers) == list(found.fields)
    assert message.should_close is not found.keeps
    assert payload == (found.body or b"")


def aiohttp_reads(data: bytes) -> list:
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, max_line_size=65536, max_field_size=65536)
        messages, upgraded, rest = parser.feed_data(data)
        assert not upgraded
        assert not rest
        return [
            (message, b"".join(piece for piece in getattr(payload, "_buffer", ())))
            for message, payload in messages
        ]
    except HttpProcessingError as error:
        raise AssertionError(f"aiohttp refuses {data!r}") from error
    finally:
        loop.close()


@given(st.sampled_from(PLAIN[:9]), st.data())
def test_the_cuts_between_pieces_change_nothing(row, data) -> None:
    raw = row[1]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=8)) | {0, len(raw)})
    held = b""
    for start, end in pairwise(cuts):
        held += raw[start:end]
        found = recognise(held)
        assert found == "more" if len(held) < len(raw) else isinstance(found, Plain)
