"""Who goes first: the higher priority, then the older task, and nobody blocks who would fit."""

from __future__ import annotations

from remuda.protocol import messages as m
from remuda.scheduler.core import CoreSettings

from ...fakes.world import GIB, SimNode, World, gpu


def order_of_work(world: World, node: SimNode) -> list[int]:
    """Let a node work everything off, one after the other; return the order."""
    order = []
    while node.held:
        (task, _) = next(iter(node.held))
        order.append(task)
        world.end(node, task, run_us=10_000_000)
    return order


def test_tasks_of_one_priority_go_in_the_order_of_submission(world: World) -> None:
    tasks = [*world.submit(2), *world.submit(2, owner="bob"), *world.submit(1, name="x")]
    assert tasks == order_of_work(world, world.node("n1", cpus=1))


def test_a_higher_priority_goes_first(world: World) -> None:
    low, middle, high = (world.submit(priority=priority)[0] for priority in (10, 50, 90))
    assert [high, middle, low] == order_of_work(world, world.node("n1", cpus=1))


def test_priorities_hold_across_owners_and_shapes(world: World) -> None:
    old = world.submit(owner="ana", priority=50)
    young = world.submit(owner="bob", priority=51, memory_bytes=GIB)
    assert [*young, *old] == order_of_work(world, world.node("n1", cpus=1))


def test_a_task_that_does_not_fit_now_does_not_hold_up_one_that_does(world: World) -> None:
    node = world.node("n1", cpus=2, gpus=[gpu(1)])
    world.submit(gpus=1)
    (blocked,) = world.submit(gpus=1, priority=90)
    (free,) = world.submit(priority=10)
    assert ["queued", "assigned"] == world.states([blocked, free])
    assert 2 == len(node.held)


def test_tasks_of_a_lost_node_go_again_in_their_old_order_before_younger_ones(world: World) -> None:
    world.node("n1", cpus=3)
    tasks = world.submit(3)
    younger = world.submit(1)
    world.later(59)
    two = world.node("n2", cpus=1)
    assert younger == [task for task, _ in two.held]
    world.later(1)
    world.end(two, younger[0], run_us=10_000_000)
    assert tasks == order_of_work(world, two)


def test_a_task_that_was_handed_back_keeps_its_place(world: World) -> None:
    node = world.node("n1", cpus=1)
    (first,) = world.submit()
    rest = world.submit(2)
    world.end(node, first, m.Outcome.RETURNED)
    world.later(CoreSettings().shun_ns / 1e9)
    assert [first, *rest] == order_of_work(world, node)


def test_a_cancelled_task_is_passed_over(world: World) -> None:
    first, second, third = world.submit(3)
    world.cancel(second)
    assert [first, third] == order_of_work(world, world.node("n1", cpus=1))


def test_a_turn_grants_no_more_than_its_limit_and_asks_for_another_turn(tmp_path) -> None:
    world = World(tmp_path / "state", CoreSettings(grants_per_turn_max=2))
    tasks = world.submit(5)
    node = world.node("n1", cpus=5)
    assert 2 == len(node.held)
    assert 0 == world.core.deadline()
    world.later(0)
    world.later(0)
    assert tasks == [task for task, _ in node.held]
    world.later(0)
    assert world.core.deadline() != 0
    world.close()
