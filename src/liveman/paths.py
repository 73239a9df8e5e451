"""Which paths and hosts of a request are well-formed; routes and nodes see no others."""

import re
from functools import lru_cache
from urllib.parse import unquote

from liveman.errors import BadPath

__all__ = ["check_path", "is_host"]

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
_PLAIN_PATH = re.compile(r"(?:/(?!\.)[A-Za-z0-9._~!$&'()*+,;=:@-]*)+")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


@lru_cache(maxsize=256)
def is_host(text: str) -> bool:
    """Whether a Host field names a host (RFC 9110 section 7.2); it may be empty."""
    return _HOST.fullmatch(text) is not None


def check_path(path: str) -> None:
    """Refuse a raw path that could mean one thing here and another at a node. Raises BadPath."""
    if _PLAIN_PATH.fullmatch(path):
        return
    if _BAD_ESCAPE.search(path):
        raise BadPath("The path holds a '%' that is not followed by two hexadecimal digits.")
    if "#" in path:
        raise BadPath("The path holds a fragment, which is never sent.")
    if _DOT_SEGMENT.search(path):
        raise BadPath("The path holds a '.' or '..' segment.")
    try:
        decoded = unquote(path, errors="strict")
        path.encode("utf-8")
    except UnicodeError:
        raise BadPath("The path is not valid UTF-8.") from None
    if any(c == "\\" or ord(c) < 32 or ord(c) == 127 for c in decoded):
        raise BadPath("The path holds a backslash or a control character.")
