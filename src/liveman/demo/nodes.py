"""Built-in nodes as child processes: started side by side, owned by a context, never left behind."""

import asyncio
import importlib.util
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from attrs import frozen

from liveman.config import Secret
from liveman.errors import LivemanError
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["BuildinNode", "buildin_nodes", "need_aiortc"]

log = get_logger("liveman.demo")

_START_WITHIN = 30.0
_END_WITHIN = 2.0
_NO_TOKEN = Secret()


@frozen
class BuildinNode:
    """A running node."""

    alias: str
    """``buildin-0``, ``buildin-1``, …"""
    url: str
    """``http://127.0.0.1:41234``"""
    pid: int


def need_aiortc() -> None:
    """Raises LivemanError, with the remedy, where the extra `demo` is not installed."""
    if importlib.util.find_spec("aiortc") is None:
        raise LivemanError("The built-in nodes need aiortc: pip install 'liveman[demo]'.")


@asynccontextmanager
async def buildin_nodes(
    count: int,
    address: str = "127.0.0.1:0",
    *,
    sub_max: int = 65_535,
    token: Secret = _NO_TOKEN,
    ice_servers: Sequence[Mapping[str, Any]] = (),
    recordings: str = "",
) -> AsyncIterator[list[BuildinNode]]:
    """Run so many nodes; when the context ends, or this process in whatever way, they end too.

    ``address`` is ``host:port``; node i listens on port + i, or with port 0 on any free one. Every node
    reports ``sub_max``, wants ``token``,
    offers ``ice_servers`` (RTCIceServer dictionaries), and records below ``recordings``, a folder;
    empty: it has no recorder. Raises LivemanError when aiortc is not installed or a
    node does not start.
    """
    need_aiortc()
    host, _, port = address.rpartition(":")
    ports = [int(port) + i if int(port) else 0 for i in range(count)]
    environment = {
        **os.environ,
        "LIVEMAN_NODE_TOKEN": token.reveal(),
        "LIVEMAN_NODE_ICE_SERVERS": json.dumps(list(ice_servers)),
    }
    async with AsyncExitStack() as stack:
        children = [_Child(f"buildin-{i}", f"{host}:{port}") for i, port in enumerate(ports)]
        tasks = await stack.enter_async_context(TaskOwner())
        stack.push_async_callback(_end, children)
        options = ["--sub-max", str(sub_max), *(["--recordings", recordings] if recordings else [])]
        starts = (child.start(tasks, options, environment) for child in children)
        nodes = await asyncio.gather(*starts, return_exceptions=True)
        for node in nodes:
            if isinstance(node, BaseException):
                raise node
        yield [node for node in nodes if isinstance(node, BuildinNode)]


async def _end(children: list["_Child"]) -> None:
    await asyncio.gather(*(child.end() for child in children))


class _Child:
    def __init__(self, alias: str, address: str) -> None:
        self._alias = alias
        self._address = address
        self._process: asyncio.subprocess.Process | None = None
        self._last_lines: deque[str] = deque(maxlen=20)
        self._is_ending = False

    async def start(
        self, tasks: TaskOwner, options: Sequence[str], environment: Mapping[str, str]
    ) -> BuildinNode:
        # A session of its own keeps the terminal's Ctrl-C from it: its parent ends it, in order.
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "liveman.demo.node", "--until-eof"),
            *("--listen", self._address, *options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert process.stdout and process.stderr
        watch = tasks.start(f"watch {self._alias}", self._watch(process, process.stderr))
        try:
            async with asyncio.timeout(_START_WITHIN):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            await self.end()
            await watch
            raise LivemanError(
                f"The built-in node {self._alias} did not start on {self._address}: "
                + ("\n".join(self._last_lines) or "it said nothing")
            )
        return BuildinNode(alias=self._alias, url=json.loads(line)["url"], pid=process.pid)

    async def end(self) -> None:
        self._is_ending = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_END_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _watch(self, process: asyncio.subprocess.Process, stderr: asyncio.StreamReader) -> None:
        async for line in stderr:
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            log.debug("a built-in node says", node=self._alias, line=text)
        status = await process.wait()
        if not self._is_ending:
            said = " / ".join(self._last_lines)
            log.warning("a built-in node ended", node=self._alias, status=status, said=said)
