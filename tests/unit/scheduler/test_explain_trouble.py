"""Is the answer to "why is my task there?" true when something is amiss?"""

from __future__ import annotations

from typing import Any

import pytest

from remuda.protocol import messages as m
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.events import DrainNode, NodeDeclaredLost
from remuda.scheduler.explain import explain
from remuda.scheduler.spans import span

from ...fakes.world import GIB, SimNode, World, gpu

BY_HAND = "`remuda node lost n1` if that is off"


def why(world: World, task: int, failed_of: str = "") -> dict[str, Any]:
    return explain(world.core, task, world.now, failed_of)


def running(world: World, **fields: object) -> tuple[SimNode, int]:
    node = world.node("n1")
    (task,) = world.submit(**fields)
    world.start(node, task)
    return node, task


def drain(world: World, name: str = "n1", reason: str = "", deadline_ms: int = 0) -> None:
    world.step(DrainNode(1, "ops", name, reason, deadline_ms))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (45.2, "45 s"), (119, "119 s"), (150, "2.5 min"),
     (7_300, "2.0 h"), (100_000, "28 h"), (864_000, "10 d")],
)  # fmt: skip
def test_a_span_has_one_unit(seconds, text) -> None:
    assert text == span(seconds)


# --- waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "budget"),
    [
        ("exit_code", "retry 1 of 4 after its own errors"),
        ("silence", "retry 1 of 4 after its own errors"),
        ("network", "retry 1 of 5 after network errors"),
        ("disk_full", "retry 1 of 3 after full disks"),
        ("model_unavailable", "retry 1 of 3 after models that do not load"),
    ],
)
def test_a_wait_names_the_failure_and_what_is_left_of_its_budget(
    world: World, code, budget
) -> None:
    node, task = running(world, retries=4)
    world.end(node, task, m.Outcome.FAILED, code=code)
    reason = why(world, task, code)["reason"]
    assert reason.startswith(f"try 1 failed ({code}); the next one starts in ")
    assert reason.endswith(budget)


# --- queued --------------------------------------------------------------------------------------


def test_a_task_whose_nodes_take_no_work_names_why(world: World) -> None:
    world.node("n1")
    world.node("n2", gpus=[gpu(1)])
    drain(world, "n2", "new disk")
    (task,) = world.submit(gpus=1)
    answer = why(world, task)
    assert "no node that could run it takes work: n2 is drained: new disk" == answer["reason"]
    assert "a_working_node" == answer["waits_for"]


def test_nodes_that_work_are_named_before_those_that_do_not(world: World) -> None:
    world.node("a1", cpus=1)
    world.node("n1", cpus=1)
    drain(world, "a1")
    world.submit()
    (task,) = world.submit()
    assert "no node has room now: n1 0 CPUs free, wanted 1" == why(world, task)["reason"]


def test_a_node_that_failed_a_task_is_passed_over_for_a_busy_one(world: World) -> None:
    node = world.node("n1", cpus=1)
    (task,) = world.submit()
    world.start(node, task)
    other = world.node("n2", cpus=1)
    (busy,) = world.submit()
    world.start(other, busy)
    world.end(node, task, m.Outcome.FAILED, code="code_missing")
    answer = why(world, task)
    assert {
        "n1": "failed it before, and another node may take it",
        "n2": "0 CPUs free, wanted 1",
    } == {row["node"]: row["reason"] for row in answer["nodes"]}
    assert "resources" == answer["waits_for"]


def test_a_task_that_ran_out_of_memory_says_that_it_asks_for_more(world: World) -> None:
    node, task = running(world, memory_bytes=12 * GIB)
    assert "raised" not in why(world, task)
    world.end(node, task, m.Outcome.FAILED, code="out_of_memory")
    answer = why(world, task, "out_of_memory")
    assert (True, True) == (answer["raised"], "memory=18GiB" in answer["request"])


def test_a_deadline_and_an_expiry_are_told_as_long_as_they_threaten(world: World) -> None:
    deadline_ms = world.now.wall_ms + 60_000
    (task,) = world.submit(deadline_ms=deadline_ms, expires_ms=30_000)
    answer = why(world, task)
    assert deadline_ms == answer["deadline_ms"]
    assert world.core.tasks[task].created_ms + 30_000 == answer["expiry_ms"]
    world.start(world.node("n1"), task)
    assert "expiry_ms" not in why(world, task)


# --- on a node that is silent, or on its way out -------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "follows"),
    [
        ("rerun", "in 40 s it runs elsewhere"),
        ("fence", "in 70 s it runs elsewhere, for the node has surely stopped it then"),
        ("fail", "in 40 s it fails, as it is to"),
    ],
)
def test_a_silent_node_says_when_and_how_its_task_goes_on(world: World, policy, follows) -> None:
    _, task = running(world, if_node_lost=policy)
    world.later(20)
    said = f"it ran on n1, which was not heard for 20 s; {follows}; at once with {BY_HAND}"
    assert (said, "the node") == (why(world, task)["reason"], why(world, task)["waits_for"])


@pytest.mark.parametrize("policy", ["rerun", "fence"])
def test_what_is_said_of_a_silent_node_comes_true(world: World, policy) -> None:
    _, task = running(world, if_node_lost=policy)
    world.later(20)
    left_s = 40 if policy == "rerun" else 70
    world.later(left_s - 1)
    assert "running" == world.state(task)
    world.later(1)
    assert "queued" == world.state(task)


def test_after_a_start_a_missing_node_has_the_whole_window(world: World) -> None:
    world = World(world.folder.parent / "other", CoreSettings(reconcile_ns=200 * 10**9))
    _, task = running(world)
    world.restart()
    world.later(20)
    reason = why(world, task)["reason"]
    assert "not heard for 20 s, since our start; in 3.0 min it runs elsewhere" in reason
    world.close()


def test_a_blown_fuse_is_named_with_what_moves_one_node(world: World) -> None:
    _, task = running(world)
    for number in range(2, 7):
        world.node(f"n{number}")
    world.later(20)
    reason = why(world, task)["reason"]
    assert (
        "many nodes fell silent at once, so nobody is given up before they are heard, "
        f"or at once with {BY_HAND}"
    ) in reason


def test_a_task_on_a_drained_node_says_when_it_moves_on(world: World) -> None:
    _, task = running(world)
    drain(world, deadline_ms=90_000)
    assert (
        "it runs on n1, try 1; the node is drained: unless it ends it moves on in 90 s"
        == why(world, task)["reason"]
    )


def test_a_stop_says_its_reason_and_what_follows(world: World) -> None:
    _, task = running(world)
    drain(world, deadline_ms=1_000)
    world.later(1)
    world.later(0)
    answer = why(world, task)
    assert ("stopping", "drain") == (answer["state"], answer["stop"])
    assert (
        "its node is drained, past the deadline; waiting for proof that it is gone from n1; "
        "then it runs elsewhere"
    ) == answer["reason"]


def test_a_stop_for_the_deadline_on_a_silent_node_says_when_it_ends(world: World) -> None:
    _, task = running(world, deadline_ms=world.now.wall_ms + 10_000)
    world.later(20)
    assert (
        "its deadline has passed; waiting for proof that it is gone from n1, which was not heard "
        f"for 20 s: it is given up in 40 s, or with {BY_HAND}"
    ) == why(world, task)["reason"]
    world.later(40)
    assert "failed" == world.state(task)


# --- fenced tasks that are being stopped ---------------------------------------------------------


def test_a_fenced_task_that_did_not_start_runs_nowhere_else_before_it_surely_stopped(
    world: World,
) -> None:
    world.node("n1")
    (task,) = world.submit(if_node_lost="fence", start_timeout_ms=5_000, retries=1)
    world.later(10)
    assert "stopping" == world.state(task)
    world.later(55)
    assert ("stopping", "lost") == (world.state(task), world.node_state("n1"))
    world.later(25)
    assert ("waiting", ["failed"]) == (world.state(task), world.attempts(task))


def test_a_fenced_task_of_a_drained_node_that_fell_silent_moves_once_it_surely_stopped(
    world: World,
) -> None:
    _, task = running(world, if_node_lost="fence")
    drain(world, deadline_ms=1_000)
    world.later(1)
    world.later(69)
    assert ("stopping", "lost") == (world.state(task), world.node_state("n1"))
    world.later(20)
    assert "queued" == world.state(task)


def test_a_cancelled_task_of_a_lost_node_waits_for_a_person_or_the_node(world: World) -> None:
    _, task = running(world, if_node_lost="fence")
    world.cancel(task)
    world.later(500)
    assert "stopping" == world.state(task)
    world.step(NodeDeclaredLost(1, "ops", "n1"))
    assert "cancelled" == world.state(task)
