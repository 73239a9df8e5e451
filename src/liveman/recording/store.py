"""The narrow port to where recordings lie, and what all storages have in common."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar

from attrs import field, frozen

__all__ = ["Entry", "Presigned", "Storage", "Threads"]

T = TypeVar("T")

#: How many entries of a listing are fetched at once.
_BATCH = 1000


@frozen
class Entry:
    """One object."""

    path: str
    size: int
    """Bytes."""
    modified: float
    """Unix seconds."""
    tag: str
    """Its entity tag, quotes included."""


@frozen
class Presigned:
    """A request that the storage answers to whoever has it, until it expires."""

    url: str = field(repr=False)
    headers: Mapping[str, str]
    """Those that must be sent with it."""


class Storage(Protocol):
    """Objects by their path, as an async context. Every method raises StorageError; what is no path of an
    object is nowhere."""

    async def stat(self, path: str) -> Entry:
        """Raises NotFound."""

    def entries(self, folder: str = "") -> AsyncIterator[Entry]:
        """All objects at any depth below a folder; "" is the whole storage. None that cannot be served."""

    async def write(self, path: str, data: bytes) -> None:
        """Write an object, as a whole or not at all."""

    async def delete(self, path: str) -> None:
        """Delete an object; that there is none is no error."""

    async def presign(self, method: Literal["GET", "PUT"], path: str, seconds: int) -> Presigned:
        """Sign a request for so long. Raises NotSupported where the storage has no such thing."""

    async def ping(self) -> None:
        """Raises StorageError when it is not usable."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Threads:
    """A few threads for calls that block."""

    def __init__(self, count: int = 8) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="storage")

    def submit(self, call: Callable[[], T]) -> Future[T]:
        return self._executor.submit(call)

    async def run(self, call: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self.submit(call))

    async def each(self, entries: Iterable[Entry]) -> AsyncIterator[Entry]:
        """The entries of a listing that blocks."""
        iterator = iter(entries)
        while batch := await self.run(lambda: list(islice(iterator, _BATCH))):
            for entry in batch:
                yield entry

    def close(self) -> None:
        """End the threads; calls under way are not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
