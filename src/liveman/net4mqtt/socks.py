"""SOCKS5 (RFC 1928) as this listener speaks it: no authentication, CONNECT alone. Bytes in, values out.

Each parser returns None while bytes are missing, else the value and how many bytes it took. What cannot be
served raises SocksError with the answer to send before closing.
"""

import ipaddress

from attrs import frozen

__all__ = [
    "ACCEPTED",
    "ADDRESS_NOT_SUPPORTED",
    "COMMAND_NOT_SUPPORTED",
    "GENERAL_FAILURE",
    "HOST_UNREACHABLE",
    "NOT_ALLOWED",
    "SUCCEEDED",
    "Request",
    "SocksError",
    "parse_greeting",
    "parse_request",
    "reply",
]

#: Replies (section 6).
SUCCEEDED = 0
GENERAL_FAILURE = 1
NOT_ALLOWED = 2
HOST_UNREACHABLE = 4
COMMAND_NOT_SUPPORTED = 7
ADDRESS_NOT_SUPPORTED = 8

#: The answer to a greeting: "no authentication required" (section 3).
ACCEPTED = b"\x05\x00"

_NO_METHOD = b"\x05\xff"
_CONNECT = 1
_IPV4, _DOMAIN, _IPV6 = 1, 3, 4


class SocksError(ValueError):
    """The client asks for what it does not get."""

    def __init__(self, problem: str, answer: bytes) -> None:
        """``answer``: what it is told; empty: it does not speak SOCKS5, so nothing."""
        self.answer = answer
        super().__init__(problem)


@frozen
class Request:
    """Where a client wants to be connected to."""

    host: str
    """A name in lower case without a final dot, or an IP address."""
    port: int
    is_name: bool


def reply(code: int) -> bytes:
    """The answer to a request. The address that is bound means nothing here."""
    return bytes((5, code, 0, _IPV4, 0, 0, 0, 0, 0, 0))


def parse_greeting(data: bytes | bytearray) -> int | None:
    """The length of a greeting that offers to go on without authentication."""
    if data and data[0] != 5:
        raise SocksError("it does not speak SOCKS version 5", b"")
    if len(data) < 2 or len(data) < 2 + data[1]:
        return None
    length = 2 + data[1]
    if 0 not in data[2:length]:
        raise SocksError("it insists on authentication", _NO_METHOD)
    return length


def parse_request(data: bytes) -> tuple[Request, int] | None:
    """A request to CONNECT, and its length."""
    if data and data[0] != 5:
        raise SocksError("its request is not of SOCKS version 5", reply(GENERAL_FAILURE))
    if len(data) < 5:
        return None
    kind = data[3]
    if kind not in (_IPV4, _DOMAIN, _IPV6):
        raise SocksError("its address is of an unknown type", reply(ADDRESS_NOT_SUPPORTED))
    begin = 5 if kind == _DOMAIN else 4
    end = begin + {_IPV4: 4, _IPV6: 16, _DOMAIN: data[4]}[kind]
    if len(data) < end + 2:
        return None
    if data[1] != _CONNECT:
        raise SocksError("it asks for another command than CONNECT", reply(COMMAND_NOT_SUPPORTED))
    address, port = data[begin:end], int.from_bytes(data[end : end + 2], "big")
    if kind != _DOMAIN:
        return Request(str(ipaddress.ip_address(address)), port, is_name=False), end + 2
    host = address.decode("utf-8", "replace").lower().removesuffix(".")
    if not host or not host.isprintable() or "\ufffd" in host:
        raise SocksError("its host is no name", reply(GENERAL_FAILURE))
    return Request(host, port, is_name=True), end + 2
