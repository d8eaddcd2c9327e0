"""Does a task end when its time is over, wherever it is, and whatever happens to the clock?"""

from __future__ import annotations

import pytest

from remuda.protocol import messages as m

from ...fakes.world import SECOND_NS, World

HOUR_S = 3_600


def in_s(world: World, seconds: float) -> int:
    """Return a deadline in Unix milliseconds, so long from now."""
    return world.now.wall_ms + round(seconds * 1000)


def ended_as(world: World, task: int) -> tuple[str, str]:
    shown = world.journal.history.show_task(task)
    assert shown is not None
    return world.state(task), shown["code"]


# --- a deadline over all tries -----------------------------------------------------------------


def test_a_queued_task_fails_at_its_deadline(world: World) -> None:
    (task,) = world.submit(deadline_ms=in_s(world, 30))
    world.later(29)
    assert "queued" == world.state(task)
    world.later(1)
    assert ("failed", "deadline") == ended_as(world, task)
    assert [] == world.attempts(task)


def test_a_task_in_backoff_fails_at_its_deadline(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(
        retries=9, backoff_first_ms=10**8, backoff_longest_ms=10**8, deadline_ms=in_s(world, 5)
    )
    world.end(node, task, m.Outcome.FAILED)
    assert "waiting" == world.state(task)
    world.keep_alive(6, node)
    assert ("failed", "deadline") == ended_as(world, task)


def test_a_running_task_is_stopped_at_its_deadline_and_failed_once_gone(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=9, deadline_ms=in_s(world, 5))
    world.start(node, task)
    world.keep_alive(6, node)
    assert ("stopping", [task]) == (world.state(task), list(dict.fromkeys(node.killed)))
    world.end(node, task, m.Outcome.KILLED)
    assert ("failed", "deadline") == ended_as(world, task)
    assert ["killed"] == world.attempts(task)


def test_a_success_that_crosses_the_deadline_counts(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(deadline_ms=in_s(world, 5))
    world.keep_alive(6, node)
    world.end(node, task)
    assert "succeeded" == world.state(task)


def test_a_task_at_its_deadline_on_a_lost_node_fails(world: World) -> None:
    world.node("n1")
    (task,) = world.submit(deadline_ms=in_s(world, 5))
    world.later(5)
    assert "stopping" == world.state(task)
    world.later(60)
    assert ("failed", "deadline") == ended_as(world, task)


def test_a_deadline_holds_over_a_restart(world: World) -> None:
    (task,) = world.submit(deadline_ms=in_s(world, 30))
    world.restart()
    world.mono_ns += 30 * SECOND_NS
    world.restart()
    world.step()
    assert ("failed", "deadline") == ended_as(world, task)


def test_a_stop_for_the_deadline_is_finished_after_a_restart(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(deadline_ms=in_s(world, 5))
    world.keep_alive(6, node)
    world.restart()
    assert "stopping" == world.state(task)
    world.join(node)
    world.end(node, task, m.Outcome.KILLED)
    assert ("failed", "deadline") == ended_as(world, task)


def test_a_deadline_in_the_past_is_refused(world: World) -> None:
    world.submit(deadline_ms=in_s(world, -1))
    refused = world.replies[-1]
    assert isinstance(refused, m.Failure)
    assert ("invalid", "deadline_ms") == (refused.code, refused.field)
    assert {} == world.core.tasks


# --- the wall clock is set ---------------------------------------------------------------------


def test_a_deadline_follows_a_clock_that_is_set_forward(world: World) -> None:
    (task,) = world.submit(deadline_ms=in_s(world, 2 * HOUR_S))
    world.step()
    world.wall_set_ns += 3 * HOUR_S * SECOND_NS
    world.later(1)
    assert ("failed", "deadline") == ended_as(world, task)


def test_a_deadline_follows_a_clock_that_is_set_back(world: World) -> None:
    (task,) = world.submit(deadline_ms=in_s(world, 10))
    world.step()
    world.wall_set_ns -= HOUR_S * SECOND_NS
    world.later(20)
    assert "queued" == world.state(task)
    world.later(HOUR_S)
    assert ("failed", "deadline") == ended_as(world, task)


def test_a_clock_that_is_set_moves_neither_backoff_nor_silence(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=1, backoff_first_ms=8_000)
    world.end(node, task, m.Outcome.FAILED)
    world.wall_set_ns += 24 * HOUR_S * SECOND_NS
    world.later(0.001)
    assert ("waiting", "ready") == (world.state(task), world.node_state("n1"))


def test_a_clock_that_is_set_back_while_nobody_looks_makes_no_backoff_longer(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=1, backoff_first_ms=8_000, backoff_longest_ms=8_000)
    world.end(node, task, m.Outcome.FAILED)
    world.wall_set_ns -= 24 * HOUR_S * SECOND_NS
    world.restart()
    world.join(node)
    world.keep_alive(301, node)
    assert "assigned" == world.state(task)


# --- a wait in the queue -----------------------------------------------------------------------


def test_a_task_that_waits_for_too_long_expires(world: World) -> None:
    (task,) = world.submit(expires_ms=10_000)
    world.restart()
    world.later(9)
    assert "queued" == world.state(task)
    world.later(1)
    assert ("failed", "expired") == ended_as(world, task)


def test_a_task_that_began_in_time_does_not_expire(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(expires_ms=10_000, retries=1, backoff_first_ms=1)
    world.start(node, task)
    world.keep_alive(20, node)
    world.end(node, task, m.Outcome.FAILED)
    world.keep_alive(1, node)
    assert "assigned" == world.state(task)


@pytest.mark.parametrize("outcome", [m.Outcome.KILLED, m.Outcome.RETURNED])
def test_a_task_that_ran_and_comes_back_uncharged_does_not_expire(
    world: World, outcome: m.Outcome
) -> None:
    node = world.node("n1")
    (task,) = world.submit(expires_ms=10_000)
    world.start(node, task)
    world.keep_alive(20, node)
    if outcome is m.Outcome.KILLED:
        world.drain("n1", deadline_s=1)
        world.keep_alive(2, node)
    else:
        world.drain("n1")
    world.end(node, task, outcome)
    world.step()
    assert ("queued", 0) == (world.state(task), world.core.tasks[task].charged)
    world.restart()
    world.later(1)
    assert "queued" == world.state(task)


def test_a_task_that_comes_back_unstarted_expires_at_its_time(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(expires_ms=10_000)
    world.keep_alive(20, node)
    assert "assigned" == world.state(task)
    world.drain("n1")
    world.end(node, task, m.Outcome.RETURNED)
    world.step()
    assert ("failed", "expired") == ended_as(world, task)


# --- the time to start -------------------------------------------------------------------------


def test_a_try_that_does_not_start_in_time_is_stopped_and_charged(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(start_timeout_ms=5_000, retries=1, backoff_first_ms=1)
    world.keep_alive(6, node)
    assert ("stopping", [task]) == (world.state(task), list(dict.fromkeys(node.killed)))
    world.end(node, task, m.Outcome.KILLED)
    world.keep_alive(1, node)
    assert ("assigned", ["failed", ""]) == (world.state(task), world.attempts(task))
    world.keep_alive(6, node)
    world.end(node, task, m.Outcome.KILLED)
    assert ("failed", "start_timeout") == ended_as(world, task)


@pytest.mark.parametrize("begins", ["start", "end"])
def test_a_try_that_starts_in_time_goes_on(world: World, begins: str) -> None:
    node = world.node("n1")
    (task,) = world.submit(start_timeout_ms=5_000)
    getattr(world, begins)(node, task)
    world.keep_alive(20, node)
    assert [] == node.killed


def test_the_time_to_start_does_not_run_in_the_queue_of_a_node(world: World) -> None:
    node = world.node("n1", cpus=1)
    quick = {"kind": "function", "target": "m:f", "argv": []}
    (first,) = world.submit(**quick)
    world.end(node, first, run_us=1_000)
    running, ahead = *world.submit(**quick), *world.submit(start_timeout_ms=5_000, **quick)
    world.keep_alive(12, node)
    assert [] == node.killed
    world.end(node, running)
    world.keep_alive(6, node)
    assert ("stopping", [ahead]) == (world.state(ahead), list(dict.fromkeys(node.killed)))
