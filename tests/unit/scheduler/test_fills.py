"""Does the task go first that leaves least of a card empty, without using up what fills gaps?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.scheduler.fills import LAG, WORTH, first_into, step


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
    assert first == first_into(gap, sizes, {}, {})


COUNTS = st.dictionaries(st.integers(1, 900).map(step), st.integers(1, 50), max_size=6)


@given(
    st.integers(1, 1_000),
    st.lists(st.integers(1, 900), max_size=12, unique=True).map(sorted),
    COUNTS,
    COUNTS,
)
@settings(derandomize=True, deadline=None)
def test_no_pair_with_the_largest_that_fits_beside_is_worth_more(
    gap: int, sizes: list[int], waiting: dict[int, int], running: dict[int, int]
) -> None:
    def worth(size: int) -> float:
        lag = waiting.get(step(size), 0) / (1 + running.get(step(size), 0))
        return size**WORTH * (1 + lag) ** LAG

    def of_pair(first: int) -> float:
        beside = [size for size in sizes if size <= min(first, gap - first)]
        return worth(first) + (worth(max(beside)) if beside else 0)

    fits = [size for size in sizes if size <= gap]
    found = first_into(gap, sizes, waiting, running)
    assert (found is None) == (not fits)
    if found is not None:
        halves = [size for size in fits if 2 * size <= gap]
        tried = [size for size in fits if 2 * size > gap] + halves[-1:]
        assert max(map(of_pair, tried)) == pytest.approx(of_pair(found))


def test_of_two_fills_that_goes_first_whose_queue_would_last_longer() -> None:
    waiting = {step(20): 10, step(22): 10}
    assert 22 == first_into(24, [20, 22], waiting, {step(20): 2, step(22): 2})
    assert 20 == first_into(24, [20, 22], waiting, {step(20): 2, step(22): 29})


@given(st.integers(1, 1 << 50))
def test_a_step_is_an_eighth_of_an_octave_and_larger_sizes_are_not_of_lower_ones(size: int) -> None:
    assert 8 == step(2 * size + 16) - step(size + 8)
    assert step(size) <= step(size + 1) <= step(size) + 1
