"""Named queries: each room keeps its own in one file, ``queries.sql``, for both databases alike.

-- name: streams
-- What it is for, in a line or more.
SELECT …;
"""

import re
from collections.abc import Mapping
from importlib import resources

__all__ = ["load_queries"]

_NAMED = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(package: str) -> Mapping[str, str]:
    """The queries of a room by name. Raises ValueError for a name that is there twice."""
    text = resources.files(package).joinpath("queries.sql").read_text("utf-8")
    _, *parts = _NAMED.split(text)
    found: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in found:
            raise ValueError(f"{package}: the query {name} is there twice")
        found[name] = re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip().rstrip(";")
    return found
