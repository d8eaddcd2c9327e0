"""Does the core say truly when it next has something to do, and do nothing before?"""

from __future__ import annotations

from pathlib import Path

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler.core import SECOND_NS, CoreSettings
from remuda.scheduler.events import NodeRevoked

from ...fakes.world import World


def due_in_s(world: World) -> float | None:
    due = world.core.deadline()
    return None if due is None else (due - world.mono_ns) / SECOND_NS


def test_a_core_without_nodes_waits_for_ever(world: World) -> None:
    world.step()
    assert due_in_s(world) is None


def test_a_silent_node_is_suspected_given_up_and_forgotten_in_time(world: World) -> None:
    node = world.node("n1")
    world.submit()
    assert 6 == due_in_s(world)
    world.later(6)
    assert "suspect" == world.node_state("n1")
    assert 54 == due_in_s(world)
    world.heartbeat(node)
    assert "ready" == world.node_state("n1")
    assert 6 == due_in_s(world)
    world.later(60)
    assert "lost" == world.node_state("n1")


def test_nothing_happens_before_the_deadline_and_something_at_it(world: World) -> None:
    world.node("n1")
    (task,) = world.submit()
    world.later(60 - 1e-9)
    assert "assigned" == world.state(task)
    world.later(1e-9)
    assert "queued" == world.state(task)


def test_a_wait_ends_at_its_deadline(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=1, backoff_first_ms=8_000)
    world.end(node, task, m.Outcome.FAILED)
    left_ns = world.core.waits[0][0] - world.mono_ns
    world.later((left_ns - 1) / SECOND_NS)
    assert "waiting" == world.state(task)
    world.later(1e-9)
    assert "assigned" == world.state(task)


def test_a_node_that_refused_is_asked_again_after_a_moment(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    token = node.held.pop((task, 1))[0]
    world.says(node, m.Reject([ids.to_bytes(task)], [1], [token], ["busy"]))
    assert CoreSettings().shun_ns / SECOND_NS == due_in_s(world)
    world.later(CoreSettings().shun_ns / SECOND_NS)
    assert "assigned" == world.state(task)


def test_after_a_restart_silent_nodes_are_given_their_full_time(world: World) -> None:
    world.node("n1")
    (task,) = world.submit()
    world.later(59)
    world.restart()
    world.later(59)
    assert "assigned" == world.state(task)
    world.later(1)
    assert "queued" == world.state(task)
    assert ["lost"] == world.attempts(task)


def test_a_revoked_node_is_given_up_at_once(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.step(NodeRevoked("n1"))
    assert ("queued", ["lost"]) == (world.state(task), world.attempts(task))
    world.end(node, task, value=b"too late")
    assert "queued" == world.state(task)
    world.step(NodeRevoked("nobody"))


def test_a_task_whose_stop_is_under_way_is_not_moved_from_a_lost_node(world: World) -> None:
    world.node("n1")
    (task,) = world.submit()
    world.cancel(task)
    world.later(61)
    assert "stopping" == world.state(task)
    world.step(NodeRevoked("n1"))
    assert "stopping" == world.state(task)
    assert ["stopping"] == world.cancel(task)


def test_settings_say_how_long(tmp_path: Path) -> None:
    world = World(
        tmp_path / "state", CoreSettings(suspect_after_ns=SECOND_NS, lost_after_ns=SECOND_NS)
    )
    world.node("n1")
    (task,) = world.submit()
    assert 1 == due_in_s(world)
    world.later(1)
    assert "queued" == world.state(task)
    world.close()
