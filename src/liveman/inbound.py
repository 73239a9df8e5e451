"""A client's request and the answer to it, whichever server carries them.

The guard and the signalling proxy know clients by this alone. `hosted` is the side of aiohttp, `front` the
short way when Liveman serves alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from attrs import define

from liveman.access import Identity

__all__ = ["Answer", "Fields", "Inbound", "build_lines"]

Fields = Sequence[tuple[bytes, bytes]]
"""Header fields as they stand on the wire, in their order."""


def build_lines(first: bytes, fields: Fields) -> bytes:
    """The head of a message up to its last field, which is open for more. Raises ValueError for what would
    make other lines of it."""
    head = b"\r\n".join((first, *map(b": ".join, fields), b""))
    if len(head.translate(None, b"\r\n\0")) != len(head) - 2 * (len(fields) + 1):
        raise ValueError("a line would break the head of the message")
    return head


#: Who asks, before that was found out.
NOBODY = Identity("nobody", "")


# Made for each request, where freezing would cost more than all else about it.
@define
class Answer:
    """The answer to a request, or its head where the body comes in pieces."""

    status: int
    fields: Fields = ()
    """Without framing: Content-Length, Transfer-Encoding and Connection are the server's to add."""
    body: bytes = b""
    reason: str | None = None
    """None: the usual one."""
    length: int | None = None
    """Of the body, where ``body`` is not all of it: pieces follow, or it answers HEAD."""
    ends: bool = False
    """Whether the connection ends with it."""


class Inbound(ABC):
    """One request."""

    __slots__ = (
        "address",
        "fields",
        "identity",
        "length",
        "method",
        "path",
        "pending",
        "prefix",
        "query",
        "remote",
        "scheme",
        "segments",
        "status",
        "stream",
        "version",
        "whole",
    )

    method: str
    path: str
    """Raw, byte for byte as it came; the authority of an absolute form is cut off."""
    query: str
    """Raw, without ``?``."""
    version: str
    """Of HTTP, such as 1.1."""
    fields: Fields
    remote: str
    """The address of the peer."""
    address: str
    """The client's, behind the trusted proxies; it is the peer's until somebody has looked."""
    scheme: str
    length: int | None
    """The declared Content-Length."""
    whole: bytes | None
    """The body, when it is here already; None: there is none, or it is still to be read."""
    pending: bool
    """Whether there is a body to be read by `read`."""
    prefix: str
    """Where the application is mounted, as the client wrote it: "" or "/live"."""
    segments: tuple[str, ...]
    """The raw segments of the path below the prefix: ("session", "a%20b", "id")."""
    stream: str
    """The decoded name of the stream in the path."""
    identity: Identity
    status: int
    """Of the answer, as soon as its head is on its way."""

    def __init__(self) -> None:
        self.stream = ""
        self.identity = NOBODY
        self.status = 0

    @property
    @abstractmethod
    def left(self) -> bool:
        """Whether the client has hung up."""

    @abstractmethod
    def header(self, name: bytes) -> str:
        """The value of the fields of this lower-case name, joined by commas; "" when there is none."""

    @abstractmethod
    def check(self) -> None:
        """Refuse what is no well-formed request. Raises BadRequest."""

    @abstractmethod
    async def read(self) -> bytes:
        """The next piece of a pending body, b"" at its end. Raises BadRequest, ConnectionError."""

    @abstractmethod
    async def deliver(self, answer: Answer) -> None:
        """Send a whole answer. Raises ConnectionError when the client is known to have left."""

    @abstractmethod
    async def begin(self, answer: Answer) -> None:
        """Send the head of an answer whose body follows by `write`; without a length it goes in chunks."""

    @abstractmethod
    async def write(self, piece: bytes) -> None:
        """Send a piece of the body, at the client's pace. Raises ConnectionError when it has left."""

    @abstractmethod
    async def end(self) -> None:
        """The body is whole. Raises ConnectionError when the client is known to have left."""

    @abstractmethod
    def abort(self) -> None:
        """Cut the connection, so that nobody takes what was sent for the whole."""
