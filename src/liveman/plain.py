"""Recognises the plain requests: those that every parser of HTTP/1.1 reads alike (RFC 9112).

Nothing is repaired and nothing refused here. What is not plain may still be right, and goes to aiohttp.
"""

import re
from typing import Literal

from attrs import define

from liveman.inbound import Fields
from liveman.paths import is_host

__all__ = ["MAX_BODY", "MAX_HEAD", "Plain", "recognise"]

MAX_HEAD = 16 * 1024
MAX_LINES = 64
#: Longer bodies stream.
MAX_BODY = 64 * 1024

# No two parts can take the same character at one place, so a mismatch costs linear time. Names have no "_",
# with which one could pose as another.
_HEAD = re.compile(
    rb"(GET|HEAD|POST|PATCH|DELETE|OPTIONS) "
    rb'(/[!"$->@-~]*)(?:\?([!"$-~]*))? HTTP/1\.1\r\n'
    rb"((?:[!#$%&'*+.^`|~0-9A-Za-z-]++:[\t -~]*+\r\n)++)\r\n"
)
_FIELDS = re.compile(rb"([^:]+):[ \t]*(.*)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,5}")
#: Fields that change how a message is read, or want an answer of their own.
_MEANINGFUL = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"trailer"))


@define
class Plain:
    """One request, whole."""

    method: str
    path: str
    query: str
    fields: Fields
    named: dict[bytes, bytes]
    """The same by lower-case name; none is repeated."""
    body: bytes | None
    """None: it has no Content-Length."""
    size: int
    """Of the whole request on the wire, bytes."""
    keeps: bool
    """Whether the connection goes on after it."""


def recognise(data: bytes) -> Plain | Literal["more", "other"]:
    """The request at the beginning of the data; ``more``: it may be plain once more has come."""
    match = _HEAD.match(data)
    if match is None:
        return "other" if len(data) > MAX_HEAD or b"\r\n\r\n" in data else "more"
    head_size = match.end()
    method, path, query, lines = match.groups()
    fields = [(name, value.rstrip(b" \t")) for name, value in _FIELDS.findall(lines)]
    named = {name.lower(): value for name, value in fields}
    if len(named) != len(fields) or len(fields) > MAX_LINES or head_size > MAX_HEAD:
        return "other"
    connection = named.get(b"connection", b"").lower()
    if connection not in (b"", b"keep-alive", b"close") or not _MEANINGFUL.isdisjoint(named):
        return "other"
    host = named.get(b"host")
    if host is None or not is_host(host.decode()):
        return "other"
    length = named.get(b"content-length")
    body = None
    size = head_size
    if length is not None:
        if not _LENGTH.fullmatch(length) or int(length) > MAX_BODY:
            return "other"
        size += int(length)
        if len(data) < size:
            return "more"
        body = data[head_size:size]
    return Plain(
        method.decode(),
        path.decode(),
        (query or b"").decode(),
        fields,
        named,
        body,
        size,
        connection != b"close",
    )
