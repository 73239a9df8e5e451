"""What an ICE provider is, and how the configuration's tables become providers.

A provider is named by its entry point in the group ``liveman.ice``; those that come with Liveman are found in
the same way as everyone's.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import attrs
from attrs import field, frozen
from cattrs import Converter

from liveman.config import Secret
from liveman.errors import ConfigError, Fault, ProviderError
from liveman.ice.server import IceServer
from liveman.strict import key_path, strict_converter, structure_strictly

__all__ = ["IceLease", "IceProvider", "IceRequest", "describe", "explain", "faults", "load"]

GROUP = "liveman.ice"


@frozen
class IceRequest:
    """Whom credentials are for. Later releases may add fields."""

    kind: Literal["publish", "subscribe", "options"]
    stream: str
    subject: str | None = None
    """Who asks, by the name that authentication found; None without authentication."""
    client: str | None = None
    """The IP address that the request came from."""
    ttl: int | None = None
    """How long the credentials should be good, seconds; None: as long as the provider's options say."""
    transports: tuple[str, ...] = ()
    """The transports that are wanted; empty: all."""


def _servers(servers: Iterable[IceServer]) -> tuple[IceServer, ...]:
    return tuple(servers)


@frozen
class IceLease:
    """ICE servers and the time until which their credentials are good. Raises TypeError, ValueError."""

    servers: tuple[IceServer, ...] = field(
        converter=_servers,
        validator=attrs.validators.deep_iterable(attrs.validators.instance_of(IceServer)),
    )
    expires_at: float | None = field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of((int, float))),
    )
    """Unix seconds; None: they do not expire."""


class IceProvider(Protocol):
    """Where ICE servers come from: a class of this shape, with an entry point in the group ``liveman.ice``.

    ``[extra_ice.<entry point's name>]`` is its table. The table becomes `Options` when the configuration is
    read; then ``__init__`` gets it and only keeps it. Beside `lease` a provider may have:

    - ``async def start(self)``, run once in the event loop before any lease: the place to open connections.
      A provider whose start raises, or takes longer than 5 seconds, is not asked for leases.
    - ``async def close(self)``, run once at the end, also after a start that failed: at most 2 seconds.
    - ``immediate = True``: `lease` only computes and never waits. It is then run without a task of its own.
    - ``Options.unused``, an attribute or property: true when the table is there but not filled in. Then no
      provider is made of it.

    Everything runs in the event loop's thread. A provider must not block it: a call that does (a file, a
    requests.get, a long computation) stops all of Liveman, and nothing can cut it off. Nothing is retried.
    """

    Options: ClassVar[type[Any]]
    """A frozen attrs class. Types are checked strictly: ``"5"`` is no int. What a value must look like beyond
    that stands in its type, ``Annotated[str, form]``, where ``form(value)`` gives the value back or raises
    ValueError; its text is shown with the key's path and must not repeat a secret. `Secret` is for texts that
    must never be shown. Lists are tuples: ``tuple[str, ...]``."""

    def __init__(self, options: Any) -> None: ...

    async def lease(self, request: IceRequest) -> IceLease:
        """Credentials for this request; leases run side by side.

        May raise anything: it is logged under the provider's name, and the request goes on without. The text
        of a `ProviderError` is logged, so it must not hold a secret; of other errors the kind and the place.
        Is cancelled when ``extra_ice.timeout_ms`` is over or the client has gone.
        """
        ...


def faults(table: Mapping[str, Any]) -> list[Fault]:
    """Every fault of the providers' tables: ``ice_servers`` (the provider static) and providers by name."""
    try:
        _read(table)
    except ConfigError as error:
        return list(error.faults)
    return []


def load(table: Mapping[str, Any]) -> dict[str, IceProvider]:
    """The providers in the order of the configuration, under the keys of their tables. Raises ConfigError."""
    providers: dict[str, IceProvider] = {}
    for key, provider, options in _read(table):
        if getattr(options, "unused", False):
            continue
        try:
            providers[key] = provider(options)
        except Exception as error:  # noqa: BLE001  A third party's code may raise anything.
            raise ConfigError(Fault(_path(key), f"cannot be set up: {explain(error)}")) from None
    return providers


def describe(table: Mapping[str, Any]) -> dict[str, Any]:
    """The options of every table as they take effect, as plain values, secrets as ``***``."""
    described = {key: _plain(options) for key, _, options in _read(table)}
    if STATIC in described:
        described |= described.pop(STATIC)
    return described


def explain(error: BaseException) -> str:
    """What may be shown of a provider's error.

    Libraries put urls and headers with secrets into their errors, so of all but ProviderError it is the kind
    and the place alone.
    """
    if isinstance(error, ProviderError):
        return error.detail[:300]
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" in {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"


# The table of the static provider is a list, `[[extra_ice.ice_servers]]`, for the sake of older files.
STATIC = "ice_servers"


def _read(table: Mapping[str, Any]) -> list[tuple[str, type[IceProvider], Any]]:
    found = []
    wrong: list[Fault] = []
    for key, value in table.items():
        try:
            provider = _provider("static" if key == STATIC else key)
            found.append((key, provider, _options(provider, key, value)))
        except ConfigError as error:
            wrong.extend(error.faults)
    if wrong:
        raise ConfigError(*wrong)
    return found


def _path(key: str) -> str:
    return key_path("extra_ice", key)


def _options(provider: type[IceProvider], key: str, value: object) -> Any:
    data, path = ({STATIC: value}, "extra_ice") if key == STATIC else (value, _path(key))
    try:
        options, wrong = structure_strictly(data, provider.Options, path, _converter())
    except Exception as error:  # noqa: BLE001  A third party's Options may raise anything.
        raise ConfigError(Fault(path, f"its Options cannot be read: {explain(error)}")) from None
    if wrong:
        raise ConfigError(*wrong)
    return options


def _provider(name: str) -> type[IceProvider]:
    found = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if not found:
        raise ConfigError(Fault(_path(name), _unknown(name)))
    if len(found) > 1:
        owners = ", ".join(sorted(map(_owner, found.values())))
        raise ConfigError(Fault(_path(name), f"is a provider of {owners}; uninstall all of them but one"))
    (entry,) = found.values()
    try:
        provider = entry.load()
    except Exception as error:  # noqa: BLE001  Importing a third party's code may raise anything.
        problem = f"cannot be loaded from {_owner(entry)}: {type(error).__name__}: {error}"
        raise ConfigError(Fault(_path(name), problem)) from None
    options = getattr(provider, "Options", None)
    if not (isinstance(options, type) and attrs.has(options) and callable(getattr(provider, "lease", None))):
        problem = f"{entry.value} of {_owner(entry)} is no ICE provider: it needs attrs Options and lease()"
        raise ConfigError(Fault(_path(name), problem))
    return provider  # type: ignore[no-any-return]


def _unknown(name: str) -> str:
    installed = sorted({entry.name for entry in entry_points(group=GROUP)})
    near = difflib.get_close_matches(name, installed, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ";"
    return f"no ICE provider of this name is installed{hint} Installed are {', '.join(installed)}"


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


@cache
def _converter() -> Converter:
    return strict_converter()


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return "***" if value else ""
    if attrs.has(type(value)):
        return dict(_fields(value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    for attribute in attrs.fields(type(value)):
        # TOML has no null.
        if (item := getattr(value, attribute.name)) is not None:
            yield attribute.name, _plain(item)
