"""What the node reads of offers, answers and trickle fragments, before aiortc gets them."""

import re

from liveman.demo.refusal import Refused

__all__ = ["check_syntax", "parse_fragment", "usable_sdp"]

_LINE = re.compile(r"[a-z]=")
_CANDIDATE = re.compile(r"a=candidate:\S+ (?P<component>\d+) \S+ \d+ (?P<host>\S+) ")


def check_syntax(text: str) -> None:
    """Raise Refused (500) unless every line has the form ``x=…`` (RFC 8866 section 5)."""
    for line in text.splitlines():
        if line and not _LINE.match(line):
            raise Refused(500, f"SdpInvalidSyntax: {line}")


def usable_sdp(text: str) -> str:
    """An offer or answer without the lines that keep aioice from connecting.

    Looking up mDNS names delays the answer, and after an end of candidates aioice gives up on clients that
    named nothing else; their own connectivity checks lead to them anyway (RFC 8445 section 7.3.1.3).
    """
    return "".join(f"{line}\r\n" for line in text.splitlines() if _is_usable(line))


def parse_fragment(text: str) -> list[tuple[str, str]]:
    """The usable candidates of an RFC 8840 fragment, each with the mid of its section.

    Raises Refused (500) for bad syntax and for a section without a mid.
    """
    check_syntax(text)
    candidates = []
    for section in re.split(r"^m=", text, flags=re.MULTILINE)[1:]:
        lines = section.splitlines()
        mids = [line.removeprefix("a=mid:") for line in lines if line.startswith("a=mid:")]
        if not mids:
            raise Refused(500, "no mid")
        found = [line for line in lines if line.startswith("a=candidate:") and _is_usable(line)]
        candidates += [(mids[-1], line.removeprefix("a=candidate:")) for line in found]
    return candidates


def _is_usable(line: str) -> bool:
    if line.strip() == "a=end-of-candidates":
        return False
    match = _CANDIDATE.match(line)
    return match is None or (match["component"] == "1" and not match["host"].endswith(".local"))
