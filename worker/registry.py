"""Which classes travel by name, and what stands for one that is not registered here."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T", bound=type)

DATACLASS = "dataclass"
ENUM = "enum"
CUSTOM = "custom"


class Entry(NamedTuple):
    """One registered class; `to` and `of` convert it to and from plain values (custom only)."""

    name: str
    cls: type
    kind: str
    to: Callable[[Any], object] | None
    of: Callable[[Any], object] | None


_by_name: dict[str, Entry] = {}
_by_class: dict[type, Entry] = {}


class Record:
    """A dataclass, enum member or custom value whose class is not registered on this side.

    Fields read as attributes; it encodes back to what it was.
    """

    __slots__ = ("_fields", "_kind", "_name")

    def __init__(self, name: str, fields: Mapping[str, object], kind: str = DATACLASS) -> None:
        self._name = name
        self._fields = dict(fields)
        self._kind = kind

    def __getattr__(self, name: str) -> object:
        fields = object.__getattribute__(self, "_fields")
        if name in fields:
            return fields[name]
        raise AttributeError(f"the record of {self._name} has no field {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return parts(self) == parts(other)

    __hash__ = None  # type: ignore[assignment]  # it may hold lists, as a dataclass may

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"Record({self._name}: {fields})"


def parts(record: Record) -> tuple[str, dict[str, object], str]:
    """Return (class name, fields, kind) of a record."""
    return record._name, record._fields, record._kind


def register_type(
    cls: T,
    name: str | None = None,
    *,
    to: Callable[[Any], object] | None = None,
    of: Callable[[Any], object] | None = None,
) -> T:
    """Let instances of `cls` be restored here; works as a decorator; returns `cls`.

    Dataclasses and enums need nothing more. Any other class needs `to(value)`, which gives plain
    values, and `of(plain)`, which builds it again. Both sides must register the same name (by
    default `module:qualname`). Raises TypeError for a class that could not be restored.
    """
    if (to is None) != (of is None):
        raise TypeError("register_type: give both `to` and `of`, or neither")
    if to is not None:
        kind = CUSTOM
    elif dataclasses.is_dataclass(cls):
        kind = DATACLASS
    elif issubclass(cls, enum.Enum):
        kind = ENUM
    else:
        raise TypeError(
            f"register_type: {cls.__qualname__} is neither a dataclass nor an enum: "
            "give `to=` and `of=`"
        )
    entry = Entry(name or class_name(cls), cls, kind, to, of)
    _by_name[entry.name] = entry
    _by_class[cls] = entry
    return cls


def by_name(name: str) -> Entry | None:
    """Return what is registered under a name."""
    return _by_name.get(name)


def by_class(cls: type) -> Entry | None:
    """Return how a class is registered."""
    return _by_class.get(cls)


def class_name(cls: type) -> str:
    """Name a class the same way in a script and in the worker that imports that script."""
    module = "__main__" if cls.__module__ == "__mp_main__" else cls.__module__
    return f"{module}:{cls.__qualname__}"
