"""The Link codec reads what RFC 8288 allows and the wild holds, and writes one form that everyone reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.ice.link import Link, build_link, parse_links

ICE = "ice-server"

#: Built and parsed alike.
BOTH = [
    (Link("stun:h", ICE), '<stun:h>; rel="ice-server"'),
    (
        Link("turn:h?transport=udp", ICE, (("username", "u"), ("credential", "c"))),
        '<turn:h?transport=udp>; rel="ice-server"; username="u"; credential="c"',
    ),
    (Link("/a,b;c", "x"), '</a,b;c>; rel="x"'),
    (Link("", "x"), '<>; rel="x"'),
    (Link("/a", "x y"), '</a>; rel="x y"'),
    (Link("/a", "x", (("title", 'a "b" \\ c'),)), r'</a>; rel="x"; title="a \"b\" \\ c"'),
    (Link("/a", "x", (("title", "a, <b>; c=d"),)), '</a>; rel="x"; title="a, <b>; c=d"'),
    (Link("/a", "x", (("title", ""),)), '</a>; rel="x"; title=""'),
    (
        Link("/a", "x", (("title*", "UTF-8''%e4"), ("b", "1"), ("b", "2"))),
        '</a>; rel="x"; title*="UTF-8\'\'%e4"; b="1"; b="2"',
    ),
]

#: Read, though it is written in another way.
PARSED = [
    # Several links in one field, and empty elements.
    ("<a>; rel=x, <b>; rel=y", [Link("a", "x"), Link("b", "y")]),
    ("<a>;rel=x,<b>;rel=y,", [Link("a", "x"), Link("b", "y")]),
    (" , ,\t<a>; rel=x , , <b>; rel=y ,, ", [Link("a", "x"), Link("b", "y")]),
    ("", []),
    (" ,, ", []),
    # Commas and semicolons inside <> and quotes divide nothing.
    (
        '<a,b;c>; rel="x"; t="1, <z>; rel=q", <d>; rel=y',
        [Link("a,b;c", "x", (("t", "1, <z>; rel=q"),)), Link("d", "y")],
    ),
    # White space, and parameters in any form.
    ("<a>\t ;  rel \t=\t x ; b=1", [Link("a", "x", (("b", "1"),))]),
    ("<a>;;rel=x; ;b=1;", [Link("a", "x", (("b", "1"),))]),
    ("<a>; flag; rel=x; last", [Link("a", "x", (("flag", ""), ("last", "")))]),
    ('<a>; rel=x; b="1"', [Link("a", "x", (("b", "1"),))]),
    ("<a>; REL=x; Title=T", [Link("a", "x", (("title", "T"),))]),
    (
        "<a>; rel=http://example.org/x; type=text/html",
        [Link("a", "http://example.org/x", (("type", "text/html"),))],
    ),
    ("<a>; rel=x; credential=c2Vj+/==", [Link("a", "x", (("credential", "c2Vj+/=="),))]),
    ('<a>; rel=x; b="\t"', [Link("a", "x", (("b", "\t"),))]),
    # A quoted-pair stands for the character after the backslash.
    (r'<a>; rel="\i\c\e"; b="\\\""', [Link("a", "ice", (("b", '\\"'),))]),
    # The first rel counts.
    ("<a>; rel=x; rel=y", [Link("a", "x")]),
    # Targets that are no URIs are kept by the parser: a node writes a stream's name as it is.
    ("</session/a b/\u00e9/1/layer>; rel=x", [Link("/session/a b/\u00e9/1/layer", "x")]),
]

MALFORMED = [
    "<a>",
    "<a>; b=1",
    "<a>; rel",
    "<a>; rel=",
    '<a>; rel=""',
    '<a>; rel="  "',
    '<a>; rel=""; rel=x',
    "a; rel=x",
    "; rel=x",
    "<a; rel=x",
    "a>; rel=x",
    "<<a>>; rel=x",
    "<a> rel=x",
    "<a> b; rel=x",
    "<a>; rel=x y",
    '<a>; rel="x" y',
    '<a>; rel="x',
    '<a>; rel="x\\',
    '<a>; rel="x\\"',
    "<a>; rel='x; b c'; (d)=1",
    "<a>; rel=x; =1",
    "<a>; rel=x; b\u00e9=1",
    "<a\x00>; rel=x",
    "<a\n>; rel=x",
    '<a>; rel="x\ny"',
    '<a>; rel="x\x7fy"',
    "<a>; rel=x\x0b",
    "garbage",
    '"',
    "<",
    "\\",
    "\x00",
]


@pytest.mark.parametrize(("link", "text"), BOTH)
def test_links_are_built_and_parsed(link: Link, text: str) -> None:
    assert build_link(link) == text
    assert parse_links([text]) == [link]


@pytest.mark.parametrize(("text", "links"), PARSED)
def test_other_ways_of_writing_are_read(text: str, links: list[Link]) -> None:
    assert parse_links([text]) == links


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_link_is_left_out(text: str) -> None:
    """It never raises, and the link before it and the fields beside it are whole."""
    good = Link("/good", "x")
    assert parse_links([text]) == []
    assert parse_links(["</good>; rel=x", text, "</good>; rel=x"]) == [good, good]
    assert parse_links([f"</good>; rel=x, {text}"]) == [good]


@pytest.mark.parametrize(
    "text", ["<a>; b=1", "<a> b; rel=x", "garbage", "<a>; rel=x y", '<a>; rel="x" "y, z"']
)
def test_the_link_after_a_malformed_one_is_read(text: str) -> None:
    assert parse_links([f"{text}, </good>; rel=x"]) == [Link("/good", "x")]


def test_relation_types_are_a_list_without_case() -> None:
    link = Link("a", "Preload  ICE-Server")
    assert link.has_rel("ice-server")
    assert link.has_rel("preload")
    assert not link.has_rel("ice")
    assert Link("a", "ice-server").has_rel("ice-server")
    assert not Link("a", "ice-servers").has_rel("ice-server")


def test_the_first_parameter_of_a_name_counts() -> None:
    link = Link("a", "x", (("b", "1"), ("b", "2")))
    assert (link.get("b"), link.get("c")) == ("1", "")


@pytest.mark.parametrize(
    "link",
    [
        Link("a>b", "x"),
        Link("a<b", "x"),
        Link("a b", "x"),
        Link("a\r\nb", "x"),
        Link('a"b', "x"),
        Link("\u00e9", "x"),
        Link("a", ""),
        Link("a", " "),
        Link("a", "x\r\nSet-Cookie: y"),
        Link("a", "x", (("b", "1\n"),)),
        Link("a", "x", (("b", "\t"),)),
        Link("a", "x", (("b", "\x7f"),)),
        Link("a", "x", (("b", "\u00e9"),)),
        Link("a", "x", (("b", "\ud800"),)),
        Link("a", "x", (("", "1"),)),
        Link("a", "x", (("B", "1"),)),
        Link("a", "x", (("b c", "1"),)),
        Link("a", "x", (("b\n", "1"),)),
        Link("a", "x", (("rel", "y"),)),
    ],
)
def test_what_no_header_should_carry_is_refused(link: Link) -> None:
    with pytest.raises(ValueError, match="link must"):
        build_link(link)


_printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
_targets = st.text(st.sampled_from("abzABZ019-._~:/?#[]@!$&'()*+,;=%"))
_names = st.text(st.sampled_from("abz019!#$%&'*+-.^_`|~"), min_size=1).filter(lambda name: name != "rel")
_links = st.builds(
    Link, _targets, _printable.filter(str.strip), st.lists(st.tuples(_names, _printable)).map(tuple)
)


@given(st.lists(_links))
def test_parse_undoes_build(links: list[Link]) -> None:
    """One link in a field each, or all of them in one."""
    fields = [build_link(link) for link in links]
    assert parse_links(fields) == links
    assert parse_links([" ,".join(fields)]) == links


@given(st.text(st.one_of(st.sampled_from('<>;,="\\ \tarel'), st.characters())))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    """What is read of it can be built and read again, unless it is nothing for a header."""
    for link in parse_links([text]):
        try:
            field = build_link(link)
        except ValueError:
            continue
        assert parse_links([field]) == [link]


@pytest.mark.parametrize(
    "part",
    ['"\\"', '"', "<", "<a", "<a>;", "; ", " ", "\\", "<a>;b=", '<a>;b="', "<a>;b ", ",", "a=b;", ';b="c" '],
)
@pytest.mark.parametrize("start", ["", "<a>", "<a>;rel=x"])
def test_a_hostile_field_takes_linear_time(part: str, start: str) -> None:
    """A parser that tries every way of reading these would run until the test is ended."""
    parse_links([start + part * 100_000 + "("])
