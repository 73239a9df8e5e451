"""Strict structuring of plain data (from TOML, JSON) into attrs classes: every fault at once, with its path.

No text passes for a number, no number for a flag, no unknown key. What a value must look like beyond its type
stands in the type: ``Annotated[str, form]``, where the form gives the value back or raises ValueError.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError, IterableValidationError, override
from cattrs.gen import make_dict_structure_fn

from liveman.config import Secret
from liveman.errors import Fault

__all__ = ["key_path", "keys", "strict_converter", "structure_strictly"]

T = TypeVar("T")

_NAMES = {
    str: 'a text in quotes, such as "…"',
    int: "a whole number, without quotes or a decimal point",
    bool: "true or false, without quotes",
}


def structure_strictly(
    data: object, cls: type[T], path: str = "", converter: Converter | None = None
) -> tuple[T | None, list[Fault]]:
    """The data as this attrs class, or None and every fault; ``path`` is where the data stands."""
    try:
        return (converter or strict_converter()).structure(data, cls), []
    except (ClassValidationError, ValueError) as error:
        return None, list(_faults(error, path))


def strict_converter() -> Converter:
    """A converter whose hooks raise ValueError with a problem that names the remedy, never the value."""
    converter = Converter()
    for kind, name in _NAMES.items():
        converter.register_structure_hook(kind, _exactly(kind, name))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Secret, lambda value, _: Secret(converter.structure(value, str)))
    converter.register_structure_hook_factory(attrs.has, lambda cls: _table(cls, converter))

    def formed(value: Any, kind: Any) -> Any:
        inner, *notes = get_args(kind)
        value = converter.structure(value, inner)
        # Other notes are meant for other tools.
        forms: list[Callable[[Any], Any]] = [note for note in notes if callable(note)]
        for form in forms:
            value = Secret(form(value.reveal())) if isinstance(value, Secret) else form(value)
        return value

    def choice(value: Any, kind: Any) -> Any:
        if not isinstance(value, str) or value not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(map(json.dumps, get_args(kind)))}")
        return value

    def sequence(value: Any, kind: Any) -> tuple[Any, ...]:
        item, _ = get_args(kind)
        if not isinstance(value, list):
            raise ValueError("must be a list" + (", each table under [[…]]" if attrs.has(item) else ""))
        many: Any = list.__class_getitem__(item)
        return tuple(converter.structure(value, many))

    def one_or_several(value: Any, kind: Any) -> Any:
        several = [arm for arm in get_args(kind) if _is_several(arm)]
        (arm,) = several if isinstance(value, list) else [a for a in get_args(kind) if a not in several]
        return converter.structure(value, arm)

    hooks: list[tuple[Any, Callable[[Any, Any], Any]]]
    hooks = [(Annotated, formed), (Literal, choice), (tuple, sequence)]
    for origin, hook in hooks:
        converter.register_structure_hook_func(_has_origin(origin), hook)
    converter.register_structure_hook_func(
        lambda kind: _is_union(kind) and len(get_args(kind)) == 2 and any(map(_is_several, get_args(kind))),
        one_or_several,
    )
    return converter


def keys(cls: type[Any]) -> list[str]:
    """The keys that a table of this class may hold: its fields but those with the metadata ``key=False``."""
    return [field.name for field in attrs.fields(cls) if field.metadata.get("key", True)]


def key_path(path: str, key: str) -> str:
    """The path of a key beneath a path, quoted as TOML wants it where it is no bare key."""
    name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
    return f"{path}.{name}" if path else name


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _is_several(kind: Any) -> bool:
    """Whether it is a tuple, with or without a form."""
    origin = get_origin(get_args(kind)[0]) if get_origin(kind) is Annotated else get_origin(kind)
    return origin is tuple


def _has_origin(origin: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


def _exactly(kind: type, name: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"must be {name}")
        return value

    return hook


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError("must be a number, without quotes")
    return float(value)


def _table(cls: type[Any], converter: Converter) -> Callable[[Any, Any], Any]:
    known = keys(cls)
    omitted: Any = {field.name: override(omit=True) for field in attrs.fields(cls) if field.name not in known}
    fill = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, **omitted)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("must be a table of keys, not a single value or a list")
        return fill(value, cls)

    return hook


def _faults(error: Exception, path: str) -> Iterator[Fault]:
    if isinstance(error, ClassValidationError):
        with_notes, others = error.group_exceptions()
        for inner, attribute in with_notes:
            yield from _faults(inner, key_path(path, attribute.name))
        for inner in others:
            yield from _faults(inner, path)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _faults(inner, f"{path}[{item.index}]")
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            yield Fault(key_path(path, key), _unknown(key, keys(error.cl)))
    elif isinstance(error, KeyError):
        yield Fault(path, "is missing")
    else:
        yield Fault(path, str(error))


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key.lower(), known, n=1)
    return (
        f'is no known key; did you mean "{near[0]}"?'
        if near
        else f"is no known key; known are {', '.join(known)}"
    )
