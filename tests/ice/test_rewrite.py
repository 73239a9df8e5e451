"""The client sees the node's links under Liveman's path, and ICE servers in the form that all clients read."""

from typing import Any

import pytest

from liveman.config import Secret
from liveman.ice.link import parse_links
from liveman.ice.rewrite import _read_again, rewrite_links
from liveman.ice.server import IceServer

ID = "1ad54a3c-284d-46d1-8258-4614b4823d69"
OURS = "/live/session/cam/1ad5.abcdefghpabcdefgh"
LAYER = "urn:ietf:params:whep:ext:core:layer"


def rewrite(*values: str, servers: tuple[IceServer, ...] = (), **options: Any) -> list[str]:
    chosen = {"session": ID, "location": OURS, "override": False, **options}
    return rewrite_links(values, servers=servers, max_urls=12, **chosen)[0]


def test_ice_links_get_the_form_that_all_clients_read() -> None:
    """As live777 sends them, and in several to a field, with tokens and other cases."""
    expected = [
        '<stun:stun.example.org:3478>; rel="ice-server"',
        '<turn:turn.example.org:3478?transport=udp>; rel="ice-server"; '
        'username="user"; credential="pass"; credential-type="password"',
    ]
    node = [
        '<stun:stun.example.org:3478>; rel="ice-server"',
        '<turn:turn.example.org:3478?transport=udp>; rel="ice-server"; username="user"; credential="pass"',
    ]
    assert rewrite(*node) == expected
    assert (
        rewrite(
            "<STUN:stun.example.org:3478> ; credential=x;REL = ICE-Server ,"
            "<turn:turn.example.org:3478?transport=UDP>;credential-type=PASSWORD;"
            'Credential=pass;rel="preload ice-server";username=user;rel=x'
        )
        == expected
    )
    assert rewrite(*expected) == expected


def test_quotes_and_backslashes_in_credentials_survive() -> None:
    (field,) = rewrite(r'<turn:h>; rel="ice-server"; username="a\"b"; credential="c\\d;,"')
    assert (
        field
        == r'<turn:h>; rel="ice-server"; username="a\"b"; credential="c\\d;,"; credential-type="password"'
    )
    assert parse_links([field])[0].get("credential") == "c\\d;,"


@pytest.mark.parametrize(
    "value",
    [
        '<turn:h>; rel="ice-server"',
        '<turn:h>; rel="ice-server"; username="u"',
        '<turns:h>; rel="ice-server"; credential="c"',
        '<turn:h>; rel="ice-server"; username=""; credential="c"',
        '<turn:h>; rel="ice-server"; username="u"; credential="c"; credential-type="oauth"',
        '<turn:h>; rel="ice-server"; username="u"; credential="c',
        '<turn:h>; rel="ice-server"; username="u"; credential="c\u00e9"',
        '<turn://h>; rel="ice-server"; username="u"; credential="c"',
        '<stun:h?transport=udp>; rel="ice-server"',
        '<https://h>; rel="ice-server"',
        '<>; rel="ice-server"',
        "stun:h; rel=ice-server",
        "<stun:h>",
        f"</session/cam/{ID}/layer>",
        f'</session/cam/{ID}/layer>; rel="x"; title="\t"',
        f"</session/cam/{ID}/lay er>; rel=x",
        "</other path>; rel=x",
        "garbage",
    ],
)
def test_what_is_malformed_is_not_passed_on(value: str) -> None:
    """One bad link is fatal to the strictest client; the good ones beside it stay."""
    assert rewrite(value) == []
    assert rewrite("<stun:a>; rel=ice-server", value) == ['<stun:a>; rel="ice-server"']


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        (f"/session/cam/{ID}/layer", f"{OURS}/layer"),
        (f"/session/cam/{ID}", OURS),
        (f"/session/cam/{ID}/", f"{OURS}/"),
        (f"/session/cam/{ID}/sse?events=active,layers&x=/y", f"{OURS}/sse?events=active,layers&x=/y"),
        (f"/session/cam/{ID}?x#y", f"{OURS}?x#y"),
        (f"session/cam/{ID}/layer", f"{OURS}/layer"),
        (f"http://node:7777/session/cam/{ID}/layer", f"{OURS}/layer"),
        (f"HTTPS://[::1]:7777/session/cam/{ID}/layer", f"{OURS}/layer"),
        (f"//node/session/cam/{ID}/layer", f"{OURS}/layer"),
        # The node writes the stream's name decoded; none of it is passed on.
        (f"/session/a b \u00e9/{ID}/layer", f"{OURS}/layer"),
        # What is not below the session stays.
        ("/docs", "/docs"),
        ("layer", "layer"),
        ("https://example.org/license?x", "https://example.org/license?x"),
        (f"/docs?session={ID}", f"/docs?session={ID}"),
        (f"/docs?x=/{ID}/y", f"/docs?x=/{ID}/y"),
        (f"/docs/x{ID}/y", f"/docs/x{ID}/y"),
        (f"http://{ID}/docs", f"http://{ID}/docs"),
        (f"urn:uuid:{ID}", f"urn:uuid:{ID}"),
    ],
)
@pytest.mark.parametrize("override", [False, True])
def test_links_below_the_nodes_session_move_to_ours(target: str, seen: str, override: bool) -> None:
    """Whether the node's ICE servers are dropped or not: only those ever are."""
    (field,) = rewrite(f'<{target}>; rel="{LAYER}"; title=x', override=override)
    assert field == f'<{seen}>; rel="{LAYER}"; title="x"'


def test_override_drops_the_nodes_ice_servers_alone() -> None:
    ours = IceServer(("stun:ours",))
    fields = rewrite(
        "<stun:a>; rel=ice-server, </x>; rel=ice-servers",
        '<turn:b>; rel="x Ice-Server"; username=u; credential=c',
        servers=(ours,),
        override=True,
    )
    assert fields == ['<stun:ours>; rel="ice-server"', '</x>; rel="ice-servers"']


def test_the_nodes_servers_come_before_ours_in_the_order_of_the_configuration() -> None:
    servers = (
        IceServer(("turn:b", "stun:c"), "u", Secret("p")),
        IceServer(("stun:a",)),
    )
    fields = rewrite("</x>; rel=y", "<stun:node>; rel=ice-server", servers=servers)
    assert [link.target for link in parse_links(fields)] == ["stun:node", "turn:b", "stun:c", "stun:a", "/x"]
    assert len(fields) == 5


def test_stun_urls_go_out_without_credentials() -> None:
    assert rewrite(servers=(IceServer(("stun:c", "stuns:d"), "u", Secret("p")),)) == [
        '<stun:c>; rel="ice-server"',
        '<stuns:d>; rel="ice-server"',
    ]


def test_exact_duplicates_vanish() -> None:
    """The same url with other credentials is another one."""
    turn = '<turn:b>; rel="ice-server"; username="u"; credential="{}"; credential-type="password"'
    servers = (
        IceServer(("stun:a", "turn:b"), "u", Secret("p")),
        IceServer(("turn:b", "turn:b", "STUN:a"), "u", Secret("q")),
    )
    assert rewrite("<stun:a>; rel=ice-server; username=x", turn.format("p"), servers=servers) == [
        '<stun:a>; rel="ice-server"',
        turn.format("p"),
        turn.format("q"),
    ]


@pytest.mark.parametrize(
    ("most", "kept", "left_out"),
    [
        (0, [], ["stun:n", "stun:a", "turn:b"]),
        (2, ["stun:n", "stun:a"], ["turn:b"]),
        (3, ["stun:n", "stun:a", "turn:b"], []),
    ],
)
def test_the_urls_beyond_the_most_are_named_and_left_out(
    most: int, kept: list[str], left_out: list[str]
) -> None:
    """Other links, and duplicates, do not count."""
    fields, dropped = rewrite_links(
        ["</x>; rel=y", "<stun:n>; rel=ice-server", "<stun:n>; rel=ice-server"],
        session=ID,
        location=OURS,
        override=False,
        servers=[IceServer(("stun:a", "turn:b"), "u", Secret("p"))],
        max_urls=most,
    )
    assert [link.target for link in parse_links(fields)] == [*kept, "/x"]
    assert dropped == left_out


def test_without_a_session_nothing_moves() -> None:
    """OPTIONS has none."""
    assert rewrite("</a//b>; rel=x", session="") == ['</a//b>; rel="x"']
    assert rewrite() == []


def test_no_credential_is_kept_in_memory() -> None:
    """Nodes' open servers are the same with each session, and read once; credentials are others each time."""
    kept = _read_again.cache_info().currsize
    for number in range(3):
        value = f'<turn:kept>; rel="ice-server"; username="{number}"; credential="c{number}"'
        rewrite_links([value], session="", location="", override=False, servers=(), max_urls=12)
    assert _read_again.cache_info().currsize == kept
