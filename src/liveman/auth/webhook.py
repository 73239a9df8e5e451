"""Asks an outside service who may publish and subscribe (`[auth.webhook]`, docs/access-webhook.md).

    POST <url>
    Content-Type: application/json
    Liveman-Timestamp: 1800000000            Unix time, seconds
    Liveman-Signature: sha256=<64 hex>       HMAC-SHA256, key: the secret, of "<timestamp>.<body>"

    {"id": "5f0c…", "action": "publish", "stream": "cam", "subject": "ann",
     "token": "…", "address": "192.0.2.7"}

``id`` is another one each time, so a receiver who keeps those of the last minutes refuses what is replayed.
``token`` is what the client showed; empty: nothing. What the service may answer says `verdict`.
"""

import asyncio
import hashlib
import hmac
import json
import random
import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

import aiohttp
from attrs import asdict, frozen
from yarl import URL

from liveman import config as configuration
from liveman.auth.verdict import LONGEST_ANSWER, Key, Verdict, Verdicts, parse_verdict
from liveman.breaker import Breaker
from liveman.errors import ConfigError, Fault, NotAllowed, Unavailable
from liveman.logs import get_logger
from liveman.tasks import TaskOwner

__all__ = ["Webhook", "sign"]

log = get_logger("liveman.auth")

Action = Literal["publish", "subscribe"]

#: Calls at once; others wait for their turn within their budget.
_MOST_CALLS = 64
#: Questions under way, those that wait included.
_MOST_FLIGHTS = 2000
#: The longest wait between two probes, seconds: for so long at the most one that is back is not asked.
_LONGEST_WAIT = 10.0
#: The least time between two log lines about answers that are missing, seconds.
_QUIET = 30.0


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The header Liveman-Signature."""
    return f"sha256={hmac.new(secret.encode(), b'%d.%b' % (timestamp, body), hashlib.sha256).hexdigest()}"


@frozen
class _Question:
    action: Action
    stream: str
    subject: str
    token: str
    address: str


class Webhook:
    """An async context. No redirect is followed, and no proxy, cookie or netrc of the environment is used."""

    def __init__(self, config: configuration.Webhook, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigError without a secret."""
        if not config.secret:
            raise ConfigError(Fault("auth.webhook.secret", "is missing; the service knows Liveman by it"))
        self._config = config
        self._budget = config.timeout_ms / 1000
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._verdicts = Verdicts()
        self._breaker = Breaker(longest=_LONGEST_WAIT)
        self._flights: dict[Key, asyncio.Task[Verdict | None]] = {}
        self._calls = asyncio.Semaphore(_MOST_CALLS)
        self._owner = TaskOwner()
        self._quiet_until = float("-inf")
        self._session: aiohttp.ClientSession | None = None

    async def admit(self, subject: str, token: str, action: Action, stream: str, address: str) -> None:
        """Return when this is allowed, after ``timeout_ms`` at the most.

        Raises NotAllowed with the service's reason; Unavailable (503) when there is no answer and
        ``on_failure`` lets nobody in: 503 with Retry-After and not 403, since the client has nothing wrong,
        may come back, and is let in once the service answers again.
        """
        question = _Question(action, stream, subject, token, address)
        key = self._key_of(question)
        verdict = self._verdicts.fresh(key, self._clock()) or await self._ask(key, question)
        if verdict is None:
            verdict = self._without_answer(key, question)
        if not verdict.allow:
            raise NotAllowed(verdict.reason)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # `_calls` is the limit.
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "liveman"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._owner.__aexit__(kind, error, trace)
        if self._session is not None:
            await self._session.close()

    def _key_of(self, question: _Question) -> Key:
        # Who shows no token is told by the address: a verdict on one stranger is none on all of them.
        who = f"token {question.token}" if question.token else f"address {question.address}"
        digest = hashlib.blake2b(who.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()
        return digest, question.stream, question.action

    async def _ask(self, key: Key, question: _Question) -> Verdict | None:
        flight = self._flights.get(key)
        if flight is None:
            if self._is_down() or len(self._flights) >= _MOST_FLIGHTS:
                return None
            flight = self._owner.start("access service", self._fly(key, question))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key))
        # Who leaves ends his own waiting alone.
        await asyncio.wait((flight,))
        return None if flight.cancelled() else flight.result()

    async def _fly(self, key: Key, question: _Question) -> Verdict | None:
        deadline = asyncio.get_running_loop().time() + self._budget
        try:
            async with asyncio.timeout_at(deadline):
                await self._calls.acquire()
        except TimeoutError:
            self._complain(f"more than {_MOST_CALLS} questions at once")
            return None
        try:
            verdict = await self._call(question, deadline)
        finally:
            self._calls.release()
        if verdict is not None:
            self._verdicts.keep(key, verdict, self._clock())
        return verdict

    async def _call(self, question: _Question, deadline: float) -> Verdict | None:
        if self._is_down():
            return None
        ticket = self._breaker.begin()
        left = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(deadline):
                status, body = await self._send(question)
        except asyncio.CancelledError:
            self._breaker.left(ticket)
            raise
        except TimeoutError:
            if left > self._budget / 2:
                self._failed(ticket, "it took too long")
            else:
                # It waited long for its turn and had no fair time, so it tells nothing of the service.
                self._breaker.left(ticket)
                self._complain("it took too long")
            return None
        # The client's errors hold the url and the headers, so none of them goes further.
        except (aiohttp.ClientError, OSError) as error:
            self._failed(ticket, f"it cannot be reached: {type(error).__name__}")
            return None
        # Any answer shows that the service is there; so nobody can make it look dead by odd questions.
        self._breaker.worked(ticket)
        try:
            verdict = parse_verdict(status, body)
        except ValueError as error:
            self._complain(str(error))
            return None
        if status >= 400 and status not in (401, 403):
            self._complain(f"status {status}, which counts as a denial")
        return verdict

    async def _send(self, question: _Question) -> tuple[int, bytes]:
        """The status and the body of the answer; of a body that is too long, more than may be."""
        try:
            return await self._send_once(question)
        except aiohttp.ClientConnectionError:
            # The service may have closed a kept connection just then.
            return await self._send_once(question)

    async def _send_once(self, question: _Question) -> tuple[int, bytes]:
        assert self._session is not None, "a Webhook is asked inside its context"
        body = json.dumps({"id": secrets.token_hex(16), **asdict(question)}).encode()
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "Liveman-Timestamp": str(timestamp),
            "Liveman-Signature": sign(self._config.secret.reveal(), timestamp, body),
        }
        url = URL(self._config.url, encoded=True)
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            answer = b""
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > LONGEST_ANSWER:
                    break
            return response.status, answer

    def _is_down(self) -> bool:
        """Whether it is left alone, but for one who tries."""
        return self._breaker.retry_at is not None and not self._breaker.room(self._clock(), 1)

    def _without_answer(self, key: Key, question: _Question) -> Verdict:
        asked = {name: value for name, value in asdict(question).items() if name != "token"}
        if self._config.on_failure == "allow":
            log.warning("allowed without an answer of the access service", **asked)
            return Verdict(True)
        if self._config.on_failure == "stale" and (last := self._verdicts.last(key)) is not None:
            log.warning("decided by the access service's last answer", allow=last.allow, **asked)
            return last
        raise Unavailable(
            "The service that decides about access does not answer; try again later.",
            retry_after=self._breaker.wait(self._clock()),
        )

    def _failed(self, ticket: int, problem: str) -> None:
        if self._breaker.failed(ticket, self._clock(), random.random()):
            wait = round(self._breaker.wait(self._clock()), 1)
            log.error("the access service is not asked for a while", problem=problem, seconds=wait)
        else:
            self._complain(problem)

    def _complain(self, problem: str) -> None:
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            log.warning("no usable answer of the access service", problem=problem)
