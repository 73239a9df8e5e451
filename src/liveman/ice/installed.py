"""The ICE providers that are installed: entry points in the group ``liveman.ice``, loaded when named."""

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
from attrs import frozen

from liveman.errors import ConfigError, Fault

__all__ = ["Installed", "find", "installed"]

GROUP = "liveman.ice"


@frozen
class Installed:
    """What `liveman providers` shows of an entry point."""

    name: str
    distribution: str
    version: str
    """Of the distribution."""
    value: str
    """``module:class``"""
    problem: str
    """Why it cannot be used; empty: it can."""


def installed() -> list[Installed]:
    """All of them by name, each of them loaded."""
    found = []
    for entries in _by_name().values():
        for entry in entries:
            version = entry.dist.version if entry.dist else ""
            problem = _shared(entries) or _loaded(entry)[1]
            found.append(Installed(entry.name, _owner(entry), version, entry.value, problem))
    return found


def find(name: str, path: str) -> type[Any]:
    """The provider's class. Raises ConfigError, with the path of what names it."""
    entries = _by_name().get(name)
    if entries is None:
        raise ConfigError(Fault(path, _unknown(name)))
    if problem := _shared(entries):
        raise ConfigError(Fault(path, problem))
    provider, problem = _loaded(entries[0])
    if problem:
        raise ConfigError(Fault(path, problem))
    return provider


def _by_name() -> dict[str, list[EntryPoint]]:
    """In the order of the names; one distribution found twice on the path counts once."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, _owner(entry))):
        found.setdefault(entry.name, {}).setdefault(entry.value, entry)
    return {name: list(entries.values()) for name, entries in found.items()}


def _shared(entries: list[EntryPoint]) -> str:
    if len(entries) == 1:
        return ""
    return f"is a provider of {', '.join(map(_owner, entries))}; uninstall all of them but one"


def _loaded(entry: EntryPoint) -> tuple[type[Any], str]:
    """The class, and why it cannot be used; empty: it can."""
    try:
        provider = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  Importing a third party's code may raise anything.
        return object, f"cannot be loaded from {_owner(entry)}: {type(error).__name__}: {error}"
    options = getattr(provider, "Options", None)
    if not (isinstance(options, type) and attrs.has(options) and callable(getattr(provider, "lease", None))):
        problem = f"{entry.value} of {_owner(entry)} is no ICE provider: it needs attrs Options and lease()"
        return object, problem
    return provider, ""


def _unknown(name: str) -> str:
    names = list(_by_name())
    near = difflib.get_close_matches(name, names, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ";"
    return f"no ICE provider of this name is installed{hint} Installed are {', '.join(names)}"


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
