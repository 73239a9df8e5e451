"""The transport keeps asyncio's promises; here its broker is a list."""

import asyncio
from typing import Any

import pytest

from liveman.net4mqtt import carrier as module
from liveman.net4mqtt import tunnel as tunnel_module
from liveman.net4mqtt.carrier import Carrier
from liveman.net4mqtt.transport import TunnelTransport
from liveman.net4mqtt.tunnel import MAX_PAYLOAD
from liveman.net4mqtt.window import EVERY, MOST
from support.mosquitto import holds


class Side(Carrier):
    """A carrier whose broker takes messages or does not, as the test wants."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.takes = True
        self.marks = True
        super().__init__(
            lambda topic, payload: self.sent.append((topic, payload)),
            lambda: self.takes,
            lambda peer, kind: f"{kind} to {peer}",
            lambda: self.marks,
        )

    def begin(self, protocol: asyncio.BaseProtocol, name: str = "1", peer: str = "peer") -> TunnelTransport:
        return self.open(peer, f"in{name}", f"out{name}", protocol)


class Calls(asyncio.Protocol):
    """A protocol that writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.calls.append("eof")

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append(("lost", type(error)))

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


class Buffered(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer, self.data = bytearray(3), b""

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]


NOTHING = ("lost", type(None))


async def test_the_end_of_the_other_side_ends_both_directions() -> None:
    side, calls = Side(), Calls()
    transport = side.begin(calls)
    transport.write(b"request")
    assert side.received("in1", b"answer")
    assert side.received("in1", b"")
    transport.write(b"more")
    await asyncio.sleep(0)
    assert (calls.calls, calls.data) == (["made", "eof", NOTHING], b"answer")
    assert side.sent == [("out1", b"request")]
    assert transport.is_closing()
    assert len(side) == 0
    assert not side.received("in1", b"first"), "it belongs to another connection"
    assert not side.received("in2", b"foreign")


async def test_a_paused_reader_gets_all_in_order_when_it_goes_on() -> None:
    side, calls = Side(), Calls()
    transport = side.begin(calls)
    transport.pause_reading()
    assert not transport.is_reading()
    for payload in (b"a", b"b", b""):
        side.received("in1", payload)
    await asyncio.sleep(0)
    assert (calls.calls, calls.data) == (["made"], b"")
    transport.resume_reading()
    await holds(lambda: calls.calls == ["made", "eof", NOTHING])
    assert calls.data == b"ab"


async def test_a_close_waits_for_what_is_written_but_an_abort_does_not() -> None:
    side = Side()
    side.takes = False
    ends = {name: Calls() for name in ("close", "abort")}
    for name, calls in ends.items():
        transport = side.begin(calls, name)
        transport.write(b"x")
        getattr(transport, name)()
        transport.write(b"after the end")
    await asyncio.sleep(0)
    assert ends["abort"].calls == ["made", NOTHING]
    assert ends["close"].calls == ["made"]
    side.takes = True
    side.flush()
    await asyncio.sleep(0)
    assert ends["close"].calls == ["made", NOTHING]
    assert side.sent == [("outclose", b"x"), ("outclose", b"")]
    assert not side._waiting


async def test_a_writer_is_paused_while_the_broker_takes_nothing() -> None:
    side, calls = Side(), Calls()
    transport = side.begin(calls)
    transport.set_write_buffer_limits(high=10_000)
    assert transport.get_write_buffer_limits() == (2500, 10_000)
    side.takes = False
    transport.write(bytes(10_000))
    assert calls.calls == ["made"]
    transport.write(b"x")
    assert calls.calls == ["made", "pause"]
    assert transport.get_write_buffer_size() == 10_001
    side.takes = True
    side.flush()
    assert calls.calls == ["made", "pause", "resume"]
    assert transport.get_write_buffer_size() == 0
    assert not side._waiting


async def test_a_protocol_with_buffers_of_its_own_is_served() -> None:
    side, protocol = Side(), Buffered()
    side.begin(protocol)
    side.received("in1", b"12345678")
    side.received("in1", b"9")
    assert protocol.data == b"123456789"


async def test_a_loss_is_an_error_and_takes_what_was_not_delivered_with_it() -> None:
    side, calls, other = Side(), Calls(), Calls()
    transport = side.begin(calls)
    transport.write(b"x")
    transport.pause_reading()
    side.begin(other, "2", "another peer").write(b"y")
    unheard = side.begin(Calls(), "3")
    side.received("in1", b"half")
    assert side.lose("gone", "peer") == ["out1"]
    assert unheard.is_closing()
    transport.resume_reading()
    await asyncio.sleep(0)
    assert (calls.calls, calls.data) == (["made", ("lost", ConnectionResetError)], b"")
    assert other.calls == ["made"]
    assert len(side) == side.count("another peer") == 1


async def test_a_loss_also_takes_what_a_close_still_had_to_send() -> None:
    """It would follow a hole."""
    side, calls = Side(), Calls()
    transport = side.begin(calls)
    transport.write(b"x")
    side.takes = False
    transport.write(b"y")
    transport.close()
    assert side.lose("gone") == ["out1"]
    side.takes = True
    side.flush()
    await asyncio.sleep(0)
    assert side.sent == [("out1", b"x")]
    assert calls.calls == ["made", ("lost", ConnectionResetError)]


async def test_a_protocol_that_fails_loses_its_own_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Calls):
        def data_received(self, data: bytes) -> None:
            raise LookupError("a protocol may fail")

    side, failing, fine = Side(), Failing(), Calls()
    side.begin(failing).write(b"x")
    side.begin(fine, "2")
    side.received("in1", b"x")
    side.received("in2", b"x")
    await asyncio.sleep(0)
    assert failing.calls == ["made", ("lost", LookupError)]
    assert side.sent == [("out1", b"x"), ("out1", b"")]
    assert fine.data == b"x"
    assert "a protocol may fail" in caplog.text


async def test_a_reader_that_is_far_too_slow_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel_module, "MAX_HELD", 1000)
    side, calls = Side(), Calls()
    transport = side.begin(calls)
    transport.write(b"x")
    transport.pause_reading()
    side.received("in1", bytes(2000))
    await asyncio.sleep(0)
    assert calls.calls == ["made", ("lost", tunnel_module.Overflow)]
    assert side.sent[1:] == [("out1", b"")]


async def test_half_an_end_is_not_possible() -> None:
    transport = Side().begin(Calls())
    assert not transport.can_write_eof()
    with pytest.raises(NotImplementedError):
        transport.write_eof()
    with pytest.raises(ValueError, match="low"):
        transport.set_write_buffer_limits(high=1, low=2)


async def test_a_peer_that_sends_marks_back_has_a_bounded_number_on_its_way() -> None:
    """And another peer does not wait for it."""
    side = Side()
    side.begin(Calls()).write(bytes(2 * MOST * MAX_PAYLOAD))
    side.begin(Calls(), "2", "other").write(b"x")
    assert [topic for topic, _ in side.sent].count("out1") == MOST
    assert side.sent[-1] == ("out2", b"x")
    for strange in (b"", b"x", b"-1", b"9" * 30, b"99999"):
        side.marked("peer", "echo", strange)
    assert [topic for topic, _ in side.sent].count("out1") == MOST
    assert ("mark to peer", b"%d" % EVERY) in side.sent
    side.marked("peer", "echo", b"%d" % EVERY)
    assert [topic for topic, _ in side.sent].count("out1") == MOST + EVERY


async def test_where_the_broker_has_no_marks_none_is_sent_and_nobody_waits() -> None:
    side = Side()
    side.marks = False
    transport = side.begin(Calls())
    transport.write(bytes(3 * MOST * MAX_PAYLOAD))
    assert transport.get_write_buffer_size() == 0
    assert {topic for topic, _ in side.sent} == {"out1"}


async def test_a_mark_is_sent_back() -> None:
    side = Side()
    side.marked("peer", "mark", b"32")
    side.marked("peer", "nonsense", b"32")
    assert side.sent == [("echo to peer", b"32")]


async def test_a_peer_that_knows_no_marks_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.05)
    side = Side()
    transport = side.begin(Calls())
    transport.write(bytes(3 * MOST * MAX_PAYLOAD))
    assert transport.get_write_buffer_size() > 0
    await holds(lambda: transport.get_write_buffer_size() == 0)
    transport.write(bytes(3 * MOST * MAX_PAYLOAD))
    assert transport.get_write_buffer_size() == 0


async def test_an_echo_that_stays_out_means_that_messages_were_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the connections to that peer have holes, and are closed on both sides."""
    monkeypatch.setattr(module, "_LOST_SECONDS", 0.05)
    side, calls, other = Side(), Calls(), Calls()
    transport = side.begin(calls)
    transport.write(bytes(EVERY * MAX_PAYLOAD))
    side.marked("peer", "echo", b"%d" % EVERY)
    side.begin(other, "2", "other").write(b"x")
    transport.write(bytes(2 * MOST * MAX_PAYLOAD))
    await holds(lambda: calls.calls[-1] == ("lost", ConnectionResetError))
    assert ("out1", b"") in side.sent
    assert other.calls == ["made"]
    side.begin(Calls(), "3").write(b"fresh")
    assert side.sent[-1] == ("out3", b"fresh")
