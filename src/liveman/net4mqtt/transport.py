"""A connection through the broker as an ordinary asyncio transport.

The protocol knows no half-closed connections: an end from either side ends both directions. What a connection
cannot be told either is to wait; see `tunnel` for what becomes of a reader who is too slow.
"""

import asyncio
from typing import Any, Protocol

from liveman.logs import get_logger
from liveman.net4mqtt.tunnel import Overflow, Tunnel

__all__ = ["Owner", "TunnelTransport"]

log = get_logger("liveman.net4mqtt")

_HIGH = 64 * 1024


class Owner(Protocol):
    """Who moves a transport's messages."""

    def now(self) -> float:
        """The loop's clock."""

    def flush(self) -> None:
        """Send what waits, as far as that is possible now."""

    def wait(self, transport: "TunnelTransport") -> None:
        """Tell it after each sending, by `flushed`."""

    def wait_no_more(self, transport: "TunnelTransport") -> None: ...

    def forget(self, transport: "TunnelTransport") -> None:
        """There is nothing more to it."""

    def wanted(self, transport: "TunnelTransport") -> bool:
        """Whether somebody waits for a connection to the same peer, until one ends."""


class TunnelTransport(asyncio.Transport):
    """One connection. It serves protocols of both of asyncio's kinds."""

    def __init__(
        self,
        owner: Owner,
        arriving: str,
        tunnel: Tunnel[tuple[str, str]],
        protocol: asyncio.BaseProtocol,
    ) -> None:
        super().__init__({"peername": (tunnel.key[0], 0)})
        self.arriving = arriving
        self.used_at = owner.now()
        """When bytes went either way, by the loop's clock."""
        self._owner = owner
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

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``wanted``: whether the connection had better be closed than kept for later."""
        return self._owner.wanted(self) if name == "wanted" else super().get_extra_info(name, default)

    # What its owner says.

    def arrived(self, payload: bytes) -> None:
        self.used_at = self._owner.now()
        try:
            self._tunnel.receive(payload)
        except Overflow as error:
            log.warning(
                "a reader is too slow, its connection is closed", topic=self.leaving, problem=str(error)
            )
            self._fail(error)
            self._owner.flush()
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
            self._owner.wait_no_more(self)

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
                self._owner.flush()
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
        self.used_at = self._owner.now()
        self._tunnel.write(data)
        self._owner.flush()
        if self._tunnel.unsent > self._high and not self._stalled:
            self._stalled = True
            self._owner.wait(self)
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
        self._owner.wait(self)
        self._owner.flush()

    def abort(self) -> None:
        self._closing = True
        self._tunnel.abort()
        self._owner.flush()
        self._end(None)

    def _fail(self, error: Exception) -> None:
        self._closing = True
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._owner.wait_no_more(self)
        self._owner.forget(self)
        self._loop.call_soon(self._protocol.connection_lost, error)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
