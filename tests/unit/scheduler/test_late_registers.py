"""What does a REGISTER do that comes twice, or after a later start of its agent has registered?"""

from __future__ import annotations

from remuda.protocol import messages as m
from remuda.scheduler.events import JoinNode

from ...fakes.world import World


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


def test_a_new_start_of_the_agent_has_the_last_word_at_once(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    node.held.clear()
    node.incarnation = b"2".ljust(16, b"-")
    world.join(node)
    assert ["returned", ""] == world.attempts(task)


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
