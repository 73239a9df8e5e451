"""A relay: a session whose other end is another node, where this node is the WHIP or WHEP client.

It is the publisher of a stream that is pulled, or a viewer of one that is pushed. Nothing is trickled.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiortc import RTCRtpCodecParameters
from yarl import URL

from liveman.demo.media import Hub
from liveman.demo.refusal import Refused
from liveman.demo.sessions import Kind, Session
from liveman.logs import get_logger

__all__ = ["Relay", "RelayFailed", "relay_client"]

log = get_logger("liveman.demo")

_POST_WITHIN = ClientTimeout(total=45, sock_connect=2)
_DELETE_WITHIN = ClientTimeout(total=5, sock_connect=2)
_LARGEST_ANSWER = 64 * 1024


class RelayFailed(Exception):
    """The peer did not take part in the relay; says why."""


def relay_client() -> ClientSession:
    """The HTTP client of a node's relays. Hours pass between two requests, so no connection is kept."""
    return ClientSession(cookie_jar=DummyCookieJar(), connector=TCPConnector(limit=0, force_close=True))


class Relay(Session):
    """A session that this node makes at a WHEP url (kind publish: a pull) or a WHIP url (a push)."""

    def __init__(
        self, kind: Kind, changed: Callable[[Session], None], http: ClientSession, url: str, token: str
    ) -> None:
        """``token``: the value of the Authorization header, word for word; empty: none is sent.

        Raises Refused (500) for a url that is not one of http or https.
        """
        self._endpoint = _parsed(url)
        super().__init__(kind, changed)
        self._http = http
        self._headers = {"Authorization": token} if token else {}
        self._url = url
        self._session_url: URL | None = None

    @property
    def peer(self) -> str:
        """Where it goes, fit for a log: without credentials and query."""
        return str(self._endpoint.with_user(None).with_query(None))

    async def connect(self, hubs: Mapping[str, Hub], codecs: Mapping[str, RTCRtpCodecParameters]) -> None:
        """Make the peer's session; media flows some moments later.

        ``codecs`` are what a push sends, by kind. Raises RelayFailed; also then `close` has to follow.
        """
        try:
            answer = await self._post(await self.offer(hubs, codecs))
            await self.take_answer(answer)
        except Refused as refused:
            raise RelayFailed(f"the answer is not usable: {refused.text}") from refused
        except TimeoutError as error:
            raise RelayFailed("the peer did not answer in time") from error
        except (ClientError, OSError, ValueError) as error:
            raise RelayFailed(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """DELETE the peer's session, then hang up: the other way round the peer would wait for a return."""
        try:
            if self._session_url:
                await self._delete(self._session_url)
        finally:
            await super().close()

    def to_json(self) -> dict[str, Any]:
        told = "sourceUrl" if self.kind == "publish" else "targetUrl"
        return {**super().to_json(), "cascade": {told: self._url, "sessionUrl": str(self._session_url)}}

    async def _post(self, offer: str) -> str:
        headers = {**self._headers, "Content-Type": "application/sdp"}
        request = self._http.post(
            self._endpoint, data=offer.encode(), headers=headers, allow_redirects=False, timeout=_POST_WITHIN
        )
        async with request as response:
            if response.status != 201:
                text = (await _read(response)).strip()
                raise RelayFailed(f"the peer answered with {response.status}: {text[:200]}")
            if "Location" not in response.headers:
                raise RelayFailed("the peer answered with 201 without a Location")
            self._session_url = _resolved(self._endpoint, response.headers["Location"])
            return await _read(response)

    async def _delete(self, url: URL) -> None:
        request = self._http.delete(url, headers=self._headers, allow_redirects=False, timeout=_DELETE_WITHIN)
        try:
            async with request as response:
                if response.status < 300 or response.status == 404:
                    return
                reason = f"it answered with {response.status}"
        except (ClientError, OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        log.warning("a relay's peer was not told of its end", peer=self.peer, reason=reason)


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise Refused(500, "a relay needs an absolute url of http or https")
    return url


def _resolved(endpoint: URL, location: str) -> URL:
    """The peer's session: a relative Location replaces the path alone, and its query is lost."""
    if re.match("https?://", location, re.IGNORECASE):
        return _parsed(location)
    path = re.split("[?#]", location)[0].lstrip("/")
    return endpoint.with_path(URL(f"/{path}").raw_path, encoded=True).with_query(endpoint.query)


async def _read(response: ClientResponse) -> str:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            raise RelayFailed(f"the peer answered with more than {_LARGEST_ANSWER} bytes")
    return body.decode()
