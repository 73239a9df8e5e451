"""Debian's mosquitto on the loopback, which tests stop and start as they like."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["Mosquitto", "holds", "mosquitto"]


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


class Mosquitto:
    """One broker. Its port stays the same when it is started again; what it retains does not outlive it."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "user root", *options]
        if "protocol websockets" in options:  # It does not start with none but these.
            lines.append(f"listener {free_port()} 127.0.0.1")
        self._config.write_text("\n".join(lines) + "\n")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        command = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") or "mosquitto"
        self._process = await asyncio.create_subprocess_exec(
            command,
            "-c",
            str(self._config),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    assert self._process.returncode is None, "mosquitto has ended"
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    return

    async def stop(self) -> None:
        """Kill it: nobody is told."""
        if self._process:
            self._process.kill()
            await self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Have it keep its connections and do nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def mosquitto(folder: Path, *options: str) -> AsyncIterator[Mosquitto]:
    broker = Mosquitto(folder, options)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


async def holds(condition: Callable[[], object], within: float = 15.0) -> None:
    """Wait until it does; fails after so many seconds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
