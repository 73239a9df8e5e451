"""Recordings in a bucket of S3, or of Alibaba's OSS, through opendal.

opendal ignores options that it does not know, so each is named here. Its errors' texts repeat what was sent
and answered, so nothing of them is shown but the vendor's code. Calls are made in threads, as the process may
otherwise abort when it exits right after one; signing alone, which asks nobody, is not.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self, TypeVar

import opendal
from opendal import exceptions, layers

from liveman.config import OssStorage, S3Storage
from liveman.errors import (
    ConfigError,
    Fault,
    LivemanError,
    NotFound,
    NotSupported,
    StorageError,
    StorageRefusal,
    StorageTimeout,
)
from liveman.recording.playback import is_object_path
from liveman.recording.store import Entry, Presigned, Threads

__all__ = ["Bucket"]

T = TypeVar("T")

#: How long one call may take with all that is tried again, seconds.
CALL_SECONDS = 10.0

_CODE = re.compile(r'code: "(\w{1,64})"')
_ERRORS = (
    exceptions.AlreadyExists,
    exceptions.ConditionNotMatch,
    exceptions.ConfigInvalid,
    exceptions.Conflict,
    exceptions.Error,
    exceptions.IsADirectory,
    exceptions.IsSameFile,
    exceptions.NotADirectory,
    exceptions.NotFound,
    exceptions.PermissionDenied,
    exceptions.RangeNotSatisfied,
    exceptions.RateLimited,
    exceptions.Unexpected,
    exceptions.Unsupported,
)


class Bucket:
    """A storage at a vendor of objects."""

    def __init__(self, options: S3Storage | OssStorage) -> None:
        """Raises ConfigError; nobody is asked yet."""
        given = _s3(options) if isinstance(options, S3Storage) else _oss(options)
        try:
            operator = opendal.Operator(options.type, **{key: value for key, value in given.items() if value})
        except _ERRORS as error:
            region = "region is missing" in str(error)
            problem = (
                "must name the bucket's region" if region else "does not describe a bucket; see endpoint"
            )
            where = "recorder.storage.region" if region else "recorder.storage"
            raise ConfigError(Fault(where, problem)) from None
        retry = layers.RetryLayer(max_times=2, factor=2.0, jitter=True, min_delay=0.1, max_delay=1.0)
        limit = layers.TimeoutLayer(timeout=CALL_SECONDS, io_timeout=CALL_SECONDS)
        self._operator = operator.layer(retry).layer(limit)
        self._signer = operator.to_async_operator()

    async def stat(self, path: str) -> Entry:
        _check(path)
        return _entry(path, await self._run(lambda: self._operator.stat(path)))

    async def entries(self, folder: str = "") -> AsyncIterator[Entry]:
        if folder:
            _check(folder)
        found = self._threads.each(self._scan(folder))
        while True:
            try:
                entry = await anext(found)
            except StopAsyncIteration:
                return
            except _ERRORS as error:
                raise _translated(error) from None
            yield entry

    async def write(self, path: str, data: bytes) -> None:
        _check(path)
        await self._run(lambda: self._operator.write(path, data))

    async def delete(self, path: str) -> None:
        with suppress(NotFound):
            _check(path)
            await self._run(lambda: self._operator.delete(path))

    async def presign(self, method: Literal["GET", "PUT"], path: str, seconds: int) -> Presigned:
        _check(path)
        sign = self._signer.presign_read if method == "GET" else self._signer.presign_write
        try:
            async with asyncio.timeout(CALL_SECONDS):  # Credentials may have to be fetched.
                signed = await sign(path, seconds)
        except TimeoutError:
            raise StorageTimeout("The storage's credentials cannot be had in time.") from None
        except _ERRORS as error:
            raise _translated(error) from None
        # OSS would have the body empty.
        headers = {key: value for key, value in signed.headers.items() if key.lower() != "content-length"}
        return Presigned(signed.url, headers)

    async def ping(self) -> None:
        await self._run(self._operator.check)

    async def __aenter__(self) -> Self:
        self._threads = Threads()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.close()

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await self._threads.run(call)
        except _ERRORS as error:
            raise _translated(error) from None

    def _scan(self, folder: str) -> Iterator[Entry]:
        for found in self._operator.scan(f"{folder}/"):
            if is_object_path(found.path):  # Folders end in a slash.
                yield _entry(found.path, found.metadata)


def _s3(options: S3Storage) -> dict[str, str]:
    return {
        "bucket": options.bucket,
        "root": options.root,
        "region": options.region,
        "endpoint": options.endpoint,
        "access_key_id": options.access_key_id.reveal(),
        "secret_access_key": options.secret_access_key.reveal(),
        "session_token": options.session_token.reveal(),
        "disable_config_load": str(options.disable_config_load).lower(),
        "enable_virtual_host_style": str(options.enable_virtual_host_style).lower(),
    }


def _oss(options: OssStorage) -> dict[str, str]:
    return {
        "bucket": options.bucket,
        "root": options.root,
        "endpoint": options.endpoint,
        "access_key_id": options.access_key_id.reveal(),
        "access_key_secret": options.access_key_secret.reveal(),
        "security_token": options.security_token.reveal(),
    }


def _check(path: str) -> None:
    if not is_object_path(path):
        raise NotFound("There is no object of that name.")


def _entry(path: str, found: opendal.types.Metadata) -> Entry:
    modified = found.last_modified.timestamp() if found.last_modified else 0.0
    return Entry(path, found.content_length, modified, found.etag or "")


def _translated(error: Exception) -> LivemanError:
    text = str(error)
    code = _CODE.search(text)
    said = f" ({code[1]})" if code else ""
    if isinstance(error, exceptions.NotFound):
        if code and code[1] == "NoSuchBucket":
            return StorageRefusal("The storage has no such bucket; see recorder.storage.bucket.")
        return NotFound("There is no object of that name.")
    if isinstance(error, exceptions.Unsupported):
        return NotSupported("The storage cannot do this.")
    if isinstance(error, exceptions.Unexpected) and "timeout reached" in text:
        return StorageTimeout()
    if isinstance(error, exceptions.RateLimited) or not text.partition("\n")[0].count("(permanent)"):
        return StorageError(f"The storage does not serve now{said}; try again later.")
    return StorageRefusal(f"The storage refuses{said}; see recorder.storage: its keys, bucket and region.")
