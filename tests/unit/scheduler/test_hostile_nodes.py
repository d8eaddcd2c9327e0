"""Is the core unharmed by an authenticated node that says anything at all?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.protocol import capabilities as wire
from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.protocol.codec import VERSION
from remuda.scheduler.events import JoinNode, NodeSays

from ...fakes.hostile import documents, messages_of, node_messages
from ...fakes.world import GIB, SimNode, World, gpu


@given(st.lists(node_messages(), max_size=8))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_whatever_a_node_says_the_core_goes_on(said: list[m.Message]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "state")
        node = world.node("n1")
        (task,) = world.submit()
        for message in said:
            world.says(node, message)
        assert "assigned" == world.state(task)
        world.end(node, task)
        assert "succeeded" == world.state(task)
        world.close()


@given(messages_of(m.Register), documents)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_whatever_a_node_registers_it_is_let_in_or_told_why(
    register: m.Register, statement: dict[str, object]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "state")
        world.submit()
        register.protocol_min, register.protocol_max = 1, 1
        register.capabilities = statement
        world.step(JoinNode(1, "n1", register))
        refused = world.replies[-1]
        assert isinstance(refused, m.Failure)
        assert ("invalid", "capabilities") == (refused.code, refused.field)
        register.capabilities = wire.to_document(wire.Capabilities(0, 0))
        world.nodes["n1"] = stranger()
        world.step(JoinNode(2, "n1", register))
        assert isinstance(world.replies[-1], m.Registered)
        world.close()


def stranger() -> SimNode:
    return SimNode("n1", wire.Capabilities(0, 0))


@pytest.mark.parametrize("blob", [b"", b"x", b"x" * 17, b"\xff" * 64])
def test_a_result_of_something_that_is_no_task_is_not_acknowledged(
    world: World, blob: bytes
) -> None:
    node = world.node("n1")
    effects = world.says(node, m.Results([blob], [1], [b""], [0], [b""], [b""], [1]))
    assert [] == node.acked
    assert [("error", "result without a task")] == [note[:2] for note in effects.notes]
    assert [] == effects.commit.ended


def test_a_failure_without_a_readable_error_still_fails_the_task(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    token, _ = node.held[task, 1]
    failed = int(m.Outcome.FAILED)
    world.says(node, m.Results([ids.to_bytes(task)], [1], [token], [failed], [b""], [b"\xc1"], [1]))
    shown = world.journal.history.show_task(task)
    assert shown is not None
    assert [("exception", "the node sent no readable error")] == [
        (row["code"], row["message"]) for row in shown["attempts"]
    ]


def test_an_outcome_that_is_none_gives_the_task_back(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    token, _ = node.held[task, 1]
    world.says(node, m.Results([ids.to_bytes(task)], [1], [token], [77], [b""], [b""], [1]))
    assert "queued" == world.state(task)


@pytest.mark.parametrize(("low", "high"), [(VERSION + 1, VERSION + 4), (0, 0)])
def test_a_node_of_another_protocol_is_told_to_upgrade(world: World, low: int, high: int) -> None:
    register = stranger().register()
    register.protocol_min, register.protocol_max = low, high
    world.step(JoinNode(1, "n1", register))
    reply = world.replies[-1]
    assert isinstance(reply, m.Failure)
    assert "foreign_protocol" == reply.code
    assert "upgrade the older one" in reply.message
    assert {} == world.core.fleet.nodes


def test_a_node_that_is_not_known_or_not_registered_is_not_heard(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.restart()
    token, _ = node.held[task, 1]
    said = m.Results([ids.to_bytes(task)], [1], [token], [0], [b""], [b""], [1])
    for name in ("n1", "nobody"):
        effects = world.step(NodeSays(name, said))
        assert not effects.commit
        assert [] == effects.to_nodes


# --- heartbeats ----------------------------------------------------------------------------


def test_an_old_heartbeat_is_not_believed(world: World) -> None:
    node = world.node("n1")
    empty = node.heartbeat()
    (task,) = world.submit()
    world.heartbeat(node)
    effects = world.says(node, empty)
    assert [] == effects.to_nodes
    assert "assigned" == world.state(task)


def test_an_old_heartbeat_is_not_believed_after_the_node_registered_again(world: World) -> None:
    node = world.node("n1")
    world.submit(2)
    empty = m.Heartbeat(node.incarnation, 1, 1, [], [], [], {}, 0, 0, {})
    node.seq = 1
    world.heartbeat(node)
    world.join(node)
    world.says(node, empty)
    assert [1, 1] == [task.attempt for task in world.core.tasks.values()]


def test_a_heartbeat_of_an_earlier_life_is_not_believed(world: World) -> None:
    node = world.node("n1")
    old = node.heartbeat()
    node.incarnation = b"second life-----"
    world.join(node)
    (task,) = world.submit()
    world.says(node, old)
    assert 1 == world.core.tasks[task].attempt


def test_new_capabilities_in_a_heartbeat_are_taken_and_kept(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(gpus=1, allow_infeasible=True)
    assert "queued" == world.state(task)
    more = wire.Capabilities(2_000, 64 * GIB, [gpu(1)])
    said = node.heartbeat()
    said.capabilities = wire.to_document(more)
    effects = world.says(node, said)
    assert ["n1"] == list(effects.commit.nodes)
    assert "assigned" == world.state(task)
    world.restart()
    assert ["GPU-1"] == list(world.core.fleet.nodes["n1"].cards)


def test_capabilities_that_say_nothing_new_are_not_journaled(world: World) -> None:
    node = world.node("n1")
    said = node.heartbeat()
    said.capabilities = wire.to_document(node.capabilities)
    assert not world.says(node, said).commit


def test_capabilities_that_do_not_fit_are_refused_and_noted(world: World) -> None:
    node = world.node("n1")
    said = node.heartbeat()
    said.capabilities = {"cpus_milli": -1}
    effects = world.says(node, said)
    assert ["capabilities refused"] == [note.event for note in effects.notes]
    assert 2_000 == world.core.fleet.nodes["n1"].capabilities.cpus_milli


def test_free_memory_that_is_no_number_is_left_out(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1)])
    said = node.heartbeat()
    said.gpu_free = {"GPU-1": 5, "GPU-2": "much"}
    world.says(node, said)
    assert {"GPU-1": 5} == world.core.fleet.nodes["n1"].gpu_free_bytes


def test_progress_is_kept_within_its_bounds(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.says(node, m.Progress([ids.to_bytes(task)], [1], [5_000], ["x" * 999]))
    live = world.core.tasks[task].live
    assert live is not None
    assert (1_000, "x" * 200) == (live.progress_milli, live.progress_text)
