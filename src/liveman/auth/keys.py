"""The public keys that an issuer serves at a URL, as a JWK set (RFC 7517 section 5)."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from liveman.errors import LivemanError
from liveman.logs import get_logger
from liveman.tasks import TaskOwner
from liveman.token_key import Key, parse_jwk

__all__ = ["IssuerKeys", "parse_jwks"]

log = get_logger("liveman.auth")

#: Between two requests when nothing is amiss; after a failure they come sooner, at first after the least.
REFRESH = 300.0
RETRY_LEAST = 5.0
RETRY_MOST = 60.0

#: Between two requests that tokens with an unknown key's name bring about, seconds.
ON_DEMAND = 60.0

#: The longest that such a token waits, seconds.
TIMEOUT = 5.0

_LARGEST = 256 * 1024
_MOST_KEYS = 100


class IssuerKeys:
    """An async context that keeps the keys fresh. While the service is down the last ones stay in use."""

    def __init__(
        self, url: str, *, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``changed`` is called when the keys are others than before."""
        self._url = url
        self._shown = url.partition("?")[0]
        self._changed = changed
        self._clock = clock
        self._keys: dict[tuple[str, str], Key] = {}
        self._body = b""
        self._demanded: float | None = None
        self._flight: asyncio.Task[bool] | None = None
        self._tasks = TaskOwner()
        self._session: aiohttp.ClientSession | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self._session = await self._stack.enter_async_context(session)
        await self._stack.enter_async_context(self._tasks)
        # At once, so that the first token joins it.
        self._fly()
        self._tasks.start("keys of the issuer", self._refresh())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __len__(self) -> int:
        return len(self._keys)

    async def find(self, algorithm: str, id: str) -> Key | None:
        """The key of this name; without a name the only one that there is (OpenID Connect Core 10.1).

        For a name that is not known the keys are asked for anew, at most once a minute.
        """
        key = self._known(algorithm, id)
        if key is None and await self._demand():
            key = self._known(algorithm, id)
        return key

    def _known(self, algorithm: str, id: str) -> Key | None:
        if id:
            return self._keys.get((algorithm, id))
        fitting = [key for key in self._keys.values() if key.algorithm == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    async def _demand(self) -> bool:
        """Wait for a request under way, or for a new one; false: it is too soon for one."""
        if self._flight is None or self._flight.done():
            now = self._clock()
            if self._demanded is not None and now - self._demanded < ON_DEMAND:
                return False
            self._demanded = now
        # One who gives up waiting does not end it for the others.
        await asyncio.wait([self._fly()])
        return True

    def _fly(self) -> asyncio.Task[bool]:
        flight = self._flight
        if flight is None or flight.done():
            flight = self._flight = self._tasks.start("request for the issuer's keys", self._fetch())
        return flight

    async def _refresh(self) -> None:
        retry = RETRY_LEAST
        while True:
            flight = self._fly()
            await asyncio.wait([flight])
            if flight.exception() is None and flight.result():
                retry = RETRY_LEAST
                await asyncio.sleep(REFRESH)
            else:
                await asyncio.sleep(retry)
                retry = min(2 * retry, RETRY_MOST)

    async def _fetch(self) -> bool:
        """Take in what is served; whether that went well."""
        try:
            body = await self._ask()
            if body != self._body:
                keys, ignored = parse_jwks(body)
                for each in ignored:
                    log.warning("a key of the issuer is ignored", url=self._shown, key=each)
                self._body = body
                self._keys = keys
                self._changed()
        except (aiohttp.ClientError, TimeoutError, OSError, LivemanError) as error:
            reason = error.detail if isinstance(error, LivemanError) else type(error).__name__
            log.warning("the issuer's keys cannot be had", url=self._shown, reason=reason, kept=len(self))
            return False
        return True

    async def _ask(self) -> bytes:
        assert self._session is not None
        headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
        async with self._session.get(self._url, headers=headers, allow_redirects=False) as answer:
            if answer.status != 200:
                raise LivemanError(f"the answer has the status {answer.status}")
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > _LARGEST:
                    raise LivemanError(f"the answer is longer than {_LARGEST} bytes")
            return body


def parse_jwks(body: bytes) -> tuple[dict[tuple[str, str], Key], list[str]]:
    """The keys of a JWK set by algorithm and name, and why others of it were left out.

    Raises LivemanError when it holds none that can be used.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise LivemanError("the answer is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > _MOST_KEYS:
        raise LivemanError(f"the answer is no JWK set of at most {_MOST_KEYS} keys")
    keys: dict[tuple[str, str], Key] = {}
    ignored: list[str] = []
    for index, entry in enumerate(entries):
        try:
            key = parse_jwk(entry)
            if (key.algorithm, key.id) in keys:
                raise ValueError("has the algorithm and the kid of another one before it")
        except ValueError as error:
            ignored.append(f"keys[{index}] {error}")
        else:
            keys[key.algorithm, key.id] = key
    if not keys:
        raise LivemanError("; ".join(["the answer holds no key that can be used", *ignored[:5]]))
    return keys, ignored
