"""Nodes that close their connections at every possible moment, while requests keep coming."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from attrs import define, field

from liveman.config import Cluster
from support.liveman import OFFER, exchange, liveman, request_bytes
from support.raw_node import SDP, answer

SDP_TYPE = "Content-Type: application/sdp"
CLOSE = "Connection: close"
#: About 50 requests a second.
PACE = 0.02

#: What a node does with an offer for a stream of that name, and what its client must get.
MOMENTS = {
    "fine": 201,
    "closes-after-its-answer": 201,
    "closes-when-idle": 201,
    "closes-silently": 502,
    "resets": 502,
    "closes-in-the-status-line": 502,
    "closes-in-the-head": 502,
    "closes-after-the-head": 502,
    "closes-in-the-body": 502,
    "closes-in-a-chunk": 502,
    "closes-before-the-last-chunk": 502,
    "closes-in-the-request": 502,
}


@define
class MortalNode:
    """Counts what it was asked, and dies as the stream's name says, or the query."""

    port: int = 0
    posts: Counter[str] = field(factory=Counter)
    patches: Counter[str] = field(factory=Counter)
    deleted: set[str] = field(factory=set)
    _sessions: count = field(factory=count)
    _idle: set[asyncio.StreamWriter] = field(factory=set)
    _tasks: set[asyncio.Task] = field(factory=set)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """End as a process does that has nothing under way: its port and its connections are closed."""
        self._server.close()
        for writer in list(self._idle):
            writer.close()

    async def end(self) -> None:
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while True:
                self._idle.add(writer)
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self._idle.discard(writer)
                if not await self._answer(head, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._idle.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        method, target, *_ = head.split(" ", 2)
        length = re.search(r"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
        if method == "GET":
            listed = target == "/api/streams/"
            writer.write(answer("200 OK" if listed else "404 Not Found", body=b"[]"))
            return True
        if method == "POST":
            self.posts[target] += 1
        if "/closes-in-the-request." in target:
            await reader.readexactly(10_000)
            return False
        body = await reader.readexactly(int(length[1]) if length else 0)
        if method == "PATCH":
            self.patches[body.decode()] += 1
        if method == "DELETE":
            self.deleted.add(target)
        if method != "POST":
            if "die" not in target:
                writer.write(answer("204 No Content"))
            return "die" not in target
        return self._made(target.rpartition("/")[2], writer)

    def _made(self, stream: str, writer: asyncio.StreamWriter) -> bool:
        moment = stream.partition(".")[0]
        location = f"Location: /session/{stream}/s{next(self._sessions)}"
        whole = answer("201 Created", SDP_TYPE, location, body=SDP)
        head = whole.removesuffix(SDP)
        chunked = answer("201 Created", SDP_TYPE, location, "Transfer-Encoding: chunked", length=False)
        match moment:
            case "resets":
                writer.transport.abort()
            case "closes-in-the-status-line":
                writer.write(b"HTTP/1.1 2")
            case "closes-in-the-head":
                writer.write(head[:40])
            case "closes-after-the-head":
                writer.write(head)
            case "closes-in-the-body":
                writer.write(whole[:-5])
            case "closes-in-a-chunk":
                writer.write(chunked + b"40\r\nv=0")
            case "closes-before-the-last-chunk":
                writer.write(chunked + b"3\r\nv=0\r\n")
            case "closes-silently":
                pass
            case _:
                writer.write(whole)
        if moment == "closes-when-idle":
            asyncio.get_running_loop().call_later(PACE * 1.5, writer.close)
        return moment in ("fine", "closes-when-idle")


@asynccontextmanager
async def mortal_nodes(number: int) -> AsyncIterator[list[MortalNode]]:
    nodes = [MortalNode() for _ in range(number)]
    for node in nodes:
        await node.start()
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.end()


def status_of(said: bytes) -> int:
    """The status of a whole answer; one that is not whole fails the test."""
    head, found, body = said.partition(b"\r\n\r\n")
    assert found, f"no answer: {said!r}"
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    if length:
        assert len(body) == int(length[1])
    else:
        assert not body
    status = int(head.split(b" ", 2)[1])
    if status >= 400:
        assert json.loads(body)["status"] == status
    return status


async def post(url: str, stream: str) -> tuple[int, str]:
    """The status, and the session's path."""
    body = OFFER + (b"a=x\r\n" * 30_000 if stream.startswith("closes-in-the-request") else b"")
    said = await exchange(url, request_bytes("POST", f"/whip/{stream}", SDP_TYPE, CLOSE, body=body))
    location = re.search(rb"\r\nLocation: (\S+)", said)
    return status_of(said), location[1].decode() if location else ""


async def test_no_offer_is_sent_twice_wherever_a_node_closes() -> None:
    """Every client gets a whole answer: the node's, or a 502; and a session that it cannot have is deleted."""
    async with mortal_nodes(1) as (node,), liveman(node.url) as url:
        sent: dict[str, asyncio.Task[tuple[int, str]]] = {}
        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                for moment in MOMENTS:
                    # Between two failures a success, else the node would count as down.
                    for name in (f"{moment}.{number}", f"fine.{number}.after-{moment}"):
                        sent[name] = tasks.create_task(post(url, name))
                        await asyncio.sleep(PACE)
        got = {name: task.result() for name, task in sent.items()}
        wanted = {name: MOMENTS[name.partition(".")[0]] for name in sent}
        assert {name: status for name, (status, _) in got.items()} == wanted
        assert node.posts == Counter(f"/whip/{name}" for name in sent)

        named = re.compile(r"closes-(after-the-head|in-the-body|in-a-chunk|before-the-last-chunk)\.")
        lost = {name for name in sent if named.match(name)}
        async with asyncio.timeout(5):
            while {target.split("/")[2] for target in node.deleted} < lost:
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            for number, (_, path) in enumerate(filter(lambda each: each[1], got.values())):
                dies = number % 3 == 0
                patch = request_bytes("PATCH", path + "?die" * dies, CLOSE, body=b"patch %d" % number)
                said = await exchange(url, patch)
                assert status_of(said) == (502 if dies else 204)
                assert node.patches[f"patch {number}"] == 1
                tasks.create_task(delete(url, path))


async def delete(url: str, path: str) -> None:
    assert status_of(await exchange(url, request_bytes("DELETE", path, CLOSE))) == 204


@pytest.mark.parametrize("seconds", [0.0, 0.1])
async def test_nodes_that_restart_cost_no_failed_request(seconds: float) -> None:
    """Each in turn, for a moment or at once; offers go to the other one meanwhile."""
    async with mortal_nodes(2) as nodes, liveman(*(n.url for n in nodes), cluster=Cluster(100)) as url:
        sent = []
        async with asyncio.TaskGroup() as tasks:
            for number in range(100):
                sent.append(tasks.create_task(post(url, f"fine.{number}")))
                await asyncio.sleep(PACE)
                if number % 10 == 5:
                    node = nodes[number // 10 % 2]
                    node.stop()
                    await asyncio.sleep(seconds)
                    await node.start()
        assert [task.result()[0] for task in sent] == [201] * 100
        seen = nodes[0].posts + nodes[1].posts
        assert seen == Counter(f"/whip/fine.{number}" for number in range(100))
        assert all(node.posts for node in nodes)
