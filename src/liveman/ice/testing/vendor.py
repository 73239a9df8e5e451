"""A vendor's server that says what a test wants: an HTTP server on the loopback, in a thread of its own."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web
from attrs import field, frozen

__all__ = ["Answer", "Asked", "FakeVendor", "Script"]


@frozen
class Answer:
    """What the vendor says to one request."""

    status: int = 200
    json: Any = None
    """The body as plain data; ``body`` wins over it."""
    body: bytes | None = None
    headers: Mapping[str, str] = field(factory=dict)
    delay: float = 0.0
    """How long it takes to answer, seconds."""
    fault: Literal["hang", "reset", "break off", "garbage"] | None = None
    """``hang``: no answer for as long as the client waits. ``reset``: the connection is closed without one.
    ``break off``: it is closed in the middle of the body. ``garbage``: the answer is no HTTP."""

    @property
    def payload(self) -> bytes:
        return json.dumps(self.json).encode() if self.body is None else self.body


@frozen
class Asked:
    """A request as the vendor got it."""

    method: str
    path: str
    """Without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Their names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


#: The same answer to every request, or what decides. It is called in the vendor's thread.
Script = Answer | Callable[[Asked], Answer]


class FakeVendor:
    """A context: the server listens on a free port of the loopback from entering it to leaving it.

    ::

        with FakeVendor(Answer(status=503)) as vendor:
            ...                                   # asked at vendor.url
            assert len(vendor.asked) == 1         # every request, as it came
            vendor.script = Answer(json=GOOD)     # from now on

    It has a thread and an event loop of its own, so it serves tests with and without a loop alike.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.url = ""
        """``http://127.0.0.1:<port>``, without a final slash."""
        self._ready = threading.Event()
        self._done: Callable[[], object] | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fake vendor")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if not self.url:
            raise OSError("the fake vendor cannot listen on 127.0.0.1")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._done is not None:
            self._done()
        self._thread.join()

    async def _serve(self) -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._done = lambda: loop.call_soon_threadsafe(done.set)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        try:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            self._ready.set()
            await done.wait()
        finally:
            self._ready.set()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.method, request.path, dict(request.query), headers, await request.read())
        self.asked.append(asked)
        script = self.script
        answer = script(asked) if callable(script) else script
        await asyncio.sleep(answer.delay)
        return await _say(answer, request)


async def _say(answer: Answer, request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if answer.fault == "hang":
        await asyncio.Event().wait()
    elif answer.fault and transport is not None:
        if answer.fault == "break off":
            half = answer.payload[: len(answer.payload) // 2]
            transport.write(f"HTTP/1.1 {answer.status} -\r\nContent-Length: 9999\r\n\r\n".encode() + half)
        elif answer.fault == "garbage":
            transport.write(b"\x16\x03\x01 what\r\n\r\n")
        transport.close()
    headers = {"Content-Type": "application/json", **answer.headers}
    return web.Response(status=answer.status, body=answer.payload, headers=headers)
