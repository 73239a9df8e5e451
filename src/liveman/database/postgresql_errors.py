"""What PostgreSQL and its driver say when something goes wrong, in our words: no value and no secret."""

import re
import ssl

import asyncpg
from asyncpg.exceptions import InternalClientError

__all__ = ["FAILURES", "is_away", "problem"]

#: All that the driver raises. ValueErrors are values that it cannot send; TimeoutErrors are OSErrors.
FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    InternalClientError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
)

_STOPPED = (
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.PostgresConnectionError,
)
_LOGIN = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)


def is_away(error: BaseException) -> bool:
    """Whether PostgreSQL may be back soon, so that trying again makes sense."""
    if isinstance(error, ssl.SSLError):
        return False
    return isinstance(error, (OSError, EOFError, asyncpg.TooManyConnectionsError, *_STOPPED))


def problem(error: Exception) -> str:
    """What is wrong and what to do, as the end of a sentence about the database."""
    match error:
        case TimeoutError():
            return "does not answer"
        case ssl.SSLError():
            return f"cannot be reached by TLS ({error.reason}); see sslmode and sslrootcert in its URL"
        case OSError() | EOFError():
            return f"cannot be reached ({error}); start PostgreSQL, or correct its URL"
        case asyncpg.IdleInTransactionSessionTimeoutError():
            return "has ended a transaction that did nothing for too long"
        case asyncpg.CannotConnectNowError():
            return "is starting, or being stopped"
        case asyncpg.TooManyConnectionsError():
            return "has no connection left; lower database.max_connections, or allow more in PostgreSQL"
        case asyncpg.InvalidCatalogNameError():
            return f"does not exist; create it by {_CREATE}"
        case asyncpg.ReadOnlySQLTransactionError():
            return "cannot be written: it is a standby, or read-only"
        case asyncpg.DiskFullError():
            return "has no room left; the disk is full"
        case asyncpg.InsufficientPrivilegeError():
            return f"does not allow it ({_message(error)}); grant the right to Liveman's user"
    if isinstance(error, _LOGIN):
        return f"does not let Liveman in ({_message(error)}); correct the user and the password in its URL"
    if isinstance(error, _STOPPED) or re.search("closed|released", _message(error)):
        return "has closed the connection"
    if isinstance(error, asyncpg.PostgresError):
        return f"refused a statement: {_message(error)}"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return f"cannot be reached: {_message(error)}"
    if isinstance(error, (ValueError, OverflowError)):
        return "cannot keep a value that it was given"
    return f"refused a statement: {_message(error)}"


_CREATE = '"createdb", or name another one'


def _message(error: Exception) -> str:
    """Its first line; the others (DETAIL) may show values."""
    return str(error.args[0]) if error.args else type(error).__name__
