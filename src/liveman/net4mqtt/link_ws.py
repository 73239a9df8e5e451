"""A link by ws and wss, carried by aiomqtt, which is slower but speaks WebSocket."""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Awaitable
from typing import TypeVar

import aiomqtt

from liveman.net4mqtt.address import BrokerAddress
from liveman.net4mqtt.link import HIGH, KEEPALIVE_SECONDS, LOW, Link, LinkError, Session, Sink
from liveman.tasks import TaskOwner

__all__ = ["connect_ws"]

_ANSWER_SECONDS = 5.0

T = TypeVar("T")

_SILENT = logging.Logger("aiomqtt")
_SILENT.disabled = True


async def connect_ws(
    address: BrokerAddress, session: Session, tls: ssl.SSLContext | None, sink: Sink
) -> Link:
    """Connect and subscribe. Raises LinkError."""
    link = _WsLink(address, session, tls, sink)
    try:
        await link.connect(session)
    except aiomqtt.MqttError as error:
        await link.close()
        raise LinkError(f"it cannot be used: {error}") from None
    except BaseException:
        await link.close()
        raise
    return link


class _WsLink(Link):
    def __init__(
        self, address: BrokerAddress, session: Session, tls: ssl.SSLContext | None, sink: Sink
    ) -> None:
        super().__init__(sink)
        self._client = aiomqtt.Client(
            address.host,
            address.port,
            username=address.user,
            password=address.password.reveal() or None,
            logger=_SILENT,
            identifier=address.client_id,
            queue_type=_straight(sink),
            will=aiomqtt.Will(*session.will, retain=True) if session.will else None,
            transport="websockets",
            timeout=_ANSWER_SECONDS,
            keepalive=KEEPALIVE_SECONDS,
            tls_context=tls,
        )
        self._entered = False
        self._tasks = TaskOwner()
        self._waiting: deque[tuple[str, bytes, bool]] = deque()
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def connect(self, session: Session) -> None:
        # A thread does the connecting, which cannot be interrupted.
        entering = asyncio.ensure_future(self._client.__aenter__())
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError:
            await asyncio.wait({entering})
            raise
        finally:
            self._entered = entering.done() and not entering.cancelled() and entering.exception() is None
        granted = await _cancellable(self._client.subscribe([(topic, 0) for topic in session.subscriptions]))
        self._check(session, [code if isinstance(code, int) else code.value for code in granted])
        self._tasks.start("net4mqtt websocket receiving", self._receive())
        self._tasks.start("net4mqtt websocket sending", self._send())

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self.lost.done():
            return
        self._waiting.append((topic, payload, retain))
        self._waiting_bytes += len(payload)
        self._filled.set()
        self._emptied.clear()
        if self._waiting_bytes > HIGH:
            self._pause()

    async def close(self) -> None:
        try:
            async with asyncio.timeout(2):
                if self._waiting and not self.lost.done():
                    await self._emptied.wait()
                if self._entered:
                    await _cancellable(self._client.__aexit__(None, None, None))
        except (TimeoutError, aiomqtt.MqttError):
            pass
        finally:
            self._lose("it is closed")
            await self._tasks.__aexit__(None, None, None)

    async def _receive(self) -> None:
        """Until it is disconnected; what comes takes the straight way."""
        try:
            async for _ in self._client.messages:
                pass
        except aiomqtt.MqttError as error:
            self._lose(str(error))

    async def _send(self) -> None:
        # Not for ever: the publishing can swallow a cancellation, too.
        while not self.lost.done():
            await self._filled.wait()
            try:
                while self._waiting:
                    topic, payload, retain = self._waiting[0]
                    await self._client.publish(topic, payload, retain=retain)
                    self._waiting.popleft()
                    self._waiting_bytes -= len(payload)
                    if not self.writable and self._waiting_bytes <= LOW:
                        self._resume()
            except aiomqtt.MqttError as error:
                self._lose(str(error))
                return
            self._filled.clear()
            self._emptied.set()


async def _cancellable(waiting: Awaitable[T]) -> T:
    """What aiomqtt waits for, by asyncio.wait_for, which before Python 3.12 swallows a cancellation that
    comes at the same moment as the answer: the task would go on for ever, and who ended it wait for it."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await waiting
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


def _straight(sink: Sink) -> type[asyncio.Queue[aiomqtt.Message]]:
    """What aiomqtt takes for a queue: its own would grow without bound, or lose messages."""

    class Straight(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, message: aiomqtt.Message) -> None:
            payload = message.payload
            if isinstance(payload, bytes | bytearray):
                sink.received(message.topic.value, bytes(payload), message.retain)

    return Straight
