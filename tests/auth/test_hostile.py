"""Requests that nobody sends in good faith, each with the status that it must get, on both ways of serving."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from auth.asking import bearer, guarded
from auth.issuing import SECRET, compact, hs256, native
from liveman.config import Account, Secret
from support.liveman import OFFER, exchange, request_bytes
from support.raw_node import RawNode, raw_node

ACCOUNTS = (Account("ann", Secret("her password")),)


def claims(**changes: object) -> dict[str, object]:
    made = {"id": "*", "exp": int(time.time()) + 600, "mode": 7, **changes}
    return {name: value for name, value in made.items() if value is not None}


def token(**changes: object) -> str:
    return "Bearer " + native(claims(**changes))


def basic(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


def long_token(size: int) -> str:
    """Rightly signed, so that nothing but its size is wrong."""
    made = ""
    padding = size * 3 // 4 - 400
    while len(made) < size:
        padding += 1
        made = native(claims(more="x" * padding))
    return made


# Made when they are wanted: each of them ends.
def shown() -> dict[str, tuple[list[str], int | tuple[int, ...]]]:
    good = bearer()["Authorization"]
    return {
        "nothing": ([], 401),
        "empty": (["Authorization:"], 401),
        "a scheme alone": (["Authorization: Bearer"], 401),
        "blanks": (["Authorization: Bearer    "], 401),
        "no scheme": ([f"Authorization: {good[7:]}"], 401),
        "another scheme": ([f"Authorization: Digest {good[7:]}"], 401),
        "any case": ([f"Authorization: bEARER  {good[7:]}"], 201),
        "a tab": ([f"Authorization: Bearer\t{good[7:]}"], 401),
        "two tokens in one": ([f"Authorization: {good}, {good}"], 401),
        "a name that poses": ([f"Authorization_: {good}"], 401),
        "another name": ([f"X-Authorization: {good}", f"Proxy-Authorization: {good}"], 401),
        "twice the same": ([f"Authorization: {good}", f"Authorization: {good}"], 400),
        "a good one and a bad": ([f"Authorization: {good}", "authorization: Bearer x"], 400),
        "a bad one and a good": (["AUTHORIZATION: Bearer x", f"Authorization: {good}"], 400),
        "bytes that are no text": (["Authorization: Bearer \xff\xfe"], 401),
        "8 KiB and one": (["Authorization: Bearer " + long_token(8193)], (400, 401)),
        "a huge one": (["Authorization: Bearer " + "x" * 15_000], (400, 401)),
        "alg none": (["Authorization: Bearer " + compact({"alg": "none"}, claims(), lambda _: b"")], 401),
        "alg None": (["Authorization: Bearer " + compact({"alg": "None"}, claims(), hs256())], 401),
        "alg RS256 by the secret": (["Authorization: Bearer " + native(claims(), alg="RS256")], 401),
        "an empty secret": (["Authorization: Bearer " + native(claims(), "")], 401),
        "another secret": (["Authorization: Bearer " + native(claims(), SECRET + "x")], 401),
        "no end": ([f"Authorization: {token(exp=None)}"], 401),
        "an end as text": ([f"Authorization: {token(exp=str(int(time.time()) + 600))}"], 401),
        "an end of 1e308": ([f"Authorization: {token(exp=1e308)}"], 401),
        "an end in milliseconds": ([f"Authorization: {token(exp=int(time.time() + 600) * 1000)}"], 401),
        "an end that is true": ([f"Authorization: {token(exp=True)}"], 401),
        "over by a second": ([f"Authorization: {token(exp=int(time.time()) - 61)}"], 401),
        "within the leeway": ([f"Authorization: {token(exp=int(time.time()) - 30)}"], 201),
        "not yet": ([f"Authorization: {token(nbf=int(time.time()) + 600)}"], 401),
        "mode 8": ([f"Authorization: {token(mode=8)}"], 401),
        "mode -1": ([f"Authorization: {token(mode=-1)}"], 401),
        "mode 7.0": ([f"Authorization: {token(mode=7.0)}"], 401),
        "mode as text": ([f"Authorization: {token(mode='7')}"], 401),
        "no mode": ([f"Authorization: {token(mode=None)}"], 401),
        "no stream": ([f"Authorization: {token(id=None)}"], 401),
        "an empty stream": ([f"Authorization: {token(id='')}"], 401),
        "NUL in its stream": ([f"Authorization: {token(id='cam' + chr(0))}"], 401),
        "a slash in its stream": ([f"Authorization: {token(id='../cam')}"], 401),
        "two streams": ([f"Authorization: {token(id=['cam', '*'])}"], 401),
        "another's stream": ([f"Authorization: {token(id='cam2')}"], 403),
        "a stream in other letters": ([f"Authorization: {token(id='CAM')}"], 403),
        "an audience": ([f"Authorization: {token(aud='someone')}"], 401),
        "a subject that breaks lines": ([f"Authorization: {token(sub='a' + chr(10) + 'b')}"], 401),
        "a signature with bits left over": ([f"Authorization: {good[:-1]}{'B' if good[-1] == 'A' else 'A'}"], 401),
        "padding": ([f"Authorization: {good}="], 401),
        "a fourth part": ([f"Authorization: {good}.x"], 401),
        "Basic without base64": (["Authorization: Basic !!!"], 401),
        "Basic without a colon": (["Authorization: " + basic(b"ann")], 401),
        "Basic that is not UTF-8": (["Authorization: " + basic(b"ann:\xff\xfe")], 401),
        "Basic with NUL": (["Authorization: " + basic(b"ann\0:her password")], 401),
        "Basic with nothing": (["Authorization: " + basic(b":")], 401),
        "Basic with a line more": (["Authorization: " + basic(b"ann:her password\n")], 401),
        "Basic twice as long as anything": (["Authorization: " + basic(b"ann:" + b"x" * 5000)], 401),
        "Basic as it should be": (["Authorization: " + basic(b"ann:her password")], 201),
        "a cookie of odd bytes": (["Cookie: liveman=\xff\x80; \x7f"], (400, 401)),
        "a cookie without end": (["Cookie: liveman=" + "x" * 8100, "Sec-Fetch-Site: same-origin"], 401),
        "two cookies of a name": ([f"Cookie: liveman=x; liveman={good[7:]}", "Sec-Fetch-Site: same-origin"], 401),
        "two fields of cookies": (["Cookie: a=b", f"Cookie: liveman={good[7:]}", "Sec-Fetch-Site: same-origin"], 201),
        "a cookie from elsewhere": ([f"Cookie: liveman={good[7:]}", "Sec-Fetch-Site: cross-site"], 403),
        "its origin twice": ([f"Cookie: liveman={good[7:]}", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"], 403),
        "a stranger's word for localhost": (["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"], 401),
        "another method by a header": (["X-HTTP-Method-Override: GET"], 401),
        "a relay's token of nobody": (["Authorization: Bearer relay-1800000000-" + "0" * 32], 401),
    }  # fmt: skip


@pytest.fixture
async def node() -> AsyncIterator[RawNode]:
    async with raw_node() as node:
        yield node


@pytest.fixture
async def client(node: RawNode) -> AsyncIterator[ClientSession]:
    async with guarded(node, auth={"accounts": ACCOUNTS}) as client:
        yield client


async def status_of(client: ClientSession, data: bytes) -> int:
    answer = await exchange(str(client._base_url), data)
    assert b"her password" not in answer
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("way", ["the short way", "aiohttp's way"])
@pytest.mark.parametrize("what", shown())
async def test_who_gets_in_with_what(client: ClientSession, node: RawNode, what: str, way: str) -> None:
    """A POST that would be answered with 201."""
    lines, status = shown()[what]
    # What makes no difference to anyone but the one who chooses the way.
    other = ["Connection: close"] if way == "the short way" else ["Connection: close", "TE: x", "TE: y"]
    data = request_bytes("POST", "/whip/cam", "Content-Type: application/sdp", *other, *lines, body=OFFER)
    got = await status_of(client, data)
    assert got in (status if isinstance(status, tuple) else (status,))
    assert len(node.received) == (got == 201)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Authorization: GOOD"], 100),
        ([], 401),
        (["Authorization: Bearer wrong"], 401),
        (["Authorization: GOOD", "Authorization: GOOD"], 400),
        (["Authorization: OTHERS"], 403),
        (["Cookie: liveman=COOKIE"], 403),
    ],
)
async def test_no_body_is_invited_from_who_may_not_come_in(
    client: ClientSession, node: RawNode, lines: list[str], status: int
) -> None:
    """`Expect: 100-continue`: the answer comes before the body."""
    good = token()
    head = request_bytes(
        "POST",
        "/whip/cam",
        "Content-Type: application/sdp",
        "Expect: 100-continue",
        f"Content-Length: {len(OFFER)}",
        *(
            line.replace("GOOD", good).replace("OTHERS", token(id="other")).replace("COOKIE", good[7:])
            for line in lines
        ),
    )
    parts = urlsplit(str(client._base_url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    async with asyncio.timeout(5):
        writer.write(head)
        line = await reader.readline()
        assert int(line.split()[1]) == status
        if status == 100:
            writer.write(OFFER)
            await reader.readline()
            assert int((await reader.readline()).split()[1]) == 201
    writer.close()


async def test_a_head_request_gets_what_its_get_would_without_a_body(client: ClientSession) -> None:
    for path in ("/api/nodes/", "/api/streams/", "/whip/cam", "/api/streams/cam"):
        for headers in ({}, bearer("other"), bearer("cam", 0), bearer()):
            async with client.get(path, headers=headers) as got, client.head(path, headers=headers) as head:
                assert head.status == (200 if got.status == 204 else got.status)
                assert not await head.read()


async def test_a_preflight_is_answered_before_anyone_is_asked(client: ClientSession, node: RawNode) -> None:
    """Browsers send it without credentials; it opens nothing."""
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    for path in ("/whip/cam", "/api/nodes/", "/api/token"):
        async with client.options(path, headers=headers) as response:
            assert response.status == 204 and not await response.read()
    async with client.options("/whip/cam") as response:
        assert response.status == 401
    assert not node.received


async def test_a_refusal_never_repeats_what_was_shown(client: ClientSession) -> None:
    for headers in ({"Authorization": "Bearer my-own-secret"}, {"Cookie": "liveman=my-own-secret"}):
        async with client.get("/api/nodes/", headers=headers) as response:
            assert response.status == 401 and "my-own-secret" not in await response.text()
