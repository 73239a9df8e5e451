"""The process of `liveman`: it listens, closes connections that never ask anything, and ends on signals."""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from liveman.errors import ConfigError, Fault, LivemanError
from liveman.front import Front
from liveman.logs import get_logger
from liveman.middleware import LISTENING, SIGNPOSTS, Signposts
from liveman.tasks import TaskOwner

__all__ = ["forever", "run", "serving"]

log = get_logger("liveman")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
HEAD_SECONDS = 30.0
#: Counts from the last answer, also for a head that never ends.
KEEPALIVE_SECONDS = 30.0
#: How long the rest of a refused body is read, so that the client finds the answer before the reset.
LINGERING_SECONDS = 2.0
SHUTDOWN_SECONDS = 1.0


@asynccontextmanager
async def serving(app: web.Application, listen: str, *, else_any_port: bool = False) -> AsyncIterator[str]:
    """Serve the application on ``host:port`` and give its URL.

    Raises ConfigError when it cannot listen there; ``else_any_port``: takes a free port instead.
    """
    try:
        listener = _listener(listen)
    except ConfigError:
        if not else_any_port:
            raise
        listener = _listener(listen.rpartition(":")[0] + ":0")
    with listener as sock:
        runner = web.AppRunner(
            app,
            access_log=None,  # Liveman writes its own, without query strings.
            auto_decompress=False,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGERING_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        front = Front(app.get(SIGNPOSTS) or Signposts(), lambda: _protocol(runner))
        app.on_shutdown.append(lambda _: front.end(SHUTDOWN_SECONDS))
        app[LISTENING] = _url(sock)
        await runner.setup()
        try:
            listening = await asyncio.get_running_loop().create_server(front, sock=sock, backlog=4096)
            try:
                async with TaskOwner() as tasks:
                    tasks.start("idle connections", _close_idle(front, runner))
                    yield _url(sock)
            finally:
                listening.close()
        finally:
            await runner.cleanup()


async def forever() -> None:
    """Wait until the process is told to end."""
    # What the start has made stays. To walk it again at each full collection would stop all else for 50 ms.
    gc.collect()
    gc.freeze()
    await asyncio.Event().wait()


def run(main: Coroutine[Any, Any, int], *, uvloop: bool = False) -> int:
    """Run to the end, or to the first SIGINT or SIGTERM, which cancels it and is no failure; the exit code.

    A second signal ends the process at once. ``uvloop``: on that event loop instead of asyncio's.
    """
    try:
        factory = _uvloop() if uvloop else None
    except LivemanError:
        main.close()
        raise
    _allow_files()
    # Nothing here makes cycles by the request, and a look at all that is known of a large cluster takes the
    # garbage collector 100 ms.
    gc.set_threshold(10_000, 20, 100)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_until_signal(main))


def _allow_files() -> None:
    """Every client and every node takes a file; the soft limit, often 1024, is made for other programs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        raise LivemanError("uvloop is not installed: pip install 'liveman[speed]'.") from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _until_signal(main: Coroutine[Any, Any, int]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    told = False

    def end() -> None:
        nonlocal told
        told = True
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        return await main
    except asyncio.CancelledError:
        if not told:
            raise
        return 0


def _listener(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # [::] takes IPv4 too.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise ConfigError(Fault("http.listen", f"cannot listen on {listen}: {error.strerror}")) from error
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _protocol(runner: web.AppRunner) -> asyncio.Protocol:
    """aiohttp's, for one connection."""
    assert runner.server is not None
    return runner.server()


async def _close_idle(front: Front, runner: web.AppRunner) -> None:
    """aiohttp sets no limit on the time in which a connection's first request must come."""
    loop = asyncio.get_running_loop()
    waiting: dict[RequestHandler, float] = {}
    while True:
        await asyncio.sleep(HEAD_SECONDS / 6)
        front.close_idle(HEAD_SECONDS)
        now = loop.time()
        connections = runner.server.connections if runner.server is not None else []
        waiting = {each: waiting.get(each, now) for each in connections if not each._request_count}
        for connection, since in waiting.items():
            if now - since >= HEAD_SECONDS:
                connection.force_close()
