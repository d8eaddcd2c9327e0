"""What follows from an operator's word after a restore, and is it kept over restarts?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler import recovery
from remuda.scheduler.audit import first_broken_link
from remuda.scheduler.explain import explain
from remuda.scheduler.journal import Journal
from remuda.scheduler.restored import (
    ATTEMPT_STEP,
    EPOCH_STEP,
    jumped_epoch,
    prepare,
    read_floors,
)
from remuda.scheduler.schema import SCHEMA_VERSION, opened_since

from ...fakes.restorable import Restorable, running
from ...fakes.world import SimNode


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Restorable]:
    made = Restorable(tmp_path / "state")
    yield made
    assert first_broken_link(made.journal._db) is None
    made.close()


# --- what is let go ------------------------------------------------------------------------


def test_what_is_let_go_is_killed_until_it_is_gone_also_over_a_restart(world: Restorable) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node)
    world.restore()
    world.come(node)
    node.deaf = True
    world.decide("kill", task)
    assert ([], []) == (world.shown("strangers"), node.killed)
    world.restart()
    node.deaf = False
    world.come(node)
    assert [] == world.shown("strangers")
    assert [task] == node.killed[:1]


def test_a_stranger_that_its_node_let_go_is_none_any_more(world: Restorable) -> None:
    node = world.node("n1")
    world.backup()
    running(world, node)
    world.restore()
    world.come(node)
    node.held.clear()
    world.heartbeat(node)
    assert [] == world.shown("strangers")


# --- doubts --------------------------------------------------------------------------------


def doubtful(world: Restorable) -> tuple[SimNode, int, int]:
    """Restore a journal with one task that had a node and one that waited."""
    node = world.node("n1", cpus=1)
    first = running(world, node)
    (second,) = world.submit()
    world.backup()
    world.end(node, first)
    world.end(node, second)
    world.restore()
    world.come(node)
    return node, first, second


def test_doubts_run_again_on_a_word_with_attempts_that_no_node_can_hold(world: Restorable) -> None:
    node, first, second = doubtful(world)
    assert isinstance(world.decide("rerun", first, second), m.Done)
    assert [] == list(node.held), "not before the release"
    assert isinstance(world.decide("release"), m.Done)
    world.later(1)
    for _ in range(2):
        ((task, number),) = node.held
        assert number >= ATTEMPT_STEP
        world.end(node, task)
    assert ["succeeded"] * 2 == world.states([first, second])
    assert ["returned", "succeeded"] == world.attempts(first)


def test_a_doubt_waits_for_a_word_and_not_for_its_node(world: Restorable) -> None:
    _, first, second = doubtful(world)
    said = [explain(world.core, task, world.now) for task in (first, second)]
    assert ["a decision"] * 2 == [each["waits_for"] for each in said]
    world.decide("rerun", first)
    assert "a decision" != explain(world.core, first, world.now)["waits_for"]


def test_doubts_fail_on_a_word(world: Restorable) -> None:
    node, first, second = doubtful(world)
    world.decide("fail", everything=True)
    assert ["failed"] * 2 == world.states([first, second])
    ended = world.journal.history.ended([first])
    assert "restored" == ended[first].code
    world.decide("release")
    assert [] == list(node.held)


def test_what_was_decided_is_decided_after_a_restart(world: Restorable) -> None:
    node, first, second = doubtful(world)
    world.decide("rerun", first)
    world.restart()
    world.come(node)
    assert [ids.to_bytes(second)] == [row["task"] for row in world.shown("doubts")]
    assert recovery.HOLD in world.core.holds


def test_a_task_of_which_an_attempt_lives_is_not_run_again_beside_it(world: Restorable) -> None:
    (task,) = world.submit()
    world.backup()
    node = world.node("n1")
    world.start(node, task)
    world.restore()
    world.come(node)
    answer = world.decide("rerun", task)
    assert isinstance(answer, m.Failure)
    assert "adopt or kill it" in answer.message


def test_a_cancel_in_doubt_stays_one(world: Restorable) -> None:
    node = world.node("n1")
    task = running(world, node)
    node.deaf = True
    world.cancel(task)
    world.backup()
    node.held.clear()
    world.restore()
    node.deaf = False
    world.come(node)
    assert "stopping" == world.state(task)
    world.decide("rerun", everything=True)
    assert "cancelled" == world.state(task)


def test_a_doubt_that_is_to_wait_for_its_next_try_waits_after_a_restart_too(
    world: Restorable,
) -> None:
    node = world.node("n1")
    (task,) = world.submit(start_timeout_ms=1_000, retries=1, backoff_first_ms=60_000)
    node.deaf = True
    world.later(2)
    assert "stopping" == world.state(task)
    world.backup()
    node.held.clear()
    world.restore()
    node.deaf = False
    world.come(node)
    world.decide("rerun", task)
    due_ns = world.core.tasks[task].due_ns
    world.restart()
    assert ("waiting", due_ns // 1_000_000) == (
        world.state(task), world.core.tasks[task].due_ns // 1_000_000
    )  # fmt: skip


# --- the end -------------------------------------------------------------------------------


def test_the_hold_ends_when_all_is_decided_and_all_nodes_came(world: Restorable) -> None:
    node, away = world.node("n1"), world.node("n2")
    (waiting,) = world.submit(cpus_milli=8_000, allow_infeasible=True)
    world.backup()
    task = running(world, node)
    world.restore()
    world.come(node)
    refusals = []
    for step in (("kill", task), ("fail", waiting)):
        refusals.append(world.decide("release"))
        assert isinstance(world.decide(*step), m.Done)  # type: ignore[arg-type]  # a verb and a task
    refusals.append(world.decide("release"))
    assert ["undecided: 1 attempt", "in doubt: 1 task;", "n2 did not come"] == [
        next(word for word in ("undecided: 1 attempt", "in doubt: 1 task;", "n2 did not come")
             if isinstance(each, m.Failure) and word in each.message)
        for each in refusals
    ]  # fmt: skip
    world.come(away)
    assert isinstance(world.decide("release"), m.Done)
    assert (None, {}) == (world.core.recovery, world.core.holds)
    world.restart()
    assert world.core.recovery is None
    assert opened_since(world.journal._db) < SCHEMA_VERSION


def test_a_node_that_comes_after_a_forced_release_has_its_strangers_stopped(
    world: Restorable,
) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node)
    world.restore()
    assert isinstance(world.decide("release", force=True), m.Done)
    world.come(node)
    assert [task] == node.killed


def test_every_decision_names_its_author(world: Restorable) -> None:
    doubtful(world)
    world.decide("fail", everything=True)
    world.decide("release")
    rows = world.journal._db.execute("SELECT principal, verb, subject FROM audit").fetchall()
    assert [
        ("olga", "restore", "a backup of epoch 1"),
        ("olga", "recovery fail", "2 tasks failed as restored"),
        ("olga", "recovery release", "released: work is given out again"),
    ] == [row for row in rows if row[0] == "olga"]


def test_a_scheduler_that_is_not_held_has_nothing_to_decide(world: Restorable) -> None:
    answer = world.decide("release")
    assert isinstance(answer, m.Failure)
    assert "not held" in answer.message


def test_each_restore_of_one_backup_has_a_higher_epoch_than_the_one_before() -> None:
    now_ms = 1_800_000_000_000
    first = jumped_epoch(5, now_ms)
    assert first >= 5 + EPOCH_STEP
    assert jumped_epoch(5, now_ms + 1_000) > first
    assert jumped_epoch(5, now_ms) << 32 < 1 << 63


def test_two_restores_of_one_backup_that_was_made_soon_after_a_restore_differ() -> None:
    now_ms = 1_800_000_000_000
    first = jumped_epoch(5, now_ms)
    second = jumped_epoch(first + 1, now_ms + 60_000)
    third = jumped_epoch(first + 1, now_ms + 120_000)
    assert first + 1 < second < third


def test_a_clock_that_was_set_back_makes_no_epoch_smaller() -> None:
    first = jumped_epoch(5, 1_800_000_000_000)
    assert jumped_epoch(first, 1_700_000_000_000) >= first + EPOCH_STEP


def test_two_restores_of_one_backup_give_no_attempt_the_same_number(tmp_path: Path) -> None:
    found = set()
    for at_ms in (1_800_000_000_000, 1_800_000_060_000):
        journal = Journal.open(tmp_path / str(at_ms))
        prepare(journal._db, backup_ms=1, principal="olga", now_ms=at_ms, highest=0)
        found.add(read_floors(journal._db).attempt)
        journal.close()
    assert 2 == len(found)
