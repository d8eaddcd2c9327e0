"""How a value is written in TOML: with the unit that its key carries only in code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

_SIZES = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_DURATIONS_S = (("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3))


def written(field_name: str, value: object) -> str:
    """Write the value of a setting as it may stand in a file; reading it gives the same value.

    The name of the field tells the unit. What is not set is an empty text.
    """
    if value is None:
        return ""
    words = field_name.split("_")
    if "bytes" in words and isinstance(value, int):
        return _size(value)
    if "s" in words and isinstance(value, (int, float)):
        return f'"{_duration(value)}"'
    return _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (str, Path)):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_plain(item) for item in value)}]"
    assert isinstance(value, Mapping), f"a setting of type {type(value).__name__}"
    pairs = ", ".join(f"{_plain(key)} = {_plain(inner)}" for key, inner in value.items())
    return f"{{ {pairs} }}" if pairs else "{}"


def _size(size: int) -> str:
    for unit, factor in _SIZES:
        if size and size % factor == 0:
            return f'"{size // factor}{unit}"'
    return str(size)


def _duration(seconds: float) -> str:
    for unit, factor_s in _DURATIONS_S:
        count = round(seconds / factor_s)
        if count and count * factor_s == seconds:
            return f"{count}{unit}"
    return f"{Decimal(repr(float(seconds))).normalize():f}s"
