"""What a client asks of the form of an answer: its coding, and whether it has the answer already."""

import re

__all__ = ["accepts_gzip", "has_already"]

_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\U0010ffff]*"')
_WEIGHT = re.compile(r"[01](?:\.\d{0,3})?")


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether Accept-Encoding asks for gzip, and not rather for none (RFC 9110 section 12.5.3)."""
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        coding, _, parameter = item.partition(";")
        name, _, value = parameter.partition("=")
        if not parameter.strip():
            weight = 1.0
        elif name.strip() == "q" and _WEIGHT.fullmatch(value.strip()):
            weight = float(value)
        else:
            continue  # Malformed.
        weights[coding.strip()] = weight
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def has_already(if_none_match: str, tag: str) -> bool:
    """Whether If-None-Match names this entity tag, quotes included, or any (RFC 9110 section 13.1.2).

    The comparison is the weak one: ``W/`` before a tag makes no difference.
    """
    return if_none_match.strip() == "*" or tag in _TAG.findall(if_none_match)
