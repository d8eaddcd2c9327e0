"""What does a REGISTER do that comes twice, or after a later start of its agent has registered?"""

from __future__ import annotations

from remuda.protocol import messages as m
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.events import JoinNode

from ...fakes.world import SECOND_NS, SimNode, World

SUSPECT_S = CoreSettings().suspect_after_ns // SECOND_NS
LOST_S = CoreSettings().lost_after_ns // SECOND_NS


def starts_anew(node: SimNode, start: bytes) -> SimNode:
    """Have the agent of a node killed and started, on a disk that is empty."""
    node.held.clear()
    node.rev = node.seq = 0
    node.incarnation = start.ljust(16, b"-")
    return node


def test_a_register_that_comes_again_takes_no_offer_from_its_node(world: World) -> None:
    node = world.node("n1")
    said = node.register()
    (task,) = world.submit()
    world.step(JoinNode(99, "n1", said))
    assert "assigned" == world.state(task)
    assert [""] == world.attempts(task)


def test_what_is_really_missing_after_it_is_found_at_the_next_heartbeat(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    node.held.clear()
    world.step(JoinNode(99, "n1", node.register()))
    world.heartbeat(node)
    assert ["returned", ""] == world.attempts(task)


def test_what_a_new_start_of_the_agent_lost_runs_again_once_that_beats(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    starts_anew(node, b"2")
    world.join(node)
    before = world.attempts(task)
    world.heartbeat(node)
    assert ([""], ["returned", ""]) == (before, world.attempts(task))


def test_a_start_that_died_before_its_register_came_takes_no_work_from_the_one_that_lives(
    world: World,
) -> None:
    node = world.node("n1")
    dead = starts_anew(node, b"2").register()
    starts_anew(node, b"3")
    world.join(node)
    world.heartbeat(node)
    (task,) = world.submit(if_node_lost="fence")
    world.start(node, task)
    world.step(JoinNode(99, "n1", dead))
    world.keep_alive(SUSPECT_S + 1, node)
    assert isinstance(world.join(node), m.Registered)
    world.heartbeat(node)
    assert ("running", [""]) == (world.state(task), world.attempts(task))


def test_what_was_offered_to_a_start_that_is_dead_runs_again(world: World) -> None:
    node = world.node("n1")
    dead = starts_anew(node, b"2").register()
    starts_anew(node, b"3")
    world.join(node)
    world.step(JoinNode(99, "n1", dead))
    (task,) = world.submit()
    world.keep_alive(SUSPECT_S + 1, node)
    world.join(node)
    world.heartbeat(node)
    assert ["returned", ""] == world.attempts(task)


def test_a_start_that_beats_is_not_put_in_doubt_by_an_earlier_one(world: World) -> None:
    node = world.node("n1")
    late = node.register()
    starts_anew(node, b"2")
    world.join(node)
    world.heartbeat(node)
    world.later(SUSPECT_S + 1)
    world.step(JoinNode(99, "n1", late))
    assert isinstance(world.replies[-1], m.Failure)


def test_a_restart_of_the_host_counts_until_its_agent_beats(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(if_node_lost="fail")
    world.start(node, task)
    world.reboot(node)
    world.restart()  # the scheduler as well
    world.join(node)
    world.heartbeat(node)
    assert ("failed", ["lost"]) == (world.state(task), world.attempts(task))


def test_an_earlier_start_of_the_agent_is_let_in_no_more(world: World) -> None:
    node = world.node("n1")
    late = node.register()
    node.incarnation = b"2".ljust(16, b"-")
    world.join(node)
    (task,) = world.submit()
    world.step(JoinNode(99, "n1", late))
    refused = world.replies[-1]
    assert isinstance(refused, m.Failure)
    assert "conflict" == refused.code
    assert node.incarnation == world.core.fleet.nodes["n1"].incarnation
    assert "assigned" == world.state(task)


def test_a_dead_start_with_late_heartbeats_behind_its_register_does_not_count_for_ever(
    world: World,
) -> None:
    node = world.node("n1")
    dead = starts_anew(node, b"2").register()
    late = node.heartbeat()
    starts_anew(node, b"3")
    world.restart()  # this scheduler has not heard in which order they started
    world.join(node)
    world.step(JoinNode(99, "n1", dead))
    world.says(node, late)
    assert isinstance(world.join(node), m.Failure)
    world.later(LOST_S)
    assert isinstance(world.join(node), m.Registered)
    (task,) = world.submit()
    assert [task] == [each for each, _ in node.held]
