"""A session belongs to its stream and its kind: no other token, path or spelling reaches it."""

import re
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from auth.asking import MANAGE, PUBLISH, SUBSCRIBE, Keeper, ask, bearer, guarded, keeper, made, post
from auth.issuing import SECRET
from liveman.secret import alias_tag, build_session_id
from support.liveman import OFFER, liveman
from support.nodes import until
from support.raw_node import raw_node


@pytest.fixture
async def kept() -> AsyncIterator[Keeper]:
    async with keeper() as kept:
        yield kept


@pytest.fixture
async def client(kept: Keeper) -> AsyncIterator[ClientSession]:
    async with guarded(kept.node) as client:
        yield client


async def raw(client: ClientSession, method: str, path: str, headers: dict[str, str]) -> int:
    return (await ask(client, method, path, headers=headers)).status


EVERY = ("GET", "HEAD", "POST", "PATCH", "DELETE")


@pytest.mark.parametrize("below", ["", "/layer", "/sse"])
async def test_the_own_token_reaches_the_own_session(client: ClientSession, kept: Keeper, below: str) -> None:
    published = await made(client, "/whip/a", bearer("a", PUBLISH))
    watched = await made(client, "/whep/a", bearer("a", SUBSCRIBE))
    for path, mode in ((watched, SUBSCRIBE), (published, PUBLISH)):
        for method in EVERY:
            assert await raw(client, method, path + below, bearer("a", mode)) == 204


async def test_a_session_of_one_stream_is_not_found_under_anothers_path(
    client: ClientSession, kept: Keeper
) -> None:
    """Whoever asks; and the node hears nothing."""
    path = await made(client, "/whip/a", bearer())
    other = path.replace("/session/a/", "/session/b/")
    before = len(kept.node.received)
    for who in (bearer("b"), bearer("*"), bearer("*", PUBLISH)):
        for method in EVERY:
            assert await raw(client, method, other, who) == 404
            assert await raw(client, method, f"{other}/layer", who) == 404
    assert await raw(client, "DELETE", path, bearer("b")) == 403
    assert len(kept.node.received) == before


async def test_no_viewer_ends_a_publishers_session(client: ClientSession, kept: Keeper) -> None:
    """Nor does a publisher a viewer's: the id's kind says what is needed."""
    published = await made(client, "/whip/a", bearer("a", PUBLISH))
    watched = await made(client, "/whep/a", bearer("a", SUBSCRIBE))
    before = len(kept.node.received)
    for stream in ("a", "*"):
        for method in EVERY:
            assert await raw(client, method, published, bearer(stream, SUBSCRIBE)) == 403
            assert await raw(client, method, watched, bearer(stream, PUBLISH)) == 403
    assert len(kept.node.received) == before and len(kept.sessions) == 2


def forged(
    id: str = "whip-1", *, alias: str = "n0", kind: str = "p", stream: str = "a", secret=SECRET
) -> str:
    return build_session_id(secret.encode(), alias=alias, kind=kind, stream=stream, id=id)


GOOD = forged()
TAG = alias_tag("n0")


@pytest.mark.parametrize(
    ("id", "status"),
    [
        (GOOD, 204),
        # Every character of the tag, the kind and the mac.
        *((GOOD[:i] + ("a" if GOOD[i] != "a" else "b") + GOOD[i + 1 :], 404) for i in range(7, len(GOOD))),
        (forged("whip-2"), 204),  # The node answers for what it does not have.
        (forged(stream="b"), 404),
        (forged(secret="another secret"), 404),
        (forged(alias="n1"), 404),
        (GOOD.replace(f".{TAG}p", f".{TAG}s"), 404),
        (GOOD.upper(), 404),
        (GOOD.replace("whip-1", "whip-2"), 404),
        (GOOD + ".", 404),
        (GOOD + "a", 404),
        (GOOD[:-1], 404),
        (f"x.{GOOD}", 404),
        (f"whip-1.{TAG}paaaaaaaa", 404),
        (f"{GOOD}.{GOOD.partition('.')[2]}", 404),
        (f".{GOOD.partition('.')[2]}", 404),
        ("whip-1", 404),
        ("", 400),
        # Spelt otherwise it is another id, also where it would decode to the same.
        (GOOD.replace(".", "%2E"), 404),
        (GOOD.replace("whip", "%77hip"), 404),
        (f"%20{GOOD}", 404),
        (f"{GOOD}%00", 400),
        (f"{GOOD};a", 404),
        (f"{GOOD}%3Fa", 404),
        (f"{GOOD}%23a", 404),
    ],
)
async def test_only_the_very_id_is_a_session(
    client: ClientSession, kept: Keeper, id: str, status: int
) -> None:
    """For one who may do everything on the stream but manage."""
    for below in ("", "/layer"):
        got = await raw(client, "DELETE", f"/session/a/{id}{below}", bearer("a", PUBLISH | SUBSCRIBE))
        if id:
            assert got == status
    if status != 204:
        assert not kept.node.received


async def test_the_nodes_own_ids_are_for_those_who_manage(client: ClientSession, kept: Keeper) -> None:
    await made(client, "/whip/a", bearer())
    for who in (bearer("a", PUBLISH), bearer("a", 6), bearer("*", 6)):
        assert await raw(client, "DELETE", "/session/a/whip-1", who) == 404
    assert kept.sessions
    assert await raw(client, "DELETE", "/session/b/whip-1", bearer("*", MANAGE)) == 404
    assert await raw(client, "DELETE", "/session/a/whip-1", bearer("b", MANAGE)) == 403
    assert await raw(client, "DELETE", "/session/a/whip-1", bearer("a", MANAGE)) == 204
    assert not kept.sessions


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/session/a%2F..%2Fb/ID", 400),
        ("/session/a%2f..%2fb/ID", 400),
        ("/session/a%5C..%5Cb/ID", 400),
        ("/session/a/..%2Fb%2FID", 400),
        ("/session/a/..%2F..%2Fwhip%2Fb", 400),
        ("/session/a/../b/ID", 400),
        ("/session/a/%2e%2e/b/ID", 400),
        ("/session/a/%2E./b/ID", 400),
        ("/session/a/./ID", 400),
        ("/session/./ID", 400),
        ("/session/../session/b/ID", 400),
        ("/session//ID", 400),
        ("/session/a//ID", 404),
        ("//session/b/ID", 404),
        ("/session/b/ID", 403),
        ("/session/%62/ID", 403),
        ("/session/b%00/ID", 400),
        ("/session/b%0a/ID", 400),
        ("/session/%C3%28/ID", 400),
        ("/session/%EF%BD%82/ID", 403),  # A wide b is another letter.
        ("/session/b%20/ID", 403),
        ("/session/%20b/ID", 403),
        ("/session/b%2/ID", 400),
        ("/session/*/ID", 403),
        ("/session/%2A/ID", 403),
        ("/SESSION/a/ID", 404),
        ("/%73ession/b/ID", 403),
        ("/%73ession/a/ID", 404),
        ("/session/a/ID/..%2f..%2fb", 400),
        ("/session/a/ID/%2e%2e/x", 400),
        ("/session/a", 404),
        ("/session/a;b/ID", 403),
        ("/session/a%3Bb/ID", 403),
        ("/session/a,b/ID", 403),
        ("/whip/a%2F..%2Fb", 400),
        ("/whip/a/../b", 400),
        ("/whip/%62", 403),
        ("/whip/b", 403),
        ("/whip/a%00", 400),
        ("/whip/A", 403),
        ("/whip/*", 403),
        ("/whip/a/b", 404),
        ("/whip/", 400),
        ("/api/streams/b", 403),
        ("/api/streams/%62", 403),
        ("/api/streams/a%2F..%2Fb", 400),
        ("/api/streams/b/sessions/whip-1", 403),
        ("/api/streams/a/sessions/..%2F..%2Fb", 404),
        ("/api/whip/n0/a", 403),
    ],
)
@pytest.mark.parametrize("way", ["the short way", "aiohttp's way"])
async def test_no_spelling_crosses_over(
    client: ClientSession, kept: Keeper, way: str, path: str, status: int
) -> None:
    """From stream a, with a token for all of it, to a session of b; neither server reads a path otherwise."""
    session = (await made(client, "/whip/b", bearer())).rpartition("/")[2]
    await made(client, "/whip/a", bearer())
    before = len(kept.node.received)
    method = "DELETE" if "session" in path.lower() else "POST"
    headers = {**bearer("a"), "Content-Type": "application/sdp"}
    if way == "aiohttp's way":
        headers["Connection"] = "keep-alive, x-more"
    data = OFFER if method == "POST" else None
    said = await ask(client, method, path.replace("ID", session), headers=headers, data=data)
    assert said.status == status
    assert len(kept.node.received) == before and len(kept.sessions) == 2


async def test_a_stream_is_its_decoded_name_however_it_is_spelt(client: ClientSession, kept: Keeper) -> None:
    path = await made(client, "/whip/%61", bearer("a"))
    assert path.startswith("/session/%61/")
    assert await raw(client, "DELETE", path.replace("%61", "a"), bearer("a", PUBLISH)) == 204
    wide = await made(client, "/whip/%C3%A4%20%3F", bearer("ä ?"))
    assert await raw(client, "DELETE", wide, bearer("ä ?", PUBLISH)) == 204


async def test_lists_for_one_stream_carry_no_ids(client: ClientSession, kept: Keeper) -> None:
    """Of nobody's session; who may see all streams sees them."""
    await made(client, "/whip/a", bearer("a"))
    await made(client, "/whep/a", bearer("a"))

    async def listed() -> bool:
        said = await ask(client, "GET", "/api/streams/a", headers=bearer())
        return "whip-1" in said.text and "whep-2" in said.text

    await until(listed)
    said = await ask(client, "GET", "/api/streams/a", headers=bearer("a", SUBSCRIBE))
    assert said.status == 200 and said.json["n0"]["id"] == "a"
    assert not re.search(r"whip-1|whep-2", said.text)


async def test_without_authentication_ids_are_routes_alone() -> None:
    """Then the nodes' own open everything, as anyone may do everything."""
    async with raw_node() as node, liveman(node) as url, ClientSession(url) as client:
        path = await made(client, "/whip/a")
        assert (await post(client, "/whip/a")).status == 201
        async with client.delete(path) as response:
            assert response.status == 204
