"""From a client's request to what a node is asked, and from a node's Location to Liveman's own.

Paths stay raw, byte for byte as they came; only the last segment of a node's Location is taken.
"""

import re
from collections.abc import Sequence
from urllib.parse import unquote_plus

from liveman.access import stream_name
from liveman.errors import BadStreamName

__all__ = ["is_session", "location", "nodes_asked", "passed_query", "session_of_location"]

#: What Liveman reads itself, or must not pass on: a token belongs to the client and Liveman alone.
_OWN = ("nodes", "token")
_SESSION = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,255}")


def nodes_asked(query: str) -> tuple[str, ...]:
    """The aliases of ``?nodes=a&nodes=b``."""
    if not query:
        return ()
    pairs = (item.partition("=") for item in query.split("&"))
    return tuple(unquote_plus(value) for name, _, value in pairs if unquote_plus(name) == "nodes" and value)


def passed_query(query: str) -> str:
    """The part of a raw query that goes to the node, with its ``?``; empty: none."""
    if not query:
        return ""
    kept = [item for item in query.split("&") if unquote_plus(item.partition("=")[0]) not in _OWN]
    return "?" + "&".join(kept) if kept else ""


def session_of_location(values: Sequence[bytes]) -> str | None:
    """The session id that a node's Location names: its last segment; None when it names none.

    It is cut at the last ``/`` before the query: a stream named with ``?`` stands there unescaped.
    """
    if len(values) != 1:
        return None
    last = values[0].rpartition(b"/")[2].partition(b"?")[0].partition(b"#")[0]
    try:
        text = last.decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if is_session(text) else None


def is_session(text: str) -> bool:
    """Whether a node's session id can stand in a path as it is, and mean nothing else there."""
    if not _SESSION.fullmatch(text):
        return False
    try:
        stream_name(text)
    except BadStreamName:
        return False
    return True


def location(prefix: str, stream: str, session: str) -> str:
    """The path of a session as clients see it; ``stream`` as the client wrote it."""
    return f"{prefix}/session/{stream}/{session}"
