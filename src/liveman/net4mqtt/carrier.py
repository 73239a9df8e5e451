"""All connections of one side: messages that arrive find theirs, and those that wait leave in turns."""

import asyncio
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator

from liveman.logs import get_logger
from liveman.net4mqtt.slots import Slots
from liveman.net4mqtt.transport import TunnelTransport
from liveman.net4mqtt.tunnel import Tunnels
from liveman.net4mqtt.window import LOST, Tally, Window

__all__ = ["Carrier"]

log = get_logger("liveman.net4mqtt")

#: How long messages of a closed connection may still arrive, seconds, and how many such are remembered.
_LATE_SECONDS = 3.0
_LATE = 4096
#: How often it is looked what has come of the marks that were sent.
_LOOK_SECONDS = 0.5
#: How long a peer may take to send the first mark back before it counts as one that never does.
_ANSWER_SECONDS = 1.0
#: After so long all that is on its way to a peer, or its echo, must have been lost.
_LOST_SECONDS = 5.0
#: How much later than its mark a message may come.
_MISSING_SECONDS = 2.0


class Carrier:
    """All connections of one side, each by the topic that its messages arrive on."""

    def __init__(
        self,
        publish: Callable[[str, bytes], None],
        writable: Callable[[], bool],
        mark_topic: Callable[[str, str], str],
        marks: Callable[[], bool] = lambda: True,
        slots: Slots | None = None,
    ) -> None:
        """``publish`` sends a message on a topic; ``writable``: whether it may now; ``mark_topic``: where a
        peer gets what is a "mark" or an "echo"; ``marks``: whether the broker has such now, some do not
        forgive an attempt; ``slots``: one is taken for each connection that is opened, and given back at its
        end."""
        self._publish = publish
        self._writable = writable
        self._mark_topic = mark_topic
        self._marks = marks
        self._slots = slots
        self._loop = asyncio.get_running_loop()
        self._tunnels: Tunnels[tuple[str, str]] = Tunnels()
        self._transports: dict[str, TunnelTransport] = {}
        self._peers: Counter[str] = Counter()
        self._windows: dict[str, Window] = {}
        self._waiting: set[TunnelTransport] = set()
        self._tallies: dict[str, Tally] = {}
        self._late: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._transports)

    def __iter__(self) -> Iterator[TunnelTransport]:
        """The least recently used first."""
        return iter(sorted(self._transports.values(), key=lambda transport: transport.used_at))

    def open(
        self, peer: str, arriving: str, leaving: str, protocol: asyncio.BaseProtocol, *, known: bool = False
    ) -> TunnelTransport:
        """A new connection: its messages arrive on one topic and leave on another."""
        tunnel = self._tunnels.open((peer, leaving), known=known)
        transport = self._transports[arriving] = TunnelTransport(self, arriving, tunnel, protocol)
        self._peers[peer] += 1
        self._tallies.setdefault(peer, Tally())
        self._late.pop(arriving, None)
        protocol.connection_made(transport)
        return transport

    def has(self, arriving: str) -> bool:
        return arriving in self._transports

    def count(self, peer: str) -> int:
        """The connections to a peer."""
        return self._peers[peer]

    def received(self, arriving: str, payload: bytes) -> str | None:
        """The peer of the connection, that is or was until a moment ago, which a message was for."""
        transport = self._transports.get(arriving)
        peer = transport.peer if transport else self._late_peer(arriving)
        if peer is None:
            return None
        self.came(peer)
        if transport:
            transport.arrived(payload)
        if not payload:
            # It was the last of it: what comes now is another connection from the same source.
            self._late.pop(arriving, None)
        return peer

    def _late_peer(self, arriving: str) -> str | None:
        until, peer = self._late.get(arriving, (0.0, ""))
        return peer if until > self.now() else None

    def came(self, peer: str) -> None:
        """A message of a peer has come, though for no connection that is known any more, or yet."""
        if tally := self._tallies.get(peer):
            tally.came()

    def marked(self, peer: str, kind: str, payload: bytes) -> None:
        """A mark, or an echo of ours, came from a peer."""
        if not re.fullmatch(rb"[0-9]{1,18}", payload):
            return
        if kind == "mark":
            self._publish(self._mark_topic(peer, "echo"), payload)
            self._compare(peer, int(payload))
        elif kind == "echo" and int(payload) == LOST:
            self._give_up(peer)
        elif kind == "echo" and (window := self._windows.get(peer)):
            window.echo(int(payload))
            self.flush()

    def lose(self, reason: str, peer: str | None = None) -> list[str]:
        """Fail the connections, or those to one peer, at once; the topics to tell the other sides on."""
        if peer is not None and not self._peers[peer]:
            self._tallies.pop(peer, None)
            return []
        lost = [each for each in self._transports.values() if peer in (None, each.peer)]
        for transport in lost:
            transport.lost(ConnectionResetError(reason))
        if peer is None:
            self._tallies.clear()
        else:
            self._tallies.pop(peer, None)
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
        if not self._peers[peer] or not self._marks():
            return
        window = self._windows.get(peer)
        if window is None:
            window = self._windows[peer] = Window()
            self._loop.call_later(_LOOK_SECONDS, self._look, peer, window, 0, 0.0)
        self._mark(peer, window.sent())

    def _mark(self, peer: str, mark: int | None) -> None:
        if mark is not None:
            self._publish(self._mark_topic(peer, "mark"), b"%d" % mark)

    def _look(self, peer: str, window: Window, awaited: int, waited: float) -> None:
        """Now and then, as long as there are connections. ``awaited``: the mark that was the last to be sent
        when this looked before; ``waited``: how long the peer has sent nothing back by then."""
        if self._windows.get(peer) is not window:
            return
        back = window.echoed >= awaited
        waited = 0.0 if back or window.answers is False else waited + _LOOK_SECONDS
        if window.answers is None and waited >= _ANSWER_SECONDS:
            window.answers = False
            self.flush()
        elif waited >= _LOST_SECONDS and not window.open:
            self._give_up(peer)
            return
        self._mark(peer, window.rest())
        awaited = window.marked if back else awaited
        self._loop.call_later(_LOOK_SECONDS, self._look, peer, window, awaited, waited)

    def _compare(self, peer: str, mark: int) -> None:
        """What has come with what was sent. There may be no connection: if it was the first message of one
        that is lost."""
        tally = self._tallies.get(peer) or Tally()
        tally.mark(mark)
        if tally.missing and len(self._tallies) < _LATE:
            self._tallies[peer] = tally
            self._loop.call_later(_MISSING_SECONDS, self._look_for_missing, peer, tally)

    def _look_for_missing(self, peer: str, tally: Tally) -> None:
        if self._tallies.get(peer) is not tally:
            return
        if tally.missing:
            self._publish(self._mark_topic(peer, "echo"), b"%d" % LOST)
            self._give_up(peer)
            self._tallies.pop(peer, None)
        elif not self._peers[peer]:
            del self._tallies[peer]

    def _give_up(self, peer: str) -> None:
        if not self._peers[peer]:
            return
        log.warning("messages were lost on the way, connections are closed", peer=peer)
        for topic in self.lose("messages were lost on the way", peer):
            self._publish(topic, b"")

    # For its transports.

    def wait(self, transport: TunnelTransport) -> None:
        self._waiting.add(transport)

    def wait_no_more(self, transport: TunnelTransport) -> None:
        self._waiting.discard(transport)

    def wanted(self, transport: TunnelTransport) -> bool:
        return self._slots is not None and self._slots.wanted(transport.peer)

    def forget(self, transport: TunnelTransport) -> None:
        del self._transports[transport.arriving]
        if self._slots is not None:
            self._slots.give(transport.peer)
        self._peers[transport.peer] -= 1
        if not self._peers[transport.peer]:
            del self._peers[transport.peer]
            window = self._windows.pop(transport.peer, None)
            if window and not window.open:
                self._loop.call_soon(self.flush)  # Its end could not be sent yet.
            if not self._tallies[transport.peer].missing:
                del self._tallies[transport.peer]
        self._late[transport.arriving] = self.now() + _LATE_SECONDS, transport.peer
        if len(self._late) > _LATE:
            self._late.popitem(last=False)
