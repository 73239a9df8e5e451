"""Every error that Liveman raises on purpose, as one tree; each carries the HTTP status that answers it.

LivemanError (500)
├── ConfigError                 the configuration, all its faults at once
├── DatabaseError (503)
│   └── ForeignDatabaseError    a table of that name is not ours
├── ProviderError               an ICE provider could not give a lease
├── BadRequest (400)
│   ├── BadPath
│   ├── BadStreamName
│   ├── BodyBroken
│   └── BadVersion (505)
├── NotAuthenticated (401)
├── NotAllowed (403)
├── NotFound (404)
├── MethodNotAllowed (405)
├── BodyTimeout (408)
├── Conflict (409)
├── PreconditionFailed (412)
├── TooLarge (413)
├── WrongType (415)
├── RangeRefused (416)
├── Invalid (422)               a document is well formed, but says what cannot be
├── TooMany (429)               of what this client may do
├── NodeError (502)             a node, or the way to it, failed
│   ├── NodeRefusal             its refusal, with the status that it gave
│   ├── NodeUnreachable         no byte of the request was sent
│   └── NodeTimeout (504)
├── NotSupported (501)
├── StorageError (503)          the storage cannot serve now
│   ├── StorageRefusal (502)    it refuses, or answers with what cannot be used
│   └── StorageTimeout (504)
├── NoPlace (503)               nothing can take the request now
└── Unavailable (503)           what must decide about it cannot now
"""

import math
from collections.abc import Mapping
from typing import Any

from attrs import frozen

__all__ = [
    "BadPath",
    "BadRequest",
    "BadStreamName",
    "BadVersion",
    "BodyBroken",
    "BodyTimeout",
    "ConfigError",
    "Conflict",
    "DatabaseError",
    "Fault",
    "ForeignDatabaseError",
    "Invalid",
    "LivemanError",
    "MethodNotAllowed",
    "NoPlace",
    "NodeError",
    "NodeRefusal",
    "NodeTimeout",
    "NodeUnreachable",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotSupported",
    "PreconditionFailed",
    "ProviderError",
    "RangeRefused",
    "StorageError",
    "StorageRefusal",
    "StorageTimeout",
    "TooLarge",
    "TooMany",
    "Unavailable",
    "WrongType",
]


class LivemanError(Exception):
    """Something went wrong inside Liveman; its log tells more."""

    status = 500

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """``members`` are more members of the answer's problem (RFC 9457 section 3.2)."""
        self.detail = detail or (type(self).__doc__ or "").partition("\n")[0]
        self.headers: Mapping[str, str] = headers or {}
        self.members: Mapping[str, Any] = members or {}
        super().__init__(self.detail)

    def fields(self, usual: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        """The header fields of the answer that tells of it: its own, also several of one name, and the usual
        ones that it has not."""
        own = list(self.headers.items())
        taken = {name.lower() for name, _ in own}
        more = [(name, value) for name, value in usual.items() if name.lower() not in taken]
        return [(name.encode(), value.encode()) for name, value in (*more, *own)]


@frozen
class Fault:
    """One mistake in a configuration: where (``nodes[0].url``) and what, with the remedy."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem


class ConfigError(LivemanError):
    """The configuration cannot be used."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class DatabaseError(LivemanError):
    """The database does not answer; try again when it is back."""

    status = 503


class ForeignDatabaseError(DatabaseError):
    """The database holds tables of another program; give Liveman a database of its own."""


class ProviderError(LivemanError):
    """The ICE provider has no credentials to give."""

    # Also for classes of third parties whose __init__ calls no other.
    retry_after: float | None = None
    permanent = False

    def __init__(
        self, detail: str | None = None, *, retry_after: float | None = None, permanent: bool = False
    ) -> None:
        """``detail`` is logged, so it must not hold a secret.

        retry_after: when the vendor wants to be asked again, seconds, as its Retry-After says. permanent:
        asking again is of no use until somebody does something, as after 401 and 403.
        """
        self.retry_after = retry_after
        self.permanent = permanent
        super().__init__(detail)


class BadRequest(LivemanError):
    """The request is malformed."""

    status = 400


class BadPath(BadRequest):
    """The path is malformed."""


class BadStreamName(BadRequest):
    """A stream name is one path segment of 1 to 255 bytes of UTF-8 without control characters or '/'."""


class BadVersion(BadRequest):
    """Only HTTP/1.0 and HTTP/1.1 are spoken here."""

    status = 505


class BodyBroken(BadRequest):
    """The client broke off in the middle of its body."""


class NotAuthenticated(LivemanError):
    """Say who you are: send `Authorization: Bearer <token>`."""

    status = 401

    def __init__(self, detail: str | None = None) -> None:
        """``detail``: what is wrong about what was shown; None: nothing was."""
        wrong = ', error="invalid_token"' if detail else ""  # RFC 6750, section 3.1.
        super().__init__(detail, headers={"WWW-Authenticate": f'Bearer realm="liveman"{wrong}'})


class NotAllowed(LivemanError):
    """Your token does not permit this."""

    status = 403


class NotFound(LivemanError):
    """There is nothing here."""

    status = 404


class MethodNotAllowed(LivemanError):
    """This method is not supported here; the header Allow lists those that are."""

    status = 405


class BodyTimeout(LivemanError):
    """The rest of the body did not come in time."""

    status = 408


class Conflict(LivemanError):
    """The request conflicts with what is already there."""

    status = 409


class PreconditionFailed(LivemanError):
    """What is there now is not what the request's condition wants."""

    status = 412


class TooLarge(LivemanError):
    """The body is larger than the 2 MiB that are accepted."""

    status = 413


class WrongType(LivemanError):
    """The body has a type that is not accepted here."""

    status = 415


class RangeRefused(LivemanError):
    """The header Range asks for what cannot be sent."""

    status = 416

    def __init__(self, detail: str, *, size: int) -> None:
        """``size`` of the object, bytes."""
        super().__init__(detail, headers={"Content-Range": f"bytes */{size}"})


class Invalid(LivemanError):
    """The document says what cannot be."""

    status = 422

    def __init__(self, *faults: Fault) -> None:
        super().__init__(
            "\n".join(str(fault) for fault in faults),
            members={"faults": [{"path": fault.path, "problem": fault.problem} for fault in faults]},
        )


class TooMany(LivemanError):
    """You ask too often; the header Retry-After says when to come back."""

    status = 429

    def __init__(self, detail: str | None = None, *, retry_after: float | None = None) -> None:
        """``retry_after``: seconds; None: time alone will not help."""
        super().__init__(detail, headers={} if retry_after is None else _retry_after(retry_after))


class NodeError(LivemanError):
    """The node answered with something that cannot be used."""

    status = 502


class NodeRefusal(NodeError):
    """The node refused."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class NodeUnreachable(NodeError):
    """The node cannot be reached; nothing was sent to it."""


class NodeTimeout(NodeError):
    """The node took too long to answer."""

    status = 504


class NotSupported(LivemanError):
    """This is not supported here."""

    status = 501


class StorageError(LivemanError):
    """The storage does not answer; try again when it is back."""

    status = 503


class StorageRefusal(StorageError):
    """The storage refuses, or answers with something that cannot be used."""

    status = 502


class StorageTimeout(StorageError):
    """The storage took too long to answer."""

    status = 504


class NoPlace(LivemanError):
    """No node can take this now; try again later."""

    status = 503

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class Unavailable(LivemanError):
    """This cannot be decided now; try again later."""

    status = 503

    def __init__(self, detail: str | None = None, *, retry_after: float = 1) -> None:
        """``retry_after``: seconds."""
        super().__init__(detail, headers=_retry_after(retry_after))


def _retry_after(seconds: float) -> Mapping[str, str]:
    """The header takes whole seconds (RFC 9110, section 10.2.3)."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
