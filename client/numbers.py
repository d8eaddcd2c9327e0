"""Which numbers of a call does the scheduler need, to work out what it asks for?"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..protocol import expressions
from ..protocol.expressions import Number
from ..protocol.spec import VRAM_AUTO

Numbers = Mapping[str, Number]
NONE: Numbers = MappingProxyType({})
WHOLE_BITS_MAX = 63
"""A larger whole number travels as a float: the scheduler bounds what comes of it."""


def named_in(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the keyword arguments in the expressions of a spec."""
    return _named(spec.get("vram", ""), spec.get("size", ""))


@functools.lru_cache(maxsize=256)
def _named(vram: str, size: str) -> tuple[str, ...]:
    texts = [text for text in (vram, size) if text and text != VRAM_AUTO]
    names = {name for text in texts for name in expressions.parse(text).names}
    return tuple(sorted(names))


def pick(names: tuple[str, ...], kwargs: Mapping[str, Any]) -> Numbers:
    """Return those of these arguments that are numbers; the scheduler says what is missing."""
    if not names:
        return NONE
    found: dict[str, Number] = {}
    for name in names:
        number = _number(kwargs.get(name))
        if number is not None:
            found[name] = number
    return found


def column(calls: Sequence[Numbers]) -> list[dict[str, Number]]:
    """Return what a submission says of the numbers of its calls: nothing where none has any."""
    return [dict(each) for each in calls] if any(calls) else []


def _number(value: Any) -> Number | None:
    if isinstance(value, float):
        return float(value)
    try:
        whole = operator.index(value)
    except TypeError:
        return None
    if isinstance(value, bool):
        return None
    return whole if whole.bit_length() <= WHOLE_BITS_MAX else _rounded(whole)


def _rounded(whole: int) -> float:
    try:
        return float(whole)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf
