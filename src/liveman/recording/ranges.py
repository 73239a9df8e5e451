"""Byte ranges (RFC 9110, section 14): what a Range header asks of an object, and how parts are sent."""

import re

from attrs import frozen

from liveman.errors import RangeRefused

__all__ = ["Span", "in_parts", "single", "spans"]

#: A gap that is smaller costs less than another part does.
_GAP = 128
#: The most parts of one answer.
_PARTS = 32

_RANGES = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
#: More bytes than any object has.
_FAR = 10**18

_Spec = tuple[int | None, int | None]
"""First and last byte; (None, n): the last n bytes."""


@frozen
class Span:
    """Bytes of an object, the first and the last included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def spans(header: str, size: int) -> tuple[Span, ...]:
    """The parts that a Range header asks of an object of this size; none: the whole object.

    Ranges that overlap, or nearly touch, become one. A unit other than bytes is ignored. Raises RangeRefused
    when the header is malformed, no range is in the object, or too many parts are left.
    """
    specs = _specs(header)
    if specs is None:
        return ()
    if not specs:
        raise RangeRefused(
            'Ranges are written "bytes=first-last", "bytes=first-" or "bytes=-count".', size=size
        )
    if not size and any(first is None and count for first, count in specs):
        return ()  # All of nothing, which no Content-Range can tell.
    found = [span for spec in specs if (span := _span(spec, size))]
    if not found:
        raise RangeRefused(f"The object has {size} bytes; the range is not among them.", size=size)
    merged = _merged(found)
    if len(merged) > _PARTS:
        raise RangeRefused(f"At most {_PARTS} ranges are answered at once.", size=size)
    return merged


def single(header: str) -> str | None:
    """The header to ask another server for the same: "" when there is none to send, None when it takes more
    than passing on the other server's answer."""
    specs = _specs(header)
    if specs is None:
        return ""
    if len(specs) != 1:
        return None
    ((first, last),) = specs
    return f"bytes={'' if first is None else first}-{'' if last is None else last}"


def in_parts(
    parts: tuple[Span, ...], *, size: int, kind: str, boundary: str
) -> tuple[list[bytes], bytes, int]:
    """What goes before each part of a ``multipart/byteranges``, what goes after the last, and the length of
    all. ``size`` is the whole object's, ``kind`` its Content-Type."""
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n"
        f"Content-Range: bytes {part.first}-{part.last}/{size}\r\n\r\n".encode()
        for part in parts
    ]
    end = f"\r\n--{boundary}--\r\n".encode()
    return heads, end, sum(map(len, heads)) + sum(part.size for part in parts) + len(end)


def _specs(header: str) -> list[_Spec] | None:
    """What the header says: None: nothing in bytes; none at all: nothing that can be understood."""
    match = _RANGES.fullmatch(header.strip(" \t"))
    if match is None:
        return None
    specs: list[_Spec] = []
    for item in match[1].split(","):
        if not (item := item.strip(" \t")):
            continue
        spec = _SPEC.fullmatch(item)
        if spec is None or item == "-":
            return []
        first, last = _number(spec[1]), _number(spec[2])
        if first is not None and last is not None and last < first:
            return []
        specs.append((first, last))
    return specs


def _number(digits: str) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= 18 else _FAR


def _span(spec: _Spec, size: int) -> Span | None:
    """The bytes that there are of a range; None: none."""
    first, last = spec
    if first is None:
        count = min(last or 0, size)
        return Span(size - count, size - 1) if count else None
    return Span(first, min(_FAR if last is None else last, size - 1)) if first < size else None


def _merged(found: list[Span]) -> tuple[Span, ...]:
    """In the order in which they were asked for (RFC 9110, section 15.3.7.2)."""
    merged: list[tuple[int, Span]] = []
    for asked, span in sorted(enumerate(found), key=lambda each: each[1].first):
        if merged and span.first <= merged[-1][1].last + _GAP:
            before, last = merged[-1]
            merged[-1] = min(before, asked), Span(last.first, max(last.last, span.last))
        else:
            merged.append((asked, span))
    return tuple(span for _, span in sorted(merged, key=lambda each: each[0]))
