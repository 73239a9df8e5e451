"""Connections as a state machine: two sides, and messages between them that keep their order."""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from liveman.net4mqtt import tunnel as module
from liveman.net4mqtt.tunnel import MAX_PAYLOAD, Overflow, Tunnel, Tunnels

chunks = st.binary(max_size=20) | st.integers(MAX_PAYLOAD - 1, 3 * MAX_PAYLOAD).map(bytes)


def messages(side: Tunnels[Any]) -> list[tuple[Any, bytes]]:
    return list(iter(side.next_message, None))


def received(tunnel: Tunnel[Any]) -> bytes:
    return b"".join(iter(tunnel.read, b""))


class TwoSides(RuleBasedStateMachine):
    """Whatever the chunks and the interleaving, what one side reads is what the other wrote, as far as it
    has come; after a finish from one side, all of it."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.near: Tunnels[int] = Tunnels()
        self.far: Tunnels[int] = Tunnels()
        self.wire: dict[str, deque[tuple[int, bytes]]] = {"near": deque(), "far": deque()}
        self.tunnels: dict[tuple[str, int], Tunnel[int]] = {}
        self.wrote: dict[tuple[str, int], bytes] = defaultdict(bytes)
        self.got: dict[tuple[str, int], bytes] = defaultdict(bytes)
        self.next_key = 0

    @rule(target=keys)
    def open(self) -> int:
        self.next_key += 1
        self.tunnels["near", self.next_key] = self.near.open(self.next_key)
        return self.next_key

    @rule(side=st.sampled_from(["near", "far"]), key=keys, data=chunks)
    def write(self, side: str, key: int, data: bytes) -> None:
        tunnel = self.tunnels.get((side, key))
        if tunnel and not tunnel.closed and not tunnel.finishing:
            tunnel.write(data)
            self.wrote[side, key] += data

    @rule(side=st.sampled_from(["near", "far"]), count=st.integers(1, 20))
    def send(self, side: str, count: int) -> None:
        for _ in range(count):
            message = (self.near if side == "near" else self.far).next_message()
            if message is None:
                return
            assert len(message[1]) <= MAX_PAYLOAD
            self.wire[side].append(message)

    @rule(side=st.sampled_from(["near", "far"]), count=st.integers(1, 20))
    def arrive(self, side: str, count: int) -> None:
        other, tunnels = ("far", self.far) if side == "near" else ("near", self.near)
        while count and self.wire[side]:
            count -= 1
            key, payload = self.wire[side].popleft()
            if other == "far" and (other, key) not in self.tunnels and payload:
                self.tunnels[other, key] = tunnels.open(key, known=True)
            if tunnel := tunnels.get(key):
                tunnel.receive(payload)

    @rule(side=st.sampled_from(["near", "far"]), key=keys)
    def read(self, side: str, key: int) -> None:
        if tunnel := self.tunnels.get((side, key)):
            self.got[side, key] += received(tunnel)

    @rule(key=consumes(keys))
    def finish(self, key: int) -> None:
        """After the near side's finish, with nothing said by the far one, all arrives."""
        if not self.tunnels["near", key].closed:
            self.tunnels["near", key].finish()
            while any(self.wire["near"]) or messages_wait(self.near):
                self.send("near", 20)
                self.arrive("near", 20)
            self.read("far", key)
            assert self.got["far", key] == self.wrote["near", key]
            assert ("far", key) not in self.tunnels or self.tunnels["far", key].closed
            assert self.near.get(key) is None

    @invariant()
    def what_is_read_is_the_beginning_of_what_was_written(self) -> None:
        for (side, key), data in self.got.items():
            assert self.wrote["far" if side == "near" else "near", key].startswith(data)


def messages_wait(side: Tunnels[int]) -> bool:
    return any(tunnel.wants_to_send for tunnel in side)


TestTwoSides = TwoSides.TestCase
TestTwoSides.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.lists(chunks, max_size=20))
def test_bytes_in_are_bytes_out(written: list[bytes]) -> None:
    """In messages that the protocol permits, none of them empty but the last."""
    side: Tunnels[str] = Tunnels()
    tunnel = side.open("a")
    for data in written:
        tunnel.write(data)
    assert tunnel.unsent == sum(map(len, written))
    payloads = [payload for _, payload in messages(side)]
    assert b"".join(payloads) == b"".join(written)
    assert all(0 < len(payload) <= MAX_PAYLOAD for payload in payloads)
    tunnel.finish()
    assert messages(side) == ([("a", b"")] if payloads else [])
    assert tunnel.closed
    assert len(side) == 0


def test_connections_take_turns() -> None:
    """However much one has written, another waits for one message of it."""
    side: Tunnels[str] = Tunnels()
    side.open("a").write(bytes(10 * MAX_PAYLOAD))
    side.open("b").write(b"b")
    assert [key for key, _ in messages(side)][:3] == ["a", "b", "a"]


def test_one_that_may_not_send_does_not_hold_the_others_up() -> None:
    side: Tunnels[str] = Tunnels()
    for key in "abc":
        side.open(key).write(b"x")
    assert messages_of(side, lambda key: key != "a") == ["b", "c"]
    assert messages_of(side, lambda _: True) == ["a"]


def messages_of(side: Tunnels[str], may_send: Callable[[str], bool]) -> list[str]:
    return [key for key, _ in iter(lambda: side.next_message(may_send), None)]


def test_a_finish_waits_for_what_is_written_and_an_abort_does_not() -> None:
    side: Tunnels[str] = Tunnels()
    for key in "fa":
        side.open(key).write(bytes(2 * MAX_PAYLOAD))
    assert [side.next_message() for _ in "fa"] == [("f", bytes(MAX_PAYLOAD)), ("a", bytes(MAX_PAYLOAD))]
    finished, aborted = side
    finished.finish()
    aborted.abort()
    rest = messages(side)
    assert [len(payload) for key, payload in rest if key == "f"] == [MAX_PAYLOAD, 0]
    assert [payload for key, payload in rest if key == "a"] == [b""]


def test_one_that_was_never_used_is_closed_in_silence() -> None:
    """The other side would take a message for a new connection."""
    side: Tunnels[str] = Tunnels()
    side.open("a").finish()
    side.open("b").abort()
    tunnel = side.open("c")
    tunnel.write(b"never sent")
    tunnel.abort()
    assert messages(side) == []
    assert len(side) == 0


def test_one_that_the_other_side_opened_is_closed_aloud() -> None:
    side: Tunnels[str] = Tunnels()
    side.open("a", known=True).finish()
    assert messages(side) == [("a", b"")]


def test_nothing_is_sent_after_the_other_side_has_closed() -> None:
    """It would open the connection again. What has come before can still be read."""
    side: Tunnels[str] = Tunnels()
    tunnel = side.open("a")
    tunnel.write(b"request")
    side.next_message()
    tunnel.receive(b"answer")
    tunnel.write(b"more")
    tunnel.receive(b"")
    tunnel.write(b"and more")
    tunnel.finish()
    assert tunnel.closed
    assert messages(side) == []
    assert received(tunnel) == b"answer"
    tunnel.receive(b"late")
    assert received(tunnel) == b""


def test_what_comes_after_a_finish_is_for_nobody() -> None:
    side: Tunnels[str] = Tunnels()
    tunnel = side.open("a", known=True)
    tunnel.write(b"x")
    tunnel.finish()
    tunnel.receive(b"late")
    assert received(tunnel) == b""
    assert side.held == 0


def test_what_is_dropped_is_gone_with_what_it_holds() -> None:
    side: Tunnels[str] = Tunnels()
    one, two = side.open("a"), side.open("b")
    one.write(b"unsent")
    two.receive(b"unread")
    for tunnel in side:
        tunnel.drop()
    assert one.closed and two.closed
    assert messages(side) == []
    assert received(two) == b""
    assert (len(side), side.held) == (0, 0)
    again = side.open("a")
    one.drop()
    assert side.get("a") is again, "an old connection does not take a new one of its key away"


@pytest.mark.parametrize("limit", ["MAX_HELD", "MAX_HELD_IN_ALL"])
def test_a_connection_whose_reader_is_far_too_slow_is_given_up(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Its own bytes or those of all are bounded; the other side is told, and the others go on."""
    monkeypatch.setattr(module, limit, 1000)
    side: Tunnels[str] = Tunnels()
    other, slow = side.open("other", known=True), side.open("slow", known=True)
    other.receive(b"x")
    slow.receive(bytes(500))
    with pytest.raises(Overflow):
        slow.receive(bytes(500))
    assert messages(side) == [("slow", b"")]
    assert received(slow) == b""
    assert received(other) == b"x"
    assert side.held == 0


def test_many_tiny_messages_count_for_the_memory_that_they_take() -> None:
    side: Tunnels[str] = Tunnels()
    side.open("a").receive(b"x")
    assert side.held > 50
