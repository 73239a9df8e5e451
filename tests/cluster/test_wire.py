"""What nodes say, and what they must not say."""

import json

import pytest

from cluster.fake import body, data, session, stream
from liveman.cluster.wire import (
    Cascade,
    EventDecoder,
    parse_info,
    parse_strategy,
    parse_stream,
    parse_streams,
    session_of,
)
from liveman.errors import NodeError


def test_a_real_snapshot_gives_its_sessions() -> None:
    """What a real node said with one publisher and one subscriber."""
    (cam,) = parse_streams(data("one_publisher_one_subscriber.json")).values()
    assert cam.id == "cam"
    assert [each.id for each in cam.publish.sessions] == ["d6b491af-f4f1-4a0f-969a-8fdcc625aece"]
    assert [each.id for each in cam.subscribe.sessions] == ["1ad54a3c-284d-46d1-8258-4614b4823d69"]


def test_both_shapes_of_a_relay_are_read() -> None:
    """Today's nodes and older ones name the same three things differently."""
    new = parse_streams(data("push_source.json"))["cam"].subscribe.sessions[1].cascade
    assert new is not None
    assert (new.source, new.target) == ("", "http://127.0.0.1:15102/whip/cam")
    assert new.session.endswith("/session/cam/10ffaa95-e375-43fa-b9d9-d4db8069d732")
    older = parse_streams(data("older_relays.json"))
    pulled = older["pull"].publish.sessions[0].cascade
    pushed = older["web-0"].subscribe.sessions[1].cascade
    assert pulled is not None and pushed is not None
    assert (pulled.source, pulled.target) == ("http://localhost:7777/whep/web-0", "")
    assert pulled.session.endswith("/session/web-0/aabc02240abfc7f4800e8d9a6f087808")
    assert (pushed.source, pushed.target) == ("", "http://localhost:7777/whip/push")


def test_unknown_members_pass_through_byte_for_byte() -> None:
    """A newer node's words are kept as they came."""
    text = b' { "id": "x", "new": {"a": [1, 2.50]}, "publish": {"sessions": [], "more": 1} } '
    assert bytes(memoryview(parse_streams(b"[" + text + b"]")["x"].raw)) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "x"}',
        '{"id": "x", "publish": {}, "subscribe": {}}',
        '{"id": "x", "publish": {"sessions": []}}',
    ],
)
def test_missing_members_have_their_defaults(text: str) -> None:
    """An older node leaves members out."""
    found = parse_stream(text.encode())
    assert (found.publish.sessions, found.subscribe.sessions) == ((), ())


def test_a_session_without_leave_at_is_there() -> None:
    """leaveAt defaults to 0, cascade to none."""
    found = parse_stream(b'{"id": "x", "publish": {"sessions": [{"id": "a"}, {"id": "b", "cascade": null}]}}')
    assert [(each.leaveAt, each.cascade) for each in found.publish.sessions] == [(0, None), (0, None)]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage",
        b"<!doctype html><title>nginx</title>",
        b"{}",
        b"null",
        b"[",
        b'[{"id": "x"',
        b"[1]",
        b"[{}]",
        b'[{"id": 1}]',
        b'[{"id": "x", "publish": []}]',
        b'[{"id": "x", "publish": {"sessions": [{}]}}]',
        b'[{"id": "x", "publish": {"sessions": [{"id": "a", "leaveAt": "soon"}]}}]',
        b'[{"id": "x", "publish": {"sessions": [{"id": "a", "cascade": "x"}]}}]',
        b'[{"id": "\xff"}]',
        b'[{"id": "x", "new": "\xff"}]',
        b'[{"id": "\\ud800"}]',
        b'[{"id": "x"}, {"id": "x"}]',
        b"[" * 100_000,
        b'[{"id": "x", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    ],
    ids=lambda text: repr(text[:40]),
)
def test_an_unusable_snapshot_is_one_clear_error(text: bytes) -> None:
    """Never another exception, and never more than a line of the node's words."""
    with pytest.raises(NodeError) as caught:
        parse_streams(text)
    assert "list of streams" in caught.value.detail
    assert len(caught.value.detail) < 300


def test_the_error_shows_how_the_answer_begins() -> None:
    """So that HTML is seen at once."""
    with pytest.raises(NodeError, match="<!doctype html>"):
        parse_streams(b"<!doctype html>" + b"x" * 1000)


def test_strategy_and_info_of_a_real_node() -> None:
    """The limit is read; the rest passes through."""
    strategy = parse_strategy(data("strategy.json"))
    assert strategy.each_stream_max_sub == 2
    assert json.loads(strategy.raw)["auto_delete_whip"] == -1
    assert parse_info(data("info.json")) == "v0.9.0-108-g42205144"
    assert parse_strategy(b"{}").each_stream_max_sub is None
    assert parse_info(b"{}") is None


@pytest.mark.parametrize("parse", [parse_strategy, parse_info, parse_stream])
@pytest.mark.parametrize(
    "text", [b"", b"[]", b"<html>", b'{"each_stream_max_sub": "2", "version": 1, "id": 1}']
)
def test_unusable_documents_are_errors(parse: object, text: bytes) -> None:
    """As with snapshots."""
    assert callable(parse)
    with pytest.raises(NodeError):
        parse(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:15102/session/cam/10ffaa95", ("cam", "10ffaa95")),
        ("http://[::1]:7777/base/session/cam/x", ("cam", "x")),
        ("http://node/session/a%20b/x", ("a b", "x")),
        ("http://node/session/a b/x", ("a b", "x")),
        ("/session/cam/x/", ("cam", "x")),
        ("http://node/session/cam/x?y=/z#/f", ("cam", "x")),
        ("http://liveman/live/session/cam/x-1.abcdefghpmmmmmmmm", ("cam", "x-1")),
        ("", None),
        ("x", None),
        ("/", None),
        ("//x", None),
    ],
)
def test_a_session_url_names_stream_and_session(url: str, expected: tuple[str, str] | None) -> None:
    """Of nodes, and of Liveman's own direct routes, whose tag is taken off."""
    assert session_of(url) == expected


def test_an_empty_cascade_names_nothing() -> None:
    """No member is None where a text is expected."""
    assert (Cascade().source, Cascade().target, Cascade().session) == ("", "", "")


EVENTS = [
    ("one", b"data: []\n\n", [b"[]"]),
    ("no space", b"data:[]\n\n", [b"[]"]),
    ("one space of two", b"data:  x\n\n", [b" x"]),
    ("crlf", b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    ("cr", b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    ("crlf in a message", b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
    ("lines are joined", b"data: a\ndata: b\n\n", [b"a\nb"]),
    ("comments", b":\n\n: hello\ndata: a\n:x\n\n", [b"a"]),
    ("no data, no message", b"id: 1\nretry: 5\n\n\n\n", []),
    ("empty data", b"data\n\n", [b""]),
    ("other types", b"event: ping\ndata: a\n\ndata: b\n\n", [b"b"]),
    ("its own type", b"event: message\ndata: a\n\n", [b"a"]),
    ("byte order mark", b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    ("unknown fields", b"what: ever\ndatas: x\ndata: a\n\n", [b"a"]),
    ("unfinished", b"data: a\n\ndata: b\n", [b"a"]),
    ("colons", b'data: {"a": "b:c"}\n\n', [b'{"a": "b:c"}']),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in EVENTS], ids=[row[0] for row in EVENTS])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_cut_out_of_any_chunks(text: bytes, expected: list[bytes], size: int) -> None:
    """However the bytes arrive."""
    decoder = EventDecoder()
    messages = [message for at in range(0, len(text), size) for message in decoder.feed(text[at : at + size])]
    assert messages == expected


def test_a_real_event_stream_gives_snapshots() -> None:
    """Six of them, each a whole list of streams."""
    messages = EventDecoder().feed(data("events.txt"))
    assert [list(parse_streams(message)) for message in messages] == [["cam"]] * 6


def test_comments_are_signs_of_life() -> None:
    """Whole lines count, halves do not."""
    decoder = EventDecoder()
    decoder.feed(b": stil")
    assert decoder.lines == 0
    decoder.feed(b"l here\n\n")
    assert decoder.lines == 2


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: " + b"x" * 101 + b"\n\n"],
        [b"data: " + b"x" * 60, b"x" * 60],
        [b"data: " + b"x" * 30 + b"\n"] * 4,
    ],
    ids=["at once", "unfinished", "in many lines"],
)
def test_an_endless_message_is_refused(chunks: list[bytes]) -> None:
    """The decoder never holds more than the limit."""
    decoder = EventDecoder(limit=100)
    with pytest.raises(NodeError, match="larger than 100 bytes"):
        for chunk in chunks:
            decoder.feed(chunk)


def test_large_snapshots_are_read() -> None:
    """Ten thousand sessions in one list."""
    large = body(*(stream(f"s{i}", ["p"], [session(f"v{j}") for j in range(9)]) for i in range(1000)))
    assert len(parse_streams(large)) == 1000
