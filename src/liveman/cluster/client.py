"""All of Liveman's own requests to nodes. What goes wrong is a NodeError that names what was asked.

aiohttp's defaults that do not fit are put right here: no cookies, no redirects, no decompression, no header
of its own invention, longer header lines.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp
from aiohttp import hdrs
from attrs import field, frozen
from yarl import URL

from liveman.cluster.node import Node
from liveman.cluster.wire import MAX_BYTES
from liveman.errors import NodeError, NodeTimeout, NodeUnreachable
from liveman.logs import get_logger

__all__ = ["LARGE", "Client", "Connector", "Listing", "NoEvents", "Reply", "joined"]

log = get_logger("liveman.cluster")

#: The way to a node; None: it is dialled as all others.
Connector = Callable[[Node], aiohttp.BaseConnector | None]

#: What takes so many bytes that a thread does it better.
LARGE = 256 * 1024

#: Small documents: strategy, info, one stream.
_SMALL = 1024 * 1024

#: The most of a refusal's text.
_WORDS = 1024

#: Status codes of a node that has no event stream.
_LACKING = (404, 405, 501)

#: What may stand in a path segment as it is (RFC 3986 section 3.3); "%" begins an escape.
_SEGMENT = "%!$&'()*+,;=:@"


class NoEvents(NodeError):
    """The node has no event stream; poll it."""


@frozen
class Listing:
    """The list of all of a node's streams."""

    body: bytes = field(repr=False)
    etag: str | None = None
    """What names this state of it (RFC 9110 section 8.8.3), where the node has such names."""


@frozen
class Reply:
    """A node's answer to what it was told to do."""

    status: int
    text: str
    """The beginning of its words."""

    @property
    def done(self) -> bool:
        return 200 <= self.status < 300


class Client:
    """An async context that holds the connections. Nodes without a way of their own share one."""

    def __init__(
        self,
        *,
        connector: Connector = lambda _: None,
        connect: float,
        total: float,
        retries: tuple[float, ...],
    ) -> None:
        """`connect`, `total`: limits of a request, seconds; `retries`: the pauses before another DELETE."""
        self._connector = connector
        self._timeout = aiohttp.ClientTimeout(total=total, connect=connect)
        self._endless = aiohttp.ClientTimeout(total=None, connect=connect)
        self._retries = retries
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        """By the node's alias; those of "" are shared."""
        self._shared: set[str] = set()
        """The nodes that have none of their own."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for alias in list(self._sessions):
            await self.forget(alias)

    async def forget(self, alias: str) -> None:
        """Close the connections that only this node has; requests on them fail."""
        self._shared.discard(alias)
        if session := self._sessions.pop(alias, None):
            await session.close()

    async def streams(self, node: Node, seen: Listing | None = None) -> Listing:
        """All its streams, at most 16 MiB; `seen` itself when the node says that it is as it was then."""
        path = "/api/streams/"
        etag = seen.etag if seen else None
        async with self._request("GET", node, path, accept="application/json", etag=etag) as answer:
            if answer.status == 304 and seen and etag:
                return seen
            if answer.status != 200:
                raise NodeError(f"GET {path} was answered with {answer.status}")
            body = await _read(answer, path, MAX_BYTES)
            return Listing(body, answer.headers.get(hdrs.ETAG))

    async def stream(self, node: Node, stream: str) -> bytes | None:
        """One stream, by its decoded name; None: the node has none such."""
        path = _stream_path(stream)
        status, body = await self._get(node, path, MAX_BYTES)
        if status == 404:
            return None
        if status != 200:
            raise NodeError(f"GET {path} was answered with {status}")
        return body

    async def strategy(self, node: Node) -> bytes | None:
        """None: the node does not tell."""
        return await self._document(node, "/api/strategy/")

    async def info(self, node: Node) -> bytes | None:
        """None: the node does not tell."""
        return await self._document(node, "/api/info")

    @asynccontextmanager
    async def events(self, node: Node) -> AsyncIterator[aiohttp.StreamReader]:
        """Its event stream, open, without a limit of time. Raises NoEvents where there is none."""
        path = "/api/sse/streams"
        async with self._request(
            "GET", node, path, accept="text/event-stream", timeout=self._endless
        ) as answer:
            if answer.status in _LACKING:
                raise NoEvents(f"GET {path} was answered with {answer.status}")
            if answer.status != 200:
                raise NodeError(f"GET {path} was answered with {answer.status}")
            if answer.content_type != "text/event-stream":
                raise NoEvents(
                    f"GET {path} was answered with {answer.content_type}, not with an event stream"
                )
            yield answer.content

    async def delete_session(self, node: Node, stream: str, session: str) -> bool:
        """End a session, whatever becomes of it; `stream` is the raw path segment. Whether it is gone."""
        path = f"/session/{quote(stream, safe=_SEGMENT)}/{quote(session, safe=_SEGMENT)}"
        for pause in (*self._retries, None):
            try:
                async with self._request("DELETE", node, path) as answer:
                    status = answer.status
                if status == 404 or 200 <= status < 300:
                    return True
                problem = f"it was answered with {status}"
                again = status >= 500 or status == 429
            except NodeError as error:
                problem, again = error.detail, True
            if pause is None or not again:
                break
            await asyncio.sleep(pause)
        log.warning("a session could not be deleted", node=node.alias, stream=stream, problem=problem)
        return False

    async def create_stream(self, node: Node, stream: str) -> Reply:
        return await self._tell("POST", node, _stream_path(stream))

    async def delete_stream(self, node: Node, stream: str) -> Reply:
        return await self._tell("DELETE", node, _stream_path(stream))

    async def cascade(self, node: Node, stream: str, relay: Mapping[str, str]) -> Reply:
        """Have the node push a stream to ``targetUrl``, or pull it from ``sourceUrl``; ``token`` is what it
        sends there as its Authorization."""
        return await self._tell("POST", node, f"/api/cascade/{quote(stream, safe='')}", json=relay)

    async def end_session(self, node: Node, stream: str, session: str) -> Reply:
        """End a session, asking once; `stream` is the decoded name, `session` the node's own id."""
        return await self._tell(
            "DELETE", node, f"/session/{quote(stream, safe='')}/{quote(session, safe='')}"
        )

    async def start_recording(self, node: Node, stream: str, base_dir: str | None) -> tuple[int, bytes]:
        """Status and answer. A node without a publisher of the stream does not answer for long."""
        where = {} if base_dir is None else {"base_dir": base_dir}
        return await self._ask("POST", node, _record_path(stream), json=where)

    async def recording(self, node: Node, stream: str) -> tuple[int, bytes]:
        """Whether the node records the stream."""
        return await self._ask("GET", node, _record_path(stream))

    async def stop_recording(self, node: Node, stream: str) -> tuple[int, bytes]:
        return await self._ask("DELETE", node, _record_path(stream))

    async def recordings(self, node: Node, limit: int) -> tuple[int, bytes]:
        """What it has recorded and nobody has acknowledged, the longest unchanged first."""
        return await self._ask("GET", node, f"/api/recordings?limit={limit}", limit=MAX_BYTES)

    async def acknowledge_recordings(
        self, node: Node, records: Sequence[Mapping[str, str]]
    ) -> tuple[int, bytes]:
        """They are kept elsewhere; the node lists them no more. ``stream`` and ``record`` name each."""
        return await self._ask("PATCH", node, "/api/recordings", json={"records": records})

    async def forget_recordings(self, node: Node, records: Sequence[Mapping[str, str]]) -> tuple[int, bytes]:
        """The node may forget what was acknowledged."""
        return await self._ask("DELETE", node, "/api/recordings", json={"records": records})

    async def _ask(
        self, method: str, node: Node, path: str, *, json: object = None, limit: int = _SMALL
    ) -> tuple[int, bytes]:
        async with self._request(method, node, path, accept="application/json", json=json) as answer:
            return answer.status, await _read(answer, path, limit)

    async def _tell(self, method: str, node: Node, path: str, *, json: object = None) -> Reply:
        async with self._request(method, node, path, json=json) as answer:
            try:
                said = await answer.content.readexactly(_WORDS)
            except asyncio.IncompleteReadError as error:
                said = error.partial
            return Reply(answer.status, said.decode("utf-8", "replace").strip())

    async def _document(self, node: Node, path: str) -> bytes | None:
        status, body = await self._get(node, path, _SMALL)
        return body if status == 200 else None

    async def _get(self, node: Node, path: str, limit: int) -> tuple[int, bytes]:
        async with self._request("GET", node, path, accept="application/json") as answer:
            if answer.status != 200:
                return answer.status, b""
            return 200, await _read(answer, path, limit)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        node: Node,
        path: str,
        *,
        accept: str | None = None,
        etag: str | None = None,
        json: object = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {hdrs.AUTHORIZATION: f"Bearer {node.token.reveal()}"} if node.token else {}
        if accept:
            headers[hdrs.ACCEPT] = accept
        if etag:
            headers[hdrs.IF_NONE_MATCH] = etag
        with _translated(f"{method} {path}"):
            url = URL(node.url.rstrip("/") + path, encoded=True)
            session = self._session(node)
            async with session.request(
                method,
                url,
                headers=headers,
                json=json,
                allow_redirects=False,
                timeout=timeout or self._timeout,
            ) as answer:
                yield answer

    def _session(self, node: Node) -> aiohttp.ClientSession:
        key = "" if node.alias in self._shared else node.alias
        session = self._sessions.get(key)
        if session is None:
            connector = self._connector(node) if key else aiohttp.TCPConnector(limit=0)
            if connector is None:
                self._shared.add(node.alias)
                return self._session(node)
            session = self._sessions[key] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT),
                max_line_size=32_768,
                max_field_size=32_768,
                max_headers=256,
            )
        return session


async def _read(answer: aiohttp.ClientResponse, path: str, limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise NodeError(f"GET {path} was answered with more than {limit} bytes")
        chunks.append(chunk)
    return await joined(chunks)


async def joined(pieces: list[bytes]) -> bytes:
    """The pieces as one. That many megabytes have to be found first takes tens of milliseconds."""
    if sum(map(len, pieces)) > LARGE:
        return await asyncio.to_thread(b"".join, pieces)
    return b"".join(pieces)


def _record_path(stream: str) -> str:
    return f"/api/record/{quote(stream, safe='')}"


def _stream_path(stream: str) -> str:
    return f"/api/streams/{quote(stream, safe='')}"


@contextmanager
def _translated(request: str) -> Iterator[None]:
    """Whatever goes wrong on the way to a node, as NodeError."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise NodeUnreachable(f"{request}: no connection in time") from None
    except TimeoutError:
        raise NodeTimeout(f"{request}: no whole answer in time") from None
    except aiohttp.ClientConnectorError as error:
        raise NodeUnreachable(f"{request}: {_said(error)}") from None
    # ValueError: a URL or token that cannot be sent.
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NodeError(f"{request}: {_said(error)}") from None


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}"[:200].strip()
