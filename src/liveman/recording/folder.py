"""Recordings in a folder.

Paths are walked from the root one segment at a time and no symbolic link is followed, so that nothing outside
is ever read, listed or deleted, whatever changes meanwhile.
"""

import asyncio
import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import FileIO
from itertools import islice
from types import TracebackType
from typing import Literal, Self, TypeVar

from attrs import frozen

from liveman.errors import NotFound, NotSupported, StorageError
from liveman.recording.playback import is_object_path
from liveman.recording.store import Entry, Presigned

__all__ = ["Folder", "Opened"]

T = TypeVar("T")

_THREADS = 8
#: How many entries of a listing are fetched at once.
_BATCH = 1000
#: What is not whole yet ends so, and is nowhere.
_PART = ".liveman-part"
#: ELOOP is a symbolic link, ENXIO a socket or a pipe.
_NOWHERE = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe would otherwise wait for one who writes.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@frozen
class Opened:
    """A file that is open, and what it was then."""

    file: FileIO
    entry: Entry


class Folder:
    """A storage on a file system."""

    def __init__(self, root: str) -> None:
        """``root`` is resolved here, once."""
        self.root = os.path.realpath(root)

    async def open(self, path: str) -> Opened:
        """Raises NotFound, StorageError. The file is the caller's to close."""
        return await self._run(path, lambda: self._open(path))

    async def read(self, path: str) -> tuple[bytes, Entry]:
        """A small object, and what it is after that. Raises NotFound, StorageError."""

        def read() -> tuple[bytes, Entry]:
            with self._open(path).file as file:
                return file.readall(), _entry(path, os.fstat(file.fileno()))

        return await self._run(path, read)

    async def read_piece(self, file: FileIO, at: int, count: int) -> bytes:
        """At the most so many bytes of an open file. Raises OSError."""
        # Once it is closed, its number is another's, which `fileno` knows.
        return await asyncio.wrap_future(self.submit(lambda: os.pread(file.fileno(), count, at)))

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run a call in one of the storage's threads."""
        return self._threads.submit(call)

    async def stat(self, path: str) -> Entry:
        def look() -> Entry:
            opened = self._open(path)
            opened.file.close()
            return opened.entry

        return await self._run(path, look)

    async def entries(self, folder: str = "") -> AsyncIterator[Entry]:
        found = self._walk(folder)
        while batch := await self._run(folder, lambda: list(islice(found, _BATCH))):
            for entry in batch:
                yield entry

    async def write(self, path: str, data: bytes) -> None:
        await self._run(path, lambda: self._write(path, data))

    async def delete(self, path: str) -> None:
        with suppress(NotFound):
            await self._run(path, lambda: self._delete(path))

    async def presign(self, method: Literal["GET", "PUT"], path: str, seconds: int) -> Presigned:
        raise NotSupported(
            "Recordings lie in a folder, for which no URLs can be signed; that takes s3 or oss."
        )

    async def ping(self) -> None:
        def look() -> None:
            os.makedirs(self.root, exist_ok=True)
            if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(0, "it may not be read and written")

        await self._run("", look)

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, path: str, call: Callable[[], T]) -> T:
        try:
            return await asyncio.wrap_future(self.submit(call))
        except OSError as error:
            raise _translated(error, path) from None

    # What blocks, and raises OSError.

    def _open(self, path: str) -> Opened:
        *folders, name = _segments(path)
        with self._at(folders) as above:
            file = FileIO(os.open(name, _FILE, dir_fd=above))
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            file.close()
            raise FileNotFoundError
        return Opened(file, _entry(path, found))

    def _walk(self, folder: str) -> Iterator[Entry]:
        def stop(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):  # It may be deleted by now.
                raise error

        folders = _segments(folder) if folder else []
        try:
            with self._at(folders) as above:
                top = os.dup(above)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            for where, inner, names, at in os.fwalk(".", dir_fd=top, onerror=stop):
                inner.sort()
                for name in sorted(names):
                    path = "/".join([*folders, *where.split("/")[1:], name])
                    try:
                        found = os.stat(name, dir_fd=at, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISREG(found.st_mode) and _is_path(path):
                        yield _entry(path, found)
        finally:
            os.close(top)

    def _write(self, path: str, data: bytes) -> None:
        *folders, name = _segments(path)
        part = f".{secrets.token_hex(8)}{_PART}"
        os.makedirs(self.root, exist_ok=True)
        with self._at(folders, make=True) as above:
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                with FileIO(os.open(part, flags, 0o666, dir_fd=above), "w") as file:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                os.rename(part, name, src_dir_fd=above, dst_dir_fd=above)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=above)
                raise

    def _delete(self, path: str) -> None:
        *folders, name = _segments(path)
        with self._at(folders) as above:
            os.unlink(name, dir_fd=above)
        # Folders are no objects: one that is left empty goes too.
        while folders:
            *folders, name = folders
            with self._at(folders) as above:
                try:
                    os.rmdir(name, dir_fd=above)
                except OSError:
                    return

    @contextmanager
    def _at(self, folders: list[str], *, make: bool = False) -> Iterator[int]:
        """The descriptor of a folder; ``make``: makes those that are missing."""
        here = os.open(self.root, _FOLDER)
        try:
            for name in folders:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=here)
                inner = os.open(name, _FOLDER, dir_fd=here)
                os.close(here)
                here = inner
            yield here
        finally:
            os.close(here)


def _segments(path: str) -> list[str]:
    if not _is_path(path):
        raise FileNotFoundError
    return path.split("/")


def _is_path(path: str) -> bool:
    return is_object_path(path) and not path.endswith(_PART)


def _entry(path: str, found: os.stat_result) -> Entry:
    return Entry(path, found.st_size, found.st_mtime, f'"{found.st_mtime_ns:x}-{found.st_size:x}"')


def _translated(error: OSError, path: str) -> NotFound | StorageError:
    # A symbolic link shows as one of the first, where a folder or file should be, or as too many links.
    if (
        isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        or error.errno in _NOWHERE
    ):
        return NotFound("There is no object of that name.")
    what = f"the object {path}" if path else "the storage's folder"
    return StorageError(f"The disk fails at {what}: {error.strerror or type(error).__name__}.")
