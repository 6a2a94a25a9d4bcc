"""Values of JSON -> the types that fields are annotated with, and back."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints


def read(wanted: Any, value: Any) -> Any:
    """Return a value of JSON as a type: a plain one, X | None, tuple, dict, NamedTuple, dataclass.

    Raises ValueError where it is none.
    """
    if get_origin(wanted) is tuple or _is_named_tuple(wanted):
        return _read_tuple(wanted, value)
    if get_origin(wanted) is dict:
        _check(isinstance(value, dict), wanted, value)
        return {key: read(get_args(wanted)[1], each) for key, each in value.items()}
    if NoneType in get_args(wanted):
        (other,) = (each for each in get_args(wanted) if each is not NoneType)
        return None if value is None else read(other, value)
    if is_dataclass(wanted):
        _check(isinstance(value, dict), wanted, value)
        return read_fields(wanted, value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    _check(number if wanted is float else type(value) is wanted, wanted, value)
    return float(value) if wanted is float else value


def _read_tuple(wanted: Any, value: Any) -> Any:
    if _is_named_tuple(wanted):
        kinds = tuple(get_type_hints(wanted).values())
    else:
        kinds = get_args(wanted)
        if kinds[1:] == (...,):
            kinds = kinds[:1] * len(value) if isinstance(value, list) else kinds
    _check(isinstance(value, list) and len(value) == len(kinds), wanted, value)
    found = [read(kind, each) for kind, each in zip(kinds, value, strict=True)]
    return wanted(*found) if _is_named_tuple(wanted) else tuple(found)


def read_fields(wanted: Any, plain: Mapping[str, Any]) -> Any:
    """Return a dataclass from its fields; ValueError names a missing, unknown or wrong one."""
    known = _fields_of(wanted)
    if unknown := sorted(plain.keys() - known.keys()):
        raise ValueError(f"it has the unknown field {unknown[0]!r}")
    found = {}
    for name, (field, kind) in known.items():
        if name in plain:
            try:
                found[name] = read(kind, plain[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        elif not _has_default(field):
            raise ValueError(f"it lacks the field {name!r}")
    return wanted(**found)


def write(value: Any) -> Any:
    """Return what JSON has for a value; fields of None that are None by default are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        values = {field: getattr(value, field.name) for field in fields(value)}
        return {
            field.name: write(each)
            for field, each in values.items()
            if each is not None or field.default is not None
        }
    if isinstance(value, Mapping):
        return {key: write(each) for key, each in value.items()}
    return [write(each) for each in value] if isinstance(value, list | tuple) else value


@cache
def _fields_of(wanted: Any) -> dict[str, tuple[Field, Any]]:
    hints = get_type_hints(wanted)
    return {field.name: (field, hints[field.name]) for field in fields(wanted)}


def _has_default(field: Field) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _is_named_tuple(wanted: Any) -> bool:
    return isinstance(wanted, type) and hasattr(wanted, "_fields")


def _check(fits: bool, wanted: Any, value: Any) -> None:
    if not fits:
        name = wanted.__name__ if isinstance(wanted, type) else str(wanted)
        raise ValueError(f"{value!r} is no {name}")
