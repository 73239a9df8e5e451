"""Numbers as people read them."""

import pytest

from liveman.dashboard import words

NARROW = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (999, "999"), (20_000, f"20{NARROW}000"), (1e7, f"10{NARROW}000{NARROW}000")],
)
def test_counts_have_their_thousands_apart(number: float, expected: str) -> None:
    assert words.count(number) == expected


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0, "0 bit/s"),
        (999, "999 bit/s"),
        (1000, "1.0 kbit/s"),
        (4_240_000, "4.2 Mbit/s"),
        (99_960_000, "100 Mbit/s"),
        (2.4e9, "2.4 Gbit/s"),
        (1e18, "1000 Pbit/s"),
    ],
)
def test_bitrates_have_two_or_three_digits(bits: float, expected: str) -> None:
    assert words.bitrate(bits) == expected


def test_sizes_are_decimal() -> None:
    assert words.bytesize(3_100_000) == "3.1 MB"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (725, "12 min 5 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90_000, "1 d 1 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_are_told_by_their_two_largest_parts(seconds: float, expected: str) -> None:
    assert words.duration(seconds) == expected
