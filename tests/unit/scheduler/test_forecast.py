"""Is what is foretold of a run as good as what is known of it, and nothing where nothing is?"""

from __future__ import annotations

import pytest

from remuda.scheduler import forecast
from remuda.scheduler.runtimes import Runtimes

from ...fakes.world import SECOND_NS, SimNode, World

SLACK_S = forecast.SLACK_NS // SECOND_NS


@pytest.fixture
def node(world: World) -> SimNode:
    return world.node("n1", cpus=8)


def running(world: World, node: SimNode, **fields: object) -> int:
    (task,) = world.submit(**fields)
    world.start(node, task)
    return task


def left_s(world: World, task: int) -> float | None:
    end_ns = forecast.end_ns(world.core, world.core.tasks[task], world.now)
    return None if end_ns is None else (end_ns - world.mono_ns) / SECOND_NS


def learn(world: World, node: SimNode, *runs_s: int) -> None:
    for run_s in runs_s:
        world.end(node, running(world, node), run_us=run_s * 1_000_000)


def test_nothing_is_foretold_of_a_kind_that_never_ran(world: World, node: SimNode) -> None:
    task = running(world, node)
    assert left_s(world, task) is None
    assert forecast.longest_ns(world.core, world.core.tasks[task]) is None


def test_a_run_is_expected_to_take_as_long_as_its_kind_does(world: World, node: SimNode) -> None:
    learn(world, node, 40, 40, 40, 40)
    task = running(world, node)
    assert 40 == left_s(world, task)
    world.keep_alive(30, node)
    assert 10 == left_s(world, task)


def test_what_has_not_begun_yet_has_all_of_its_run_before_it(world: World, node: SimNode) -> None:
    learn(world, node, 40, 40, 40, 40)
    (task,) = world.submit()
    world.keep_alive(30, node)
    assert 40 == left_s(world, task)


def test_what_overruns_is_expected_when_almost_all_are_over_and_then_at_its_limit(
    world: World, node: SimNode
) -> None:
    learn(world, node, *[40] * 20)
    task = running(world, node, timeout_ms=100_000, grace_ms=5_000)
    world.keep_alive(41, node)
    first = left_s(world, task)
    assert first is not None
    assert 0 < first < 20
    world.keep_alive(30, node)
    assert 105 + SLACK_S - 71 == left_s(world, task)
    world.keep_alive(40, node)
    assert left_s(world, task) is None


def test_a_limit_below_the_mean_is_what_counts(world: World, node: SimNode) -> None:
    learn(world, node, 40, 40, 40)
    task = running(world, node, timeout_ms=10_000, grace_ms=0)
    assert 10 + SLACK_S == left_s(world, task)


def test_what_is_being_stopped_is_over_within_its_grace(world: World, node: SimNode) -> None:
    task = running(world, node, grace_ms=7_000)
    world.cancel(task)
    assert 7 == left_s(world, task)


def test_the_less_runs_differ_the_closer_is_what_is_enough() -> None:
    even, uneven = Runtimes(), Runtimes()
    for at in range(40):
        even.add("k", 1_000)
        uneven.add("k", 500 if at % 2 else 1_500)
    assert 1_125 == even.enough_ns("k")
    enough = uneven.enough_ns("k")
    assert enough is not None
    assert 2_000 < enough < 4_000


def test_one_run_is_taken_to_say_little_of_the_next() -> None:
    known = Runtimes()
    assert known.add("k", 1_000)
    assert 3_000 == known.enough_ns("k")
    assert not known.add("k", 1_000)


def test_runs_that_are_on_disk_are_known_after_a_start(world: World) -> None:
    core = world.core
    core.runtimes.recover("k", [1, 2, 3])
    assert core.runtimes.mean_ns("k") is not None
    assert core.runtimes.mean_ns("never ran") is None
