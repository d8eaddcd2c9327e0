"""Does a drained node keep what runs and get nothing new, and does an operator's word hold?"""

from __future__ import annotations

import pytest

from remuda.protocol import messages as m
from remuda.protocol.codec import pack_document, unpack_document
from remuda.protocol.ids import to_bytes
from remuda.scheduler.events import JoinNode, NodeForgotten

from ...fakes.world import World

WEEK_S = 7 * 86_400


def code_of(reply: m.Message) -> str:
    assert isinstance(reply, m.Failure), reply
    return reply.code


def test_a_drained_node_finishes_what_it_has_and_gets_nothing_new(world: World) -> None:
    node = world.node("n1")
    (running,) = world.submit()
    assert isinstance(world.drain("n1", reason="new fans"), m.Done)
    (waiting,) = world.submit()
    assert ["assigned", "queued"] == world.states([running, waiting])
    assert "draining" == world.node_state("n1")
    world.end(node, running)
    assert ["succeeded", "queued"] == world.states([running, waiting])
    assert "drained" == world.node_state("n1")
    world.undrain("n1")
    assert "assigned" == world.state(waiting)
    assert "ready" == world.node_state("n1")


def test_nothing_is_sent_ahead_to_a_drained_node(world: World) -> None:
    node = world.node("n1", cpus=1)
    (first,) = world.submit(kind="function", target="m:f", argv=[])
    world.end(node, first, run_us=1_000)
    world.submit(1, kind="function", target="m:f", argv=[])
    world.drain("n1")
    tasks = world.submit(3, kind="function", target="m:f", argv=[])
    assert ["queued"] * 3 == world.states(tasks)


def test_a_drain_survives_a_restart_with_its_reason_and_deadline(world: World) -> None:
    node = world.node("n1")
    world.drain("n1", reason="new fans", deadline_s=600)
    before = world.core.fleet.nodes["n1"].drain
    world.restart()
    assert before == world.core.fleet.nodes["n1"].drain
    world.join(node)
    (task,) = world.submit()
    assert "queued" == world.state(task)


def test_what_is_left_at_the_deadline_moves_on_uncharged(world: World) -> None:
    node = world.node("n1")
    other = world.node("n2", cpus=1)
    tasks = world.submit(2)
    (moved,) = [task for task in tasks if any(task == held for held, _ in node.held)]
    world.drain("n1", deadline_s=10)
    world.keep_alive(9, node, other)
    assert [] == node.killed
    world.keep_alive(2, node, other)
    assert "stopping" == world.state(moved)
    assert [moved] == list(dict.fromkeys(node.killed))
    world.end(node, moved, m.Outcome.KILLED)
    assert "queued" == world.state(moved)
    assert 0 == world.core.tasks[moved].charged
    assert "drained" == world.node_state("n1")


def test_a_result_that_crosses_a_drain_counts(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.drain("n1", deadline_s=1)
    world.keep_alive(3, node)
    assert "stopping" == world.state(task)
    world.end(node, task)
    assert "succeeded" == world.state(task)


def test_a_cancel_takes_the_place_of_a_drain(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.drain("n1", deadline_s=1)
    world.keep_alive(3, node)
    world.cancel(task)
    world.restart()
    world.join(node)
    world.end(node, task, m.Outcome.KILLED)
    assert "cancelled" == world.state(task)


def test_a_drain_under_way_is_finished_after_a_restart(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.drain("n1", deadline_s=1)
    world.keep_alive(3, node)
    world.restart()
    assert "stopping" == world.state(task)
    world.join(node)
    world.end(node, task, m.Outcome.KILLED)
    assert "queued" == world.state(task)


def test_a_second_drain_changes_what_it_says_and_leaves_the_rest(world: World) -> None:
    world.node("n1")
    world.drain("n1", reason="fans", deadline_s=60)
    since_ms = world.core.fleet.nodes["n1"].drain.since_ms  # type: ignore[union-attr]
    world.mono_ns += 10**9
    world.drain("n1", reason="disks")
    drain = world.core.fleet.nodes["n1"].drain
    assert drain is not None
    due_ms = since_ms + 60_000
    assert ("disks", since_ms, due_ms) == (drain.reason, drain.since_ms, drain.due_ms)
    world.drain("n1", deadline_s=5)
    drain = world.core.fleet.nodes["n1"].drain
    assert drain is not None
    assert ("disks", since_ms + 6_000) == (drain.reason, drain.due_ms)


@pytest.mark.parametrize("verb", ["drain", "undrain", "declare_lost", "forget"])
def test_a_node_that_is_not_there_is_told(world: World, verb: str) -> None:
    assert "not_found" == code_of(getattr(world, verb)("ghost"))


@pytest.mark.parametrize("verb", ["declare_lost", "forget"])
def test_a_node_that_is_heard_is_neither_lost_nor_forgotten(world: World, verb: str) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    assert "conflict" == code_of(getattr(world, verb)("n1"))
    assert "assigned" == world.state(task)
    world.later(6)
    assert isinstance(getattr(world, verb)("n1"), m.Done)
    assert "queued" == world.state(task)
    assert [] == node.killed


def test_a_node_seen_to_be_off_gives_up_fenced_and_cancelled_tasks_too(world: World) -> None:
    world.node("n1")
    fenced, cancelled = *world.submit(if_node_lost="fence"), *world.submit()
    world.cancel(cancelled)
    world.later(6)
    world.declare_lost("n1")
    assert ["queued", "cancelled"] == world.states([fenced, cancelled])


def test_a_forgotten_node_is_gone_for_good_and_may_come_back(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.later(6)
    effects = world.forget("n1")
    assert isinstance(effects, m.Done)
    assert {} == world.core.fleet.nodes
    world.restart()
    assert {} == world.core.fleet.nodes
    world.join(node)
    assert "ready" == world.node_state("n1")
    assert [task] == node.killed, "what moved on does not run twice"
    assert "assigned" == world.state(task)


def test_a_node_that_comes_back_in_the_turn_in_which_it_was_forgotten_stays(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.later(6)
    world.step(NodeForgotten(91, "olga", "n1"), JoinNode(92, "n1", node.register()))
    assert "assigned" == world.state(task)
    world.restart()
    assert ["n1"] == list(world.core.fleet.nodes)


def test_a_node_that_was_lost_for_a_week_is_forgotten(world: World) -> None:
    world.node("n1")
    world.later(60)
    assert "lost" == world.node_state("n1")
    world.later(WEEK_S - 10)
    assert "lost" == world.node_state("n1")
    world.later(20)
    assert {} == world.core.fleet.nodes


def test_the_week_of_a_lost_node_goes_on_over_restarts(world: World) -> None:
    world.node("n1")
    world.later(60)
    world.later(WEEK_S / 2)
    world.restart()
    assert "lost" == world.node_state("n1")
    world.later(WEEK_S / 2 + 60)
    assert {} == world.core.fleet.nodes


# --- another try while other nodes take no work --------------------------------------------------


def test_a_try_goes_back_to_the_node_that_failed_it_when_the_other_is_drained(world: World) -> None:
    node = world.node("n1")
    world.node("n2")
    (task,) = world.submit(retries=1, backoff_first_ms=1)
    holder = next(each for each in world.nodes.values() if each.held)
    other = next(name for name in world.nodes if name != holder.name)
    world.drain(other)
    world.end(holder, task, m.Outcome.FAILED)
    world.keep_alive(1, node, *world.nodes.values())
    assert [(task, 2)] == list(holder.held)


def test_a_task_that_waits_for_the_other_node_holds_up_none_that_need_not(world: World) -> None:
    node = world.node("n1")
    lacking, failing = world.submit(2, retries=1, backoff_first_ms=1)
    assert {(lacking, 1), (failing, 1)} == set(node.held)
    world.node("n2")
    world.drain("n2")
    world.end(node, lacking, m.Outcome.FAILED, code="code_missing")
    world.end(node, failing, m.Outcome.FAILED)
    world.keep_alive(1, *world.nodes.values())
    assert [(failing, 2)] == list(node.held)


def test_a_try_goes_back_to_the_node_that_failed_it_when_the_other_is_lost(world: World) -> None:
    first = world.node("n1", cpus=1)
    (task,) = world.submit(retries=1, backoff_first_ms=1)
    world.node("n2")
    world.keep_alive(61, first)
    world.end(first, task, m.Outcome.FAILED)
    world.keep_alive(1, first)
    assert [(task, 2)] == list(first.held)


def test_missing_code_is_never_asked_of_the_same_node_again(world: World) -> None:
    first = world.node("n1", cpus=1)
    (task,) = world.submit()
    world.node("n2")
    world.drain("n2")
    world.end(first, task, m.Outcome.FAILED, code="code_missing")
    world.keep_alive(2, first, world.nodes["n2"])
    assert "queued" == world.state(task)
    world.undrain("n2")
    assert [(task, 2)] == list(world.nodes["n2"].held)


def test_what_a_task_printed_before_its_deadline_stays_with_its_end(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(deadline_ms=world.now.wall_ms + 2_000)
    world.start(node, task)
    world.keep_alive(3, node)
    token, _ = node.held[task, 1]
    details = pack_document({"code": "cancelled", "out": b"as far as it came"})
    killed = int(m.Outcome.KILLED)
    world.says(node, m.Results([to_bytes(task)], [1], [token], [killed], [b""], [details], [1]))
    (result,) = world.journal.history.ended([task]).values()
    said = unpack_document(result.details)
    assert ("deadline", b"as far as it came") == (said["code"], said["out"])


def test_where_every_node_failed_it_missing_code_and_a_lost_node_end_it(world: World) -> None:
    first, second = world.node("n1", cpus=1), world.node("n2", cpus=1)
    (task,) = world.submit()
    holder = next(each for each in world.nodes.values() if each.held)
    other = second if holder is first else first
    world.end(holder, task, m.Outcome.FAILED, code="code_missing")
    world.start(other, task)
    world.keep_alive(61, holder)
    assert [(task, 3)] == list(holder.held)
    world.end(holder, task, m.Outcome.FAILED, code="code_missing")
    assert "failed" == world.state(task)
