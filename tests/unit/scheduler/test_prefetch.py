"""Are tiny tasks sent ahead, within the credit, and nothing that would pin a card?"""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.runtimes import KINDS_MAX, Runtimes

from ...fakes.world import GIB, SimNode, World, gpu

MS_US = 1_000
FUNCTION = {"kind": "function", "argv": [], "target": "m:tiny"}


def measure(world: World, node: SimNode, run_us: int, **fields: object) -> None:
    """Let the scheduler see how long work of this kind takes."""
    (task,) = world.submit(**{**FUNCTION, **fields})
    world.end(node, task, run_us=run_us)


def ahead(world: World, node: SimNode) -> list[int]:
    return list(world.core.fleet.nodes[node.name].backlog)


def test_work_of_unknown_length_is_not_sent_ahead(world: World) -> None:
    node = world.node("n1", cpus=2)
    world.submit(10, **FUNCTION)
    assert 2 == len(node.held)


def test_tiny_work_is_sent_ahead_up_to_fifty_milliseconds_of_it(world: World) -> None:
    node = world.node("n1", cpus=2)
    measure(world, node, 10 * MS_US)
    world.submit(50, **FUNCTION)
    assert 2 + 5 * 2 == len(node.held)
    assert 5 * 2 == len(ahead(world, node))


def test_long_work_is_not_sent_ahead(world: World) -> None:
    node = world.node("n1", cpus=2)
    measure(world, node, 200 * MS_US)
    world.submit(10, **FUNCTION)
    assert 2 == len(node.held)


def test_what_is_sent_ahead_has_an_upper_limit(tmp_path: Path) -> None:
    world = World(tmp_path / "state", CoreSettings(prefetch_per_node_max=7))
    node = world.node("n1", cpus=1)
    measure(world, node, 1)
    world.submit(100, **FUNCTION)
    assert 1 + 7 == len(node.held)
    world.close()


def test_one_kind_that_is_tiny_says_nothing_of_another(world: World) -> None:
    node = world.node("n1", cpus=1)
    measure(world, node, MS_US)
    world.submit(5, **{**FUNCTION, "target": "m:other"})
    assert 1 == len(node.held)


@pytest.mark.parametrize("wanted", [{"gpus": 1}, {"vram_bytes": GIB}, {"gpu_milli": 100}])
def test_a_task_with_a_gpu_is_never_sent_ahead(world: World, wanted: dict[str, object]) -> None:
    node = world.node("n1", cpus=1, gpus=[gpu(1)])
    measure(world, node, MS_US, **wanted)
    world.submit(5, **FUNCTION, **wanted)
    assert 1 == len(node.held)
    assert [] == ahead(world, node)


def test_the_oldest_that_waits_ahead_moves_up_when_a_slot_is_free(world: World) -> None:
    node = world.node("n1", cpus=1)
    measure(world, node, 20 * MS_US)
    first, second, third, fourth = world.submit(4, **FUNCTION)
    assert [second, third] == ahead(world, node)
    world.end(node, first, run_us=20 * MS_US)
    assert [third, fourth] == ahead(world, node)
    assert 1_000 == world.core.fleet.nodes["n1"].cpus_used_milli
    assert not world.core.tasks[second].live.prefetched  # type: ignore[union-attr]  # it lives


def test_a_result_of_one_that_was_sent_ahead_counts(world: World) -> None:
    node = world.node("n1", cpus=1)
    measure(world, node, 20 * MS_US)
    tasks = world.submit(3, **FUNCTION)
    for task in reversed(tasks):
        world.start(node, task)
        world.end(node, task, run_us=20 * MS_US)
    assert ["succeeded"] * 3 == world.states(tasks)


def test_one_that_waits_ahead_can_be_cancelled(world: World) -> None:
    node = world.node("n1", cpus=1)
    measure(world, node, 20 * MS_US)
    _, second, _ = world.submit(3, **FUNCTION)
    assert ["stopping"] == world.cancel(second)
    world.end(node, second, m.Outcome.KILLED)
    assert "cancelled" == world.state(second)


def test_what_waited_ahead_on_a_lost_node_goes_elsewhere(world: World) -> None:
    node = world.node("n1", cpus=1)
    measure(world, node, 20 * MS_US)
    tasks = world.submit(3, **FUNCTION)
    world.later(59)
    two = world.node("n2", cpus=1)
    world.later(1)
    assert set(tasks) == {task for task, _ in two.held}


def test_what_waits_ahead_is_spread_over_the_nodes(world: World) -> None:
    one, two = world.node("n1", cpus=1), world.node("n2", cpus=1)
    measure(world, one, 10 * MS_US)
    world.submit(6, **FUNCTION)
    assert (2, 2) == (len(ahead(world, one)), len(ahead(world, two)))


def test_calls_of_a_handler_are_sent_ahead_by_its_workers(world: World) -> None:
    call = {"kind": "handler", "target": "repair", "argv": [], "cpus_milli": 0}
    node = world.node("n1", cpus=8, handlers=[Handler("repair", workers=1)])
    measure(world, node, 10 * MS_US, **call)
    world.submit(20, **call)
    assert 1 + 5 == len(node.held)


def test_after_a_restart_what_does_not_fit_is_taken_to_wait_ahead(world: World) -> None:
    node = world.node("n1", cpus=1)
    measure(world, node, 20 * MS_US)
    tasks = world.submit(3, **FUNCTION)
    world.restart()
    world.join(node)
    assert tasks[1:] == ahead(world, node)
    assert {(task, 1) for task in tasks} == set(node.held)


def test_a_node_is_told_which_tasks_are_only_to_wait(world: World) -> None:
    node = world.node("n1", cpus=1)
    measure(world, node, 20 * MS_US)
    offers: list[m.Offer] = []
    node.take = lambda message: offers.append(message)  # type: ignore[method-assign]  # listen in
    world.submit(3, **FUNCTION)
    (offer,) = offers
    assert [False, True, True] == offer.prefetched
    assert [1, 1, 1] == offer.attempts
    assert [ids.to_bytes(task) for task in (2, 3, 4)] == offer.tasks


def test_the_mean_run_time_follows_what_is_measured() -> None:
    runtimes = Runtimes()
    assert runtimes.mean_ns("k") is None
    runtimes.add("k", 1_000)
    assert 1_000 == runtimes.mean_ns("k")
    runtimes.add("k", 2_000)
    assert 1_200 == runtimes.mean_ns("k")


def test_the_table_of_run_times_is_bounded() -> None:
    runtimes = Runtimes()
    for i in range(KINDS_MAX + 1):
        runtimes.add(f"kind {i}", 5)
    assert runtimes.mean_ns("kind 0") is None
    assert 5 == runtimes.mean_ns(f"kind {KINDS_MAX}")
