"""The connection to the broker, made again whenever it is lost."""

import asyncio
import errno
import os
import random
import ssl
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from liveman.logs import Seldom, get_logger
from liveman.net4mqtt.address import BrokerAddress
from liveman.net4mqtt.link import Link, Session
from liveman.net4mqtt.link_tcp import connect_tcp
from liveman.net4mqtt.link_ws import connect_ws
from liveman.tasks import TaskOwner

__all__ = ["Broker", "Handler", "tls_context"]

log = get_logger("liveman.net4mqtt")

_CONNECT_SECONDS = 5.0
#: Between two attempts, at the most; service is to be back in less than 5 s.
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 3.0
#: A link that is lost sooner has achieved nothing.
_STABLE_SECONDS = 10.0


class Handler(Protocol):
    """Who uses the broker. Nothing is called once the broker's context is being left."""

    def connected(self) -> None:
        """The subscriptions hold; retained messages may have come before."""

    def disconnected(self) -> None:
        """Messages may be lost from now on."""

    def received(self, topic: str, payload: bytes, retained: bool) -> None:
        """``retained``: it was published before the subscription."""

    def resumed(self) -> None:
        """The broker is writable again."""


class Broker:
    """An async context, within which it is connected as long as that is possible."""

    def __init__(
        self, address: BrokerAddress, session: Session, handler: Handler, tls: ssl.SSLContext | None = None
    ) -> None:
        """``tls`` is for mqtts and wss; None: the system's authorities are trusted."""
        self._address = address
        self._session = session
        self._handler = handler
        self._tls = (tls or ssl.create_default_context()) if address.encrypted else None
        self._link: Link | None = None
        self._tasks = TaskOwner()
        self._seldom = Seldom(log)
        self._told: set[str] = set()
        """The problems that the log has since it was connected: it may be away for hours."""
        self._says_lost = True
        """Whether the log's last word of it is that it is not connected."""
        self.problem: str | None = "it has not been reached yet"
        """Why it is not connected; None: it is."""

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def writable(self) -> bool:
        """Whether it is connected and not too much waits to be sent."""
        return self._link is not None and self._link.writable

    @property
    def wish(self) -> bool:
        """Whether it is connected and has granted the last subscription, too."""
        return self._link is not None and self._link.wish

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message with QoS 0; of no effect while it is not connected."""
        if self._link:
            self._link.publish(topic, payload, retain=retain)

    async def __aenter__(self) -> Self:
        self._tasks.start("net4mqtt broker", self._stay_connected())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    async def _stay_connected(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                link = await self._connect()
            except TimeoutError:
                self._fail("it does not answer in time")
            except OSError as error:
                self._fail(_why(error))
            except Exception as error:  # noqa: BLE001 - the libraries raise what a strange answer leads them to.
                self._fail(f"unexpected {type(error).__name__}", error)
            else:
                reason = await self._use(link)
                again = loop.time() - begun < _STABLE_SECONDS
                self._lose(reason, often=again and failures > 0)
                failures = failures if again else 0
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failures)
            failures = min(failures + 1, 10)
            await asyncio.sleep(pause * random.uniform(0.5, 1))

    async def _connect(self) -> Link:
        connect = connect_ws if self._address.scheme in ("ws", "wss") else connect_tcp
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await connect(self._address, self._session, self._tls, self)

    async def _use(self, link: Link) -> str:
        self._link, self.problem = link, None
        self._told.clear()
        (log.info if self._says_lost else log.debug)("the broker is connected", broker=self._address)
        self._says_lost = False
        try:
            self._handler.connected()
            reason = await link.lost
            self._link, self.problem = None, "it is lost"
            self._handler.disconnected()
            return reason
        finally:
            self._link, self.problem = None, "it is lost"
            await link.close()

    def _fail(self, problem: str, error: Exception | None = None) -> None:
        tell = log.debug if problem in self._told else log.warning
        tell("the broker cannot be used; trying again", broker=self._address, problem=problem, exc_info=error)
        self._told.add(problem)
        self._says_lost = True
        self.problem = problem

    def _lose(self, reason: str, *, often: bool) -> None:
        """``often``: a link that comes and goes all the time would fill the log."""
        event = "the broker is lost"
        if often:
            reason += "; another client with the same client_id would cause this"
            self._says_lost = self._seldom.warning(event, broker=self._address, reason=reason)
        else:
            log.warning(event, broker=self._address, reason=reason)
            self._says_lost = True

    # What a link says.

    def received(self, topic: str, payload: bytes, retained: bool) -> None:
        try:
            self._handler.received(topic, payload, retained)
        except Exception as error:
            log.error("a message of the broker could not be handled", topic=topic, exc_info=error)

    def resumed(self) -> None:
        self._handler.resumed()


def tls_context(
    authorities: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """For brokers with authorities of their own, or that want a client's certificate; PEM files.

    Raises OSError (of which ssl.SSLError is one) when a file cannot be used, as is a key of no certificate.
    """
    if key and not certificate:
        raise OSError(errno.EINVAL, "there is a key, and no certificate that it belongs to")
    context = ssl.create_default_context(cafile=authorities)
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"there is no agreement on TLS ({error.reason})"
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
