"""What an ICE provider is, and how the configuration's tables become providers.

A provider is named by its entry point in the group ``liveman.ice``; those that come with Liveman are found in
the same way as everyone's.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import attrs
from attrs import field, frozen
from cattrs import Converter

from liveman.config import Secret
from liveman.errors import ConfigError, Fault, ProviderError
from liveman.ice.installed import find
from liveman.ice.server import IceServer
from liveman.strict import key_path, strict_converter, structure_strictly

__all__ = ["IceLease", "IceProvider", "IceRequest", "describe", "explain", "faults", "load", "named"]

Transport = Literal["udp", "tcp", "tls"]


@frozen
class IceRequest:
    """Whom credentials are for. Later releases may add fields."""

    kind: Literal["publish", "subscribe", "options", "ahead"]
    """``ahead``: for a session that is not known yet; then nobody is named."""
    stream: str = ""
    subject: str | None = None
    """Who asks, by the name that authentication found; None without authentication."""
    client: str | None = None
    """The IP address that the request came from."""
    ttl: int | None = None
    """For how long the session wants them, seconds; None: for as long as the provider gives by itself."""
    transports: tuple[Transport, ...] = ()
    """How the client can reach a server; empty: in any way. Servers that are of no use to it may be given:
    they are taken out."""

    @classmethod
    def ahead(cls, ttl: int | None = None) -> Self:
        """What a pooled provider is asked."""
        return cls("ahead", ttl=ttl)


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
    """Unix seconds by this machine's clock, so count from when you asked; None: they do not expire."""


class IceProvider(Protocol):
    """Where ICE servers come from: a class of this shape, with an entry point in the group ``liveman.ice``.

    ``[extra_ice.<entry point's name>]`` is its table, or ``[extra_ice.<any name>]`` with ``provider = "<entry
    point's name>"``, so that there may be several. The table without that key becomes `Options` when the
    configuration is read, and each mistake is told with its path: ``extra_ice.metered.app_name: is missing``.
    Then ``__init__`` gets them and only keeps them; it may run where no event loop is.

    Beside `lease` a provider may have:

    - ``async def start(self)``, run once in the event loop before any lease: the place to open connections.
      A provider whose start raises, or takes longer than 5 seconds, is not asked for leases.
    - ``async def close(self)``, run once at the end, also after a start that failed: at most 2 seconds. No
      lease is under way then, but for those that ignored their cancellation.
    - ``immediate = True``: `lease` only computes and never waits. It is then run without a task of its own.
    - ``pooled = True``: one lease is as good as another for every session. Then leases are asked for ahead of
      need, with `IceRequest.ahead`, and handed out once each while they have more than a third of their life
      and more than ``extra_ice.min_life``.
    - ``async def revoke(self, lease: IceLease)``, run before `close` for the leases of a pooled provider that
      nobody got: for some hundreds of them and 2 seconds in all at the most. It may raise anything.
    - ``Options.unused``, an attribute or property: true when the table is there but not filled in. Then no
      provider is made of it.

    Everything runs in the event loop's thread. A provider must not block it: a call that does (a file, a
    requests.get, a long computation) stops all of Liveman, and nothing can cut it off.
    """

    # A property only so that classes within pass for it where types are checked.
    @property
    def Options(self) -> type[Any]:
        """A frozen attrs class. Types are checked strictly: ``"5"`` is no int. What a value must look like
        beyond that stands in its type, ``Annotated[str, form]``, where ``form(value)`` gives the value back
        or raises ValueError; its text is shown with the key's path and must not repeat a secret. `Secret` is
        for texts that must never be shown. Lists are tuples: ``tuple[str, ...]``."""

    def __init__(self, options: Any) -> None: ...

    async def lease(self, request: IceRequest) -> IceLease:
        """Credentials for this request; leases run side by side, each in a task of its own.

        May raise anything: it is logged under the provider's name, and no request fails by it. The text of a
        `ProviderError` is logged, so it must not hold a secret; of other errors the kind and the place.

        Is cancelled when its time is over: of a pooled provider after 10 seconds; of others with
        ``extra_ice.timeout_ms``, or when the client has gone. All are when Liveman ends.

        No single question is repeated. After three failures in a row the provider is left alone for half a
        second, then for twice as long after each further failure, up to a minute; after a ProviderError for
        as long as its ``retry_after`` says (an hour at the most), and for ten minutes if it is ``permanent``.
        A lease that has expired when it comes is a failure, and so is one that a pool could not hand out.
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


def named(providers: Iterable[IceProvider], before: Mapping[str, IceProvider]) -> dict[str, IceProvider]:
    """Those before, and these under the names of their classes. Raises ConfigError for what is none."""
    found = dict(before)
    for index, provider in enumerate(providers):
        problem = ""
        if isinstance(provider, type) or not callable(getattr(provider, "lease", None)):
            problem = "must be an object with lease(), as MyProvider(…) makes one"
        elif any(provider is other for other in found.values()):
            problem = "is there already: it would be started and closed twice; make another one"
        if problem:
            raise ConfigError(Fault(f"ice_providers[{index}]", problem))
        name = type(provider).__name__
        taken = (f"{name} {number}" for number in itertools.count(2))
        while name in found:
            name = next(taken)
        found[name] = provider
    return found


def describe(table: Mapping[str, Any]) -> dict[str, Any]:
    """The options of every table as they take effect, as plain values, secrets as ``***``."""
    described: dict[str, Any] = {}
    for key, _, options in _read(table):
        named = _named(table[key])
        described[key] = ({PROVIDER: named} if named else {}) | _plain(options)
    if STATIC in described:
        described |= described.pop(STATIC)
    return described


def explain(error: BaseException) -> str:
    """What may be shown of a provider's error.

    Libraries put urls and headers with secrets into their errors, so of all but ProviderError it is the kind
    and the place alone.
    """
    if isinstance(error, ProviderError):
        return str(getattr(error, "detail", "") or type(error).__name__)[:300]
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" in {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}"


# The table of the static provider is a list, `[[extra_ice.ice_servers]]`, for the sake of older files.
STATIC = "ice_servers"
# The key of a table that names its provider, where the table has another name.
PROVIDER = "provider"


def _read(table: Mapping[str, Any]) -> list[tuple[str, type[IceProvider], Any]]:
    found = []
    wrong: list[Fault] = []
    for key, value in table.items():
        try:
            provider = _provider(key, value)
            found.append((key, provider, _options(provider, key, value)))
        except ConfigError as error:
            wrong.extend(error.faults)
    if wrong:
        raise ConfigError(*wrong)
    return found


def _path(key: str) -> str:
    return key_path("extra_ice", key)


def _named(value: object) -> Any:
    """What the table says that its provider is; None when it does not, as TOML has no null."""
    return value.get(PROVIDER) if isinstance(value, Mapping) else None


def _provider(key: str, value: object) -> type[IceProvider]:
    named = _named(value)
    if named is None:
        return find("static" if key == STATIC else key, _path(key))
    path = key_path(_path(key), PROVIDER)
    if not isinstance(named, str):
        raise ConfigError(Fault(path, 'must be the name of an ICE provider, such as "coturn"'))
    return find(named, path)


def _options(provider: type[Any], key: str, value: object) -> Any:
    data, path = ({STATIC: value}, "extra_ice") if key == STATIC else (value, _path(key))
    if isinstance(data, Mapping):
        data = {name: item for name, item in data.items() if name != PROVIDER}
    try:
        options, wrong = structure_strictly(data, provider.Options, path, _converter())
    except Exception as error:  # noqa: BLE001  A third party's Options may raise anything.
        raise ConfigError(Fault(path, f"its Options cannot be read: {explain(error)}")) from None
    if wrong:
        raise ConfigError(*wrong)
    return options


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
