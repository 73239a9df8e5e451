"""The forms of `database.url`: SQLite and PostgreSQL.

A form raises ValueError with what is wrong and what to write instead, and never repeats the value, which may
hold a password.
"""

import re
from collections.abc import Mapping
from typing import Literal, cast, get_args
from urllib.parse import parse_qsl, unquote

from attrs import field, frozen

from liveman.forms import is_host

__all__ = ["Postgresql", "Sqlite", "database_url", "parse_database_url"]

Mode = Literal["ro", "rw", "rwc"]


@frozen
class Sqlite:
    """A SQLite database: a file, or memory when there is no path."""

    path: str | None
    mode: Mode = "rwc"
    """Read only; read and write; the same, and made when it is missing."""


@frozen
class Postgresql:
    """A PostgreSQL database. What is None or missing is as libpq has it: PGHOST, the user's name …"""

    host: str | None = None
    """A name, an address, or the folder of a Unix socket."""
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    options: Mapping[str, str] = {}
    """``sslmode``, ``sslrootcert``, ``sslcert``, ``sslkey``, ``application_name``, ``options``."""

    @property
    def where(self) -> str:
        """Its place without secrets: ``host:port/database``."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host or "PostgreSQL"
        port = f":{self.port}" if self.port else ""
        return f"{host}{port}/{self.database or ''}"


def parse_database_url(text: str) -> Sqlite | Postgresql:
    """``sqlite://./file[?mode=ro|rw|rwc]``, ``sqlite:///absolute``, ``sqlite::memory:``, ``postgresql://…``.

    The path of a file is percent-decoded. Without a mode a missing file is made.
    """
    if text.startswith(("postgresql://", "postgres://")):
        return _parse_postgresql(text)
    if not text.startswith("sqlite:"):
        raise ValueError('must begin with "sqlite:" or "postgresql://"')
    raw, _, query = text.removeprefix("sqlite:").removeprefix("//").partition("?")
    mode: Mode = "rwc"
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key != "mode":
            raise ValueError('has a parameter that is not known; "mode" is the only one')
        if value == "memory":
            return Sqlite(None)
        if value not in get_args(Mode):
            raise ValueError("has an unknown mode; it is one of ro, rw, rwc, memory")
        mode = cast(Mode, value)
    if raw == ":memory:":
        return Sqlite(None)
    path = _decoded(raw)
    if not path or path.endswith("/"):
        raise ValueError('names no file; write "sqlite://./liveman.db"')
    return Sqlite(path, mode)


def database_url(text: str) -> str:
    """What `parse_database_url` takes."""
    parse_database_url(text)
    return text


_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Parameters of a PostgreSQL URL that say what its other parts can say too.
_PARTS = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "options")


def _parse_postgresql(text: str) -> Postgresql:
    """``postgresql://user:password@host:port/database?sslmode=…`` (PostgreSQL 15, section 34.1.1.2), for one
    server. Each part is percent-decoded; a host that begins with a slash is the folder of a Unix socket."""
    start, _, query = text.partition("?")
    authority, _, path = start.partition("://")[2].partition("/")
    login, _, address = authority.rpartition("@")
    user, _, password = login.partition(":")
    host, port = _address_parts(address)
    if "#" in text or "/" in path:
        raise ValueError(f"holds a # or / that is none of its own{_ENCODE}")
    parts = {"user": user, "password": password, "host": host, "port": port, "database": path}
    parts = {key: _decoded(value) for key, value in parts.items()}
    options = {}
    for key, _, value in (pair.partition("=") for pair in query.split("&") if pair):
        # With dashes as the original's driver has them.
        key = key.replace("ssl-root-", "sslroot").replace("ssl-", "ssl")
        if key in _PARTS:
            parts[_PARTS[key]] = _decoded(value)
        elif key in _OPTIONS:
            options[key] = _decoded(value)
        else:
            known = ", ".join([*_PARTS, *_OPTIONS])
            raise ValueError(f"has a parameter that is not known; it is one of {known}")
    if options.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"has an unknown sslmode; it is one of {', '.join(_SSL_MODES)}")
    number = parts.pop("port")
    if number and not (re.fullmatch("[0-9]{1,5}", number) and 0 < int(number) < 65_536):
        raise ValueError("has a port that cannot be")
    given = {key: value for key, value in parts.items() if value}
    return Postgresql(port=int(number) if number else None, options=options, **given)


def _address_parts(address: str) -> tuple[str, str]:
    match = re.fullmatch(r"(\[[^]]*\]|[^:,]*)(?::([0-9]*))?", address)
    if match is None or (match[1] and not match[1].lower().startswith("%2f") and not is_host(match[1])):
        raise ValueError(f"has a host or port that cannot be{_ENCODE}")
    return match[1].strip("[]"), match[2] or ""


_ENCODE = "; percent-encode what is special in the user and the password, such as %40 for @ and %2F for /"


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("holds percent-escapes that are not UTF-8") from None
    if not decoded.isprintable():
        raise ValueError("holds a control character")
    return decoded
