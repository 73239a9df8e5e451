"""Recordings in a bucket of S3, or of Alibaba's OSS, through opendal.

opendal ignores options that it does not know, so each is named here. Its errors' texts repeat what was sent
and answered, so nothing of them is shown but the vendor's code. Of its two forms this is the one for asyncio:
the other one's listings stop the whole process while they wait, as they keep Python's lock.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
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
from liveman.recording.store import Entry, Presigned

__all__ = ["Bucket"]

T = TypeVar("T")

#: How long one call may take with all that is tried again, seconds.
CALL_SECONDS = 10.0
#: The library's own thread is not done when a call is, and aborts a process that exits at once; 5 ms were
#: always enough.
_SETTLE_SECONDS = 0.1

_CODE = re.compile(r'code: "(\w{1,64})"')
_STATUS = re.compile(r"status: ([0-9]{3})\b")
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
            operator = opendal.AsyncOperator(
                options.type, **{key: value for key, value in given.items() if value}
            )
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

    async def stat(self, path: str) -> Entry:
        return _entry(path, await _done(self._operator.stat(_checked(path))))

    async def entries(self, folder: str = "") -> AsyncIterator[Entry]:
        below = f"{_checked(folder)}/" if folder else "/"
        found = aiter(await _done(self._operator.scan(below)))
        while True:
            try:
                each = await _done(anext(found))
            except StopAsyncIteration:
                return
            if is_object_path(each.path):  # Folders end in a slash.
                yield _entry(each.path, each.metadata)

    async def write(self, path: str, data: bytes) -> None:
        await _done(self._operator.write(_checked(path), data))

    async def delete(self, path: str) -> None:
        with suppress(NotFound):
            await _done(self._operator.delete(_checked(path)))

    async def presign(self, method: Literal["GET", "PUT"], path: str, seconds: int) -> Presigned:
        sign = self._operator.presign_read if method == "GET" else self._operator.presign_write
        try:
            async with asyncio.timeout(CALL_SECONDS):  # Credentials may have to be fetched.
                signed = await _done(sign(_checked(path), seconds))
        except TimeoutError:
            raise StorageTimeout("The storage's credentials cannot be had in time.") from None
        # OSS would have the body empty.
        headers = {key: value for key, value in signed.headers.items() if key.lower() != "content-length"}
        return Presigned(signed.url, headers)

    async def ping(self) -> None:
        await _done(self._operator.check())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.sleep(_SETTLE_SECONDS)


async def _done(call: Awaitable[T]) -> T:
    try:
        return await call
    except _ERRORS as error:
        raise _translated(error) from None


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


def _checked(path: str) -> str:
    if not is_object_path(path):
        raise NotFound("There is no object of that name.")
    return path


def _entry(path: str, found: opendal.types.Metadata) -> Entry:
    modified = found.last_modified.timestamp() if found.last_modified else 0.0
    return Entry(path, found.content_length, modified, found.etag or "")


def _translated(error: Exception) -> LivemanError:
    # What the library itself says of whether to try again is lost once it has.
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    said = f" ({code[1]})" if code else ""
    if isinstance(error, exceptions.NotFound):
        return NotFound("There is no object of that name.")
    if isinstance(error, exceptions.Unsupported):
        return NotSupported("The storage cannot do this.")
    if isinstance(error, exceptions.Unexpected) and "timeout reached" in text:
        return StorageTimeout()
    answered = int(status[1]) if status else 503  # Or nothing was heard.
    if isinstance(error, exceptions.RateLimited) or (
        isinstance(error, exceptions.Unexpected) and answered >= 500 and "signing credential" not in text
    ):
        return StorageError(f"The storage does not serve now{said}; try again later.")
    return StorageRefusal(f"The storage refuses{said}; see recorder.storage: its keys, bucket and region.")
