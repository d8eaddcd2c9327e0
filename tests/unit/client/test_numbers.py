"""Does a submission bring the numbers that its expressions name, and no other argument?"""

from __future__ import annotations

import math
from typing import Any

import pytest

from remuda.client.numbers import column, named_in, pick

SPEC = {"vram": "1GiB + 2B*width*height", "size": "width"}


class Whole:
    """A whole number of some library."""

    def __index__(self) -> int:
        return 7


def test_the_names_are_those_of_both_expressions() -> None:
    assert ("height", "width") == named_in(SPEC)
    assert () == named_in({"vram": "auto"})
    assert () == named_in({})


@pytest.mark.parametrize(
    ("value", "expected"),
    [(640, 640), (0.5, 0.5), (Whole(), 7), (1 << 80, float(1 << 80)), (10**400, math.inf)],
)
def test_a_number_of_any_kind_travels(value: Any, expected: float) -> None:
    assert {"width": expected} == pick(("width",), {"width": value, "secret": 1})


@pytest.mark.parametrize("value", ["640", None, True, [1], b"1"])
def test_what_is_no_number_stays_here(value: Any) -> None:
    assert {} == pick(("width",), {"width": value})


def test_without_numbers_nothing_is_sent() -> None:
    assert [] == column([pick((), {"width": 1}), {}])
    assert [{"width": 1}, {}] == column([{"width": 1}, {}])
