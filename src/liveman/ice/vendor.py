"""Asking a vendor for credentials over HTTP: small JSON, in bounded time, and no secret in any error."""

import json
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from liveman.errors import ProviderError
from liveman.ice.server import IceServer, is_turn
from liveman.logs import get_logger

__all__ = ["VendorApi"]

log = get_logger("liveman.ice")

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_LARGEST_ANSWER = 64 * 1024
#: How far a vendor's clock and ours may differ without a word, seconds.
_SKEW = 60.0
#: The longest that a vendor can make us wait by Retry-After, seconds.
_LONGEST_WAIT = 3600.0


class VendorApi:
    """A vendor's JSON API. Every failure is a `ProviderError` whose text can be logged.

    No redirect is followed, so that secrets go nowhere else; no proxy, cookie or netrc of the environment is
    used; an answer has at most 64 KiB and 10 seconds, and is taken as it stands, without decompression.
    """

    def __init__(
        self, name: str, base: str, *, check: str, clock: Callable[[], float] = lambda: time.time()
    ) -> None:
        """``name`` and ``check`` stand in errors: the vendor, and the options to look at when it refuses.

        ``base`` is the API's URL, without a final slash, and holds no secret.
        """
        self._name = name
        self._base = base
        self._check = check
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._skewed = False

    async def start(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # How much is asked at once is for the broker to bound.
                connector=aiohttp.TCPConnector(limit=0),
                timeout=_TIMEOUT,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            )

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def ask(
        self,
        method: Literal["GET", "POST"],
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded JSON of a 200 or 201; None for a 204. ``query`` may hold secrets.

        Raises ProviderError: permanent for 401 and 403, with ``retry_after`` where the vendor names a time.
        """
        if self._session is None:
            raise ProviderError(f"{self._name} can be asked between start and close alone")
        url = f"{self._base}{path}?{urlencode(query)}" if query else f"{self._base}{path}"
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                json=json,
                data=form,
                allow_redirects=False,
            ) as response:
                self._compare_clocks(response.headers.get("Date", ""))
                if response.status == 204:
                    return None
                if response.status not in (200, 201):
                    raise self._refusal(response.status, response.headers.get("Retry-After", ""))
                return self._decode(await self._read(response.content))
        # The errors of the client hold the url and the headers, so none of them goes further.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderError(f"{self._name} cannot be reached: {type(error).__name__}") from None

    def members(self, answer: object) -> Mapping[str, Any]:
        """The answer as a JSON object. Raises ProviderError."""
        if not isinstance(answer, Mapping):
            raise self._unusable("is no JSON object")
        return answer

    def text(self, answer: object, key: str) -> str:
        """A text that is not empty, from a JSON object. Raises ProviderError."""
        value = self.members(answer).get(key)
        if not isinstance(value, str) or not value:
            raise self._unusable(f"has no text {key}")
        return value

    def seconds(self, answer: object, key: str, *, asked: int) -> int:
        """The life of credentials from a JSON object, never longer than what was asked for.

        The vendor may write it as a number or as a text; when it says nothing it is what was asked for.
        Raises ProviderError for anything else, and for credentials that are dead already.
        """
        value = self.members(answer).get(key, asked)
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value, re.ASCII):
            value = int(value)
        if type(value) not in (int, float) or not value >= 1:
            raise self._unusable(f"has no {key} that is a number of seconds")
        return int(min(value, asked))

    def turn_servers(self, listed: object) -> tuple[IceServer, ...]:
        """What can be used of a list of RTCIceServer objects, or of one; some TURN. Raises ProviderError."""
        try:
            servers = IceServer.from_json(listed)
        except ValueError:
            raise self._unusable("has no list of ICE servers") from None
        if not any(is_turn(url) for server in servers for url in server.urls):
            raise self._unusable("holds no TURN server that can be used")
        return servers

    def _unusable(self, problem: str) -> ProviderError:
        return ProviderError(f"{self._name}'s answer {problem}")

    async def _read(self, content: aiohttp.StreamReader) -> bytes:
        body = b""
        async for chunk in content.iter_any():
            body += chunk
            if len(body) > _LARGEST_ANSWER:
                raise self._unusable(f"is longer than {_LARGEST_ANSWER} bytes")
        return body

    def _decode(self, body: bytes) -> Any:
        try:
            return json.loads(body.decode(), parse_constant=_no_json)
        except (ValueError, RecursionError):
            raise self._unusable("is no JSON; another may have answered in its place") from None

    def _refusal(self, status: int, retry_after: str) -> ProviderError:
        if status in (401, 403):
            return ProviderError(
                f"{self._name} refuses the credentials ({status}); check {self._check}", permanent=True
            )
        wait = self._wait(retry_after)
        if status == 429:
            return ProviderError(f"{self._name} was asked too often (429)", retry_after=wait)
        remedy = f"; check {self._check}" if status == 404 else ""
        return ProviderError(f"{self._name} answered with status {status}{remedy}", retry_after=wait)

    def _wait(self, retry_after: str) -> float | None:
        """Seconds, from either form of Retry-After (RFC 9110, section 10.2.3)."""
        if re.fullmatch(r"[0-9]{1,9}", retry_after, re.ASCII):
            return min(float(retry_after), _LONGEST_WAIT)
        at = _parse_date(retry_after)
        return None if at is None else min(max(at - self._clock(), 0.0), _LONGEST_WAIT)

    def _compare_clocks(self, date: str) -> None:
        """A wrong clock makes credentials die early, so it is told; once until it is right again."""
        at = _parse_date(date)
        if at is None:
            return
        ahead = self._clock() - at
        skewed = abs(ahead) > _SKEW
        if skewed and not self._skewed:
            log.warning(
                "this machine's clock and a vendor's differ", vendor=self._name, seconds_ahead=round(ahead)
            )
        self._skewed = skewed


def _parse_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _no_json(_constant: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")
