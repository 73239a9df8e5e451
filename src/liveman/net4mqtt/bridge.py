"""Two connections joined into one."""

import asyncio
from typing import cast

__all__ = ["Half"]

#: How long one end may take what is left for it, once the other end is gone.
LINGER_SECONDS = 10.0


class Half(asyncio.Protocol):
    """One end of a bridge: what arrives here leaves at the other end, at its pace."""

    transport: asyncio.Transport

    def __init__(self, other: "Half | None" = None) -> None:
        """``other``: the end that is there already, not reading; None: this is the first."""
        self._other = other
        self._lost = False
        self._linger: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self._other:
            self._other.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._other is None:
            return
        self._other._other = self
        if self._other._lost:
            self.transport.abort()
        else:
            self._other.transport.resume_reading()

    def pause_writing(self) -> None:
        if self._other:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other:
            self._other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if self._linger:
            self._linger.cancel()
        if self._other:
            self._other.end()

    def end(self) -> None:
        """Close it, once what is left has gone; the other end is gone."""
        if not self._lost:
            self.transport.close()
            self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.abort)
