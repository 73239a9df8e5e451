"""The Link header (RFC 8288): one field holds any number of links, one `Link` is one of them.

`parse_links` takes what nodes send in the wild; `build_link` writes the one form that all known clients read.
"""

import re
from collections.abc import Iterable

from attrs import frozen

__all__ = ["Link", "build_link", "build_params", "parse_links"]


@frozen
class Link:
    """``<target>; rel="rel"; name="value"; …``"""

    target: str
    """A URI reference, as it stands between ``<`` and ``>``."""
    rel: str
    """Relation types, separated by spaces."""
    params: tuple[tuple[str, str], ...] = ()
    """The other parameters in their order: names in lower case, values unquoted ("" when there was none)."""

    def has_rel(self, relation: str) -> bool:
        """Whether this relation type, given in lower case, is one of those in ``rel``."""
        return self.rel == relation or relation in self.rel.lower().split()

    def get(self, name: str) -> str:
        """The first parameter of this name, given in lower case; "" when there is none."""
        for key, value in self.params:
            if key == name:
                return value
        return ""


# No two parts of these patterns can take the same character at one place, so a mismatch costs linear time.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"[^"\\\x00-\x08\x0a-\x1f\x7f]*(?:\\[^\x00-\x08\x0a-\x1f\x7f][^"\\\x00-\x08\x0a-\x1f\x7f]*)*"'
# Wider than a token: unquoted URIs and base64 occur (RFC 8288, appendix B.3 takes them too).
_BARE = r'[^\x00-\x20\x7f",;<>]+'
_PARAM = rf"[ \t]*{_TOKEN}(?:[ \t]*=[ \t]*(?:{_QUOTED}|{_BARE}))?"
_LINK = re.compile(rf"<([^<>\x00-\x1f\x7f]*)>((?:[ \t]*;(?:{_PARAM})?)*)[ \t]*(?:,|\Z)")
_PARAMS = re.compile(rf"[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:\"({_QUOTED[1:-1]})\"|({_BARE})))?[ \t]*")
_EMPTY = re.compile(r"[ \t,]*")
_UP_TO_COMMA = re.compile(r'(?:[^",<]|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|<[^>]*(?:>|\Z))*,?', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def parse_links(values: Iterable[str]) -> list[Link]:
    """The links of any number of Link fields. A malformed link, or one without ``rel``, is left out."""
    links = []
    for value in values:
        at = _end(_EMPTY, value, 0)
        while at < len(value):
            match = _LINK.match(value, at)
            if match is None:
                at = _end(_UP_TO_COMMA, value, at)
            else:
                at = match.end()
                if link := _link(match[1], match[2]):
                    links.append(link)
            at = _end(_EMPTY, value, at)
    return links


def _end(pattern: re.Pattern[str], value: str, at: int) -> int:
    match = pattern.match(value, at)
    return match.end() if match else at


def _link(target: str, text: str) -> Link | None:
    rel = None
    params = []
    at = 0
    while (at := text.find(";", at) + 1) > 0:
        match = _PARAMS.match(text, at)
        if match is None:
            continue
        at = match.end()
        name, quoted, bare = match.groups()
        name = name.lower()
        value = quoted or bare or ""
        if quoted and "\\" in quoted:
            value = _ESCAPE.sub(r"\1", quoted)
        if name != "rel":
            params.append((name, value))
        elif rel is None:
            rel = value
    return Link(target, rel, tuple(params)) if rel and not rel.isspace() else None


_TARGET = re.compile(r"[!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[ -~]*")


def build_link(link: Link) -> str:
    """The field value of one link, with every value quoted.

    Raises ValueError for what no header should carry: control characters, non-ASCII, a target that is no URI,
    a name that is no token in lower case, ``rel`` empty or twice.
    """
    if not _TARGET.fullmatch(link.target):
        raise ValueError("the target of a link must be a URI reference")
    return f"<{link.target}>{build_params(link.rel, link.params)}"


def build_params(rel: str, params: Iterable[tuple[str, str]]) -> str:
    """What stands behind the target of a link. Raises ValueError as `build_link` does."""
    if not rel.strip():
        raise ValueError("a link must have a relation type")
    parts = [f"; rel={_quote(rel)}"]
    for name, value in params:
        if name == "rel" or not _NAME.fullmatch(name):
            raise ValueError(
                "a parameter of a link must have a token in lower case as its name, other than rel"
            )
        parts.append(f"{name}={_quote(value)}")
    return "; ".join(parts)


def _quote(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError("a parameter of a link must be printable ASCII")
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
