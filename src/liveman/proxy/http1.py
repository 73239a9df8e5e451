"""HTTP/1.1 towards a node, without I/O: the bytes of a request, and a strict reader of its answer.

Stricter than RFC 9112 where that lets a recipient repair a message: lengths that are repeated or contradict
each other, foreign transfer codings and bytes after the end make an answer unusable.
"""

import re

import httptools

from liveman.errors import NodeError
from liveman.inbound import Fields

__all__ = ["LAST_CHUNK", "AnswerReader", "build_chunk", "build_head"]

MAX_HEAD = 64 * 1024
MAX_LINES = 256
LAST_CHUNK = b"0\r\n\r\n"

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_TARGET = re.compile(rb"/[^\x00-\x20\x7f]*")


def build_head(method: str, target: str, host: bytes, fields: Fields) -> bytes:
    """The head of a request. Raises ValueError for anything that would not stay one well-formed request."""
    path = target.encode("utf-8", "surrogateescape")
    if not _TARGET.fullmatch(path):
        raise ValueError("the request's target would break the request line")
    lines = [method.encode() + b" " + path + b" HTTP/1.1\r\nHost: " + host]
    for name, value in fields:
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise ValueError("a header field would break the request's head")
        lines.append(name + b": " + value)
    return b"\r\n".join((*lines, b"", b""))


def build_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class AnswerReader:
    """Reads one final answer; informational ones are skipped.

    Feed it what arrives; then look at ``head_done``, take the body, look at ``done``. `feed` and `eof` raise
    NodeError when the answer cannot be used.
    """

    def __init__(self, method: str) -> None:
        self.status = 0
        self.reason = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.head_done = False
        self.done = False
        self.reusable = False
        """Once done: whether the connection may carry another request."""
        self.length: int | None = None
        """Of the body, as declared."""
        self._method = method
        self._head_size = 0
        self._until_eof = False
        self._discard = False
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        if self.done:
            self.on_message_begin()
            return
        if not self.head_done:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
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

    def eof(self) -> None:
        """The node has closed the connection."""
        if self._until_eof and not self.done:
            self.done = True
        elif not self.done:
            what = "in the middle of" if self.head_done or self._head_size else "before"
            raise NodeError(f"The node closed the connection {what} its answer.")

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
            raise NodeError("The node sent bytes after the end of its answer.")

    def on_status(self, reason: bytes) -> None:
        if not self.head_done:
            self.reason += reason

    def on_header(self, name: bytes | None, value: bytes) -> None:
        if self.head_done:
            return  # A trailer field.
        self.fields.append((name or b"", value))
        if len(self.fields) > MAX_LINES:
            raise NodeError("The head of the node's answer has more than 256 lines.")

    def on_headers_complete(self) -> None:
        if self._discard:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise NodeError("The node switched protocols, which was not asked for.")
            self.fields.clear()
            self.reason = b""
            return
        if sum(len(name) + len(value) + 4 for name, value in self.fields) > MAX_HEAD:
            raise NodeError("The head of the node's answer is larger than 64 KiB.")
        self.status = status
        self.head_done = True
        lengths = [value for name, value in self.fields if name.lower() == b"content-length"]
        codings = [value for name, value in self.fields if name.lower() == b"transfer-encoding"]
        if len(lengths) > 1 or (lengths and not lengths[0].strip().isdigit()):
            raise NodeError("The node's answer repeats or garbles its Content-Length.")
        if codings and (lengths or len(codings) > 1 or codings[0].strip().lower() != b"chunked"):
            raise NodeError("The node's answer has a Transfer-Encoding other than exactly 'chunked'.")
        self.length = int(lengths[0]) if lengths else None
        self.reusable = self._parser.should_keep_alive()
        if status in (204, 304) or self._method == "HEAD":
            self.done = self._discard = True
            # The parser may wait for a body that such an answer never has.
            self.reusable = self.reusable and not codings and (not self.length or status == 304)
            self.reusable = self.reusable and self._method != "HEAD"
        elif not lengths and not codings:
            self._until_eof = True
            self.reusable = False

    def on_body(self, data: bytes) -> None:
        if not self._discard:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self.head_done and not self._until_eof:
            self.done = True
