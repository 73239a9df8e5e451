"""The narrow port to where recordings lie."""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Literal, Protocol, Self

from attrs import field, frozen

__all__ = ["Entry", "Presigned", "Storage"]


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
