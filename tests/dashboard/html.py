"""Pages as a browser reads them: elements with their attributes and text, nothing that was escaped twice."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Self

from attrs import define, field

__all__ = ["Element", "parse"]

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

#: What follows stands on a line, or in a cell, of its own.
_ALONE = {"br", "td", "th", "dt", "dd", "p"}


@define(eq=False)
class Element:
    tag: str
    attributes: dict[str, str] = field(factory=dict)
    children: list["Element | str"] = field(factory=list)

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    @property
    def text(self) -> str:
        """All text in it, as it stands."""
        text = "".join(each if isinstance(each, str) else each.text for each in self.children)
        return text + "\n" * (self.tag in _ALONE)

    @property
    def words(self) -> str:
        """The same with runs of white space as one blank."""
        return " ".join(self.text.split())

    def every(self, tag: str = "", /, **attributes: str) -> Iterator["Element"]:
        """The elements within, in their order; an attribute ``class_`` is one of the classes."""
        for each in self.children:
            if isinstance(each, Element):
                if tag in ("", each.tag) and all(each._has(*wanted) for wanted in attributes.items()):
                    yield each
                yield from each.every(tag, **attributes)

    def first(self, tag: str = "", /, **attributes: str) -> Self:
        found = next(self.every(tag, **attributes), None)
        assert found is not None, f"there is no <{tag}> with {attributes} in {self.words[:500]!r}"
        return found  # type: ignore[return-value]

    def has(self, tag: str = "", /, **attributes: str) -> bool:
        return next(self.every(tag, **attributes), None) is not None

    def _has(self, name: str, value: str) -> bool:
        if name == "class_":
            return value in self.attributes.get("class", "").split()
        return self.attributes.get(name.replace("_", "-")) == value


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(text: str) -> Element:
    """A page whose elements are all ended in their order. Raises AssertionError for any other."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == [parser.root], f"<{parser.open[-1].tag}> is not ended"
    return parser.root
