"""Session ids that are a route and a capability."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveman.secret import (
    alias_tag,
    build_relay_token,
    build_session_id,
    parse_session_id,
    verify_relay_token,
    verify_session_id,
)

SECRET = b"s" * 32
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
ids = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters=".-_~%"), min_size=1)


@given(st.binary(min_size=1, max_size=100), text, st.sampled_from("ps"), text, ids)
def test_what_is_built_is_parsed_and_verified(
    secret: bytes, alias: str, kind: str, stream: str, id: str
) -> None:
    """For any node, stream and id, those with dots included."""
    shown = build_session_id(secret, alias=alias, kind=kind, stream=stream, id=id)  # type: ignore[arg-type]
    tag = parse_session_id(shown)
    assert tag is not None
    assert (tag.id, tag.kind, tag.alias_tag) == (id, kind, alias_tag(alias))
    assert verify_session_id(secret, tag, alias=alias, stream=stream)


def test_an_id_is_good_for_its_own_node_stream_kind_and_cluster_alone() -> None:
    shown = build_session_id(SECRET, alias="a", kind="s", stream="cam", id="1ad5")
    tag = parse_session_id(shown)
    assert tag is not None
    assert not verify_session_id(SECRET, tag, alias="b", stream="cam")
    assert not verify_session_id(SECRET, tag, alias="a", stream="cam2")
    assert not verify_session_id(b"t" * 32, tag, alias="a", stream="cam")
    other_kind = parse_session_id(shown[:-9] + "p" + shown[-8:])
    assert other_kind is not None
    assert not verify_session_id(SECRET, other_kind, alias="a", stream="cam")
    other_id = parse_session_id("2" + shown[1:])
    assert other_id is not None
    assert not verify_session_id(SECRET, other_id, alias="a", stream="cam")


def test_neighbouring_parts_cannot_be_shifted() -> None:
    """("ab", "c") and ("a", "bc") have different macs."""
    first = build_session_id(SECRET, alias="ab", kind="p", stream="c", id="x")
    second = build_session_id(SECRET, alias="a", kind="p", stream="bc", id="x")
    assert first[-8:] != second[-8:]


@pytest.mark.parametrize(
    "bare",
    [
        "",
        "d6b491af-f4f1-4a0f-969a-8fdcc625aece",
        "0dc47d8da8eb0a64fe40f461f47c2a36",
        ".aaaaaaaapaaaaaaaa",
        "x.aaaaaaaaqaaaaaaaa",
        "x.aaaaaaaapaaaaaaa1",
        "x.AAAAAAAApAAAAAAAA",
        "x.aaaaaaaapaaaaaaaaa",
        "x.aaaaaaaapaaaaaaaa\n",
    ],
)
def test_the_nodes_own_ids_carry_no_tag(bare: str) -> None:
    assert parse_session_id(bare) is None


def test_the_form_of_an_id_does_not_change_from_release_to_release() -> None:
    """Sessions outlive the Liveman that made them."""
    shown = build_session_id(SECRET, alias="buildin-0", kind="p", stream="demo", id="d6b4")
    assert shown == "d6b4.6rm2u6z6poyva52im"


def test_a_relay_s_token_is_good_for_its_node_kind_and_stream_alone() -> None:
    token = build_relay_token(SECRET, alias="b", kind="p", stream="cam", issued=1_800_000_000)
    good = {"alias": "b", "kind": "p", "stream": "cam"}
    assert verify_relay_token(SECRET, token, **good) == 1_800_000_000  # type: ignore[arg-type]
    for changed in ({"alias": "a"}, {"kind": "s"}, {"stream": "cam2"}):
        assert verify_relay_token(SECRET, token, **{**good, **changed}) is None  # type: ignore[arg-type]
    assert verify_relay_token(b"t" * 32, token, **good) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token.replace("1800000000", "1800000001"),
        lambda token: token[:-1],
        lambda token: token + "\n",
        lambda token: token.upper(),
        lambda token: "",
        lambda token: "relay-" + "9" * 5000 + token[-33:],
    ],
)
def test_an_altered_relay_token_is_none(change: Callable[[str], str]) -> None:
    token = build_relay_token(SECRET, alias="b", kind="p", stream="cam", issued=1_800_000_000)
    assert verify_relay_token(SECRET, change(token), alias="b", kind="p", stream="cam") is None


def test_a_relay_s_token_does_not_open_what_a_session_s_mac_opens() -> None:
    """The two are made under different names, though of the same parts."""
    shown = build_session_id(SECRET, alias="b", kind="p", stream="cam", id="1")
    assert shown[-8:] not in build_relay_token(SECRET, alias="b", kind="p", stream="cam", issued=1)
