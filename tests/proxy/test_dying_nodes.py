"""Nodes that end their connections at every possible moment, restart, or fall silent, while requests come."""

import asyncio
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Callable

import pytest
from aiohttp import ClientSession

from liveman.config import Cluster
from support.liveman import OFFER, exchange, liveman, request_bytes
from support.mortal_node import mortal_nodes
from support.raw_node import SDP, Received, answer, raw_node

SDP_TYPE = "Content-Type: application/sdp"
CLOSE = "Connection: close"
CHUNKED = "Transfer-Encoding: chunked"
#: About 50 requests a second.
PACE = 0.02
WAYS = ("closes", "resets")

#: When a node ends the connection that carries an offer, and what the offer's client may get.
MOMENTS: dict[str, set[int | str]] = {
    "in-the-request": {502},
    "before-the-answer": {502},
    "in-the-status-line": {502},
    "in-the-head": {502},
    "after-the-head": {502},
    "in-the-body": {502},
    "in-a-chunk": {502},
    "before-the-last-chunk": {502},
    "in-the-last-chunk": {502},
    "in-a-long-body": {"cut"},
    "between-long-chunks": {"cut"},
    "behind-a-body-without-length": {201},
    "after-the-answer": {201},
    "when-idle": {201},
}
#: A reset is never the end of a body, and may overtake what was written before it.
WHEN_RESET: dict[str, set[int | str]] = {
    "behind-a-body-without-length": {502},
    "between-long-chunks": {"cut", 502},
}
#: The head is out by then, and names a session that nobody will end.
LOST = tuple(MOMENTS)[4:12]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def until_all_are_up(url: str) -> None:
    async with asyncio.timeout(10), ClientSession(url) as client:
        while True:
            async with client.get("/api/nodes/") as response:
                if {row["health"] for row in await response.json()} == {"up"}:
                    return
            await asyncio.sleep(0.01)


async def ask(url: str, method: str, target: str, *lines: str, body: bytes = b"") -> tuple[int | str, bytes]:
    """The status, or "cut" where the client can tell that the answer is not whole; and the answer's head.

    An answer with too much in it, or an error without its reason, fails the test; so does none within 10 s.
    """
    try:
        said = await exchange(url, request_bytes(method, target, CLOSE, *lines, body=body))
    except ConnectionResetError:
        return "cut", b""
    head, found, body = said.partition(b"\r\n\r\n")
    if not found:
        return "cut", head
    status = int(head.split(b" ", 2)[1])
    length = re.search(rb"\r\nContent-Length: (\d+)(?:\r\n|$)", head)
    if b"\r\nTransfer-Encoding: chunked" in head:
        assert not length
        whole = unchunked(body)
    else:
        assert length or status == 204
        size = int(length[1]) if length else 0
        assert len(body) <= size
        whole = body if len(body) == size else None
    if whole is None:
        return "cut", head
    if status >= 400:
        assert b"\r\nContent-Type: application/problem+json" in head
        assert json.loads(whole)["status"] == status
    if status == 201:
        assert whole == SDP
    return status, head


def unchunked(data: bytes) -> bytes | None:
    """What came in chunks; None: the last one is missing."""
    body = b""
    while match := re.match(rb"([0-9a-fA-F]+)\r\n", data):
        size, begin = int(match[1], 16), match.end()
        piece, end, data = data[begin : begin + size], data[begin + size :][:2], data[begin + size + 2 :]
        if len(piece) < size or end != b"\r\n"[: len(end)]:
            assert len(piece) < size
            return None
        if not size:
            assert not data
            return body if end else None
        body += piece
    return None


async def post(url: str, stream: str) -> tuple[int | str, str]:
    """What came of an offer, and the session's path."""
    body = OFFER + (b"a=x\r\n" * 30_000 if "in-the-request" in stream else b"")
    status, head = await ask(url, "POST", f"/whip/{stream}", SDP_TYPE, body=body)
    location = re.search(rb"\r\nLocation: (/session/\S+)", head)
    return status, location[1].decode() if location else ""


async def test_no_offer_is_sent_twice_wherever_a_node_ends_its_connection() -> None:
    """Every client gets a whole answer, a 502 or an answer that is plainly cut; nobody waits for ever.

    A node that closes right after its answer, or when idle, costs no request. A session that its client
    cannot have is deleted, and no other. PATCH is never sent twice either; DELETE once more at the most.
    """
    names = [f"{way}-{moment}.{n}" for way in WAYS for moment in MOMENTS for n in range(3)]
    random.Random(5).shuffle(names)
    ended: set[str] = set()

    async def visit(stream: str, patched: str, deleted: str) -> None:
        """A client who publishes, and ends it; the node ends the connections that ask for it."""
        status, path = await post(url, stream)
        assert status == 201
        session = node.made[stream]
        status, _ = await ask(url, "PATCH", path + patched, body=b"a=x\r\n")
        assert status == (502 if patched else 204)
        assert node.targets("PATCH").count(session + patched) == 1
        status, _ = await ask(url, "DELETE", path + deleted)
        seen = node.targets("DELETE").count(session + deleted)
        assert (status, seen) in ([(502, 1), (204, 2)] if deleted else [(204, 1)])
        ended.add(session + deleted)

    async with mortal_nodes(1) as (node,), liveman(node) as url, asyncio.timeout(60):
        sent: dict[str, asyncio.Task[tuple[int | str, str]]] = {}
        visits: list[asyncio.Task[None]] = []
        for n, name in enumerate(names):
            ways = ("", "?closes", "?resets")
            visits.append(asyncio.create_task(visit(f".{n}", ways[n % 3], ways[n // 3 % 3])))
            await asyncio.sleep(PACE)
            alone = name.split("-", 1)[1].startswith(("after-the-answer", "when-idle"))
            if alone:  # A request that is on its way to a node in just that instant is lost.
                await asyncio.wait([*visits, *sent.values()])
            sent[name] = asyncio.create_task(post(url, name))
            if alone:
                await sent[name]
            if "when-idle" in name:
                node.drop_idle(name.partition("-")[0])
            await asyncio.sleep(PACE)
        await asyncio.gather(*visits)
        lost = set()
        wrong = {}
        for name in names:
            way, _, moment = name.partition(".")[0].partition("-")
            wanted = MOMENTS[moment] if way == "closes" else WHEN_RESET.get(moment, MOMENTS[moment])
            status, _ = await sent[name]
            if status not in wanted:
                wrong[name] = status
            if moment in LOST and status != 201:
                lost.add(node.made[name])
        assert not wrong
        assert node.posts == Counter([*names, *(f".{n}" for n in range(len(names)))])
        await until(lambda: lost <= set(node.targets("DELETE")))
        assert set(node.targets("DELETE")) == lost | ended
        assert (await post(url, "afterwards"))[0] == 201
        connections = {received.connection for received in node.received}
        assert len(connections) < 0.7 * len(node.received), "too few connections were kept to prove anything"


@pytest.mark.parametrize("way", WAYS)
async def test_a_node_that_ends_connections_as_it_accepts_them(way: str) -> None:
    """Each request is a 502, for an offer may have arrived; when the node is well again, all is well."""
    async with mortal_nodes(1) as (node,), liveman(node) as url:
        status, path = await post(url, "before")
        assert status == 201
        node.doom = way
        node.drop_idle(way)
        got = await asyncio.gather(*(post(url, f"doomed{n}") for n in range(10)))
        assert got == [(502, "")] * 10
        assert (await ask(url, "DELETE", path))[0] == 502
        node.doom = ""
        await until_all_are_up(url)
        assert (await ask(url, "DELETE", path))[0] == 204
        assert (await post(url, "after"))[0] == 201
        assert node.posts == {"before": 1, "after": 1}


async def test_a_connection_that_the_node_closed_is_not_used_for_the_next_offer() -> None:
    """Though that offer comes in the same instant as the answer with the end behind it."""

    async def once(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("201 Created", f"Location: {received.target}/s", body=SDP))
        if len(node.received) == 1:
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            second.send(request_bytes("POST", "/whip/second", SDP_TYPE, CLOSE, body=OFFER))

    async with raw_node(once) as node, liveman(node) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as second:
            second.setblocking(False)
            assert (await post(url, "first"))[0] == 201
            async with asyncio.timeout(10):
                said = await asyncio.get_running_loop().sock_recv(second, 65536)
        assert said.startswith(b"HTTP/1.1 201 ")
        assert node.targets("POST") == ["/whip/first", "/whip/second"]


@pytest.mark.parametrize("way", WAYS)
async def test_nodes_that_restart_cost_no_failed_offer(way: str) -> None:
    """Each in turn, for a moment or at once, with offers under way; the other one takes them meanwhile."""
    async with mortal_nodes(2) as nodes, liveman(*nodes, cluster=Cluster(poll_interval_ms=100)) as url:
        sent = []
        for number in range(80):
            sent.append(asyncio.create_task(post(url, f".{number}")))
            if number % 10 == 5:
                node = nodes[number // 10 % 2]
                # Only what a node has begun can it finish.
                await until(lambda: sum(each.posts.total() for each in nodes) == len(sent))  # noqa: B023
                node.stop(way)
                if number % 20 == 5:
                    sent += [asyncio.create_task(post(url, f".{number}.{n}")) for n in range(5)]
                    await asyncio.wait(sent)
                await node.start()
                await until_all_are_up(url)
            for each in nodes:
                each.slow = number % 3 * PACE
            await asyncio.sleep(PACE)
        assert [(await task)[0] for task in sent] == [201] * 100
        seen = nodes[0].posts + nodes[1].posts
        assert len(seen) == seen.total() == 100
        assert all(node.posts for node in nodes)


async def test_an_offer_that_is_answered_too_late_leaves_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """504, to no other node; and what the node makes of it after all is deleted there."""
    monkeypatch.setattr("liveman.proxy.attempts.POST_SECONDS", 1.0)
    go_on = asyncio.Event()

    async def late(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "POST":
            await go_on.wait()
            writer.write(answer("201 Created", "Location: /session/cam/late", body=SDP))
        else:
            writer.write(answer("204 No Content"))

    async with raw_node(late) as one, raw_node(late) as two, liveman(one, two) as url:
        assert await post(url, "cam") == (504, "")
        go_on.set()
        (node,) = [node for node in (one, two) if node.received]
        await node.wait_for(lambda n: n.targets("DELETE") == ["/session/cam/late"])
        assert node.targets("POST") == ["/whip/cam"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_a_request_that_is_answered_too_late_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Though it went over a kept connection; the node may be at work on it."""
    monkeypatch.setattr("liveman.proxy.attempts.ANSWER_SECONDS", 0.3)

    async def silent(_: Received, _writer: asyncio.StreamWriter) -> None:
        return

    async with raw_node() as node, liveman(node) as url:
        _, path = await post(url, "cam")
        node.reply = silent
        assert (await ask(url, method, path))[0] == 504
        assert len(node.targets(method)) == 1


@pytest.mark.parametrize(
    ("begun", "wanted"),
    [
        (answer("201 Created", "Location: /session/cam/half", body=SDP)[:-5], 504),
        (
            answer("201 Created", "Location: /session/cam/half", CHUNKED, body=b"3\r\nv=0\r\n", length=False),
            504,
        ),
        (answer("201 Created", "Location: /session/cam/half", body=bytes(200_000))[:-50_000], "cut"),
        (answer("503 Service Unavailable", body=b"busy")[:-2], 504),
    ],
    ids=["a length", "chunks", "a long body", "a refusal"],
)
async def test_a_node_that_falls_silent_in_its_answer(
    monkeypatch: pytest.MonkeyPatch, begun: bytes, wanted: int | str
) -> None:
    """504, or a cut where the answer had begun; the session is deleted, and no other node gets the offer."""
    monkeypatch.setattr("liveman.proxy.answer.IDLE_SECONDS", 0.3)
    monkeypatch.setattr("liveman.proxy.attempts.ANSWER_SECONDS", 0.3)

    async def half(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(begun if received.method == "POST" else answer("204 No Content"))

    async with raw_node(half) as one, raw_node(half) as two, liveman(one, two) as url:
        assert (await post(url, "cam"))[0] == wanted
        (node,) = [node for node in (one, two) if node.received]
        if b" 201 " in begun:
            await node.wait_for(lambda n: n.targets("DELETE") == ["/session/cam/half"])
        assert node.targets("POST") == ["/whip/cam"]


async def test_an_event_stream_may_be_silent_for_as_long_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of other bodies is not for it."""
    monkeypatch.setattr("liveman.proxy.answer.IDLE_SECONDS", 0.1)
    monkeypatch.setattr("liveman.proxy.answer.LOOK_SECONDS", 0.1)

    async def events(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", "Content-Type: text/event-stream", CHUNKED, length=False))
        for _ in range(2):
            writer.write(b"9\r\ndata: 1\n\n\r\n")
            await asyncio.sleep(0.8)  # The silence itself.
        writer.write(b"0\r\n\r\n")

    async with raw_node() as node, liveman(node) as url:
        _, path = await post(url, "cam")
        node.reply = events
        said = await exchange(url, request_bytes("GET", path + "/events", CLOSE))
        assert unchunked(said.partition(b"\r\n\r\n")[2]) == b"data: 1\n\n" * 2
