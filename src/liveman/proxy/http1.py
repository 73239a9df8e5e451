"""HTTP/1.1 towards a node, without I/O: the bytes of a request, and a strict reader of its answer.

Stricter than RFC 9112 where that lets a recipient repair a message: lengths that are repeated or contradict
each other, foreign transfer codings and bytes after the end make an answer unusable.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import httptools

from liveman.errors import NodeError
from liveman.inbound import Fields, build_lines

__all__ = ["LAST_CHUNK", "AnswerReader", "build_chunk", "build_head"]

MAX_HEAD = 64 * 1024
MAX_LINES = 256
LAST_CHUNK = b"0\r\n\r\n"

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_TARGET = re.compile(rb"/[^\x00-\x20\x7f]*")


def build_head(method: str, target: str, host: bytes, fields: Fields) -> bytes:
    """The head of a request. Raises ValueError for anything that would not stay one well-formed request."""
    path = target.encode("utf-8", "surrogateescape")
    names = [name for name, _ in fields]
    if not (_TARGET.fullmatch(path) and all(map(_is_name, names))):
        raise ValueError("a target or the name of a field would break the head of the message")
    first = b"%b %b HTTP/1.1" % (method.encode(), path)
    return build_lines(first, ((b"Host", host), *fields)) + b"\r\n"


@lru_cache(maxsize=512)
def _is_name(name: bytes) -> bool:
    return _NAME.fullmatch(name) is not None


def build_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class AnswerReader:
    """Reads one final answer; informational ones are skipped.

    Feed it what arrives; then look at ``head_done``, take the body, look at ``done``. `feed` and `eof` raise
    NodeError when the answer cannot be used.
    """

    def __init__(self, method: str) -> None:
        self.status = 0
        self._reason = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self._named: dict[bytes, list[bytes]] = {}
        self.head_done = False
        self.done = False
        self.reusable = False
        """Once done: whether the connection may carry another request."""
        self.length: int | None = None
        """Of the body, as declared."""
        self._method = method
        self._head_size = 0
        self._trailing = 0
        """Bytes behind the head since there was any body in them."""
        self._until_eof = False
        self._discard = False
        self._body: list[bytes] = []
        # It holds this reader; let go at the end, so that both are freed without the garbage collector.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            self.on_message_begin()
            return
        if self.head_done:
            self._trailing += len(data)
        else:
            self._head_size += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise NodeError("The node switched protocols, which was not asked for.") from None
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, NodeError):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            if not self._discard:
                raise NodeError(f"The node's answer is not well-formed HTTP ({error}).") from None
        if not self.head_done and self._head_size > MAX_HEAD:
            raise NodeError("The head of the node's answer is larger than 64 KiB.")
        if self.done:
            self._parser = None
        elif self._trailing > MAX_HEAD:
            raise NodeError("The node's answer has more than 64 KiB of trailer fields or chunk extensions.")

    def eof(self) -> None:
        """The node has closed the connection."""
        self._parser = None
        if self._until_eof and not self.done:
            self.done = True
        elif not self.done:
            what = "in the middle of" if self.head_done or self._head_size else "before"
            raise NodeError(f"The node closed the connection {what} its answer.")

    @property
    def begun(self) -> bool:
        """Whether any byte of it came."""
        return self._head_size > 0

    @property
    def phrase(self) -> str | None:
        """The reason phrase, unless it is empty or holds what no client should see."""
        return _phrase(self._reason)

    def values(self, name: bytes) -> Sequence[bytes]:
        """Of all header fields with this lower-case name."""
        return self._named.get(name, ())

    def take_body(self) -> bytes:
        """What has come of the body since the last call."""
        if not self._body:
            return b""
        body, self._body = self._body, []
        return body[0] if len(body) == 1 else b"".join(body)

    # The parser's callbacks, in the order in which they come.

    def on_message_begin(self) -> None:
        if not self.done:
            return
        self.reusable = False
        if not self._discard:
            self.done = False
            raise NodeError("The node sent bytes after the end of its answer.")

    def on_status(self, reason: bytes) -> None:
        if not self.head_done:
            self._reason += reason

    def on_header(self, name: bytes | None, value: bytes) -> None:
        if self.head_done:
            return  # A trailer field.
        self.fields.append((name or b"", value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self._discard or parser is None:
            return
        status = parser.get_status_code()
        fields = self.fields
        if len(fields) > MAX_LINES:
            raise NodeError("The head of the node's answer has more than 256 lines.")
        if status < 100:
            raise NodeError(f"The node answered with the status {status:03}, which there is not.")
        if status < 200:
            if status == 101:
                raise NodeError("The node switched protocols, which was not asked for.")
            fields.clear()
            self._reason = b""
            return
        if self._head_size > MAX_HEAD and sum(len(n) + len(v) + 4 for n, v in fields) > MAX_HEAD:
            raise NodeError("The head of the node's answer is larger than 64 KiB.")
        self.status = status
        self.head_done = True
        named = {name.lower(): [value] for name, value in fields}
        if len(named) < len(fields):
            named = {}
            for name, value in fields:
                named.setdefault(name.lower(), []).append(value)
        self._named = named
        length = _length(named)
        self.length = length
        self.reusable = parser.should_keep_alive()
        if status in (204, 304) or self._method == "HEAD":
            self.done = self._discard = True
            # The parser may wait for a body that such an answer never has.
            self.reusable = (
                self.reusable
                and self._method != "HEAD"
                and b"transfer-encoding" not in named
                and (not length or status == 304)
            )
        elif length is None and b"transfer-encoding" not in named:
            self._until_eof = True
            self.reusable = False

    def on_body(self, data: bytes) -> None:
        self._trailing = 0
        if not self._discard:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self.head_done and not self._until_eof:
            self.done = True


@lru_cache(maxsize=64)
def _phrase(reason: bytes) -> str | None:
    text = reason.decode("latin-1")
    return text if text.isascii() and text.isprintable() and text else None


def _length(named: dict[bytes, list[bytes]]) -> int | None:
    """The declared length of a body; None: it comes in chunks or until the end. Raises NodeError."""
    lengths = named.get(b"content-length")
    codings = named.get(b"transfer-encoding")
    if codings and (lengths or len(codings) > 1 or codings[0].strip().lower() != b"chunked"):
        raise NodeError("The node's answer has a Transfer-Encoding other than exactly 'chunked'.")
    if lengths is None:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0].strip()):
        raise NodeError("The node's answer repeats or garbles its Content-Length.")
    return int(lengths[0])
