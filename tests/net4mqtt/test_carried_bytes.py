"""Bytes through two carriers, with their windows, marks and echoes, over a broker that is two lists.

Time is made up: it passes when nothing else is to be done.
"""

import asyncio
import selectors
from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from liveman.net4mqtt.carrier import Carrier
from liveman.net4mqtt.transport import TunnelTransport
from liveman.net4mqtt.tunnel import MAX_PAYLOAD
from liveman.net4mqtt.window import EVERY, MOST

SIDES = ("near", "far")
OTHER = {"near": "far", "far": "near"}
CONNECTIONS = 3


class Clock(selectors.DefaultSelector):
    """Never waits, but says that it has."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found:
            self.now += timeout or 0.0
        return found


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class End(asyncio.Protocol):
    """One end of one connection."""

    transport: TunnelTransport

    def __init__(self) -> None:
        self.wrote = b""
        self.got = b""
        self.error: Exception | None = None
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TunnelTransport)
        self.transport = transport

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.wrote += data
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        assert not self.over
        self.got += data

    def connection_lost(self, error: Exception | None) -> None:
        assert not self.over
        self.over, self.error = True, error


class Broker:
    """Two carriers, and what is on its way from each to the other. Each knows the other as its only peer."""

    def __init__(self) -> None:
        self.wire: dict[str, deque[tuple[str, bytes]]] = {side: deque() for side in SIDES}
        self.takes = dict.fromkeys(SIDES, True)
        self.carriers = {side: self.carrier(side) for side in SIDES}
        self.ends: dict[tuple[str, int], End] = {}
        self.torn: set[int] = set()
        """The connections of which a message is lost."""

    def carrier(self, side: str) -> Carrier:
        return Carrier(
            lambda topic, payload: self.wire[side].append((topic, payload)),
            lambda: self.takes[side],
            lambda _, kind: kind,
        )

    def open(self, side: str, number: int) -> None:
        """A connection's topics are its number, with the way."""
        end = self.ends[side, number] = End()
        arriving, leaving = f"{OTHER[side]}{number}", f"{side}{number}"
        self.carriers[side].open("peer", arriving, leaving, end, known=side == "far")

    def deliver(self, side: str, count: int) -> None:
        """The next messages that a side has sent come to the other."""
        there = self.carriers[OTHER[side]]
        while count and self.wire[side]:
            count -= 1
            topic, payload = self.wire[side].popleft()
            if topic in ("mark", "echo"):
                there.marked("peer", topic, payload)
                continue
            assert len(payload) <= MAX_PAYLOAD
            number = int(topic[len(side) :])
            if side == "near" and ("far", number) not in self.ends and payload:
                self.open("far", number)
            if not there.received(topic, payload):
                there.came("peer")

    def drop(self, side: str, index: int) -> None:
        """The broker loses a message, whichever it is."""
        if index < len(self.wire[side]):
            topic, _ = self.wire[side][index]
            del self.wire[side][index]
            if topic not in ("mark", "echo"):
                self.torn.add(int(topic[len(side) :]))

    def on_their_way(self, side: str) -> int:
        return sum(topic not in ("mark", "echo") for topic, _ in self.wire[side])

    async def settle(self, seconds: int = 30) -> None:
        """All comes, and time passes."""
        self.takes = dict.fromkeys(SIDES, True)
        for end in self.ends.values():
            end.transport.resume_reading()
        for carrier in self.carriers.values():
            carrier.flush()
        for _ in range(seconds * 10):
            for side in SIDES:
                self.deliver(side, len(self.wire[side]))
            await asyncio.sleep(0.1)


sides = st.sampled_from(SIDES)
numbers = st.integers(0, CONNECTIONS - 1)
sizes = [1, 20, MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 40 * MAX_PAYLOAD, (MOST + 20) * MAX_PAYLOAD]
chunks = st.tuples(st.integers(0, 255), st.sampled_from(sizes)).map(
    lambda pair: (bytes((pair[0], *range(1, 251))) * (pair[1] // 251 + 1))[: pair[1]]
)
writes = st.tuples(st.just("write"), sides, numbers, chunks)
steps = st.one_of(
    writes,
    writes,
    st.tuples(st.just("deliver"), sides, st.integers(1, 200)),
    st.tuples(st.just("pause"), sides, numbers),
    st.tuples(st.just("resume"), sides, numbers),
    st.tuples(st.just("stall"), sides),
    st.tuples(st.just("take"), sides),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 1.1])),
)


async def act(broker: Broker, step: tuple[Any, ...]) -> None:
    what, *rest = step
    end = broker.ends.get((rest[0], rest[1])) if len(rest) > 1 else None
    if what == "write" and end:
        end.write(rest[2])
    elif what == "close" and end:
        end.transport.close()
    elif what == "pause" and end:
        end.transport.pause_reading()
    elif what == "resume" and end:
        end.transport.resume_reading()
    elif what == "deliver":
        broker.deliver(rest[0], rest[1])
    elif what == "drop":
        broker.drop(rest[0], rest[1])
    elif what in ("stall", "take"):
        broker.takes[rest[0]] = what == "take"
        broker.carriers[rest[0]].flush()
    await asyncio.sleep(rest[0] if what == "wait" else 0)


def pairs(broker: Broker) -> list[tuple[int, End, bytes]]:
    """Each end, with what the other wrote."""
    return [
        (number, end, other.wrote if (other := broker.ends.get((OTHER[side], number))) else b"")
        for (side, number), end in broker.ends.items()
    ]


def run(coroutine: Any) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(coroutine)


@given(st.lists(steps, min_size=10, max_size=40))
@settings(max_examples=100)
def test_bytes_in_are_bytes_out(script: list[tuple[Any, ...]]) -> None:
    """Whatever the chunks, the interleaving, the pauses, and however slow the broker: in order, and in the end
    all. Never is more on the way to a peer that sends marks back than it may be, but for what was sent while it
    seemed to be one that never does."""

    async def play() -> None:
        broker = Broker()
        most = dict.fromkeys(SIDES, MOST)
        for number in range(CONNECTIONS):
            broker.open("near", number)
        for step in script:
            await act(broker, step)
            assert all(wrote.startswith(end.got) for _, end, wrote in pairs(broker))
            for side in SIDES:
                window = broker.carriers[side]._windows.get("peer")
                on_their_way = broker.on_their_way(side)
                if window and window.answers is not False:
                    assert on_their_way <= most[side]
                most[side] = max(MOST, on_their_way)
        await broker.settle()
        for _, end, wrote in pairs(broker):
            assert end.got == wrote
            assert not end.over
        for end in list(broker.ends.values()):
            end.transport.close()
        await broker.settle(10)
        for carrier in broker.carriers.values():
            assert not len(carrier) and not carrier._windows and not carrier._tallies

    run(play())


closing = st.tuples(st.just("close"), sides, numbers)
drops = st.tuples(st.just("drop"), sides, st.integers(0, 3) | st.integers(0, 3 * EVERY))


@given(st.lists(st.one_of(steps, writes, drops, drops, closing), min_size=5, max_size=40))
@settings(max_examples=200)
def test_a_connection_with_a_lost_message_fails(script: list[tuple[Any, ...]]) -> None:
    """Whichever message it was. What came on others is whole, or they have failed too."""

    async def play() -> None:
        broker = Broker()
        for number in range(CONNECTIONS):
            broker.open("near", number)
        for step in script:
            await act(broker, step)
        await broker.settle()
        for number, end, wrote in pairs(broker):
            if number in broker.torn:
                assert end.over
            elif not end.over:
                assert end.got == wrote
            else:
                assert wrote.startswith(end.got)

    run(play())
