"""Do calls get to workers that take several at a time, on one slot, and is the ledger right?"""

from __future__ import annotations

from remuda.protocol.capabilities import BATCH_MAX, Handler
from remuda.scheduler import invariants

from ...fakes.world import World

CALL = {"kind": "handler", "target": "work", "argv": []}


def test_a_worker_is_given_as_many_calls_as_it_takes_on_one_slot(world: World) -> None:
    node = world.node("n1", cpus=1, handlers=[Handler("work", max_batch=3)])
    tasks = world.submit(4, **CALL)
    assert ["assigned"] * 3 + ["queued"] == world.states(tasks)
    assert 1_000 == world.core.fleet.nodes["n1"].cpus_used_milli
    world.end(node, tasks[1])
    assert "assigned" == world.state(tasks[3])


def test_the_slot_is_given_back_with_the_last_call_of_a_worker(world: World) -> None:
    node = world.node("n1", cpus=2, handlers=[Handler("work", max_batch=3)])
    tasks = world.submit(3, **CALL)
    known = world.core.fleet.nodes["n1"]
    for task, left_milli in zip(tasks, (1_000, 1_000, 0), strict=True):
        world.end(node, task)
        assert left_milli == known.cpus_used_milli
        assert [] == invariants.violations(world.core)


def test_each_worker_that_has_calls_has_a_slot(world: World) -> None:
    world.node("n1", cpus=8, handlers=[Handler("work", workers=2, max_batch=3)])
    world.submit(7, **CALL)
    assert 2_000 == world.core.fleet.nodes["n1"].cpus_used_milli


def test_without_a_free_slot_calls_join_the_worker_that_has_one(world: World) -> None:
    world.node("n1", cpus=1, handlers=[Handler("work", workers=2, max_batch=2)])
    tasks = world.submit(5, **CALL)
    assert ["assigned"] * 4 + ["queued"] == world.states(tasks)


def test_calls_that_name_a_resource_do_not_share_it(world: World) -> None:
    world.node("n1", cpus=8, handlers=[Handler("work", max_batch=4)], resources={"licence": 2})
    tasks = world.submit(3, **CALL, resources={"licence": 1})
    assert ["assigned", "assigned", "queued"] == world.states(tasks)


def test_a_call_goes_to_an_idle_worker_before_it_joins_a_busy_one(world: World) -> None:
    nodes = [
        world.node(name, cpus=8, handlers=[Handler("work", max_batch=4)]) for name in ("n1", "n2")
    ]
    world.submit(2, **CALL)
    assert [1, 1] == [len(node.held) for node in nodes]


def test_a_node_cannot_claim_endless_batches(world: World) -> None:
    world.node("n1", cpus=8, handlers=[Handler("work", max_batch=1 << 40)])
    assert {"work": BATCH_MAX} == world.core.fleet.nodes["n1"].seats.sizes


def test_after_a_restart_of_the_scheduler_calls_share_their_slot_again(world: World) -> None:
    node = world.node("n1", cpus=1, handlers=[Handler("work", max_batch=3)])
    tasks = world.submit(3, **CALL)
    world.restart()
    world.join(node)
    known = world.core.fleet.nodes["n1"]
    assert set(tasks) == {task for task, _ in node.held}
    assert [] == invariants.violations(world.core)
    for task in tasks:
        world.end(node, task)
    assert 0 == known.cpus_used_milli


def test_of_how_many_calls_the_batch_of_an_attempt_was_is_kept_until_it_is_pruned(
    world: World,
) -> None:
    node = world.node("n1", handlers=[Handler("work", max_batch=3)])
    (task,) = world.submit(1, **CALL)
    world.end(node, task, batch_calls=3)
    shown = world.journal.history.show_task(task)
    assert shown is not None
    assert [3] == [attempt["batch_calls"] for attempt in shown["attempts"]]
