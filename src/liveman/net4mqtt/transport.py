"""A connection through the broker as an ordinary asyncio transport, and what carries them all.

The protocol knows no half-closed connections: an end from either side ends both directions. What a connection
cannot be told either is to wait; see `tunnel` for what becomes of a reader who is too slow.
"""

import asyncio
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

from liveman.logs import get_logger
from liveman.net4mqtt.tunnel import Overflow, Tunnel, Tunnels
from liveman.net4mqtt.window import Window

__all__ = ["Carrier", "TunnelTransport"]

log = get_logger("liveman.net4mqtt")

_HIGH = 64 * 1024
#: How long messages of a closed connection may still arrive, seconds, and how many such are remembered.
_LATE_SECONDS = 3.0
_LATE = 4096
#: How long a peer may take to send the first mark back before it counts as one that never does.
_ANSWER_SECONDS = 1.0
#: After so long messages to a peer, or its echo, must have been lost.
_LOST_SECONDS = 5.0


class Carrier:
    """All connections of one side, each by the topic that its messages arrive on."""

    def __init__(
        self,
        publish: Callable[[str, bytes], None],
        writable: Callable[[], bool],
        mark_topic: Callable[[str, str], str],
    ) -> None:
        """``publish`` sends a message on a topic; ``writable``: whether it may now; ``mark_topic``: where a
        peer gets what is a "mark" or an "echo"."""
        self._publish = publish
        self._writable = writable
        self._mark_topic = mark_topic
        self._loop = asyncio.get_running_loop()
        self._tunnels: Tunnels[tuple[str, str]] = Tunnels()
        self._transports: dict[str, TunnelTransport] = {}
        self._peers: Counter[str] = Counter()
        self._windows: dict[str, Window] = {}
        self._waiting: set[TunnelTransport] = set()
        self._late: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._transports)

    def __iter__(self) -> Iterator["TunnelTransport"]:
        """The least recently used first."""
        return iter(sorted(self._transports.values(), key=lambda transport: transport.used_at))

    def open(
        self, peer: str, arriving: str, leaving: str, protocol: asyncio.BaseProtocol, *, known: bool = False
    ) -> "TunnelTransport":
        """A new connection: its messages arrive on one topic and leave on another."""
        tunnel = self._tunnels.open((peer, leaving), known=known)
        transport = self._transports[arriving] = TunnelTransport(self, arriving, tunnel, protocol)
        self._peers[peer] += 1
        self._late.pop(arriving, None)
        protocol.connection_made(transport)
        return transport

    def has(self, arriving: str) -> bool:
        return arriving in self._transports

    def count(self, peer: str) -> int:
        """The connections to a peer."""
        return self._peers[peer]

    def received(self, arriving: str, payload: bytes) -> bool:
        """Whether a message was for a connection that is, or was until a moment ago."""
        if transport := self._transports.get(arriving):
            transport.arrived(payload)
            return True
        return self._late.get(arriving, 0.0) > self.now()

    def marked(self, peer: str, kind: str, payload: bytes) -> None:
        """A mark, or an echo of ours, came from a peer."""
        if kind == "mark":
            self._publish(self._mark_topic(peer, "echo"), payload)
        elif (
            kind == "echo" and (window := self._windows.get(peer)) and re.fullmatch(rb"[0-9]{1,18}", payload)
        ):
            window.echo(int(payload))
            self.flush()

    def lose(self, reason: str, peer: str | None = None) -> list[str]:
        """Fail the connections, or those to one peer, at once; the topics to tell the other sides on."""
        lost = [each for each in self._transports.values() if peer in (None, each.peer)]
        for transport in lost:
            transport.lost(ConnectionResetError(reason))
        return [transport.leaving for transport in lost if transport.known]

    def flush(self) -> None:
        """Send what waits, as far as the broker and the peers take it."""
        while self._writable() and (message := self._tunnels.next_message(self._may_send)):
            (peer, topic), payload = message
            self._publish(topic, payload)
            self._count(peer)
        for transport in list(self._waiting):
            transport.flushed()

    def now(self) -> float:
        return self._loop.time()

    def _may_send(self, key: tuple[str, str]) -> bool:
        window = self._windows.get(key[0])
        return window is None or window.open

    def _count(self, peer: str) -> None:
        if not self._peers[peer]:
            return
        window = self._windows.setdefault(peer, Window())
        mark = window.sent()
        if mark is not None:
            self._publish(self._mark_topic(peer, "mark"), b"%d" % mark)
        if not window.open:
            patience = _LOST_SECONDS if window.answers else _ANSWER_SECONDS
            self._loop.call_later(patience, self._give_up, peer, window, window.echoed)

    def _give_up(self, peer: str, window: Window, echoed: int) -> None:
        """If a window is still as it was when it closed."""
        if self._windows.get(peer) is not window or window.open or window.echoed != echoed:
            return
        if window.answers is None:
            window.answers = False
            self.flush()
            return
        log.warning("messages were lost on the way, connections are closed", peer=peer)
        for topic in self.lose("messages were lost on the way", peer):
            self._publish(topic, b"")

    # For its transports.

    def wait(self, transport: "TunnelTransport") -> None:
        self._waiting.add(transport)

    def wait_no_more(self, transport: "TunnelTransport") -> None:
        self._waiting.discard(transport)

    def forget(self, transport: "TunnelTransport") -> None:
        del self._transports[transport.arriving]
        self._peers[transport.peer] -= 1
        if not self._peers[transport.peer]:
            del self._peers[transport.peer]
            self._windows.pop(transport.peer, None)
        self._late[transport.arriving] = self.now() + _LATE_SECONDS
        if len(self._late) > _LATE:
            self._late.popitem(last=False)


class TunnelTransport(asyncio.Transport):
    """One connection. It serves protocols of both of asyncio's kinds."""

    def __init__(
        self,
        carrier: Carrier,
        arriving: str,
        tunnel: Tunnel[tuple[str, str]],
        protocol: asyncio.BaseProtocol,
    ) -> None:
        super().__init__({"peername": (tunnel.key[0], 0)})
        self.arriving = arriving
        self.used_at = carrier.now()
        """When bytes went either way, by the loop's clock."""
        self._carrier = carrier
        self._tunnel = tunnel
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._reading = True
        self._closing = False
        self._ended = False
        self._stalled = False
        self.set_write_buffer_limits()

    @property
    def peer(self) -> str:
        return self._tunnel.key[0]

    @property
    def leaving(self) -> str:
        return self._tunnel.key[1]

    @property
    def known(self) -> bool:
        """Whether the other side has heard of it."""
        return self._tunnel.known

    # What its carrier says.

    def arrived(self, payload: bytes) -> None:
        self.used_at = self._carrier.now()
        try:
            self._tunnel.receive(payload)
        except Overflow as error:
            log.warning(
                "a reader is too slow, its connection is closed", topic=self.leaving, problem=str(error)
            )
            self._fail(error)
            self._carrier.flush()
            return
        self._deliver()

    def flushed(self) -> None:
        """Some of what was written may have been sent."""
        if self._stalled and self._tunnel.unsent <= self._low:
            self._stalled = False
            self._protocol.resume_writing()
        if self._closing and self._tunnel.closed:
            self._end(None)
        elif not self._stalled and not self._closing:
            self._carrier.wait_no_more(self)

    def lost(self, error: Exception) -> None:
        """Messages may be missing: what was not delivered, or not sent, never will be."""
        self._tunnel.drop()
        self._fail(error)

    # Reading.

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            # As with sockets, the protocol is not called from within its own call.
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._reading and not self._closing:
            payload = self._tunnel.read()
            try:
                if payload:
                    self._feed(payload)
                    continue
                if self._tunnel.closed and isinstance(
                    self._protocol, asyncio.Protocol | asyncio.BufferedProtocol
                ):
                    self._protocol.eof_received()
            except Exception as error:
                log.error("a protocol failed", topic=self.leaving, exc_info=error)
                self._tunnel.abort()
                self._fail(error)
                self._carrier.flush()
                return
            if self._tunnel.closed:
                self._closing = True
                self._end(None)
            return

    def _feed(self, data: bytes) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            view = memoryview(data)
            while view:
                buffer = memoryview(protocol.get_buffer(len(view)))
                count = min(len(buffer), len(view))
                buffer[:count] = view[:count]
                protocol.buffer_updated(count)
                view = view[count:]
        elif isinstance(protocol, asyncio.Protocol):
            protocol.data_received(data)

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        self.used_at = self._carrier.now()
        self._tunnel.write(data)
        self._carrier.flush()
        if self._tunnel.unsent > self._high and not self._stalled:
            self._stalled = True
            self._carrier.wait(self)
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("a connection through a broker cannot be half closed")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else (4 * low if low is not None else _HIGH)
        self._low = low if low is not None else self._high // 4
        if not self._high >= self._low >= 0:
            raise ValueError(f"high ({self._high}) must be >= low ({self._low}) must be >= 0")

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._tunnel.unsent

    # Ending.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._tunnel.finish()
        self._carrier.wait(self)
        self._carrier.flush()

    def abort(self) -> None:
        self._closing = True
        self._tunnel.abort()
        self._carrier.flush()
        self._end(None)

    def _fail(self, error: Exception) -> None:
        self._closing = True
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._carrier.wait_no_more(self)
        self._carrier.forget(self)
        self._loop.call_soon(self._protocol.connection_lost, error)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
