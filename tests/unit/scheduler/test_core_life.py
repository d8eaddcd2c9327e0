"""A task's life in the core: one success, charged tries, backoff, cancel, loss and return."""

import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.explain import explain
from remuda.scheduler.records import Offering
from remuda.scheduler.task import TRANSITIONS, Fact, IllegalMove, State, Task, move

from ...fakes.world import World


def test_a_task_runs_and_succeeds_with_its_value(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    assert "running" == world.state(task)
    world.end(node, task, value=b"42")
    assert b"42" == world.journal.history.ended([task])[task].value
    assert ["succeeded"] == world.attempts(task)
    assert [State.RUNNING, State.SUCCEEDED] == [change.state for change in world.changes]


def test_a_heartbeat_tells_that_a_task_runs_when_the_word_of_its_start_was_lost(
    world: World,
) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    token, _ = node.held[task, 1]
    node.held[task, 1] = (token, m.Phase.RUNNING)
    world.heartbeat(node)
    assert "running" == world.state(task)


def test_a_task_waits_until_a_node_registers(world: World) -> None:
    (task,) = world.submit()
    assert "queued" == world.state(task)
    world.node("n1")
    assert "assigned" == world.state(task)


def test_a_result_said_twice_is_accepted_once_and_acknowledged_twice(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    said = world.end(node, task, value=b"first")
    world.says(node, said)
    assert [(task, 1), (task, 1)] == node.acked
    assert 1 == sum(
        change.state is State.SUCCEEDED or change.state == 5 for change in world.changes
    )
    assert b"first" == world.journal.history.ended([task])[task].value


def test_a_result_under_a_wrong_token_is_neither_accepted_nor_acknowledged(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.end(node, task, token=b"x" * 16)
    assert "assigned" == world.state(task)
    assert [] == node.acked


def test_a_result_from_a_node_that_does_not_hold_the_attempt_changes_nothing(world: World) -> None:
    node, other = world.node("n1"), world.node("n2")
    (task,) = world.submit(nodes=["n1"])
    other.held[task, 1] = node.held[task, 1]
    world.end(other, task)
    assert "assigned" == world.state(task)


def test_a_failed_try_waits_out_its_backoff_and_runs_again(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=1, backoff_first_ms=1000, backoff_longest_ms=1000)
    world.end(node, task, m.Outcome.FAILED)
    assert "waiting" == world.state(task)
    due = world.core.deadline()
    assert due is not None
    assert 0 <= due - world.mono_ns <= 1_000_000_000
    world.later(1.0)
    assert "assigned" == world.state(task)
    world.end(node, task, m.Outcome.FAILED)
    assert "failed" == world.state(task)
    assert ["failed", "failed"] == world.attempts(task)


def test_backoff_survives_a_restart(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=1, backoff_first_ms=30_000, backoff_longest_ms=30_000)
    world.end(node, task, m.Outcome.FAILED)
    world.restart()
    world.join(node)
    assert "waiting" == world.state(task)
    world.later(30.0)
    world.heartbeat(node)
    assert "assigned" == world.state(task)


def test_code_that_is_missing_is_not_tried_again(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=5)
    world.end(node, task, m.Outcome.FAILED, code="code_missing")
    assert "failed" == world.state(task)


def test_a_retry_avoids_the_node_that_failed_it(world: World) -> None:
    one, two = world.node("n1"), world.node("n2")
    (task,) = world.submit(retries=1)
    first = one if one.held else two
    other = two if first is one else one
    world.end(first, task, m.Outcome.FAILED)
    world.later(1.0)
    assert [(task, 2)] == list(other.held)


def test_a_retry_goes_back_to_the_only_node_there_is(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=1)
    world.end(node, task, m.Outcome.FAILED)
    world.later(1.0)
    assert [(task, 2)] == list(node.held)


def test_cancel_of_a_queued_task_ends_it_at_once(world: World) -> None:
    (task,) = world.submit()
    assert ["cancelled"] == world.cancel(task)
    assert "cancelled" == world.state(task)


def test_cancel_of_a_running_task_waits_for_the_proof(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    assert ["stopping"] == world.cancel(task)
    assert [task] == node.killed
    assert "stopping" == world.state(task)
    world.end(node, task, m.Outcome.KILLED)
    assert "cancelled" == world.state(task)


def test_a_success_that_crosses_an_acknowledged_cancel_stays_cancelled(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.cancel(task)
    world.end(node, task, value=b"too late")
    assert "cancelled" == world.state(task)
    assert b"" == world.journal.history.ended([task])[task].value


def test_a_lost_kill_is_said_again_at_the_next_heartbeat(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    node.deaf = True
    world.cancel(task)
    assert [] == node.killed
    node.deaf = False
    world.heartbeat(node)
    assert [task] == node.killed


def test_a_stopping_task_that_its_node_no_longer_holds_is_cancelled(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.cancel(task)
    node.held.clear()
    world.heartbeat(node)
    assert "cancelled" == world.state(task)


def test_cancel_survives_a_restart(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.cancel(task)
    node.killed.clear()
    world.restart()
    assert "stopping" == world.state(task)
    world.join(node)
    assert [task] == node.killed


def test_somebody_elses_task_is_not_cancelled(world: World) -> None:
    (task,) = world.submit(owner="ana")
    assert ["not_allowed"] == world.cancel(task, owner="bob")
    assert "queued" == world.state(task)


def test_a_node_that_falls_silent_loses_its_tasks_to_another(world: World) -> None:
    one = world.node("n1")
    (task,) = world.submit()
    world.later(30)
    two = world.node("n2")
    world.later(30)
    world.heartbeat(two)
    assert [(task, 2)] == list(two.held)
    assert ["lost", ""] == world.attempts(task)
    world.end(two, task)
    assert "succeeded" == world.state(task)
    assert (task, 1) in one.held


def test_a_silent_node_gets_no_new_work_until_it_is_heard(world: World) -> None:
    node = world.node("n1")
    world.later(6)
    (task,) = world.submit()
    assert "queued" == world.state(task)
    world.heartbeat(node)
    assert [(task, 1)] == list(node.held)


def test_who_asks_hears_that_the_node_of_a_task_is_away(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    world.later(20)
    said = explain(world.core, task, world.now)["reason"]
    assert (
        "it ran on n1, which was not heard for 20 s; in 40 s it runs elsewhere; "
        "at once with `remuda node lost n1` if that is off"
    ) == said


def test_a_late_result_of_a_lost_node_is_recorded_but_not_accepted(world: World) -> None:
    one = world.node("n1")
    (task,) = world.submit()
    world.later(59)
    two = world.node("n2")
    world.later(1)
    world.end(one, task, value=b"late")
    assert "assigned" == world.state(task)
    assert [(task, 1)] == one.acked
    world.end(two, task, value=b"good")
    assert b"good" == world.journal.history.ended([task])[task].value
    shown = world.journal.history.show_task(task)
    assert shown is not None
    assert shown["attempts"][0]["late_ms"] > 0


def test_a_lost_node_that_comes_back_is_told_to_end_what_was_moved(world: World) -> None:
    one = world.node("n1")
    (task,) = world.submit()
    world.later(59)
    world.node("n2")
    world.later(1)
    world.heartbeat(one)
    assert [task] == one.killed
    assert not world.core.fleet.nodes["n1"].lost


def test_a_restart_adopts_what_the_node_reports_as_running(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    world.restart()
    assert "assigned" == world.state(task)
    world.join(node)
    assert "running" == world.state(task)
    assert [] == node.killed
    world.end(node, task, value=b"whole")
    assert ["succeeded"] == world.attempts(task)


def test_a_restart_requeues_what_the_node_no_longer_holds(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.restart()
    node.held.clear()
    world.join(node)
    world.heartbeat(node)
    assert [(task, 2)] == list(node.held)
    assert ["returned", ""] == world.attempts(task)
    assert 0 == world.core.tasks[task].charged


def test_a_forged_token_is_not_adopted(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.restart()
    node.held[task, 1] = (b"forged" + b"0" * 10, m.Phase.RUNNING)
    world.join(node)
    assert [(task, 2)] == [key for key in node.held if key[1] == 2]


def test_an_offer_that_was_never_taken_in_is_sent_again_and_then_requeued(world: World) -> None:
    node = world.node("n1")
    node.deaf = True
    (task,) = world.submit()
    offered = 0
    for _ in range(3):
        world.mono_ns += 5_000_000_000
        effects = world.heartbeat(node)
        offered += sum(isinstance(item, Offering) for item in effects.to_nodes)
    assert 3 == offered
    assert ["returned", ""] == world.attempts(task)


def test_an_offer_that_is_under_way_is_not_taken_for_missing(world: World) -> None:
    node = world.node("n1")
    before = node.heartbeat()
    (task,) = world.submit()
    world.says(node, before)
    assert 1 == world.core.tasks[task].attempt


def test_a_heartbeat_meant_for_the_scheduler_before_takes_no_offer_for_missing(
    world: World,
) -> None:
    node = world.node("n1")
    for _ in range(5):
        world.heartbeat(node)
    old = node.heartbeat()
    world.restart()
    world.join(node)
    node.deaf = True
    (task,) = world.submit()
    world.says(node, old)
    assert 1 == world.core.tasks[task].attempt


def test_a_heartbeat_from_before_it_registered_takes_nothing_adopted_for_missing(
    world: World,
) -> None:
    node = world.node("n1")
    for _ in range(5):
        world.heartbeat(node)
    old = node.heartbeat()
    (task,) = world.submit()
    world.start(node, task)
    world.restart()
    world.join(node)
    world.says(node, old)
    assert "running" == world.state(task)
    assert [(task, 1)] == list(node.held)


def test_a_refused_task_leaves_the_node_alone_for_a_moment(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    token = node.held.pop((task, 1))[0]
    world.says(node, m.Reject([ids.to_bytes(task)], [1], [token], ["no room"]))
    assert "queued" == world.state(task)
    world.later(CoreSettings().shun_ns / 1e9)
    assert [(task, 2)] == list(node.held)


def test_a_full_queue_refuses_and_says_when_to_come_back(tmp_path) -> None:
    world = World(tmp_path / "state", CoreSettings(queued_max=3))
    world.submit(2)
    refused = world.submit(2)
    reply = world.replies[-1]
    assert isinstance(reply, m.Failure)
    assert ("queue_full", True) == (reply.code, reply.retry_after_ms > 0)
    assert ["unknown", "unknown"] == world.states(refused)
    world.close()


def test_a_scheduler_on_hold_takes_tasks_in_and_grants_none(world: World) -> None:
    node = world.node("n1")
    world.core.hold("the disk is full")
    (task,) = world.submit()
    assert "queued" == world.state(task)
    assert {} == node.held


def test_a_scheduler_grants_again_once_no_reason_to_hold_is_left(world: World) -> None:
    world.node("n1")
    world.core.hold("the disk is full")
    world.core.hold("the cluster is being stopped")
    (task,) = world.submit()
    world.core.resume("the disk is full")
    assert (world.core.deadline() or 0) > world.mono_ns
    assert "queued" == world.state(task)
    world.core.resume("the cluster is being stopped")
    assert 0 == world.core.deadline()
    world.step()
    assert "assigned" == world.state(task)


def test_every_session_hears_of_its_own_tasks_alone(world: World) -> None:
    node = world.node("n1")
    (one,) = world.submit(session=b"1" * 16)
    world.submit(session=b"2" * 16)
    world.end(node, one)
    assert {b"1" * 16} == {change.session for change in world.changes}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("fact", list(Fact))
def test_a_move_that_is_not_in_the_table_is_a_bug(state: State, fact: Fact) -> None:
    task = Task(1, 1, 0, None, b"", state)  # type: ignore[arg-type]  # the move looks at the state alone
    if (state, fact) in TRANSITIONS:
        move(task, fact)
        assert TRANSITIONS[state, fact] is task.state
    else:
        with pytest.raises(IllegalMove):
            move(task, fact)
