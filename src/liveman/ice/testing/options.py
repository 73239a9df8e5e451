"""What must hold of a provider's Options and of a table of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from liveman.config import Secret
from liveman.strict import structure_strictly

__all__ = ["option_problems", "read_options", "secrets_of"]

_PATH = "extra_ice.test"
#: Shorter texts stand in other words too.
_UNMISTAKABLE = 6
_ODD: tuple[Any, ...] = (
    *("", "\r\n", "ü", "x" * 10_000, "http://[", "stun:a", 0, -1, 10**30, True, 1.5, float("nan")),
    *([], [""], [None], {}, {"x": 1}),
)


def read_options(cls: type[Any], table: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The table as Options, or None and what is wrong with it."""
    if not attrs.has(getattr(cls, "Options", None) or object):
        return None, ["Options must be an attrs class inside the provider"]
    try:
        options, faults = structure_strictly(dict(table), cls.Options, _PATH)
    except Exception as error:  # noqa: BLE001  An author's Options may raise anything.
        return None, [f"Options raise {type(error).__name__}, where ValueError is a fault with its path"]
    return options, [f"the options are refused: {fault}" for fault in faults]


def secrets_of(options: Any) -> set[str]:
    """The texts that must never be shown."""
    return {
        value.reveal()
        for _, value in _walk(options)
        if isinstance(value, Secret) and len(value.reveal()) >= _UNMISTAKABLE
    }


def option_problems(cls: type[Any], table: Mapping[str, Any], options: Any) -> Iterator[str]:
    """What is wrong with the Options of a table that they accept."""
    secrets = secrets_of(options)
    names = [field.name for field in attrs.fields(cls.Options)]
    if names:
        try:
            setattr(options, names[0], getattr(options, names[0]))
            yield "Options must be frozen: @attrs.frozen"
        except attrs.exceptions.FrozenInstanceError:
            pass
    for name, value in _walk(options):
        if isinstance(value, str) and any(secret in value for secret in secrets):
            yield f"Options.{name} shows what another option keeps secret"
        elif isinstance(value, str) and any(word in name.lower() for word in _SECRET_NAMES):
            yield f"Options.{name} must be a Secret: `liveman check` shows everything else"
    if any(secret in f"{options!r}{options}" for secret in secrets):
        yield "the repr of Options shows a secret"
    for key in {*table, *names}:
        yield from _odd_values(cls, table, key, secrets)


_SECRET_NAMES = ("secret", "password", "token", "credential")


def _odd_values(cls: type[Any], table: Mapping[str, Any], key: str, secrets: set[str]) -> Iterator[str]:
    """Whatever stands under a key is taken, or is a fault with a path and without the secret."""
    odd: list[Any] = [*_ODD]
    if isinstance(table.get(key), str):
        odd += [table[key] + "\r\n", f"{table[key]}\x00", f" {table[key]}"]
    tables = [{**table, key: value} for value in odd] + [{k: v for k, v in table.items() if k != key}]
    for each in tables:
        shown = f"{key} = {each[key]!r:.40}" if key in each and not secrets else key
        try:
            options, faults = structure_strictly(each, cls.Options, _PATH)
        except Exception as error:  # noqa: BLE001  An author's Options may raise anything.
            yield f"Options raise {type(error).__name__} for an odd {shown}; make it a ValueError"
            return
        if any(secret in str(fault) for fault in faults for secret in secrets):
            yield f"the fault for an odd {key} repeats a secret"
            return
        if faults:
            continue
        try:
            if not getattr(options, "unused", False):
                cls(options)
        except Exception as error:  # noqa: BLE001  An author's provider may raise anything.
            yield f"__init__ raises {type(error).__name__} for an odd {shown}; Options should refuse it"
            return


def _walk(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value within, under the name of the option that holds it."""
    if attrs.has(type(value)) and not isinstance(value, Secret):
        for field in attrs.fields(type(value)):
            yield from _walk(getattr(value, field.name), field.name)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _walk(item, name)
    elif isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from _walk(item, name)
    else:
        yield name, value
