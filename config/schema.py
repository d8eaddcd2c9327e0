"""Which keys exist: walk the settings models by the names that are written in TOML."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from .fields import Section, toml_key
from .settings import Settings
from .toml_lines import KeyPath

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class UnknownKeyError(KeyError):
    """No setting has this name; the text says which names there are."""


def is_table(annotation: Any) -> bool:
    """Tell a table (a section, or a mapping with free keys) from a value."""
    return is_section(annotation) or get_origin(annotation) is dict


def is_section(annotation: Any) -> bool:
    """Tell a table with named keys from everything else."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def is_text(annotation: Any) -> bool:
    """Tell whether a value is written as plain text, and so must not be read as TOML."""
    if get_origin(annotation) is Annotated:
        return is_text(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return any(is_text(part) for part in get_args(annotation) if part is not NoneType)
    return annotation in (str, Path) or get_origin(annotation) is Literal


def step(annotation: Any, key: str) -> tuple[str, Any]:
    """Go from a table to one of its keys: the attribute's name and what it holds.

    The unit may be written (`lease_s`) or left out (`lease`). Raises UnknownKeyError.
    """
    if not is_section(annotation):
        return key, get_args(annotation)[1]
    for name, field in annotation.model_fields.items():
        if key in (toml_key(name), name):
            return name, field.annotation
    raise UnknownKeyError(_allowed(annotation, key))


def field_at(path: KeyPath) -> tuple[KeyPath, Any]:
    """Follow a path of TOML names from the root: attribute names, and what is held there."""
    names: KeyPath = ()
    annotation: Any = Settings
    for key in path:
        if not is_table(annotation):
            raise UnknownKeyError(f"{dotted(names)} is a value and has no keys")
        name, annotation = step(annotation, key)
        names = (*names, name)
    return names, annotation


def _allowed(section: type[Section], key: str) -> str:
    keys = [toml_key(name) for name in section.model_fields]
    close = difflib.get_close_matches(key, keys, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"allowed are {', '.join(sorted(keys))}"


def split_key(key: str) -> KeyPath:
    """Read a dotted key as TOML does: `node.labels."example.com/zone"`."""
    try:
        parsed: object = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as error:
        raise UnknownKeyError(f"{key!r} is not a key: write it like scheduler.lease") from error
    path: KeyPath = ()
    while isinstance(parsed, dict) and len(parsed) == 1:
        name = next(iter(parsed))
        path, parsed = (*path, name), parsed[name]
    if parsed != 0 or not path:
        raise UnknownKeyError(f"{key!r} is not a key: write it like scheduler.lease")
    return path


def dotted(names: KeyPath) -> str:
    """Write a path of attribute names as the dotted key that TOML would use."""
    parts: list[str] = []
    annotation: Any = Settings
    for name in names:
        if is_section(annotation):
            parts.append(toml_key(name))
            field = annotation.model_fields.get(name)
            annotation = field.annotation if field else None
        else:
            parts.append(name if _BARE_KEY.fullmatch(name) else json.dumps(name))
            annotation = get_args(annotation)[1] if get_origin(annotation) is dict else None
    return ".".join(parts)
