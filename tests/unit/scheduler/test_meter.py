"""Is what happens counted once, under a bounded number of labels?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol import messages as m
from remuda.scheduler.events import Event
from remuda.scheduler.meter import OTHER, Histogram, Labels, Meter, shown
from remuda.scheduler.metrics_table import BY_NAME
from remuda.scheduler.records import Effects

from ...fakes.world import World


class MeteredWorld(World):
    """A world whose turns are counted."""

    def __init__(self, folder: Path) -> None:
        self.meter: Meter | None = None
        super().__init__(folder)
        self.meter = Meter(2, self.core.tasks)

    def step(self, *events: Event) -> Effects:
        effects = super().step(*events)
        if self.meter is not None:
            self.meter.took(effects)
        return effects

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        assert self.meter is not None
        rows = self.meter.rows()[name]
        return {tuple(row[0]): sum(row[1]) if len(row) == 3 else row[1] for row in rows}


def test_a_histogram_counts_each_value_in_the_bucket_that_is_just_large_enough() -> None:
    made = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5, 99.0):
        made.observe(value)
    assert ([2, 1, 2], 104.5) == (made.counts, made.sum)


def test_kinds_beyond_the_first_ones_are_other() -> None:
    labels = Labels(2)
    assert ["a", "b", OTHER, "a"] == [labels.of(name) for name in ("a", "b", "c", "a")]


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("command python train.py 0a1b2c3d", "command python train.py"),
        ("command python train.py 0a1b2c3d sdxl", "command python train.py sdxl"),
        ("function math:sqrt", "function math:sqrt"),
        ("function m:" + "f" * 200, ("function m:" + "f" * 200)[:100]),
    ],
)
def test_commands_that_differ_in_later_words_are_one_kind(kind: str, label: str) -> None:
    assert label == shown(kind)


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[MeteredWorld]:
    world = MeteredWorld(tmp_path / "state")
    yield world
    world.close()


def test_tasks_are_counted_from_their_submission_to_their_end(metered: MeteredWorld) -> None:
    node = metered.node("n1", cpus=8)
    good, bad = metered.submit(2, argv=["train", "it"])
    metered.start(node, good)
    metered.end(node, good)
    metered.end(node, bad, m.Outcome.FAILED)
    assert {("command train it",): 2} == metered.counted("tasks_submitted_total")
    assert {("succeeded", ""): 1, ("failed", "exit_code"): 1} == (
        metered.counted("tasks_finished_total")
    )
    assert {("command train it",): 2} == metered.counted("task_wait_seconds")
    assert {("command train it",): 2} == metered.counted("task_run_seconds")
    assert {(): 1} == metered.counted("dispatch_seconds")
    assert {} == metered.counted("task_retries_total")


def test_a_try_after_which_another_one_follows_is_a_retry_and_waits_once(
    metered: MeteredWorld,
) -> None:
    node = metered.node("n1")
    (task,) = metered.submit(retries=1, backoff_first_ms=0)
    metered.end(node, task, m.Outcome.FAILED)
    metered.keep_alive(3, node)
    metered.end(node, task)
    assert {("exit_code",): 1} == metered.counted("task_retries_total")
    assert {("failed", "exit_code"): 1, ("succeeded", ""): 1} == (
        metered.counted("attempts_finished_total")
    )
    assert {("command true",): 1} == metered.counted("task_wait_seconds")


def test_nothing_is_remembered_of_tasks_that_ended(metered: MeteredWorld) -> None:
    node = metered.node("n1", cpus=8)
    tasks = metered.submit(5)
    for task in tasks:
        metered.end(node, task)
    assert metered.meter is not None
    assert {} == metered.meter._on_nodes


def test_kinds_beyond_the_bound_are_counted_together(metered: MeteredWorld) -> None:
    for word in ("a", "b", "c", "d"):
        metered.submit(argv=[word])
    assert {("command a",): 1, ("command b",): 1, (OTHER,): 2} == (
        metered.counted("tasks_submitted_total")
    )


def test_a_scheduler_that_starts_again_knows_the_kinds_of_what_runs(metered: MeteredWorld) -> None:
    node = metered.node("n1")
    (task,) = metered.submit(argv=["train"])
    metered.restart()
    metered.meter = Meter(2, metered.core.tasks)
    metered.join(node)
    metered.end(node, task)
    assert {("command train",): 1} == metered.counted("task_run_seconds")


def test_every_family_that_is_counted_is_in_the_table(metered: MeteredWorld) -> None:
    assert metered.meter is not None
    assert set() == metered.meter.rows().keys() - BY_NAME.keys()
