"""Does a submission bring the numbers that its expressions name, and no other argument?"""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import Mock

import pytest

from remuda.client.depot import Depot
from remuda.client.numbers import column, named_in, pick
from remuda.client.shipment import Shipment

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


@pytest.mark.parametrize("more", [{}, {"picture": b"x" * 70_000}], ids=["small", "large"])
def test_a_call_brings_its_numbers_whatever_else_it_is_given(more: dict[str, Any]) -> None:
    depot: Any = Mock(spec=Depot)
    with Shipment(depot) as shipment:
        call = shipment.call(SPEC, (), {"width": 640, "height": 480, **more})
    assert {"width": 640, "height": 480} == call.numbers


def test_without_numbers_nothing_is_sent() -> None:
    assert [] == column([pick((), {"width": 1}), {}])
    assert [{"width": 1}, {}] == column([{"width": 1}, {}])
