"""A recorded conversation with a real live777 node: requests, answers, and a note on each."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

__all__ = ["Recorded", "json_shape", "parse"]


@frozen
class Recorded:
    """One exchange as it was captured."""

    note: str
    method: str
    target: str
    node: str
    """The Host that was asked; the capture has two nodes."""
    fields: dict[str, str]
    """Of the request, by lower-case name."""
    body: bytes
    status: int
    names: frozenset[str]
    """Of the answer's header fields, lower case."""
    answer_fields: dict[str, str]
    answer: str


def parse(path: Path) -> list[Recorded]:
    text = path.read_bytes().decode().replace("\r\n", "\n")
    return [_recorded(part) for part in re.split(r"(?m)^### ", text)[1:]]


def json_shape(value: Any) -> Any:
    """Member names and types: numbers are alike, and lists are as their first element."""
    if isinstance(value, dict):
        return {key: json_shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [json_shape(value[0])] if value else []
    return {bool: "bool", int: "number", float: "number"}.get(type(value), type(value).__name__)


def _recorded(part: str) -> Recorded:
    note, _, rest = part.partition("\n")
    asked, _, answered = rest.partition("\n--- answer\n")
    (method, target, _), fields, body = _message(asked)
    (_, status, *_), answer_fields, answer = _message(answered)
    # The capture ends each part with a line of its own.
    return Recorded(
        note.strip(),
        method,
        target,
        fields.get("host", ""),
        fields,
        _body(body, int(fields.get("content-length", 0))),
        int(status),
        frozenset(answer_fields),
        answer_fields,
        answer.rstrip("\n"),
    )


def _body(text: str, length: int) -> bytes:
    """The bytes that were sent: the capture's lines end in CRLF, those of a single line in nothing."""
    lines = text.rstrip("\n").replace("\n", "\r\n")
    return (lines + "\r\n").encode() if length == len(lines) + 2 else lines.encode()


def _message(text: str) -> tuple[list[str], dict[str, str], str]:
    head, _, body = text.partition("\n\n")
    first, *lines = head.strip("\n").split("\n")
    return first.split(" "), dict(_fields(lines)), body


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = line.partition(": ")
        yield name.lower(), value
