"""Is the wait between tries drawn fairly below its bound, and reproducible by its seed?"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.scheduler.retry import NEVER_RETRIED, backoff_ns, may_retry
from remuda.scheduler.task import Policy

MS_NS = 1_000_000
DRAWS = 4_000


def policy(retries: int = 3, first_ms: int = 1_000, longest_ms: int = 300_000) -> Policy:
    return Policy(50, retries, first_ms, longest_ms, 5_000)


@given(st.integers(0, 10_000), st.integers(0, 1_000_000), st.integers(0, 2_000), st.integers())
@settings(derandomize=True, deadline=None)
def test_a_wait_stays_below_its_exponential_bound_and_its_cap(
    first_ms: int, longest_ms: int, charged: int, seed: int
) -> None:
    wait_ns = backoff_ns(policy(first_ms=first_ms, longest_ms=longest_ms), charged, Random(seed))
    bound_ms = min(longest_ms, first_ms * 2 ** max(charged - 1, 0))
    assert 0 <= wait_ns <= bound_ms * MS_NS


@pytest.mark.parametrize(
    ("charged", "bound_ms"), [(1, 1_000), (2, 2_000), (4, 8_000), (20, 60_000)]
)
def test_waits_spread_over_the_whole_range_below_the_bound(charged: int, bound_ms: int) -> None:
    chance = Random(1)
    waits = [
        backoff_ns(policy(longest_ms=60_000), charged, chance) / MS_NS / bound_ms
        for _ in range(DRAWS)
    ]
    assert min(waits) < 0.02
    assert max(waits) > 0.98
    assert 0.47 < sum(waits) / DRAWS < 0.53


def test_one_seed_draws_one_sequence() -> None:
    def draw(seed: int) -> list[int]:
        chance = Random(seed)
        return [backoff_ns(policy(), charged, chance) for charged in range(1, 20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_as_many_tries_as_were_asked_for() -> None:
    assert [True, True, False] == [
        may_retry(policy(2), charged, "exception") for charged in (1, 2, 3)
    ]
    assert not may_retry(policy(0), 1, "exception")


@pytest.mark.parametrize("code", sorted(NEVER_RETRIED))
def test_what_would_end_the_same_way_is_not_tried_again(code: str) -> None:
    assert not may_retry(policy(9), 1, code)
