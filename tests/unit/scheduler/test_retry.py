"""Is each class charged to its own budget, and each wait drawn fairly below its bound?"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.config.settings import Settings
from remuda.protocol.failures import CLASS_OF, FINAL, FailureClass, class_of
from remuda.protocol.resources import Request
from remuda.scheduler.assembly import core_settings
from remuda.scheduler.retry import (
    PACKAGED,
    ClassPolicy,
    backoff_ns,
    judge,
    pause_ns,
    read_spent,
    spent_text,
)
from remuda.scheduler.task import Policy, Spec, Task

MS_NS = 1_000_000
DRAWS = 4_000


def task_of(retries: int = 0, **fields: object) -> Task:
    policy = Policy(50, retries, 1_000, 300_000, 5_000, **fields)  # type: ignore[arg-type]
    return Task(1, 1, 0, Spec(1, Request(), policy, "command", "ana"), b"")


def tries_until_failed(task: Task, code: str) -> int:
    """Fail with one code again and again; count the tries that follow."""
    for tries in range(100):
        if not judge(PACKAGED, task, code).again:
            return tries
    raise AssertionError("it is tried for ever")


def test_the_packaged_table_is_that_of_the_configuration() -> None:
    settings = Settings()
    assert PACKAGED == core_settings(settings).policies


def test_every_class_has_a_code_and_every_code_a_row() -> None:
    assert set(FailureClass) == set(CLASS_OF.values()) == PACKAGED.keys()


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("exception", 2), ("exit_code", 2), ("timeout", 2), ("silence", 2), ("start_timeout", 2),
        ("out_of_memory", 2), ("gpu_out_of_memory", 2), ("disk_full", 3), ("network", 5),
        ("model_unavailable", 3), ("node_lost", 2), ("code_missing", 8),
        ("a code of a later version", 2),
    ],
)  # fmt: skip
def test_each_class_has_its_own_budget(code: str, more: int) -> None:
    assert more == tries_until_failed(task_of(retries=2), code)


def test_budgets_do_not_touch_each_other() -> None:
    task = task_of(retries=1)
    assert 5 == tries_until_failed(task, "network")
    assert 2 == tries_until_failed(task, "node_lost")
    assert 0 == task.charged
    assert 1 == tries_until_failed(task, "exception")


@pytest.mark.parametrize("code", sorted(FINAL))
def test_what_would_end_the_same_way_is_not_tried_again(code: str) -> None:
    assert 0 == tries_until_failed(task_of(retries=9), code)


@pytest.mark.parametrize("name", ["timeout", "silence"])
def test_never_on_forbids_a_code_or_a_class(name: str) -> None:
    assert 0 == tries_until_failed(task_of(retries=9, never_on=(name,)), "silence")
    assert 9 == tries_until_failed(task_of(retries=9, never_on=(name,)), "exception")


def test_retry_on_narrows_the_tasks_own_errors_alone() -> None:
    task = task_of(retries=9, retry_on=("timeout",))
    assert 0 == tries_until_failed(task, "exception")
    assert 5 == tries_until_failed(task, "network")
    assert 9 == tries_until_failed(task_of(retries=9, retry_on=("timeout",)), "timeout")


def test_fail_on_a_lost_node_means_no_other_try() -> None:
    assert 0 == tries_until_failed(task_of(if_node_lost="fail"), "node_lost")


def test_what_is_not_charged_leaves_the_budget_as_it_is() -> None:
    task = task_of()
    assert all(judge(PACKAGED, task, "node_lost", charge=False).again for _ in range(50))
    assert 2 == tries_until_failed(task, "node_lost")


@given(st.dictionaries(st.sampled_from(sorted(FailureClass, key=str)), st.integers(1, 99)))
@settings(derandomize=True, deadline=None)
def test_what_was_spent_comes_back_from_its_text(spent: dict[FailureClass, int]) -> None:
    task = task_of()
    task.spent = Counter(spent)
    assert (Counter(spent) or None) == read_spent(spent_text(task))


def test_a_class_of_a_later_version_is_dropped_from_what_was_spent() -> None:
    assert {FailureClass.DISK: 2} == read_spent("disk=2 moon=7")


def test_an_unknown_code_is_the_tasks_own_error() -> None:
    assert FailureClass.TASK is class_of("moon")


# --- waits -----------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(0, 1_000_000), st.integers(0, 2_000), st.integers())
@settings(derandomize=True, deadline=None)
def test_a_wait_stays_below_its_exponential_bound_and_its_cap(
    first_ms: int, longest_ms: int, tries: int, seed: int
) -> None:
    wait_ns = backoff_ns(first_ms, longest_ms, tries, Random(seed))
    bound_ms = min(longest_ms, first_ms * 2 ** max(tries - 1, 0))
    assert 0 <= wait_ns <= bound_ms * MS_NS


@pytest.mark.parametrize(("tries", "bound_ms"), [(1, 1_000), (2, 2_000), (4, 8_000), (20, 60_000)])
def test_waits_spread_over_the_whole_range_below_the_bound(tries: int, bound_ms: int) -> None:
    chance = Random(1)
    waits = [backoff_ns(1_000, 60_000, tries, chance) / MS_NS / bound_ms for _ in range(DRAWS)]
    assert min(waits) < 0.02
    assert max(waits) > 0.98
    assert 0.47 < sum(waits) / DRAWS < 0.53


def test_one_seed_draws_one_sequence() -> None:
    def draw(seed: int) -> list[int]:
        chance = Random(seed)
        return [backoff_ns(1_000, 300_000, tries, chance) for tries in range(1, 20)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_a_class_without_a_pause_of_its_own_takes_the_tasks() -> None:
    row = {FailureClass.TASK: ClassPolicy(), FailureClass.NETWORK: ClassPolicy(3, 7, 7)}

    def longest_ns(code: str) -> int:
        verdict = judge(row, task_of(retries=1), code)
        return max(pause_ns(task_of().spec.policy, verdict, Random(seed)) for seed in range(99))

    assert 900 * MS_NS < longest_ns("exception") <= 1_000 * MS_NS
    assert 6 * MS_NS < longest_ns("network") <= 7 * MS_NS
