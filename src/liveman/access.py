"""Who may do what, as plain values: identities, the rules that routes name, and the streams in paths.

| bit | mode | may |
|---|---|---|
| 1 | MANAGE | change nodes, streams, recordings, tokens |
| 2 | PUBLISH | offer a stream by WHIP |
| 4 | SUBSCRIBE | watch by WHEP, read one stream's state and recordings |
"""

import re
from typing import Literal
from urllib.parse import unquote_to_bytes

from attrs import frozen

from liveman.errors import BadStreamName

__all__ = [
    "ANYONE",
    "MANAGE",
    "OPEN",
    "PUBLISH",
    "READ_ALL",
    "SUBSCRIBE",
    "Action",
    "Identity",
    "Rule",
    "allows",
    "stream_name",
]

MANAGE = 1
PUBLISH = 2
SUBSCRIBE = 4

Action = Literal["publish", "subscribe"]


@frozen
class Identity:
    """Who asks, and what that one may do."""

    subject: str
    """A name for logs, such as an account or a token's id; never a secret."""
    stream: str = "*"
    """The one stream that it is good for, or ``*``."""
    mode: int = 0
    """The sum of MANAGE, PUBLISH, SUBSCRIBE."""
    token_id: str = ""
    """What its token may be revoked by; empty: it has none."""
    expires_at: float | None = None
    """Unix seconds; None: it does not expire."""
    undecided: bool = False
    """Whether its token means nothing here, so that an outside service must say what it may do."""


#: Without authentication everyone may do everything.
ANYONE = Identity("anyone", "*", MANAGE | PUBLISH | SUBSCRIBE)


@frozen
class Rule:
    """What a route wants of the one who asks. Each route names one."""

    needs: int = 0
    """Any one of these bits; 0: nothing, the route is open."""
    scope: Literal["stream", "found", "all"] = "all"
    """``stream``: an identity for the stream in the path will do; ``found``: the handler finds the stream and
    judges; ``all``: only one for ``*``."""
    outside: bool = False
    """Whether an outside service may decide: it is asked there, or the path itself proves that it was."""
    query_token: bool = False
    """Whether the token may stand in the query, as players and event sources cannot set headers."""


#: No authentication at all: health pages, preflights.
OPEN = Rule()

#: Lists over all streams and nodes.
READ_ALL = Rule(MANAGE | PUBLISH | SUBSCRIBE)


def allows(rule: Rule, identity: Identity, stream: str | None) -> bool:
    """Whether the identity satisfies the rule, on a request whose path names this stream (None: none)."""
    if not rule.needs:
        return True
    if identity.undecided:
        return rule.outside
    if not identity.mode & rule.needs:
        return False
    if identity.stream == "*" or rule.scope == "found":
        return True
    return rule.scope == "stream" and identity.stream == stream


_PLAIN = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,254}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def stream_name(raw: str) -> str:
    """The stream that a raw path segment names, strictly decoded as UTF-8.

    Raises BadStreamName for the empty name, ``.`` and ``..``, invalid escapes or UTF-8, control characters,
    ``/`` and ``\\``, and more than 255 bytes.
    """
    if _PLAIN.fullmatch(raw):
        return raw
    if _BAD_ESCAPE.search(raw):
        raise BadStreamName("The stream name holds a '%' that is not followed by two hexadecimal digits.")
    data = unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))
    if not 1 <= len(data) <= 255:
        raise BadStreamName(f"The stream name has {len(data)} bytes; 1 to 255 are accepted.")
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadStreamName("The stream name is not valid UTF-8.") from None
    if name in (".", "..") or any(c in "/\\" or ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
        raise BadStreamName("The stream name is '.' or '..', or holds '/', '\\' or a control character.")
    return name
