"""Is nothing stopped, moved or run twice by a scheduler that was restored, and what is adopted?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from remuda.protocol import capabilities as wire
from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.errors import RemudaError
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler import recovery
from remuda.scheduler.audit import first_broken_link
from remuda.scheduler.states import states

from ...fakes.handler_deeds import disable, enable
from ...fakes.restorable import OLGA, Restorable, running
from ...fakes.world import GIB, SimNode, gpu


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Restorable]:
    made = Restorable(tmp_path / "state")
    yield made
    assert first_broken_link(made.journal._db) is None
    made.close()


def serving(world: Restorable, name: str) -> SimNode:
    """Register a node with a worker that takes several calls at a time."""
    handler = wire.Handler("toy", workers=1, state="ready", max_batch=4)
    return world.node(name, cpus=1, handlers=[handler])


# --- what is not done ----------------------------------------------------------------------


def test_what_was_submitted_after_the_backup_lives_on_and_is_a_stranger(world: Restorable) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node)
    world.restore()
    world.come(node)
    world.keep_alive(120, node)
    assert [] == node.killed
    (row,) = world.shown("strangers")
    assert (ids.to_bytes(task), 1, "n1", "running", "ana") == (
        row["task"], row["attempt"], row["node"], row["phase"], row["owner"]
    )  # fmt: skip
    assert "submitted since the backup" == row["why"]


def test_what_a_node_does_not_show_any_more_is_not_run_again(world: Restorable) -> None:
    node, other = world.node("n1"), world.node("n2")
    task = running(world, node)
    world.backup()
    world.end(node, task)
    world.restore()
    world.come(node, other)
    world.keep_alive(120, node, other)
    assert "assigned" == world.state(task)
    assert ([], []) == (list(node.held), list(other.held))
    assert [ids.to_bytes(task)] == [row["task"] for row in world.shown("doubts")]


def test_what_was_queued_at_the_backup_is_not_started(world: Restorable) -> None:
    (task,) = world.submit()
    world.backup()
    node = world.node("n1")
    world.start(node, task)
    world.end(node, task)
    world.restore()
    world.come(node)
    world.keep_alive(60, node)
    assert ("queued", []) == (world.state(task), list(node.held))


def test_a_node_that_stays_away_is_not_given_up(world: Restorable) -> None:
    node = world.node("n1")
    task = running(world, node)
    world.backup()
    world.restore()
    world.later(3_600)
    assert (False, "assigned") == (world.core.fleet.nodes["n1"].lost, world.state(task))
    assert ["n1"] == recovery.missing(world.core, world.core.recovery)  # type: ignore[arg-type]  # it is held


def test_a_deadline_that_passes_meanwhile_stops_nothing(world: Restorable) -> None:
    node = world.node("n1")
    due_ms = world.now.wall_ms + 5_000
    task = running(world, node, deadline_ms=due_ms)
    world.backup()
    world.restore()
    world.come(node)
    world.keep_alive(60, node)
    assert ("running", []) == (world.state(task), node.killed)


def test_calls_that_would_ride_along_are_not_started(world: Restorable) -> None:
    node = serving(world, "n1")
    call = {"kind": "handler", "target": "toy", "argv": [], "cpus_milli": 500}
    first = running(world, node, **call)
    world.backup()
    world.restore()
    world.come(node)
    waiting = world.submit(2, **call)  # type: ignore[arg-type]  # fields by name
    world.keep_alive(120, node)
    assert [(first, 1)] == list(node.held)
    world.end(node, first)  # the journal knows it: its end counts, its slot is free
    world.keep_alive(3, node)
    assert ([], ["queued"] * 2) == (list(node.held), world.states(waiting))
    assert isinstance(world.decide("release"), m.Done)
    world.later(1)
    assert {*waiting} == {task for task, _ in node.held}


def test_handlers_that_were_disabled_at_the_backup_are_left_alone(world: Restorable) -> None:
    node = serving(world, "n1")
    disable(world, "toy", "n1")
    world.backup()
    enable(world, "toy", "n1")
    world.heartbeat(node)
    goes_by = node.orders.digest
    world.restore()
    world.come(node)
    world.keep_alive(10, node)
    assert goes_by == node.orders.digest
    assert isinstance(world.decide("release"), m.Done)
    world.heartbeat(node)
    assert ["toy"] == list(node.orders.disabled)


def test_no_place_is_kept_and_no_model_leaves_for_what_waits(world: Restorable) -> None:
    handler = wire.Handler(
        "toy", workers=1, vram_bytes=20 * GIB, state="ready", gpu_uuids=["GPU-1"]
    )
    node = world.node("n1", gpus=[gpu(1, 24)], handlers=[handler])
    world.backup()
    world.restore()
    world.come(node)
    world.submit(vram_bytes=20 * GIB)
    world.keep_alive(120, node)
    assert ({}, {}) == (world.core.reservations.of, world.core.claims)
    assert 1 == len(node.residents)


def test_a_held_scheduler_has_nothing_to_do_at_once(world: Restorable) -> None:
    node = world.node("n1")
    running(world, node, deadline_ms=world.now.wall_ms + 5_000)
    world.drain("n1", deadline_s=5)
    world.backup()
    world.restore()
    world.come(node)
    world.keep_alive(30, node)
    due = world.core.deadline()
    assert due is not None
    assert due > world.mono_ns, "it would turn without end"


def test_new_tasks_are_taken_in_and_wait(world: Restorable) -> None:
    node = world.node("n1")
    world.backup()
    world.restore()
    world.come(node)
    (task,) = (ids.from_bytes(b"\x01" * 16),)
    world._names = iter([task])  # type: ignore[assignment]  # one name
    assert [task] == world.submit()
    assert ("queued", []) == (world.state(task), world.shown("doubts"))


def test_nobody_is_told_yet_that_a_task_is_gone(world: Restorable) -> None:
    node = world.node("n1")
    (known,) = world.submit()
    world.backup()
    later = running(world, world.node("n2"))
    world.restore()
    world.come(node)
    view = SimpleNamespace(core=world.core, history=world.journal.history, watches=Unwatched())
    with pytest.raises(RemudaError) as caught:
        states(view, m.States([ids.to_bytes(later)]), OLGA, world.now)  # type: ignore[arg-type]  # what is read of it
    assert ("held", 2.0) == (caught.value.code, caught.value.retry_after_s)
    both = m.States([ids.to_bytes(known), ids.to_bytes(later)])
    assert ["assigned"] == states(view, both, OLGA, world.now).states  # type: ignore[arg-type]  # as above
    world.decide("release", force=True)
    assert ["assigned", "not_found"] == states(view, both, OLGA, world.now).states  # type: ignore[arg-type]  # as above


class Unwatched:
    rev = 1

    def position(self, _session: bytes) -> int:
        return 0


# --- what is adopted -----------------------------------------------------------------------


def test_what_the_journal_knows_goes_on_by_itself_and_its_result_counts(world: Restorable) -> None:
    node = world.node("n1")
    task = running(world, node)
    world.backup()
    world.restore()
    world.come(node)
    assert [[], []] == [world.shown(what) for what in ("strangers", "doubts")]
    world.end(node, task)
    assert ("succeeded", []) == (world.state(task), list(node.held))


def test_an_unknown_task_comes_back_under_its_id_and_succeeds(world: Restorable) -> None:
    node = world.node("n1", gpus=[gpu(1)])
    world.backup()
    task = running(world, node, gpus=1)
    world.restore()
    world.come(node)
    assert isinstance(world.decide("adopt", task), m.Done)
    assert "running" == world.state(task)
    assert 1_000 == world.core.fleet.nodes["n1"].cards["GPU-1"].share_milli
    world.end(node, task, value=b"out")
    assert ("succeeded", ["succeeded"]) == (world.state(task), world.attempts(task))
    assert [(task, 1)] == node.acked
    number = world.journal.history.briefs([task])[task].number
    assert number > 1_000_000, "users may mean another task by the number that it had"


def test_a_later_attempt_takes_the_place_of_the_one_that_the_journal_knows(
    world: Restorable,
) -> None:
    node, other = world.node("n1"), world.node("n2")
    task = running(world, node)
    world.backup()
    world.end(node, task, m.Outcome.RETURNED)
    world.later(2)
    (holder,) = [each for each in (node, other) if each.held]
    world.start(holder, task)
    world.restore()
    world.come(node, other)
    assert "granted since the backup" == world.shown("strangers")[0]["why"]
    assert isinstance(world.decide("adopt", everything=True), m.Done)
    world.end(holder, task)
    assert ("succeeded", ["lost", "succeeded"]) == (world.state(task), world.attempts(task))


def test_results_of_strangers_wait_on_their_nodes_until_somebody_decided(world: Restorable) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node)
    world.restore()
    world.come(node)
    said = world.end(node, task, value=b"out")
    assert [] == node.acked
    assert "ended" == world.shown("strangers")[0]["phase"]
    world.decide("adopt", task)
    world.says(node, said)
    assert ([(task, 1)], "succeeded") == (node.acked, world.state(task))


def test_adopted_members_of_a_batch_are_of_it(world: Restorable) -> None:
    node = world.node("n1")
    batch = 1 << 90
    world.backup()
    (task,) = world.submit(batch=batch, offset=6)
    world.start(node, task)
    world.restore()
    world.join(node)
    world.heartbeat(node)
    world.describe(batch=ids.to_bytes(batch))
    world.decide("adopt", task)
    assert batch == world.core.tasks[task].batch
    assert [6] == [row.offset for row in world.journal.history.batch_rows(batch)]


def test_a_task_of_which_little_is_known_is_adopted_and_never_tried_again(
    world: Restorable,
) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node, retries=3)
    world.restore()
    world.join(node)
    world.heartbeat(node)
    bare = to_document(TaskSpec("command"))
    world.describe(spec=bare, is_whole=False, owner="ben")
    world.decide("adopt", task)
    assert "ben" == world.core.tasks[task].spec.owner
    world.end(node, task, m.Outcome.FAILED)
    assert ("failed", ["failed"]) == (world.state(task), world.attempts(task))


def test_what_an_older_agent_cannot_describe_can_only_be_killed(world: Restorable) -> None:
    node = world.node("n1", protocol=4)
    world.backup()
    task = running(world, node)
    world.restore()
    world.come(node)
    answer = world.decide("adopt", task)
    assert isinstance(answer, m.Failure)
    assert "upgrade its agent" in answer.message
    assert isinstance(world.decide("kill", task), m.Done)
    assert [task] == node.killed


def test_what_this_cluster_never_granted_is_not_adopted(world: Restorable) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node)
    node.held[task, 1] = (b"x" * 16, m.Phase.RUNNING)
    world.restore()
    world.come(node)
    assert "not of this cluster" == world.shown("strangers")[0]["why"]
    answer = world.decide("adopt", task)
    assert isinstance(answer, m.Failure)
    assert "its token was not made by this cluster" in answer.message


def test_an_end_that_the_journal_has_never_changes(world: Restorable) -> None:
    node = world.node("n1")
    task = running(world, node)
    world.later(120)
    world.declare_lost("n1")
    world.cancel(task)
    assert "cancelled" == world.state(task)
    world.backup()
    world.restore()
    node.held[task, 1] = (node.held[task, 1][0], m.Phase.RUNNING)
    world.come(node)
    answer = world.decide("adopt", task)
    assert isinstance(answer, m.Failure)
    assert "which never changes" in answer.message
