"""Is the speed of a model of card what its runs say, whatever ran on it?"""

from __future__ import annotations

import pytest

from remuda.scheduler.paces import KINDS_MAX, Paces


def noted(runs: dict[tuple[str, str], int], times: int = 5) -> Paces:
    paces = Paces()
    for _ in range(times):
        for (kind, model), run_ns in runs.items():
            paces.add(kind, model, run_ns)
    return paces


def test_speeds_are_those_that_work_of_one_kind_shows() -> None:
    paces = noted({("paint", "L4"): 900, ("paint", "H100"): 300, ("read", "L4"): 90,
                   ("read", "H100"): 30})  # fmt: skip
    assert {"L4": pytest.approx(1.0), "H100": pytest.approx(3.0)} == paces.speeds()


def test_different_work_on_different_cards_tells_nothing() -> None:
    assert {} == noted({("paint", "L4"): 900, ("read", "H100"): 1}).speeds()


def test_a_few_runs_tell_nothing_yet() -> None:
    assert {} == noted({("paint", "L4"): 900, ("paint", "H100"): 300}, times=2).speeds()


def test_no_more_kinds_are_kept_than_the_bound() -> None:
    paces = noted({("paint", "L4"): 900, ("paint", "H100"): 300})
    for number in range(KINDS_MAX):
        paces.add(f"kind {number}", "L4", 1)
    assert {} == paces.speeds()
