"""Does the task go first that leaves least of a card empty, without using up what fills gaps?"""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.scheduler.fills import WORTH, first_into


@pytest.mark.parametrize(
    ("gap", "sizes", "first"),
    [
        (24, [6, 18, 19], 18),  # 18 and 6 leave nothing, 19 leaves 5
        (24, [5, 6, 18, 19], 19),  # now 5 goes beside 19
        (24, [6, 18, 22], 22),  # what fits into few gaps goes first all the same
        (24, [24, 30], 24),
        (24, [5], 5),
        (24, [25], None),
        (24, [], None),
        (80, [10, 41, 70], 70),
    ],
)
def test_the_fill_of_most_worth_begins_with(gap: int, sizes: list[int], first: int | None) -> None:
    assert first == first_into(gap, sizes)


@given(st.integers(1, 100), st.lists(st.integers(1, 90), max_size=12, unique=True).map(sorted))
@settings(derandomize=True, deadline=None)
def test_no_pair_of_what_waits_is_worth_more(gap: int, sizes: list[int]) -> None:
    def worth(first: int) -> float:
        beside = [size for size in sizes if size <= min(first, gap - first)]
        return first**WORTH + (max(beside) ** WORTH if beside else 0)

    fits = [size for size in sizes if size <= gap]
    found = first_into(gap, sizes)
    assert (found is None) == (not fits)
    if found is not None:
        pairs = [(a, b) for a, b in combinations_with_replacement(fits, 2) if a + b <= gap]
        best = max([a**WORTH + b**WORTH for a, b in pairs] + [a**WORTH for a in fits])
        assert best == pytest.approx(worth(found))
