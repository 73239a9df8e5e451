"""What a node reads of offers and trickle fragments."""

import pytest

from liveman.demo.refusal import Refused
from liveman.demo.sdp import check_syntax, parse_fragment, usable_sdp

HOST = "candidate:1 1 udp 2130706431 192.0.2.2 50000 typ host"


@pytest.mark.parametrize(
    ("fragment", "candidates"),
    [
        ("", []),
        ("a=end-of-candidates\r\n", []),
        (f"a=ice-ufrag:x\r\na={HOST}\r\n", []),
        (f"m=audio 9 RTP 0\r\na=mid:0\r\na={HOST}\r\n", [("0", HOST.removeprefix("candidate:"))]),
        (
            f"m=audio 9 RTP 0\na=mid:0\nm=video 9 RTP 0\na={HOST}\na=mid:v",
            [("v", HOST.removeprefix("candidate:"))],
        ),
        (f"m=audio 9 RTP 0\na=mid:0\na={HOST.replace('192.0.2.2', 'x-1.local')}", []),
        (f"m=audio 9 RTP 0\na=mid:0\na={HOST.replace(' 1 ', ' 2 ', 1)}", []),
    ],
)
def test_a_fragment_gives_its_usable_candidates(fragment: str, candidates: list[tuple[str, str]]) -> None:
    """Of the first component, with an address, each with the mid of its section."""
    assert parse_fragment(fragment) == candidates


@pytest.mark.parametrize(
    ("fragment", "text"),
    [
        ("nonsense", "SdpInvalidSyntax: nonsense"),
        ("a=mid:0\r\n{}", "SdpInvalidSyntax: {}"),
        (f"m=audio 9 RTP 0\r\na={HOST}\r\n", "no mid"),
    ],
)
def test_a_malformed_fragment_is_refused(fragment: str, text: str) -> None:
    """With the status and the words of a real node."""
    with pytest.raises(Refused) as caught:
        parse_fragment(fragment)
    assert (caught.value.status, caught.value.text) == (500, text)


def test_an_offer_loses_what_would_stop_the_connection() -> None:
    """Names of mDNS, other components, and the end of candidates; all else stays, in order."""
    kept = ["v=0", "m=audio 9 RTP 0", f"a={HOST}", "a=mid:0"]
    lost = [
        f"a={HOST.replace('192.0.2.2', 'x.local')}",
        "a=end-of-candidates",
        f"a={HOST.replace(' 1 ', ' 2 ', 1)}",
    ]
    offer = "\n".join([*kept[:3], *lost, *kept[3:]])
    assert usable_sdp(offer).split("\r\n") == [*kept, ""]


def test_blank_lines_are_no_fault() -> None:
    """Clients end their bodies in one line end or in several."""
    check_syntax("v=0\r\n\r\n")
