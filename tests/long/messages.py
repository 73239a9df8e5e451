"""HTTP/1.1 messages read by the letter of RFC 9112, without any library; and how to spoil them."""

import random
import re
from collections.abc import Callable, Sequence

from attrs import frozen

__all__ = ["Broken", "Message", "Unsure", "mutated", "read_answer", "read_answers", "read_requests"]

_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[^\x00-\x1f\x7f]|\t)*?)[ \t]*")
#: More than one space is what RFC 9112 section 3 lets recipients accept.
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ +[^\x00-\x20\x7f]+ +HTTP/1\.[01]")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: (?:[^\x00-\x1f\x7f]|\t)*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;(?:[^\x00-\x1f\x7f]|\t)*)?")
_LOOSE_END = re.compile(rb"\n\r?\n|\r\r")


class Broken(Exception):
    """Nobody may take this for a whole message."""


class Unsure(Exception):
    """Against the letter, but there are recipients that repair it."""


@frozen
class Message:
    """One message and what stood behind it."""

    start: bytes
    """The request line or status line."""
    fields: tuple[tuple[str, bytes], ...]
    """Names in lower case."""
    body: bytes
    rest: bytes
    until_close: bool = False
    """Whether only the end of the connection ends it."""

    @property
    def method(self) -> str:
        return self.start.split()[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.start.split()[1].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.start.split()[1])

    def values(self, name: str) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


def read_requests(data: bytes) -> list[Message]:
    """The well-formed requests at the beginning, up to the first that is not, or that ends the connection."""
    found: list[Message] = []
    while True:
        try:
            request = _read(data.lstrip(b"\r\n"), _REQUEST_LINE)
        except (Broken, Unsure):
            return found
        found.append(request)
        tokens = b",".join(request.values("connection")).lower().replace(b" ", b"").split(b",")
        if b"close" in tokens or request.start.endswith(b" HTTP/1.0"):
            return found
        data = request.rest


def read_answer(data: bytes) -> Message:
    """The final answer at the beginning; informational ones are skipped. Raises Broken, Unsure."""
    while True:
        answer = _read(data, _STATUS_LINE)
        if answer.status >= 200 or answer.status == 101:
            return answer
        data = answer.rest


def read_answers(data: bytes) -> list[Message]:
    """The final answers that these bytes are, to the last byte. Raises Broken, Unsure."""
    found = []
    while data:
        answer = read_answer(data)
        found.append(answer)
        data = answer.rest
    return found


def _read(data: bytes, start_line: re.Pattern[bytes]) -> Message:
    head, end, rest = data.partition(b"\r\n\r\n")
    if _LOOSE_END.search(head):
        raise Unsure("lines that end in another way")
    if not end:
        raise Broken("no end of the head")
    start, *lines = head.split(b"\r\n")
    matches = [_FIELD.fullmatch(line) for line in lines]
    if not start_line.fullmatch(start) or None in matches:
        raise Unsure("a line of the head")
    fields = tuple((match[1].decode().lower(), match[2]) for match in matches if match)
    message = Message(start, fields, b"", rest)
    lengths, codings = message.values("content-length"), message.values("transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Unsure("the length is said twice")
    if codings and (codings[0].lower() != b"chunked" or start.endswith(b" HTTP/1.0")):
        raise Unsure("a transfer coding")
    if lengths and not re.fullmatch(rb"[0-9]{1,15}", lengths[0]):
        raise Unsure("the length")
    is_answer = start_line is _STATUS_LINE
    if is_answer and (message.status < 200 or message.status in (204, 304)):
        return message
    if codings:
        body, rest = _read_chunks(rest)
        return Message(start, fields, body, rest)
    if lengths:
        length = int(lengths[0])
        if len(rest) < length:
            raise Broken("half a body")
        return Message(start, fields, rest[:length], rest[length:])
    if is_answer:
        return Message(start, fields, rest, b"", until_close=True)
    return message


def _read_chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        match = _CHUNK.fullmatch(line)
        if match is None:
            # A size with something behind it is what some recipients repair.
            raise (Unsure if re.match(rb"[ \t]*[0-9A-Fa-f]", line) and end else Broken)("a chunk's size")
        if not end:
            raise Broken("half a chunk")
        size = int(match[1], 16)
        if not size:
            break
        if len(data) < size + 2:
            raise Broken("half a chunk")
        body += data[:size]
        if data[size : size + 2] != b"\r\n":
            raise (Unsure if data[size : size + 1] in b"\r\n" else Broken)("a chunk's end")
        data = data[size + 2 :]
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            raise Broken("no end of the chunks")
        if not line:
            return body, data
        if not _FIELD.fullmatch(line):
            raise Unsure("a trailer")


_MORSELS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b"\t", b" ", b":", b";", b",", b'"', b"%", b"%00", b"%0d%0a"),
    *(b"\x7f", b"\xff", b"\xc3\xbc", b"\xed\xa0\x80", b"..", b"/", b"/../", b"\\", b"?", b"#", b"-1", b"+"),
    *(b"0\r\n\r\n", b"5\r\nv=0\r\n\r\n", b"ffffffffffffffff\r\n", b"0x5\r\n", b"5;a=b\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: -1\r\n", b"Content-Length:\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Content_Length: 1\r\n"),
    *(
        b"Host: y\r\n",
        b"X-A: b\r\n",
        b" folded\r\n",
        b"Connection: close, x-a\r\n",
        b"Upgrade: websocket\r\n",
    ),
    *(b"Connection: upgrade\r\n", b"Content-Encoding: gzip\r\n", b"Expect: 100-continue\r\n"),
    *(b"Content-Type: text/event-stream\r\n", b"Location: /session/a/b\r\n", b"Location: ..\r\n"),
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b" 204 ", b" 101 ", b" 999 "),
    *(b"POST /whip/evil HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
)


def mutated(data: bytes, corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """The same bytes with none to four things done to them, mostly in the head."""

    def after_line(d: bytes, i: int) -> bytes:
        end = d.find(b"\n", i) + 1
        return d[:end] + chance.choice(_MORSELS) + d[end:]

    def line_twice(d: bytes, i: int) -> bytes:
        start, end = d.rfind(b"\n", 0, i) + 1, d.find(b"\n", i) + 1
        return d[:end] + d[start:end] + d[end:] if end else d

    def line_away(d: bytes, i: int) -> bytes:
        start, end = d.rfind(b"\n", 0, i) + 1, d.find(b"\n", i) + 1
        return d[:start] + d[end:] if end else d

    def other_tail(d: bytes, i: int) -> bytes:
        other = chance.choice(corpus)
        return d[:i] + other[chance.randrange(len(other)) :]

    doings: list[Callable[[bytes, int], bytes]] = [
        lambda d, i: d[:i] + chance.choice(_MORSELS) + d[i:],
        lambda d, i: d[:i] + chance.choice(_MORSELS) + d[i:],
        after_line,
        lambda d, i: d[:i] + d[i + chance.randint(1, 8) :],
        lambda d, i: d[:i] + bytes([chance.randrange(256)]) + d[i + 1 :],
        lambda d, i: d[:i] + d[i : i + 1].swapcase() + d[i + 1 :],
        lambda d, i: d[:i] + chance.choice(_MORSELS) * chance.randint(2, 400) + d[i:],
        lambda d, i: d[:i],
        line_twice,
        line_away,
        other_tail,
    ]
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        head = data.find(b"\r\n\r\n") + 4
        near = min(len(data), head + 40 if head > 3 else 300)
        at = chance.randint(0, near if chance.random() < 0.8 else len(data))
        data = chance.choice(doings)(data, at)
    return data
