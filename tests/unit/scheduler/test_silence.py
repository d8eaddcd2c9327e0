"""Is a silent node given up in its time, and not when it is the scheduler that is cut off?"""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.protocol import messages as m
from remuda.scheduler.core import SECOND_NS, CoreSettings

from ...fakes.world import SimNode, World


def fleet(world: World, count: int) -> list[SimNode]:
    return [world.node(f"n{number}", cpus=1) for number in range(1, count + 1)]


def lost(world: World) -> list[str]:
    return sorted(node.name for node in world.core.fleet.nodes.values() if node.lost)


# --- what a task wants when its node is lost ---------------------------------------------------


def test_a_task_runs_elsewhere_after_its_node_was_lost(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    other = world.node("n2")
    world.keep_alive(59, other)
    assert "running" == world.state(task)
    world.keep_alive(1, other)
    assert ("assigned", ["lost", ""]) == (world.state(task), world.attempts(task))
    assert [task] == [held for held, _ in other.held]


def test_a_fenced_task_moves_only_once_its_node_has_surely_stopped_it(world: World) -> None:
    world.node("n1")
    (task,) = world.submit(if_node_lost="fence")
    other = world.node("n2")
    world.keep_alive(89, other)
    assert ["n1"] == lost(world)
    assert ("assigned", [""]) == (world.state(task), world.attempts(task))
    world.keep_alive(2, other)
    assert ["lost", ""] == world.attempts(task)
    assert [task] == [held for held, _ in other.held]


def test_a_fenced_task_goes_on_where_it_is_when_its_node_comes_back(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(if_node_lost="fence")
    world.later(70)
    world.heartbeat(node)
    world.end(node, task)
    assert ("succeeded", ["succeeded"]) == (world.state(task), world.attempts(task))


def test_a_node_that_stopped_a_fenced_task_hands_it_back_uncharged(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(if_node_lost="fence")
    world.later(70)
    world.end(node, task, m.Outcome.RETURNED)
    assert ("queued", ["returned"]) == (world.state(task), world.attempts(task))
    assert not world.core.tasks[task].has_begun


def test_a_task_that_had_not_begun_on_a_lost_node_is_charged_nothing(world: World) -> None:
    world.node("n1").deaf = True
    (task,) = world.submit()
    world.later(60)
    assert ("queued", False) == (world.state(task), world.core.tasks[task].has_begun)


def test_a_task_that_wants_no_second_run_fails_with_its_node(world: World) -> None:
    world.node("n1")
    (task,) = world.submit(if_node_lost="fail", retries=5)
    world.later(60)
    shown = world.journal.history.show_task(task)
    assert shown is not None
    assert ("failed", "node_lost") == (world.state(task), shown["code"])


def test_a_fenced_task_with_a_grace_that_is_too_long_is_refused(world: World) -> None:
    world.node("n1")
    world.submit(if_node_lost="fence", grace_ms=36_000)
    refused = world.replies[-1]
    assert isinstance(refused, m.Failure)
    assert ("invalid", "grace_ms") == (refused.code, refused.field)
    world.submit(if_node_lost="fence", grace_ms=34_000)
    assert isinstance(world.replies[-1], m.Submitted)


def test_a_task_that_loses_node_after_node_is_quarantined(world: World) -> None:
    (task,) = world.submit(retries=50)
    for number in (1, 2, 3):
        node = world.node(f"n{number}")
        world.start(node, task)
        world.later(60)
    shown = world.journal.history.show_task(task)
    assert shown is not None
    assert ("failed", "poison") == (world.state(task), shown["code"])
    assert ["lost", "lost", "lost"] == world.attempts(task)


def test_a_task_that_never_began_on_lost_nodes_is_not_poison(world: World) -> None:
    (task,) = world.submit()
    for number in range(1, 8):
        node = world.node(f"n{number}")
        node.deaf = True
        world.later(60)
    assert "queued" == world.state(task)


def test_the_count_of_lost_nodes_survives_a_restart(world: World) -> None:
    (task,) = world.submit()
    for number in (1, 2, 3):
        node = world.node(f"n{number}")
        world.start(node, task)
        world.later(60)
        world.restart()
    assert "failed" == world.state(task)


# --- a reboot ----------------------------------------------------------------------------------


def test_a_node_that_was_restarted_gives_up_its_tasks_at_once(world: World) -> None:
    node = world.node("n1")
    rerun, fenced, cancelled = (
        *world.submit(cpus_milli=100),
        *world.submit(cpus_milli=100, if_node_lost="fence"),
        *world.submit(cpus_milli=100),
    )
    for task in (rerun, fenced, cancelled):
        world.start(node, task)
    world.cancel(cancelled)
    world.reboot(node)
    assert "cancelled" == world.state(cancelled)
    assert [["lost", ""]] * 2 == [world.attempts(task) for task in (rerun, fenced)]


def test_an_agent_that_restarts_without_a_task_returns_it_uncharged(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(if_node_lost="fail")
    node.held.clear()
    node.incarnation = b"again".ljust(16, b"-")
    world.join(node)
    world.heartbeat(node)
    assert ["returned", ""] == world.attempts(task)


def test_a_reboot_while_the_scheduler_was_down_is_noticed(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    world.restart()
    world.reboot(node)
    assert ["lost", ""] == world.attempts(task)


# --- the fuse ----------------------------------------------------------------------------------


def test_when_many_nodes_fall_silent_at_once_nobody_is_given_up(world: World) -> None:
    nodes = fleet(world, 6)
    tasks = world.submit(6)
    world.keep_alive(100, *nodes[:3])
    assert [] == lost(world)
    assert {"n4", "n5", "n6"} == set(world.core.fuse_names)
    assert ["assigned"] * 6 == world.states(tasks)


def test_the_fuse_is_mended_once_they_are_heard_and_the_rest_has_a_lease_more(
    world: World,
) -> None:
    nodes = fleet(world, 6)
    world.submit(6)
    world.keep_alive(100, *nodes[:3])
    world.keep_alive(1, *nodes[:5])
    assert () == world.core.fuse_names
    world.keep_alive(28, *nodes[:5])
    assert [] == lost(world)
    world.keep_alive(2, *nodes[:5])
    assert ["n6"] == lost(world)


@pytest.mark.parametrize(("count", "silent"), [(4, 3), (9, 2), (9, 3)])
def test_few_silent_nodes_are_lost_as_ever(world: World, count: int, silent: int) -> None:
    nodes = fleet(world, count)
    world.keep_alive(61, *nodes[silent:])
    assert [f"n{number}" for number in range(1, silent + 1)] == lost(world)


def test_nodes_that_fall_silent_one_after_the_other_do_not_blow_the_fuse(world: World) -> None:
    nodes = fleet(world, 6)
    world.keep_alive(40, *nodes[1:])
    world.keep_alive(40, *nodes[2:])
    world.keep_alive(61, *nodes[3:])
    assert ["n1", "n2", "n3"] == lost(world)


def test_an_operator_moves_the_work_of_a_node_whatever_the_fuse_says(world: World) -> None:
    nodes = fleet(world, 6)
    tasks = world.submit(6)
    world.keep_alive(30, *nodes[:3])
    assert 3 == len(world.core.fuse_names)
    world.declare_lost("n6")
    assert ["n6"] == lost(world)
    assert 1 == world.states(tasks).count("queued")


# --- the reconcile window ----------------------------------------------------------------------


def test_after_a_start_nobody_is_lost_while_known_nodes_may_come_back(tmp_path: Path) -> None:
    world = World(
        tmp_path / "state",
        CoreSettings(suspect_after_ns=2 * SECOND_NS, lost_after_ns=10 * SECOND_NS),
    )
    first, second = world.node("n1"), world.node("n2")
    world.submit(2)
    world.restart()
    world.join(first)
    world.keep_alive(59, first)
    assert [] == lost(world)
    world.keep_alive(2, first)
    assert ["n2"] == lost(world)
    world.join(second)
    assert [] == lost(world)
    world.close()


def test_the_window_closes_once_every_known_node_was_heard(tmp_path: Path) -> None:
    world = World(
        tmp_path / "state",
        CoreSettings(suspect_after_ns=2 * SECOND_NS, lost_after_ns=10 * SECOND_NS),
    )
    first, second = world.node("n1"), world.node("n2")
    world.restart()
    world.join(first)
    world.join(second)
    world.keep_alive(11, first)
    assert ["n2"] == lost(world)
    world.close()


def test_a_lost_node_does_not_keep_the_window_open(tmp_path: Path) -> None:
    world = World(
        tmp_path / "state",
        CoreSettings(suspect_after_ns=2 * SECOND_NS, lost_after_ns=10 * SECOND_NS),
    )
    world.node("n1")
    world.later(61)
    second = world.node("n2")
    world.restart()
    world.join(second)
    world.later(11)
    assert ["n1", "n2"] == lost(world)
    world.close()
