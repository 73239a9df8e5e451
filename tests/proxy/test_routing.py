"""From a client's request to a node's, and from a node's Location to Liveman's."""

import pytest

from liveman.proxy.routing import location, nodes_asked, passed_query, session_of_location


@pytest.mark.parametrize(
    ("query", "nodes", "passed"),
    [
        ("", (), ""),
        ("nodes=a&nodes=b", ("a", "b"), ""),
        ("nodes=a%20b&x=1", ("a b",), "?x=1"),
        ("%6eodes=a", ("a",), ""),
        ("nodes=", (), ""),
        ("nodes", (), ""),
        ("token=secret", (), ""),
        ("%74oken=secret&X=%41&y", (), "?X=%41&y"),
        ("t%6Fken=a;b&z=%zz", (), "?z=%zz"),
        ("x=nodes", (), "?x=nodes"),
    ],
)
def test_liveman_reads_its_own_parameters_and_passes_the_rest_on(
    query: str, nodes: tuple[str, ...], passed: str
) -> None:
    assert (nodes_asked(query), passed_query(query)) == (nodes, passed)


@pytest.mark.parametrize(
    ("value", "session"),
    [
        (b"/session/cam/d6b491af", "d6b491af"),
        (b"http://node:7777/session/cam/d6b4", "d6b4"),
        (b"/session/a b/c/943d6eef", "943d6eef"),
        (b"/session/a?b/943d6eef", "943d6eef"),
        (b"/session/\xc3\xbc/943d6eef", "943d6eef"),
        (b"/session/cam/id?x=1", "id"),
        (b"d6b4", "d6b4"),
        (b"/session/cam/a.b~c%20d", "a.b~c%20d"),
    ],
)
def test_the_last_segment_of_a_location_is_the_session(value: bytes, session: str) -> None:
    assert session_of_location([value]) == session


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"/session/cam/"],
        [b"/session/cam/."],
        [b"/session/cam/.."],
        [b"/session/cam/a b"],
        [b"/session/cam/a<b"],
        [b"/session/cam/\xff"],
        [b"/session/cam/" + b"x" * 256],
        [b"/session/cam/a", b"/session/cam/b"],
    ],
)
def test_a_location_that_names_no_session_is_none(values: list[bytes]) -> None:
    assert session_of_location(values) is None


def test_clients_see_a_path_below_where_liveman_is_mounted() -> None:
    assert location("/live", "a%20b", "id.tag") == "/live/session/a%20b/id.tag"
