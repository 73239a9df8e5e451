"""SOCKS5 as the listener speaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.net4mqtt.socks import Request, SocksError, parse_greeting, parse_request, reply

REQUESTS: list[tuple[bytes, Request]] = [
    (b"\x05\x01\x00\x03\x04host\x1f\x90", Request("host", 8080, is_name=True)),
    (b"\x05\x01\x00\x03\x0aNODE.Local\x00\x50", Request("node.local", 80, is_name=True)),
    (b"\x05\x01\x00\x03\x05host.\x00\x50", Request("host", 80, is_name=True)),
    (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", Request("127.0.0.1", 80, is_name=False)),
    (b"\x05\x01\x00\x04" + bytes(15) + b"\x01\xff\xff", Request("::1", 65535, is_name=False)),
]


@pytest.mark.parametrize(("data", "request_"), REQUESTS)
def test_a_request_is_read_once_it_is_whole(data: bytes, request_: Request) -> None:
    """And what comes after it is left alone."""
    for length in range(len(data)):
        assert parse_request(data[:length]) is None
    assert parse_request(data) == (request_, len(data))
    assert parse_request(data + b"GET /") == (request_, len(data))


@pytest.mark.parametrize("data", [b"\x05\x01\x00", b"\x05\x02\x02\x00", b"\x05\xff" + bytes(255)])
def test_a_greeting_without_authentication_is_accepted_once_it_is_whole(data: bytes) -> None:
    for length in range(len(data)):
        assert parse_greeting(data[:length]) is None
    assert parse_greeting(data + b"more") == len(data)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (b"\x05\x02\x01\x80", b"\x05\xff"),
        (b"\x04\x01\x00\x50", b""),
        (b"GET / HTTP/1.1\r\n", b""),
        (b"\x16\x03\x01", b""),
    ],
)
def test_another_greeting_is_refused(data: bytes, answer: bytes) -> None:
    with pytest.raises(SocksError) as caught:
        parse_greeting(data)
    assert caught.value.answer == answer


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x05\x02\x00\x03\x04host\x00\x50", 7),  # BIND
        (b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", 7),  # UDP ASSOCIATE
        (b"\x05\x09\x00\x03\x04host\x00\x50", 7),
        (b"\x05\x01\x00\x02\x04host\x00\x50", 8),
        (b"\x05\x01\x00\x03\x00\x00\x50", 1),
        (b"\x05\x01\x00\x03\x01.\x00\x50", 1),
        (b"\x05\x01\x00\x03\x02\xff\xfe\x00\x50", 1),
        (b"\x05\x01\x00\x03\x03a\r\n\x00\x50", 1),
        (b"\x04\x01\x00\x50", 1),
    ],
)
def test_another_request_is_refused_with_the_reason(data: bytes, code: int) -> None:
    with pytest.raises(SocksError) as caught:
        parse_request(data)
    assert caught.value.answer == reply(code)
    assert len(reply(code)) == 10


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: b"\x05" + rest))
def test_no_bytes_upset_the_parsers(data: bytes) -> None:
    for parse in (parse_greeting, parse_request):
        try:
            parse(data)
        except SocksError as error:
            assert error.answer in (b"", b"\x05\xff") or len(error.answer) == 10
