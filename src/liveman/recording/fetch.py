"""Gets objects of a bucket by signed URLs, as aiohttp streams them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerTimeoutError,
    TCPConnector,
)
from yarl import URL

from liveman.errors import NotFound, StorageError, StorageRefusal, StorageTimeout
from liveman.recording.store import Storage

__all__ = ["Fetcher", "pieces"]

#: Between the tries to get an answer, seconds.
_PAUSES = (0.1, 0.4)
_CONNECT_SECONDS = 5.0
#: The longest wait for an answer to begin, and for its next piece.
_READ_SECONDS = 20.0
#: Of a signature. It is looked at once, when the request arrives.
_SIGNED_SECONDS = 300

_GOOD = (200, 206, 304, 412, 416)
_BUSY = (429, 500, 502, 503, 504)
_SKIPPED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Fetcher:
    """An async context."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @asynccontextmanager
    async def get(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[ClientResponse]:
        """The answer to a GET with these headers: 200, 206, 304, 412 or 416, with the body to be read by
        `pieces`.

        Raises NotFound, StorageError.
        """
        response = await self._answer(path, headers)
        try:
            yield response
        finally:
            response.release()

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            connector=TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS),
            skip_auto_headers=_SKIPPED,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def _answer(self, path: str, headers: Mapping[str, str]) -> ClientResponse:
        for pause in _PAUSES:
            try:
                return await self._ask(path, headers)
            except (StorageRefusal, StorageTimeout):
                raise
            except StorageError:
                await asyncio.sleep(pause)
        return await self._ask(path, headers)

    async def _ask(self, path: str, headers: Mapping[str, str]) -> ClientResponse:
        signed = await self._storage.presign("GET", path, _SIGNED_SECONDS)
        try:
            response = await self._session.get(
                URL(signed.url, encoded=True),
                headers={"Accept-Encoding": "identity", **signed.headers, **headers},
                allow_redirects=False,
            )
        # Their texts may hold the signed URL, so none is repeated.
        except ServerTimeoutError:
            raise StorageTimeout from None
        except ClientError as error:
            raise StorageError(f"The storage cannot be reached ({type(error).__name__}).") from None
        if response.status in _GOOD:
            return response
        response.close()
        raise _refusal(response.status)


async def pieces(response: ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes. Raises StorageError when it breaks off."""
    try:
        async for piece in response.content.iter_any():
            yield piece
    except ServerTimeoutError:
        raise StorageTimeout("The storage stopped in the middle of an object.") from None
    except ClientError as error:
        raise StorageError(f"The storage broke off in the middle ({type(error).__name__}).") from None


def _refusal(status: int) -> NotFound | StorageError:
    if status == 404:
        return NotFound("There is no object of that name.")
    if status in _BUSY:
        return StorageError(f"The storage does not serve now: it answered {status}.")
    hint = ""
    if status == 403:
        # Also for what is not there, where the key may not list.
        hint = "; its key may be wrong or lack the permission to read and list"
    elif 300 <= status < 400:
        hint = "; the bucket is elsewhere, see recorder.storage.region and endpoint"
    return StorageRefusal(f"The storage refuses: it answered {status}{hint}.")
