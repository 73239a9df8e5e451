"""The names of streams in paths, and what a rule lets through."""

import pytest

from liveman.access import ANYONE, MANAGE, OPEN, PUBLISH, SUBSCRIBE, Identity, Rule, allows, stream_name
from liveman.errors import BadStreamName


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("cam", "cam"),
        ("a.b", "a.b"),
        (".hidden", ".hidden"),
        ("...", "..."),
        ("%41", "A"),
        ("a%20b", "a b"),
        ("%C3%BC", "ü"),
        ("ü", "ü"),
        ("a+b", "a+b"),
        ("a%3Fb%23c", "a?b#c"),
        ("100%25", "100%"),
        ("a;b=c", "a;b=c"),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_segment_names_the_stream_that_it_decodes_to(raw: str, name: str) -> None:
    assert stream_name(raw) == name


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "a%2Fb",
        "a%2fb",
        "a%5Cb",
        "a\\b",
        "%00",
        "a%0Ab",
        "%7F",
        "%C2%85",
        "%zz",
        "%",
        "a%4",
        "%FF",
        "%C3",
        "\udcff",
        "x" * 256,
        "%C3%BC" * 128,
    ],
)
def test_anything_else_is_refused_with_a_reason(raw: str) -> None:
    with pytest.raises(BadStreamName) as caught:
        stream_name(raw)
    assert caught.value.status == 400
    assert "stream name" in caught.value.detail


STREAM_RULE = Rule(needs=SUBSCRIBE, scope="stream")
LIST_RULE = Rule(needs=MANAGE | SUBSCRIBE)


@pytest.mark.parametrize(
    ("rule", "identity", "stream", "allowed"),
    [
        (OPEN, Identity("nobody"), None, True),
        (STREAM_RULE, ANYONE, "a", True),
        (STREAM_RULE, Identity("t", "a", SUBSCRIBE), "a", True),
        (STREAM_RULE, Identity("t", "a", SUBSCRIBE), "b", False),
        (STREAM_RULE, Identity("t", "a", PUBLISH), "a", False),
        (STREAM_RULE, Identity("t", "a", 0), "a", False),
        (LIST_RULE, Identity("t", "a", SUBSCRIBE), None, False),
        (LIST_RULE, Identity("t", "a", MANAGE), "a", False),
        (LIST_RULE, Identity("t", "*", SUBSCRIBE), None, True),
        (LIST_RULE, Identity("t", "*", PUBLISH), None, False),
    ],
)
def test_a_rule_wants_one_of_its_bits_and_the_right_stream(
    rule: Rule, identity: Identity, stream: str | None, allowed: bool
) -> None:
    assert allows(rule, identity, stream) is allowed
