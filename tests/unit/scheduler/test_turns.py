"""Does a turn that hears of many things at once come to what they mean one after the other?"""

from __future__ import annotations

import itertools

import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler.events import CancelTasks, Event, JoinNode, NodeSays
from remuda.scheduler.task import State

from ...fakes.world import SimNode, World


def cancel(task: int) -> Event:
    return CancelTasks(7, "admin", "", [task], -1)


def result(node: SimNode, task: int, outcome: m.Outcome = m.Outcome.SUCCEEDED) -> Event:
    number = node.attempt_of(task)
    token, _ = node.held[task, number]
    said = m.Results([ids.to_bytes(task)], [number], [token], [int(outcome)], [b"v"], [b""], [9])
    return NodeSays(node.name, said)


def started(node: SimNode, task: int) -> Event:
    return NodeSays(node.name, m.Started([ids.to_bytes(task)], [node.attempt_of(task)]))


def test_a_cancel_and_the_proof_in_one_turn_end_the_task_once(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    effects = world.step(cancel(task), result(node, task, m.Outcome.KILLED))
    assert "cancelled" == world.state(task)
    assert {} == effects.commit.moved
    assert [State.STOPPING, State.CANCELLED] == [change.state for change in effects.changes]


def test_a_result_before_a_cancel_in_one_turn_wins(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.step(result(node, task), cancel(task))
    assert "succeeded" == world.state(task)


def test_one_result_twice_in_one_turn_counts_once(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    effects = world.step(result(node, task), result(node, task))
    assert ["succeeded"] == world.attempts(task)
    assert 1 == len(effects.commit.results)


def test_a_failed_try_is_cancelled_in_the_same_turn(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=3)
    effects = world.step(result(node, task, m.Outcome.FAILED), cancel(task))
    assert "cancelled" == world.state(task)
    assert {} == effects.commit.moved


def test_a_node_that_returns_in_the_turn_in_which_it_is_given_up_keeps_its_task(
    world: World,
) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.mono_ns += 61_000_000_000
    world.step(JoinNode(9, "n1", node.register()))
    assert [(task, 1)] == list(node.held)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_any_order_of_a_turn_leaves_a_state_that_a_restart_brings_back(
    world: World, order: tuple[int, ...]
) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=1)
    events = [
        cancel(task),
        result(node, task, m.Outcome.FAILED),
        started(node, task),
        JoinNode(9, "n1", node.register()),
    ]
    world.step(*(events[i] for i in order))
    state = world.state(task)
    world.restart()
    assert state == world.state(task)
    assert state in ("cancelled", "stopping")
