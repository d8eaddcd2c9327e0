"""What does a need like `2GiB + 24B*width*height` come to, for the numbers of one task?

A closed language: numbers with units of size, `+ - * / // **`, `min`, `max`, `ceil`, parentheses,
and names of numeric arguments. Nothing else can be written in it, and every value is bounded.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .resources import BYTES_MAX, UNITS

CHARS_MAX = 200
DEPTH_MAX = 24
EXPONENT_MAX = 64
VALUE_MAX = float(1 << 200)
"""No value on the way is larger; what comes out is bounded by what it is for."""
STEPS_PER_DOUBLING = 64
STEP_BYTES_MIN = 1 << 20
Number = int | float

_WORD = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>[KMGT]i?B|[KMGTB])?\b"
    r"|(?P<name>[^\W\d]\w*)|(?P<sign>\*\*|//|[-+*/(),]))"
)


class BadExpression(ValueError):  # noqa: N818 - says what was written
    """What was written is no expression, or comes to nothing that can be used."""


@dataclass(frozen=True, slots=True)
class Step:
    """Push a number or the value of a name; or take `takes` values and push what comes of them."""

    value: Number = 0
    name: str = ""
    takes: int = 0


@dataclass(frozen=True, slots=True)
class Expression:
    """A need as it was written, the names of arguments in it, and how it is worked out."""

    text: str
    names: tuple[str, ...]
    steps: tuple[Step, ...]


def _divide(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return left / right


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > EXPONENT_MAX:
        raise BadExpression(f"an exponent of {exponent:g} is beyond {EXPONENT_MAX}")
    if base < 0 and exponent != int(exponent):
        raise BadExpression(f"{base:g} ** {exponent:g} is no real number")
    found: Number = base**exponent
    return found


_OPERATIONS: dict[str, Callable[..., Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "//": operator.floordiv,
    "**": _power,
    "negative": operator.neg,
    "min": min,
    "max": max,
    "ceil": math.ceil,
}
FUNCTIONS = ("ceil", "max", "min")


@functools.lru_cache(maxsize=1_024)
def parse(text: str) -> Expression:
    """Read an expression; raises BadExpression that says what is wrong where."""
    if len(text) > CHARS_MAX:
        raise BadExpression(f"has {len(text)} characters, allowed are {CHARS_MAX}")
    reader = _Reader(text)
    steps = tuple(reader.read())
    names = {step.name for step in steps if step.name and not step.takes}
    return Expression(text, tuple(sorted(names)), steps)


def evaluate(expression: Expression, numbers: Mapping[str, Number]) -> Number:
    """Work out an expression; raises BadExpression, which names the argument or what went wrong."""
    for name in expression.names:
        _check_argument(name, numbers.get(name))
    stack: list[Number] = []
    for step in expression.steps:
        if step.takes:
            taken = stack[-step.takes :]
            del stack[-step.takes :]
            stack.append(_apply(step.name, taken))
        else:
            stack.append(numbers[step.name] if step.name else step.value)
    (value,) = stack
    return value


def need_bytes(expression: Expression, numbers: Mapping[str, Number]) -> int:
    """Return how many bytes an expression asks for, rounded up; raises BadExpression."""
    value = evaluate(expression, numbers)
    if not 0 < value <= BYTES_MAX:
        raise BadExpression(f"comes to {value:g} bytes, allowed are more than 0 and up to 1 EiB")
    return rounded_up(math.ceil(value))


def rounded_up(size: int) -> int:
    """Round a size up to one of 64 between a power of two and the next, at least to whole MiB.

    So tasks whose arguments differ ask for a bounded number of different sizes.
    """
    step = max(STEP_BYTES_MIN, (1 << (size - 1).bit_length()) // STEPS_PER_DOUBLING // 2)
    return min(-(-size // step) * step, BYTES_MAX)


def size_class(expression: Expression, numbers: Mapping[str, Number]) -> int:
    """Return the order of a size: its logarithm to base 2, cut; 0 up to 2. Raises BadExpression."""
    value = evaluate(expression, numbers)
    if value < 0:
        raise BadExpression(f"comes to {value:g}, and a size is not negative")
    return max(0, math.floor(value).bit_length() - 1)


def _check_argument(name: str, value: Number | None) -> None:
    if value is None:
        raise BadExpression(f"needs the keyword argument {name}, which was not given as a number")
    if not math.isfinite(value) or abs(value) > VALUE_MAX:
        raise BadExpression(f"the argument {name} is no finite number")
    if value < 0:
        raise BadExpression(f"the argument {name} is {value:g}, and a need is of no negative thing")


def _apply(name: str, values: list[Number]) -> Number:
    try:
        found = _OPERATIONS[name](*values)
    except ZeroDivisionError as error:
        raise BadExpression("divides by zero") from error
    except OverflowError as error:
        raise BadExpression("overflows on the way") from error
    if abs(found) > VALUE_MAX:
        raise BadExpression("overflows on the way")
    return found


class _Reader:
    """Turns text into steps by descending from sums to single numbers."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._word = ""
        self._unit = ""
        self._depth = 0
        self._advance()

    def read(self) -> Iterator[Step]:
        yield from self._sum()
        if self._word:
            raise self._error(f"did not expect {self._word!r}")

    def _advance(self) -> None:
        match = _WORD.match(self._text, self._at)
        if match is None:
            if self._text[self._at :].strip():
                self._word = self._text[self._at :].strip().split()[0]
                raise self._error(f"cannot read {self._word[:20]!r}")
            self._word, self._unit = "", ""
            return
        self._at = match.end()
        self._unit = match["unit"] or ""
        self._word = match["number"] or match["name"] or match["sign"]

    def _sum(self) -> Iterator[Step]:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._error(f"is nested deeper than {DEPTH_MAX}")
        yield from self._chain(self._product, ("+", "-"))
        self._depth -= 1

    def _product(self) -> Iterator[Step]:
        return self._chain(self._signed, ("*", "/", "//"))

    def _chain(self, part: Callable[[], Iterator[Step]], signs: tuple[str, ...]) -> Iterator[Step]:
        yield from part()
        while (sign := self._word) in signs:
            self._advance()
            yield from part()
            yield Step(name=sign, takes=2)

    def _signed(self) -> Iterator[Step]:
        minus = 0
        while self._word in ("-", "+"):
            minus += self._word == "-"
            self._advance()
        yield from self._powers()
        if minus % 2:
            yield Step(name="negative", takes=1)

    def _powers(self) -> Iterator[Step]:
        count = 1
        yield from self._atom()
        while self._word == "**":  # a tower goes from right to left
            self._advance()
            yield from self._atom()
            count += 1
        yield from [Step(name="**", takes=2)] * (count - 1)

    def _atom(self) -> Iterator[Step]:
        word, unit = self._word, self._unit
        if not word:
            raise self._error("ends too early")
        self._advance()
        if word == "(":
            yield from self._sum()
            self._close()
        elif word in FUNCTIONS:
            yield from self._call(word)
        elif word[0].isdigit() or word[0] == ".":
            yield Step(value=_number(word, unit))
        elif word.isidentifier():
            yield Step(name=word)
        else:
            raise self._error(f"did not expect {word!r}")

    def _call(self, function: str) -> Iterator[Step]:
        if self._word != "(":
            raise self._error(f"{function} is a function: write {function}(...)")
        self._advance()
        count = 1
        yield from self._sum()
        while self._word == ",":
            self._advance()
            yield from self._sum()
            count += 1
        self._close()
        if (function == "ceil") != (count == 1):
            wanted = "one value" if function == "ceil" else "two values or more"
            raise self._error(f"{function} takes {wanted}, found {count}")
        yield Step(name=function, takes=count)

    def _close(self) -> None:
        if self._word != ")":
            raise self._error("lacks a )")
        self._advance()

    def _error(self, what: str) -> BadExpression:
        return BadExpression(
            f"{self._text[:60]!r} {what} (known: numbers with units like 2GiB, + - * / // **, "
            f"{', '.join(FUNCTIONS)}, parentheses, names of keyword arguments)"
        )


def _number(token: str, unit: str) -> Number:
    number = float(token) if set(token) & set(".eE") else int(token)
    if number > VALUE_MAX:
        raise BadExpression(f"{token} is too large")
    value = number * UNITS[unit.upper()]
    return int(value) if value == int(value) else value
