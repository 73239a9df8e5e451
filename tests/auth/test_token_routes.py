"""Tokens that are made and revoked over HTTP."""

import asyncio
import json
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession

from auth.asking import (
    MANAGE,
    PUBLISH,
    SUBSCRIBE,
    Said,
    ask,
    basic,
    bearer,
    guarded,
    keeper,
    made,
    post,
)
from auth.issuing import SECRET, base64url, hs256
from liveman import app
from liveman.auth.claims import fingerprint
from liveman.cluster.client import Client
from liveman.config import Account, Database, Secret
from liveman.config_auth import Quotas
from support.nodes import until
from support.raw_node import Received, raw_node

BOTH = (Account("ann", Secret("her password")),)
ANN = basic("ann", "her password")


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with raw_node() as node, guarded(node, auth={"accounts": BOTH}) as client:
        yield client


async def make(client: ClientSession, headers: dict[str, str], **wanted: Any) -> Said:
    return await ask(
        client, "POST", "/api/token", json={"id": "cam", "duration": 60, **wanted}, headers=headers
    )


async def token_of(client: ClientSession, **wanted: Any) -> tuple[dict[str, str], str]:
    """A token's header, and its id."""
    said = await make(client, ANN, **wanted)
    assert said.status == 200, said.text
    token = said.json["access_token"]
    return {"Authorization": f"Bearer {token}"}, claims(token)["jti"]


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    return json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


async def test_a_token_is_one_as_nodes_and_the_original_take_them(client: ClientSession) -> None:
    """HS256 under the shared secret, with exactly the claims they read and two that they skip."""
    before = int(time.time())
    said = await make(client, ANN, publish=True, subscribe=True)
    assert (said.status, said.headers["Cache-Control"]) == (200, "no-store")
    assert said.json["token_type"] == "Bearer"
    header, payload, signature = said.json["access_token"].split(".")
    assert json.loads(urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert base64url(hs256(SECRET)(f"{header}.{payload}".encode())).decode() == signature
    found = claims(said.json["access_token"])
    assert found["id"] == "cam" and found["mode"] == PUBLISH | SUBSCRIBE
    assert type(found["exp"]) is int and before + 60 <= found["exp"] <= time.time() + 60
    assert len(found["jti"]) == 32
    assert set(found) == {"id", "exp", "mode", "jti"}


async def test_another_library_under_the_same_secret_reads_ours_and_makes_ones_for_us(
    client: ClientSession,
) -> None:
    """As a node does: the algorithm is given, ``exp`` is needed and an audience would be refused."""
    said = await make(client, ANN, publish=True)
    options = {"require": ["exp"]}
    found = jwt.decode(said.json["access_token"], SECRET, algorithms=["HS256"], options=options)
    assert (found["id"], found["mode"]) == ("cam", 2)
    theirs = jwt.encode({"id": "cam", "exp": int(time.time()) + 60, "mode": 2}, SECRET, "HS256")
    header = {"Authorization": f"Bearer {theirs}"}
    assert (await post(client, "/whip/cam", header)).status == 201
    assert (await post(client, "/whep/cam", header)).status == 403


@pytest.mark.parametrize(
    ("wanted", "mode"),
    [
        ({}, 0),
        ({"subscribe": True}, 4),
        ({"publish": True}, 2),
        ({"admin": True}, 1),
        ({"subscribe": True, "publish": True, "admin": True}, 7),
        ({"subscribe": False, "publish": True}, 2),
    ],
)
async def test_its_bits_are_those_that_were_asked_for(
    client: ClientSession, wanted: dict[str, bool], mode: int
) -> None:
    assert claims((await make(client, ANN, **wanted)).json["access_token"])["mode"] == mode


@pytest.mark.parametrize(
    ("maker", "wanted", "status"),
    [
        (7, {"subscribe": True, "publish": True, "admin": True}, 200),
        (MANAGE, {"admin": True}, 200),
        (MANAGE, {"subscribe": True}, 403),
        (MANAGE | PUBLISH, {"publish": True, "subscribe": True}, 403),
        (MANAGE | PUBLISH, {"publish": True}, 200),
        (PUBLISH | SUBSCRIBE, {"publish": True}, 403),
        (SUBSCRIBE, {}, 403),
    ],
)
async def test_a_token_never_has_more_than_its_maker(
    client: ClientSession, maker: int, wanted: dict[str, bool], status: int
) -> None:
    for id in ("*", "cam"):
        assert (await make(client, bearer("*", maker), id=id, **wanted)).status == status


async def test_who_manages_one_stream_makes_no_tokens(client: ClientSession) -> None:
    for id in ("cam", "*", "other"):
        assert (await make(client, bearer("cam", 7), id=id)).status == 403


async def test_a_token_never_lives_longer_than_its_maker(client: ClientSession) -> None:
    """Nor does one that it makes in turn. An account's may have a year."""
    assert (await make(client, bearer(seconds=100), duration=90)).status == 200
    said = await make(client, bearer(seconds=100), duration=110)
    assert said.status == 403 and "s left" in said.json["detail"]
    # Within the leeway for clocks a token still opens, but makes none.
    assert (await make(client, bearer(seconds=-5), duration=1)).status == 403
    header, _ = await token_of(client, id="*", admin=True, duration=50)
    assert (await make(client, header, id="*", admin=True, duration=60)).status == 403
    assert (await make(client, ANN, duration=31_536_000)).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": "cam", "duration": 1}, 200),
        ({"id": "*", "duration": 31_536_000}, 200),
        ({"id": "a b?c", "duration": 1}, 200),
        ({"id": "ä" * 127, "duration": 1}, 200),
        ({"id": "cam", "duration": 0}, 422),
        ({"id": "cam", "duration": -1}, 422),
        ({"id": "cam", "duration": 31_536_001}, 422),
        ({"id": "cam", "duration": 1e308}, 422),
        ({"id": "cam", "duration": 1.5}, 422),
        ({"id": "cam", "duration": "60"}, 422),
        ({"id": "cam", "duration": True}, 422),
        ({"id": "cam", "duration": None}, 422),
        ({"id": "cam"}, 422),
        ({"duration": 60}, 422),
        ({}, 422),
        ({"id": "", "duration": 60}, 422),
        ({"id": ".", "duration": 60}, 422),
        ({"id": "..", "duration": 60}, 422),
        ({"id": "a/b", "duration": 60}, 422),
        ({"id": "a\\b", "duration": 60}, 422),
        ({"id": "a\0b", "duration": 60}, 422),
        ({"id": "ä" * 128, "duration": 60}, 422),
        ({"id": 5, "duration": 60}, 422),
        ({"id": ["cam"], "duration": 60}, 422),
        ({"id": "cam", "duration": 60, "admin": "yes"}, 422),
        ({"id": "cam", "duration": 60, "admin": 1}, 422),
        ({"id": "cam", "duration": 60, "mode": 7}, 422),
        ([], 400),
        ("cam", 400),
    ],
)
async def test_what_can_be_asked_for(client: ClientSession, body: object, status: int) -> None:
    said = await ask(client, "POST", "/api/token", json=body, headers=ANN)
    assert said.status == status, said.text
    if status == 422:
        assert all(set(fault) == {"path", "problem"} for fault in said.json["faults"])


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"id":"cam","duration":60', "application/json", 400),
        (b'{"id":"cam","duration":60}', "text/plain", 415),
        (b'{"id":"cam","duration":60}', "", 415),
        (b'{"id":"' + b"x" * 66_000 + b'"}', "application/json", 413),
    ],
)
async def test_what_is_no_json_says_so(client: ClientSession, data: bytes, kind: str, status: int) -> None:
    headers = {**ANN, "Content-Type": kind}
    assert (await ask(client, "POST", "/api/token", data=data, headers=headers)).status == status


async def test_each_token_stands_for_itself_and_not_for_its_maker() -> None:
    """So that one's quota and rate limit are not all others'."""
    quotas = Quotas(publishers_per_subject=1)
    async with keeper() as kept, guarded(kept.node, auth={"accounts": BOTH, "quotas": quotas}) as client:
        one, _ = await token_of(client, id="*", publish=True)
        other, _ = await token_of(client, id="*", publish=True)
        assert (await post(client, "/whip/a", one)).status == 201
        assert (await post(client, "/whip/b", one)).status == 429
        assert (await post(client, "/whip/b", other)).status == 201


async def test_a_revoked_token_is_refused_at_once_and_its_sessions_end() -> None:
    """At the node; others' sessions go on."""
    async with keeper() as kept, guarded(kept.node, auth={"accounts": BOTH}) as client:
        mine, name = await token_of(client, id="cam", publish=True, subscribe=True)
        others, _ = await token_of(client, id="cam", subscribe=True)
        session = await made(client, "/whip/cam", mine)
        await made(client, "/whep/cam", mine)
        await made(client, "/whep/cam", others)
        assert (await ask(client, "DELETE", f"/api/tokens/{name}", headers=ANN)).status == 204

        async def gone() -> bool:
            return set(kept.sessions.values()) == {("subscribe", "cam")} and len(kept.sessions) == 1

        await until(gone)
        for method, path in (("POST", "/whep/cam"), ("GET", "/whep/cam"), ("DELETE", session)):
            said = await ask(client, method, path, headers=mine)
            assert (said.status, said.json["detail"]) == (401, "The token has been revoked.")
        assert (await post(client, "/whep/cam", others)).status == 201
        # Once more changes nothing.
        assert (await ask(client, "DELETE", f"/api/tokens/{name}", headers=ANN)).status == 204


async def test_a_session_that_could_not_be_ended_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as the node has it."""
    tried = []
    real = Client.delete_session

    async def delete(self: Client, *session: Any) -> bool:
        tried.append(session)
        return len(tried) > 2 and await real(self, *session)

    monkeypatch.setattr(Client, "delete_session", delete)
    monkeypatch.setattr(app, "_LOOK_SECONDS", 0.01)
    async with keeper() as kept, guarded(kept.node, auth={"accounts": BOTH}) as client:
        mine, name = await token_of(client, publish=True)
        await made(client, "/whip/cam", mine)
        assert (await ask(client, "DELETE", f"/api/tokens/{name}", headers=ANN)).status == 204

        async def gone() -> bool:
            return not kept.sessions

        await until(gone)
        assert len(tried) == 3


async def test_a_managers_session_made_straight_at_a_node_ends_too() -> None:
    async with keeper() as kept, guarded(kept.node, auth={"accounts": BOTH}) as client:
        mine, name = await token_of(client, id="*", publish=True, admin=True)
        await made(client, "/api/whip/n0/cam", mine)
        assert len(kept.sessions) == 1
        await ask(client, "DELETE", f"/api/tokens/{name}", headers=ANN)

        async def gone() -> bool:
            return not kept.sessions

        await until(gone)


async def test_a_token_without_a_name_is_revoked_by_the_one_that_it_gets() -> None:
    """A node's own maker of tokens writes no jti; audit lines show what stands for it."""
    async with keeper() as kept, guarded(kept.node, auth={"accounts": BOTH}) as client:
        mine = bearer("cam", PUBLISH)
        signed = mine["Authorization"].removeprefix("Bearer ").rpartition(".")[0]
        await made(client, "/whip/cam", mine)
        await ask(client, "DELETE", f"/api/tokens/{fingerprint(signed.encode())}", headers=ANN)

        async def gone() -> bool:
            return not kept.sessions

        await until(gone)
        assert (await post(client, "/whip/cam", mine)).status == 401


async def test_a_token_that_is_revoked_while_its_offer_is_under_way_gets_no_session() -> None:
    """What the node has made by then is deleted there."""
    under_way, go_on = asyncio.Event(), asyncio.Event()
    async with keeper() as kept:

        async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
            if received.method == "POST":
                under_way.set()
                await go_on.wait()
            await kept.script(received, writer)

        kept.node.reply = slow
        async with guarded(kept.node, auth={"accounts": BOTH}) as client:
            mine, name = await token_of(client, publish=True)
            posting = asyncio.create_task(post(client, "/whip/cam", mine))
            await under_way.wait()
            assert (await ask(client, "DELETE", f"/api/tokens/{name}", headers=ANN)).status == 204
            go_on.set()
            said = await posting
            assert said.status == 401 and "Location" not in said.headers

            async def gone() -> bool:
                return not kept.sessions

            await until(gone)
            assert kept.count == 1


async def test_a_revoked_token_stays_refused_after_a_restart(tmp_path: Path) -> None:
    database = Database(url=Secret(f"sqlite://{tmp_path}/liveman.db?mode=rwc"))
    async with guarded(auth={"accounts": BOTH}, database=database) as client:
        mine, name = await token_of(client, id="*", subscribe=True)
        assert (await ask(client, "GET", "/api/streams/", headers=mine)).status == 200
        await ask(client, "DELETE", f"/api/tokens/{name}", headers=ANN)
    async with guarded(auth={"accounts": BOTH}, database=database) as client:
        assert (await ask(client, "GET", "/api/streams/", headers=mine)).status == 401
        other, _ = await token_of(client, id="*", subscribe=True)
        assert (await ask(client, "GET", "/api/streams/", headers=other)).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("some", 204),
        ("a%20b", 204),
        ("a%2Fb", 204),
        ("%C3%A4", 204),
        ("x" * 255, 204),
        ("x" * 256, 400),
        ("", 400),
        ("%00", 400),
        ("%0A", 400),
        ("%E2%80%AE", 400),
        ("%FF", 400),
        ("%2", 400),
        ("a/b", 404),
    ],
)
async def test_what_can_be_the_name_of_a_token(client: ClientSession, path: str, status: int) -> None:
    assert (await ask(client, "DELETE", f"/api/tokens/{path}", headers=ANN)).status == status
