"""What do the numbers of a submission make of the expressions of its specs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..protocol import expressions
from ..protocol.errors import Invalid
from ..protocol.expressions import BadExpression, Number
from ..protocol.messages import Submit
from .events import NewSpec
from .records import Payload

NUMBERS_MAX = 32


class Sized(NamedTuple):
    """What a task's arguments make of it: bytes of VRAM (0: they do not say), an order of size."""

    vram_bytes: int = 0
    size_class: int = 0


UNSIZED = Sized()


def sizes(message: Submit, specs: Sequence[NewSpec]) -> list[Sized]:
    """Return what each task asks for; raises Invalid that names the task and its argument."""
    count = len(message.spec_index)
    if message.numbers and len(message.numbers) != count:
        raise Invalid(
            f"numbers: found {len(message.numbers)} rows for {count} tasks", field="numbers"
        )
    if not any(spec.vram or spec.size for spec in specs):
        return [UNSIZED] * count
    rows = message.numbers or [{}] * count
    return [
        _sized(specs[index], rows[position], position)
        for position, index in enumerate(message.spec_index)
    ]


def carried_over(payload: Payload, spec: NewSpec, changes: Mapping[str, object]) -> Sized:
    """Return what a copy of a task asks for: what its original did, unless that was changed.

    Raises Invalid for a change that depends on arguments: nobody knows them any more.
    """
    for field, text in (("vram", spec.vram), ("size", spec.size)):
        if field in changes and text and expressions.parse(text).names:
            raise Invalid(
                f"changes.{field}: {text!r} depends on arguments, which were read when the task "
                "was submitted: give a size, or submit it anew",
                field=f"changes.{field}",
            )
    fresh = _sized(spec, {}, 0) if "size" in changes and spec.size else UNSIZED
    return Sized(
        payload.sized_bytes if spec.vram else 0,
        fresh.size_class if "size" in changes or not spec.size else payload.size_class,
    )


def _sized(spec: NewSpec, numbers: Mapping[object, object], position: int) -> Sized:
    if not (spec.vram or spec.size):
        return UNSIZED
    known = _checked(numbers, position)
    field, vram_bytes, size_class = "vram", 0, 0
    try:
        if spec.vram:
            vram_bytes = expressions.need_bytes(expressions.parse(spec.vram), known)
        field = "size"
        if spec.size:
            size_class = expressions.size_class(expressions.parse(spec.size), known)
    except BadExpression as error:
        which = f"args[{position}]"
        text = spec.vram if field == "vram" else spec.size
        raise Invalid(f"{which}: {field} {text!r} {error}", field=which) from error
    return Sized(vram_bytes, size_class)


def _checked(numbers: Mapping[object, object], position: int) -> dict[str, Number]:
    """Return the numbers of a task; raises Invalid for anything else among them."""
    which = f"numbers[{position}]"
    if len(numbers) > NUMBERS_MAX:
        raise Invalid(f"{which}: has {len(numbers)}, allowed are {NUMBERS_MAX}", field=which)
    found: dict[str, Number] = {}
    for name, value in numbers.items():
        if not isinstance(name, str) or isinstance(value, bool):
            raise Invalid(f"{which}: {name!r} is no name of a number", field=which)
        if not isinstance(value, int | float):
            raise Invalid(f"{which}.{name}: found {value!r:.40}, it is a number", field=which)
        found[name] = value
    return found
