"""What nodes say, and what they must not say."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.fake import body, data, session, stream
from liveman.cluster import snapshot
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


def test_bitrates_are_read_and_odd_ones_spoil_nothing() -> None:
    """They are for people to look at: whatever a node says there, its streams are known."""
    (cam,) = parse_streams(data("one_publisher_one_subscriber.json")).values()
    assert (cam.bitsIn, cam.bitsOut) == (94812, 91823)
    for stats, expected in (
        ('{"publish": {"bitrate": 7}}', (7, 0)),
        ('{"publish": null, "subscribe": {"bitrate": 1.5}}', (0, 1.5)),
        ('{"publish": {"bitrate": -1}}', (0, 0)),
        ('{"publish": {"bitrate": 1e300}}', (0, 0)),
        ('{"publish": {"bitrate": "fast"}}', (0, 0)),
        ("null", (0, 0)),
    ):
        (odd,) = parse_streams(b'[{"id": "x", "stats": %b}]' % stats.encode()).values()
        assert (odd.bitsIn, odd.bitsOut) == expected, stats


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
    assert parse_info(b'{"version": "v' + b"0" * 1_000_000 + b'"}') == "v" + "0" * 63


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
    assert [b"".join(message) for message in messages] == expected


def test_a_real_event_stream_gives_snapshots() -> None:
    """Six of them, each a whole list of streams."""
    messages = EventDecoder().feed(data("events.txt"))
    assert [list(parse_streams(b"".join(message))) for message in messages] == [["cam"]] * 6


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


@pytest.mark.parametrize("lines", [[b"x" * 100], [b"x" * 49, b"x" * 50], [b""] * 101, [b"x" * 5000] * 2])
@pytest.mark.parametrize("size", [1, 1000, 20_000])
def test_a_message_may_be_as_large_as_the_limit(lines: list[bytes], size: int) -> None:
    """To the byte, however it is divided; one byte more is refused."""
    text = b"\n".join(lines)
    said = b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
    chunks = [said[at : at + size] for at in range(0, len(said), size)]
    decoder = EventDecoder(limit=len(text))
    assert [b"".join(message) for chunk in chunks for message in decoder.feed(chunk)] == [text]
    decoder = EventDecoder(limit=len(text) - 1)
    with pytest.raises(NodeError, match=f"larger than {len(text) - 1} bytes"):
        for chunk in chunks:
            decoder.feed(chunk)


@pytest.mark.parametrize("size", [1, 5, 4095, 4096, 4097, 100_000])
def test_a_large_message_keeps_its_bytes(size: int) -> None:
    """In how many pieces it may come."""
    text = bytes(range(32, 127)) * 500
    said = b": " + text + b"\ndata:" + text + b"\r\n" + text + b"\rdata: " + text + b"\n\n"
    decoder = EventDecoder()
    (message,) = [m for at in range(0, len(said), size) for m in decoder.feed(said[at : at + size])]
    assert b"".join(message) == text.removeprefix(b" ") + b"\n" + text


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "publish", "subscribe", "sessions", "leaveAt", "state", "cascade", "sessionUrl"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.binary(max_size=30) | _json.map(lambda value: json.dumps([value]).encode()))
def test_whatever_a_node_says_is_read_or_refused(text: bytes) -> None:
    """There is no third way out, also for members of other types."""
    for read in (snapshot.read, parse_stream, parse_strategy, parse_info):
        with contextlib.suppress(NodeError):
            read(text)


@pytest.mark.parametrize(
    "number", ["-1", "9" * 30, "9" * 5000, "1e400", "1.5", "NaN", "true", '"1"', "1.0", "-0", "null"]
)
def test_a_time_of_leaving_is_a_number_or_refused(number: str) -> None:
    """A node's clock may say anything: only whether there is a time counts."""
    text = b'[{"id": "x", "subscribe": {"sessions": [{"id": "v", "leaveAt": %s}]}}]' % number.encode()
    try:
        found = snapshot.read(text)
    except NodeError:
        return
    assert bool(found.left) is (float(number) != 0)


def test_large_snapshots_are_read() -> None:
    """Ten thousand sessions in one list."""
    large = body(*(stream(f"s{i}", ["p"], [session(f"v{j}") for j in range(9)]) for i in range(1000)))
    assert len(parse_streams(large)) == 1000
