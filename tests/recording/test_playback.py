"""Which object a path names, and how much of it a request gets: ranges, conditions, types, caching."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.errors import NotFound, PreconditionFailed, RangeRefused
from liveman.recording.playback import (
    Held,
    Plan,
    cache_control,
    content_type,
    http_date,
    is_object_path,
    object_path,
    plan,
)
from liveman.recording.ranges import Span, in_parts, single, spans


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("cam/1700000000/manifest.mpd", "cam/1700000000/manifest.mpd"),
        ("manifest.mpd", "manifest.mpd"),
        ("a%20b/%C3%BC.m4s", "a b/ü.m4s"),
        ("cam%2F1%2Fmanifest.mpd", "cam/1/manifest.mpd"),
        ("a+b", "a+b"),
        ("%252e%252e%252fpasswd", "%2e%2e%2fpasswd"),
        ("...", "..."),
        (".hidden/x", ".hidden/x"),
        ("a?b", "a?b"),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_path_is_decoded_once(raw: str, path: str) -> None:
    assert object_path(raw) == path


HOSTILE = [
    "",
    "/",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "../secret",
    "..",
    ".",
    "./x",
    "a/./b",
    "a/../../b",
    "a/..",
    "%2e%2e%2fsecret",
    "%2E%2E/secret",
    "..%2fsecret",
    "a/%2e%2e/b",
    "a//b",
    "a/",
    "a%00.m4s",
    "%00",
    "a\\..\\b",
    "..%5c..%5csecret",
    "a%0d%0ab",
    "a%7f",
    "%C2%85",
    "%ff%fe",
    "%c0%ae%c0%ae%2fsecret",
    "%ed%a0%80",
    "\udcff",
    "%",
    "%zz",
    "a%2",
    "x" * 256,
    "/".join(["abc"] * 300),
]


@pytest.mark.parametrize("raw", HOSTILE)
def test_what_is_no_path_of_an_object_is_nowhere(raw: str) -> None:
    with pytest.raises(NotFound):
        object_path(raw)


@given(st.text())
def test_no_path_that_is_let_through_leaves_its_root(raw: str) -> None:
    """Whatever it is made of."""
    try:
        path = object_path(raw)
    except NotFound:
        return
    assert is_object_path(path)
    assert not path.startswith("/")
    assert all(part not in ("", ".", "..") for part in path.split("/"))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("cam/manifest.mpd", "application/dash+xml"),
        ("cam/MANIFEST.MPD", "application/dash+xml"),
        ("cam/v_init.m4s", "video/mp4"),
        ("cam/v_seg_0001.m4s", "video/mp4"),
        ("cam/seg_0001.m4s", "video/mp4"),
        ("cam/whole.mp4", "video/mp4"),
        ("cam/a_seg_0001.m4s", "audio/mp4"),
        ("cam/audio_init.m4s", "audio/mp4"),
        ("a_cam/v_init.m4s", "video/mp4"),
        ("cam/page.html", "application/octet-stream"),
        ("cam/m4s", "application/octet-stream"),
    ],
)
def test_the_type_follows_from_the_name(path: str, kind: str) -> None:
    assert content_type(path) == kind


def test_pieces_are_kept_for_good_and_manifests_asked_about_again() -> None:
    """By the client alone where not everybody may have them."""
    assert cache_control("cam/v_seg_0001.m4s", public=True) == "max-age=31536000, immutable"
    assert cache_control("cam/v_seg_0001.m4s", public=False) == "private, max-age=31536000, immutable"
    assert cache_control("cam/manifest.mpd", public=True) == "no-cache"
    assert cache_control("cam/manifest.mpd", public=False) == "private, no-cache"
    assert cache_control("cam/notes.txt", public=True) == "no-cache"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", [(0, 0)]),
        ("bytes=0-999", [(0, 999)]),
        ("bytes=0-", [(0, 999)]),
        ("bytes=999-", [(999, 999)]),
        ("bytes=-1", [(999, 999)]),
        ("bytes=-5000", [(0, 999)]),
        ("bytes=100-5000", [(100, 999)]),
        ("Bytes=1-2", [(1, 2)]),
        ("bytes=0-" + "9" * 4000, [(0, 999)]),
        ("bytes=" + "0" * 4000 + "1-2", [(1, 2)]),
        ("bytes=0-9,500-509", [(0, 9), (500, 509)]),
        ("bytes=500-509, 0-9", [(500, 509), (0, 9)]),
        ("bytes= ,\t0-9 ,, 500-509,", [(0, 9), (500, 509)]),
        ("bytes=0-9,2000-", [(0, 9)]),
        ("bytes=0-9,-10", [(0, 9), (990, 999)]),
        # Those that overlap, touch or nearly touch are one, in the place of the first of them.
        ("bytes=0-9,10-19", [(0, 19)]),
        ("bytes=0-9,50-59", [(0, 59)]),
        ("bytes=0-9,5-20,3-8", [(0, 20)]),
        ("bytes=900-,0-9,950-960", [(900, 999), (0, 9)]),
        ("bytes=" + ",".join(["0-"] * 1000), [(0, 999)]),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(999, 0, -1)), [(1, 999)]),
        # What is in no unit that is known is ignored.
        ("", []),
        ("items=0-9", []),
        ("seconds=1-2", []),
        ("bytes", []),
        ("bytes 0-9", []),
        ("bytes =0-9", []),
    ],
)
def test_ranges_that_are_in_the_object(header: str, expected: list[tuple[int, int]]) -> None:
    """Of 1000 bytes; none: the whole object is sent."""
    assert spans(header, 1000) == tuple(Span(*each) for each in expected)


@pytest.mark.parametrize(
    "header",
    [
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=-0",
        "bytes=1000-",
        "bytes=1000-2000",
        "bytes=5000-,1000-",
        "bytes=9-0",
        "bytes=0-9,9-0",
        "bytes=a-b",
        "bytes=0-9;10-19",
        "bytes=0-9-10",
        "bytes=--5",
        "bytes=+1-2",
        "bytes=1.5-2",
        "bytes=0x1-2",
        "bytes=\u0661-\u0662",
        "bytes=0 - 9",
        "bytes=0-1, bytes=2-3",
    ],
)
def test_ranges_that_are_refused(header: str) -> None:
    """416, with the size that the object has."""
    with pytest.raises(RangeRefused) as caught:
        spans(header, 1000)
    assert caught.value.status == 416
    assert caught.value.headers == {"Content-Range": "bytes */1000"}


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(RangeRefused, match="At most"):
        spans("bytes=" + ",".join(f"{n * 1000}-{n * 1000}" for n in range(100)), 10**9)


def test_an_empty_object_has_no_ranges() -> None:
    """Its last bytes are all of it; a first one it has not."""
    assert spans("bytes=-5", 0) == ()
    with pytest.raises(RangeRefused):
        spans("bytes=0-", 0)


number = st.integers(0, 3000)
spec = st.one_of(
    st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    number.map("{}-".format),
    number.map("-{}".format),
)


@given(st.lists(spec, min_size=1, max_size=40), st.integers(0, 2000))
def test_parts_hold_what_was_asked_for_once_and_lie_in_the_object(specs: list[str], size: int) -> None:
    try:
        parts = spans("bytes=" + ",".join(specs), size)
    except RangeRefused:
        return
    asked = set()
    for first, _, last in (each.partition("-") for each in specs):
        if first:
            asked |= set(range(int(first), min(int(last or size), size - 1) + 1))
        else:
            asked |= set(range(max(size - int(last), 0), size))
    covered = [byte for part in parts for byte in range(part.first, part.last + 1)]
    assert len(covered) == len(set(covered))
    assert asked <= set(covered) <= set(range(size)) or not parts


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ""),
        ("items=0-1", ""),
        ("bytes=0-9", "bytes=0-9"),
        ("BYTES= 5- ,", "bytes=5-"),
        ("bytes=-7", "bytes=-7"),
        ("bytes=0-9,20-29", None),
        ("bytes=x", None),
    ],
)
def test_which_ranges_another_server_can_be_asked_for(header: str, expected: str | None) -> None:
    assert single(header) == expected


def test_several_parts_are_written_one_after_another() -> None:
    """RFC 9110 section 14.6; the length is right to the byte."""
    heads, end, length = in_parts((Span(0, 1), Span(8, 9)), size=10, kind="video/mp4", boundary="xyz")
    body = heads[0] + b"ab" + heads[1] + b"ij" + end
    assert len(body) == length
    assert body == (
        b"\r\n--xyz\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-1/10\r\n\r\nab"
        b"\r\n--xyz\r\nContent-Type: video/mp4\r\nContent-Range: bytes 8-9/10\r\n\r\nij"
        b"\r\n--xyz--\r\n"
    )


MODIFIED = 784111777.6
HELD = Held(1000, '"now"', MODIFIED)
THEN, AT, LATER = (http_date(MODIFIED + seconds) for seconds in (-1, 0, 1))
PART = Plan(206, (Span(0, 9),))


def test_dates_are_written_as_http_wants_them() -> None:
    assert AT == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Plan(200)),
        ({"range": "bytes=0-9"}, PART),
        ({"range": "items=0-9"}, Plan(200)),
        ({"if-none-match": '"now"'}, Plan(304)),
        ({"if-none-match": 'W/"now"'}, Plan(304)),
        ({"if-none-match": '"a,b", "now"'}, Plan(304)),
        ({"if-none-match": "*"}, Plan(304)),
        ({"if-none-match": '"old"'}, Plan(200)),
        ({"if-none-match": "now"}, Plan(200)),
        ({"if-none-match": '"now"', "range": "bytes=0-9"}, Plan(304)),
        ({"if-modified-since": AT}, Plan(304)),
        ({"if-modified-since": LATER}, Plan(304)),
        ({"if-modified-since": THEN}, Plan(200)),
        # The forms of RFC 850 and of C, which are still to be read.
        ({"if-modified-since": "Sunday, 06-Nov-94 08:49:37 GMT"}, Plan(304)),
        ({"if-modified-since": "Sun Nov  6 08:49:37 1994"}, Plan(304)),
        ({"if-modified-since": "yesterday"}, Plan(200)),
        ({"if-modified-since": "Sun, 99 Nov 1994 99:99:99 GMT"}, Plan(200)),
        ({"if-modified-since": "Sun, 06 Nov 99999999 08:49:37 GMT"}, Plan(200)),
        # An entity tag that is not the present one wins over a date that says otherwise.
        ({"if-none-match": '"old"', "if-modified-since": LATER}, Plan(200)),
        ({"if-match": '"now"'}, Plan(200)),
        ({"if-match": '"old", "now"'}, Plan(200)),
        ({"if-match": "*"}, Plan(200)),
        ({"if-match": '"now"', "if-unmodified-since": THEN}, Plan(200)),
        ({"if-unmodified-since": AT}, Plan(200)),
        ({"if-unmodified-since": "nonsense"}, Plan(200)),
        ({"range": "bytes=0-9", "if-range": '"now"'}, PART),
        ({"range": "bytes=0-9", "if-range": '"old"'}, Plan(200)),
        ({"range": "bytes=0-9", "if-range": 'W/"now"'}, Plan(200)),
        ({"range": "bytes=0-9", "if-range": AT}, PART),
        ({"range": "bytes=0-9", "if-range": THEN}, Plan(200)),
        ({"range": "bytes=0-9", "if-range": LATER}, Plan(200)),
        ({"range": "bytes=0-9", "if-range": "nonsense"}, Plan(200)),
        # A range that is no more in the object is no fault when the object is another one.
        ({"range": "bytes=5000-", "if-range": '"old"'}, Plan(200)),
        ({"if-range": '"old"'}, Plan(200)),
    ],
)
def test_what_a_get_gets(headers: Mapping[str, str], expected: Plan) -> None:
    assert plan("GET", lambda name: headers.get(name.decode(), ""), HELD) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"if-match": '"old"'},
        {"if-match": 'W/"now"'},
        {"if-match": '"old"', "range": "bytes=5000-"},
        {"if-unmodified-since": THEN},
        {"if-match": '"old"', "if-none-match": '"now"'},
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_condition_that_fails_is_412(method: str, headers: Mapping[str, str]) -> None:
    """Before anything else is looked at."""
    with pytest.raises(PreconditionFailed):
        plan(method, lambda name: headers.get(name.decode(), ""), HELD)


def test_head_knows_no_ranges() -> None:
    """RFC 9110 section 14.2; conditions it does know."""
    assert plan("HEAD", lambda name: "bytes=5000-" if name == b"range" else "", HELD) == Plan(200)
    assert plan("HEAD", lambda name: "*" if name == b"if-none-match" else "", HELD) == Plan(304)


def test_a_weak_tag_is_good_for_no_part() -> None:
    weak = Held(1000, 'W/"now"', MODIFIED)
    headers = {"range": "bytes=0-9", "if-range": 'W/"now"'}
    assert plan("GET", lambda name: headers.get(name.decode(), ""), weak) == Plan(200)
    with pytest.raises(PreconditionFailed):
        plan("GET", lambda name: 'W/"now"' if name == b"if-match" else "", weak)
