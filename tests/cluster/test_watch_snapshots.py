"""How snapshots are taken in: in their order, one at a time, and never by one who was told to stop."""

import asyncio
import random
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from attrs import evolve

from cluster.fake import FAST, answer, as_json, body, fake_node, hang, stream, until
from cluster.watching import X, known, status, watched
from liveman.cluster import Node, snapshot
from liveman.cluster.client import LARGE, Client
from liveman.cluster.state import State
from liveman.cluster.watch import Watcher


def large(*names: str) -> bytes:
    """A snapshot that a thread has to read."""
    return body(*(stream(name) for name in names)).ljust(LARGE + 1)


class Slow:
    """Reading a snapshot in a thread takes as long as a test wants."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.in_loop: list[bytes] = []
        self._read = snapshot.read

    def read(self, body: bytes) -> snapshot.Snapshot:
        if threading.current_thread() is threading.main_thread():
            self.in_loop.append(body)
        else:
            self.begun.set()
            assert self.go_on.wait(10)
        return self._read(body)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    slow = Slow()
    monkeypatch.setattr(snapshot, "read", slow.read)
    yield slow
    slow.go_on.set()


async def test_a_large_snapshot_is_read_while_all_goes_on(slow: Slow) -> None:
    """Until it is there as a whole the last one stands, and decides."""
    async with fake_node(streams=X, sse=True) as node, watched(Node("a", node.url)) as cluster:
        await until(lambda: "x" in cluster.state.streams)
        node.say(b"data: " + large("y", "z") + b"\n\n")
        await until(slow.begun.is_set)
        assert set(cluster.state.streams) == {"x"}
        assert cluster.place("subscribe", "x").target is not None
        slow.go_on.set()
        await until(lambda: set(cluster.state.streams) == {"y", "z"})
    assert slow.in_loop == [X]


async def test_a_snapshot_never_overtakes_one_before_it(slow: Slow) -> None:
    """However long that one takes."""
    async with fake_node(streams=X, sse=True) as node, watched(Node("a", node.url)) as cluster:
        await until(lambda: "x" in cluster.state.streams)
        seen = []
        node.say(b"data: " + large("y") + b"\n\n")
        await until(slow.begun.is_set)
        node.say(b"data: " + body(stream("z")) + b"\n\n")
        slow.go_on.set()
        await until(lambda: seen.append(set(cluster.state.streams)) or seen[-1] == {"z"})
        for _ in range(20):
            await asyncio.sleep(0.005)
            assert set(cluster.state.streams) == {"z"}


async def test_others_come_between_two_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred nodes that report together do not stop everything for all of their lists."""
    loop = asyncio.get_running_loop()
    turns = [0]
    taken: list[int] = []

    def count() -> None:
        turns[0] += 1
        loop.call_soon(count)

    replace = State.replace

    def noted(state: State, alias: str, by: snapshot.Snapshot) -> None:
        taken.append(turns[0])
        replace(state, alias, by)

    monkeypatch.setattr(State, "replace", noted)
    count()
    state, turn = State(), asyncio.Lock()
    async with Client(connect=1, total=1, retries=()) as client, asyncio.TaskGroup() as group:
        for i in range(100):
            state.add(Node(f"n{i}", "http://n"))
            group.create_task(_watcher(Node(f"n{i}", "http://n"), state, client, turn)._take(X))
    assert len(taken) == len(set(taken)) == 100


async def test_a_node_that_has_nothing_new_is_not_read_again(slow: Slow) -> None:
    """Nor sent for: it is asked by the name of the list; that it has not changed is a success."""
    slow.go_on.set()
    async with fake_node() as node:
        node.answers["GET /api/streams/"] = answer("200 OK", 'ETag: "1"', body=X)
        async with watched(Node("a", node.url)) as cluster:
            node.answers["GET /api/streams/"] = b"HTTP/1.1 304 Not Modified\r\n\r\n"
            cluster.node_failed("a", "refused")
            await until(lambda: status(cluster, "a") == "up")
            assert node.fields("GET /api/streams/")["if-none-match"] == '"1"'
            assert set(cluster.state.streams) == {"x"}
            version = cluster.state.version
            asked = node.asked("GET /api/streams/")
            await until(lambda: node.asked("GET /api/streams/") > asked + 2)
            assert cluster.state.version == version
            # What was deleted meanwhile is still there, says the node.
            cluster.session_deleted("a", "x", "p")
            await until(lambda: cluster.state.find("x", "p") == "a")
    assert slow.in_loop == [X, X]


async def test_the_name_of_a_list_is_not_used_after_a_failure() -> None:
    """The node may have started anew since, and count from one again."""
    async with fake_node() as node:
        node.answers["GET /api/streams/"] = answer("200 OK", 'ETag: "1"', body=X)
        async with watched(Node("a", node.url, mode="poll")) as cluster:
            node.answers["GET /api/streams/"] = as_json(b"{}")
            await until(lambda: status(cluster, "a") != "up")
            asked = node.asked("GET /api/streams/")
            await until(lambda: node.asked("GET /api/streams/") > asked + 1)
            assert "if-none-match" not in node.fields("GET /api/streams/")


def test_polls_are_spread() -> None:
    """Nodes that were asked together drift apart, each within a tenth of the interval."""
    watcher = _watcher(Node("a", "http://a"), State(), Client(connect=1, total=1, retries=()), asyncio.Lock())
    pauses = {watcher._delay() / FAST.poll for _ in range(100)}
    assert len(pauses) > 50
    assert 0.9 <= min(pauses) < max(pauses) <= 1.1


class TestRemoval:
    """A node can be removed whatever its watcher is at."""

    @pytest.mark.parametrize("sse", [True, False])
    @pytest.mark.parametrize("seed", range(20))
    async def test_at_any_moment(self, sse: bool, seed: int, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing of it comes back, also when the same alias is added again at once."""
        chance = random.Random(seed)
        async with fake_node(streams=large("x"), sse=sse) as node, watched() as cluster:
            for _ in range(5):
                cluster.add(Node("a", node.url))
                for _ in range(chance.randrange(60)):
                    await asyncio.sleep(0)
                if chance.random() < 0.5:
                    await asyncio.sleep(chance.random() * 0.02)
                cluster.remove("a")
                assert (cluster.state.streams, cluster.state.order) == ({}, [])
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
                    assert cluster.state.streams == {}
            cluster.add(Node("a", node.url))
            await until(lambda: "x" in cluster.state.streams)
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    @pytest.mark.parametrize("where", ["GET /api/sse/streams", "GET /api/streams/", "GET /api/strategy/"])
    async def test_while_it_hangs(self, where: str) -> None:
        """Also in what it is asked besides: that says nothing of the one that has its alias then."""
        asked: list[asyncio.StreamWriter] = []

        async def late(writer: asyncio.StreamWriter) -> None:
            asked.append(writer)
            await hang(writer)

        async with fake_node(streams=X) as node, fake_node() as next, watched() as cluster:
            node.answers[where] = late
            cluster.add(Node("a", node.url))
            await until(lambda: asked)
            cluster.remove("a")
            cluster.add(Node("a", next.url))
            asked[0].write(as_json(b'{"each_stream_max_sub": 1}'))
            await until(lambda: status(cluster, "a") == "up")
            assert known(cluster, "a").strategy is None
            await until(asked[0].is_closing)

    async def test_while_a_thread_reads(self, slow: Slow) -> None:
        """What that has read is thrown away, and the others have their turn."""
        async with fake_node(streams=large("x")) as node, fake_node() as other, watched() as cluster:
            cluster.add(Node("a", node.url))
            await until(slow.begun.is_set)
            cluster.remove("a")
            other.streams = body(stream("y"))
            cluster.add(Node("b", other.url))
            await until(lambda: "y" in cluster.state.streams)
            slow.go_on.set()
            asked = other.asked("GET /api/streams/")
            await until(lambda: other.asked("GET /api/streams/") > asked + 2)
            assert set(cluster.state.streams) == {"y"}

    async def test_a_dead_node_that_is_added_again_is_asked_at_once(self) -> None:
        """Not only when the pause is over that its failures had earned."""
        timing = evolve(FAST, backoff=(60.0, 60.0))
        async with fake_node(streams=X) as node, watched(timing=timing) as cluster:
            await node.stop()
            cluster.add(Node("a", node.url))
            await until(lambda: cluster.is_down("a"))
            await node.start()
            cluster.remove("a")
            cluster.add(Node("a", node.url))
            await until(lambda: status(cluster, "a") == "up")


async def test_a_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither Liveman's own wall clock nor the nodes' are believed."""
    times = iter([1.0, 9e9, -5.0] * 1000)
    monkeypatch.setattr("time.time", lambda: next(times))
    jumping = stream("x", ["p"], createdAt=-(10**15))
    async with fake_node(streams=body(jumping)) as node, watched(Node("a", node.url)) as cluster:
        cluster.session_created("a", "subscribe", "x", "v")
        asked = node.asked("GET /api/streams/")
        for _ in range(5):
            assert cluster.place("subscribe", "x").target is not None
            jumping["createdAt"] = 10**18 - jumping["createdAt"]
            node.streams = body(jumping)
            asked = node.asked("GET /api/streams/")
            await until(lambda: node.asked("GET /api/streams/") > asked)  # noqa: B023
        assert (known(cluster, "a").publishers, known(cluster, "a").subscribers) == (1, 1)
        assert status(cluster, "a") == "up"


def _watcher(node: Node, state: State, client: Client, turn: asyncio.Lock) -> Watcher:
    """One that nobody runs, and that asks for nothing besides."""

    def start(_: str, coroutine: Coroutine[Any, Any, None]) -> None:
        coroutine.close()

    return Watcher(
        node, state=state, client=client, timing=FAST, turn=turn, start=start, changed=lambda: None
    )
