"""When does a fenced task of a silent node run elsewhere?"""

from __future__ import annotations

from remuda.protocol import codec
from remuda.scheduler.events import NodeDeclaredLost

from ...fakes.world import SimNode, World


def silent(world: World, *, protocol: int) -> tuple[SimNode, int]:
    """Let a node fall silent, next to another, that runs a fenced task."""
    node = world.node("n1")
    (task,) = world.submit(if_node_lost="fence")
    world.start(node, task)
    node.protocol = protocol  # its agent was replaced by this one
    world.join(node)
    world.node("n2")
    return node, task


def pass_time(world: World, seconds: int) -> None:
    for _ in range(0, seconds, 5):
        world.later(5.0)
        world.heartbeat(world.nodes["n2"])


def test_it_moves_once_its_node_has_surely_stopped_it(world: World) -> None:
    _, task = silent(world, protocol=codec.VERSION)
    pass_time(world, 85)
    assert [""] == world.attempts(task)
    pass_time(world, 10)
    assert ["lost", ""] == world.attempts(task)


def test_it_stays_with_a_node_of_the_version_before_which_stops_nothing_itself(
    world: World,
) -> None:
    _, task = silent(world, protocol=codec.VERSION_OLDEST)
    pass_time(world, 300)
    assert [""] == world.attempts(task)


def test_a_node_of_the_version_before_gets_no_fenced_task(world: World) -> None:
    old = world.node("n1")
    old.protocol = codec.VERSION_OLDEST
    world.join(old)
    (task,) = world.submit(if_node_lost="fence", allow_infeasible=True)
    assert "queued" == world.state(task)
    world.node("n2")
    assert ["n2"] == [attempt.node for attempt in [world.core.tasks[task].live] if attempt]


def test_what_a_node_speaks_is_known_after_a_restart(world: World) -> None:
    _, old = silent(world, protocol=codec.VERSION_OLDEST)
    world.restart()
    world.join(world.nodes["n2"])
    pass_time(world, 300)
    assert [""] == world.attempts(old)


def test_a_node_of_this_version_is_replaced_after_a_restart_too(world: World) -> None:
    _, task = silent(world, protocol=codec.VERSION)
    world.restart()
    world.join(world.nodes["n2"])
    pass_time(world, 120)
    assert ["lost", ""] == world.attempts(task)


def test_it_leaves_such_a_node_when_a_person_has_looked(world: World) -> None:
    _, task = silent(world, protocol=codec.VERSION_OLDEST)
    pass_time(world, 300)
    world.step(NodeDeclaredLost(1, "olga", "n1"))
    assert ["lost", ""] == world.attempts(task)


def test_one_that_did_not_start_in_time_waits_for_the_fence_as_well(world: World) -> None:
    world.node("n1")
    (task,) = world.submit(if_node_lost="fence", start_timeout_ms=30_000, retries=1)
    world.node("n2")
    pass_time(world, 85)
    assert "stopping" == world.state(task)
    assert [""] == world.attempts(task)
    pass_time(world, 10)
    assert "failed" == world.attempts(task)[0]
