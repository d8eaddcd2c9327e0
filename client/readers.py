"""How is one value of an option read: a size, a time, a whole number, text, pairs?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..protocol import resources

Fields = dict[str, Any]
Reader = Callable[[object], Fields]
LEAST_BYTES = 1 << 20
"""Nobody types less memory: a bare number was meant in another unit."""


def sized(field: str) -> Reader:
    return lambda value: {field: size_of(value)}


def size_of(value: object) -> int:
    """Read a size in bytes; raises ValueError, also for a bare number that lacks its unit."""
    size = resources.parse_bytes(value)  # type: ignore[arg-type]  # it refuses other types
    if isinstance(value, str) and value.strip().isdecimal() and 0 < size < LEAST_BYTES:
        raise ValueError(
            f"found {value!r}, which is {size} bytes: write a unit, like 512MiB or 12GiB"
        )
    return size


def timed(field: str) -> Reader:
    def read(value: object) -> Fields:
        seconds = resources.parse_duration_s(value)  # type: ignore[arg-type]  # it refuses other types
        return {field: round(seconds * 1000)}

    return read


def whole(field: str, most: int) -> Reader:
    return lambda value: {field: whole_of(value, most)}


def whole_of(value: object, most: int, least: int = 0) -> int:
    """Read a whole number between bounds; raises ValueError."""
    number = int(str(value))
    if isinstance(value, bool) or not least <= number <= most:
        raise ValueError(f"found {value!r}, allowed is {least}..{most}")
    return number


def flag(field: str) -> Reader:
    def read(value: object) -> Fields:
        if isinstance(value, bool):
            return {field: value}
        if value in ("true", "false"):
            return {field: value == "true"}
        raise ValueError(f"found {value!r}, allowed is true or false")

    return read


def text(field: str, chars_max: int) -> Reader:
    def read(value: object) -> Fields:
        found = str(value) if isinstance(value, (str, Path)) else None
        if found is None or len(found) > chars_max:
            raise ValueError(f"found {value!r}, allowed is text of at most {chars_max} characters")
        return {field: found}

    return read


def names(field: str, what: str) -> Reader:
    def read(value: object) -> Fields:
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, Iterable):
            raise TypeError(f"found {value!r}, allowed are names of {what}")
        return {field: [str(name) for name in found]}

    return read


def pairs(field: str, most: int) -> Reader:
    def read(value: object) -> Fields:
        found = pairs_of(value, most)
        return {field: {str(key): str(item) for key, item in found.items()}}

    return read


def pairs_of(value: object, most: int) -> Mapping[object, object]:
    """Read `KEY=VALUE` texts, one or several, or a mapping; raises ValueError."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Mapping) and isinstance(value, Iterable):
        value = dict(_pair(str(item)) for item in value)
    if not isinstance(value, Mapping) or len(value) > most:
        raise ValueError(f"found {value!r}, allowed are at most {most} pairs of key and value")
    return value


def _pair(found: str) -> tuple[str, str]:
    key, equals, value = found.partition("=")
    if not key or not equals:
        raise ValueError(f"{found!r} is not KEY=VALUE")
    return key, value


def text_or_number(value: object, allowed: str) -> str | float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            is_number = math.isfinite(float(value))
        except ValueError:
            is_number = False
        if is_number:
            return value
    raise ValueError(f"found {value!r}, allowed is {allowed}")
