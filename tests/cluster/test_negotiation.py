"""Accept-Encoding and If-None-Match."""

import pytest

from liveman.cluster.negotiation import accepts_gzip, has_already


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.001", True),
        ("gzip ; q=0.5", True),
        ("gzip;Q=1", True),
        ("*", True),
        ("identity;q=0.5, *;q=0.7", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
        ("identity", False),
        ("deflate", False),
        ("gzipped", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=nonsense", False),
        ("gzip;q=", False),
        ("gzip;level=9", False),
        ("gzip;q=2", False),
        (",,;q=1,", False),
    ],
)
def test_gzip_is_taken_only_where_it_is_asked_for(asked: str, expected: bool) -> None:
    """By name or by `*`, with a weight above 0 and not below that of `identity`; malformed items say nothing."""
    assert accepts_gzip(asked) is expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ('"b",W/"a" , "c"', True),
        ('"x,y", "a"', True),
        ("*", True),
        (" * ", True),
        ("", False),
        ("a", False),
        ('"A"', False),
        ('"b"', False),
        ('"x"a"x"', False),
        ('"a', False),
        ('"a-gzip"', False),
        ('"b", *', False),
    ],
)
def test_tags_are_compared_weakly(known: str, expected: bool) -> None:
    """Each of a list; `*` only alone."""
    assert has_already(known, '"a"') is expected
