"""Reads the configuration: the file (TOML), the environment on top, strictly structured into `config.Config`.

`find_file` → `read` → `structure`, and `describe` the other way: every fault and warning is a value.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import attrs
from cattrs import Converter

from liveman.config import (
    Config,
    ExtraIce,
    FsStorage,
    Http,
    Net4mqtt,
    OssStorage,
    S3Storage,
    Secret,
    Storage,
)
from liveman.database_url import database_url
from liveman.errors import ConfigError, Fault
from liveman.logs import LEVELS
from liveman.secret import alias_tag
from liveman.strict import key_path, keys, strict_converter, structure_strictly

__all__ = ["describe", "find_file", "read", "structure"]

#: Where the file is looked for when none is named, as the original does.
PLACES = ("./liveman.toml", "/etc/live777/liveman.toml")

_LARGEST = 1024 * 1024


def find_file(path: str | None) -> Path | None:
    """The file to read: the one named, else the first that exists, else None. Raises ConfigError."""
    if path is not None:
        if not _exists(path):
            raise ConfigError(Fault(path, "there is no such file"))
        return Path(path)
    return next((Path(place) for place in PLACES if _exists(place)), None)


def read(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """The file's content with DATABASE_URL, PORT and LOG_LEVEL on top; a variable that is empty is not set.

    Raises ConfigError for a file that is no TOML, and for variables that are wrong, then with the file's own
    faults beside them.
    """
    data = _parse(path) if path else {}
    if faults := _override(data, environ):
        raise ConfigError(*faults, *structure(data)[1])
    return data


def structure(data: Mapping[str, Any]) -> tuple[Config | None, list[Fault], list[str]]:
    """The configuration (None when there are faults), every fault, and every warning."""
    warnings: list[str] = []
    data = dict(data)
    if isinstance(data.get("liveion"), list):
        del data["liveion"]
        warnings.append(
            "[[liveion]] has no effect as a list; write one table [liveion] with count and address"
        )
    config, faults = structure_strictly(data, Config, converter=_converter())
    faults += _conflicts(data)
    return (None if faults else config), faults, warnings


def describe(config: Config, extra_ice: Mapping[str, Any]) -> str:
    """The configuration as TOML, every secret as ``***``.

    ``extra_ice`` holds what is opaque here (``ice_servers`` and the providers' tables), masked by those who
    know it.
    """
    plain = _plain(config)
    del plain["extra_ice"]["providers"], plain["extra_ice"]["ice_servers"]
    plain["extra_ice"] |= extra_ice
    plain["database"]["url"] = _masked_url(config.database.url)
    plain["net4mqtt"]["mqtt_url"] = _masked_url(config.net4mqtt.mqtt_url)
    return "\n".join(_toml(plain, "")).strip("\n") + "\n"


# Reading


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except PermissionError:
        # Reading it will tell.
        return True


def _parse(path: Path) -> dict[str, Any]:
    where = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except IsADirectoryError:
        raise ConfigError(Fault(where, "is a folder; name the file in it")) from None
    except OSError as error:
        raise ConfigError(Fault(where, f"cannot be read: {error.strerror}")) from None
    if len(data) > _LARGEST:
        raise ConfigError(Fault(where, "is larger than 1 MiB; is it the right file?"))
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(Fault(f"{where}, line {line}", "is not UTF-8; save the file as UTF-8")) from None
    except RecursionError:
        raise ConfigError(Fault(where, "is nested too deeply")) from None
    except ValueError as error:
        raise ConfigError(_syntax_fault(where, str(error))) from None


def _syntax_fault(where: str, message: str) -> Fault:
    """A fault of tomllib's: "Expected '=' after a key in a key/value pair (at line 2, column 7)"."""
    problem, _, place = message.removesuffix(")").partition(" (at ")
    remedy = "every line is a [section], a key = value (texts in quotes), or a comment that begins with #"
    return Fault(f"{where}, {place}" if place else where, f"is not TOML: {problem}; {remedy}")


def _override(data: dict[str, Any], environ: Mapping[str, str]) -> list[Fault]:
    faults: list[Fault] = []

    def take(variable: str, section: str, key: str, convert: Callable[[str], str]) -> None:
        text = environ.get(variable)
        if not text:
            return
        try:
            value = convert(text)
        except ValueError as error:
            faults.append(Fault(f"{variable} (environment)", str(error)))
            return
        # A section that is no table stays as it is, and is a fault of the file.
        if isinstance(table := data.get(section, {}), Mapping):
            data[section] = {**table, key: value}

    def listen(port: str) -> str:
        if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
            raise ValueError("must be a port from 0 to 65535")
        http = data.get("http")
        old = http.get("listen", Http().listen) if isinstance(http, Mapping) else Http().listen
        host, colon, _ = old.rpartition(":") if isinstance(old, str) else ("", "", "")
        # A wrong address is left to be a fault of its own.
        return f"{host}:{port}" if colon else old

    def level(name: str) -> str:
        if name not in LEVELS:
            raise ValueError(f"must be one of {', '.join(LEVELS)}")
        return name

    take("DATABASE_URL", "database", "url", database_url)
    take("PORT", "http", "listen", listen)
    take("LOG_LEVEL", "log", "level", level)
    return faults


# Structuring


@cache
def _converter() -> Converter:
    converter = strict_converter()
    table = converter.get_structure_hook(ExtraIce)

    def extra_ice(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            return table(value, ExtraIce)
        known = keys(ExtraIce)
        providers = {k: v for k, v in value.items() if k not in known and isinstance(v, Mapping)}
        own = table({k: v for k, v in value.items() if k not in providers}, ExtraIce)
        # The order of the file is that of the answers.
        ordered = {k: providers.get(k, ()) for k in value if k in providers or k == "ice_servers"}
        return attrs.evolve(own, providers=ordered)

    def cors(value: Any, kind: Any) -> Any:
        if isinstance(value, bool):
            return value
        if not isinstance(value, list):
            raise ValueError("must be true, false or a list of origins")
        return converter.structure(value, get_args(kind)[1])

    def storage(value: Any, _: Any) -> Any:
        kinds: dict[Any, type[Any]] = {"fs": FsStorage, "s3": S3Storage, "oss": OssStorage}
        kind = value.get("type", "fs") if isinstance(value, Mapping) else "fs"
        if isinstance(kind, str) and kind in kinds:
            return converter.structure(value, kinds[kind])
        # An unknown type is the one fault: which keys belong to it cannot be told.
        return converter.structure({"type": kind}, FsStorage)

    converter.register_structure_hook(ExtraIce, extra_ice)
    converter.register_structure_hook_func(lambda kind: kind == attrs.fields(Http).cors.type, cors)
    converter.register_structure_hook_func(lambda kind: kind == Storage, storage)
    return converter


def _conflicts(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults between values that may each be well formed; the data may be of any shape."""
    auth = data.get("auth")
    yield from _auth_conflicts(auth if isinstance(auth, Mapping) else {})
    nodes = data.get("nodes")
    first: dict[str, tuple[int, str]] = {}
    for index, node in enumerate(nodes if isinstance(nodes, list) else []):
        alias = node.get("alias") if isinstance(node, Mapping) else None
        if not isinstance(alias, str):
            continue
        other, taken = first.setdefault(alias_tag(alias), (index, alias))
        if other != index:
            problem = "is the alias" if taken == alias else "has by chance the session tag"
            yield Fault(f"nodes[{index}].alias", f"{problem} of nodes[{other}] too; change one")
    match data.get("net4mqtt"):
        case {"mqtt_url": str(url), **others} if url:
            domain = others.get("domain", Net4mqtt().domain)
            yield from _tls_through_tunnel(nodes, f".{domain}".lower())
    match data.get("liveion"):
        case {"count": int(count), "address": str(address)} if count > 1:
            if re.search(r":0*[1-9][0-9]*$", address):
                yield Fault("liveion.address", "names one port for several nodes; write port 0, or count = 1")


def _tls_through_tunnel(nodes: Any, domain: str) -> Iterator[Fault]:
    for index, node in enumerate(nodes if isinstance(nodes, list) else []):
        match node:
            case {"url": str(url)} if url.startswith("https:") and _host(url).endswith(domain):
                problem = "leads through the MQTT broker, where there is no TLS of the node; write http://"
                yield Fault(f"nodes[{index}].url", problem)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _auth_conflicts(auth: Mapping[str, Any]) -> Iterator[Fault]:
    accounts = auth.get("accounts")
    named: dict[str, int] = {}
    for index, account in enumerate(accounts if isinstance(accounts, list) else []):
        name = account.get("username") if isinstance(account, Mapping) else None
        if isinstance(name, str) and (other := named.setdefault(name, index)) != index:
            path = f"auth.accounts[{index}].username"
            yield Fault(path, f"is the name of auth.accounts[{other}] too; change one")
    match auth.get("webhook"):
        case {"url": str(url), **others} if url and others.get("secret", "") == "":
            yield Fault("auth.webhook.secret", "is missing; by it the service knows that Liveman asks")
        case {"secret": str(secret), **others} if secret and others.get("url", "") == "":
            yield Fault("auth.webhook.url", "is missing; without it nobody is asked")
    if auth.get("jwks_url"):
        # Many services sign for all their customers with the same keys.
        for key in ("issuer", "audience"):
            if not auth.get(key):
                yield Fault(f"auth.{key}", "is missing; with auth.jwks_url it keeps others' tokens out")
    elif not auth.get("jwt_public_keys"):
        for key in ("issuer", "audience"):
            if auth.get(key):
                yield Fault(f"auth.{key}", "needs the issuer's keys: auth.jwks_url or auth.jwt_public_keys")


# Describing


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return "***" if value else ""
    if attrs.has(type(value)):
        return {field.name: _plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _masked_url(url: Secret) -> str:
    """The URL without user, password and query; SQLite's has none of them that is secret."""
    text = url.reveal()
    if not text or text.startswith("sqlite:"):
        return text
    scheme, _, rest = text.partition("://")
    # What looks like the host may still be the password when that holds an unescaped / or ?.
    _, at, after = rest.rpartition("@")
    after, question, _ = after.partition("?")
    return f"{scheme}://{'***@' if at else ''}{after}{'?***' if question else ''}"


def _toml(table: Mapping[str, Any], path: str) -> Iterator[str]:
    tables = {key: value for key, value in table.items() if _is_table(value)}
    for key, value in table.items():
        if key not in tables:
            yield f"{key_path('', key)} = {_value(value)}"
    for key, value in tables.items():
        name = key_path(path, key)
        for item in [value] if isinstance(value, Mapping) else value:
            yield ""
            yield f"[{name}]" if item is value else f"[[{name}]]"
            yield from _toml(item, name)


def _is_table(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{key_path('', key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
