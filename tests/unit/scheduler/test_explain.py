"""Is the answer to "why is my task there?" true in every state?"""

from __future__ import annotations

from typing import Any

from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler import explain as explain_module
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.explain import explain

from ...fakes.world import GIB, World, gpu


def why(world: World, task: int) -> dict[str, Any]:
    return explain(world.core, task, world.now)


def test_an_unknown_task_has_no_explanation(world: World) -> None:
    assert {} == why(world, 77)


def test_without_a_node_it_says_how_to_start_one(world: World) -> None:
    (task,) = world.submit()
    answer = why(world, task)
    assert ("queued", "no_node_yet") == (answer["state"], answer["waits_for"])
    assert "remuda-node" in answer["reason"]


def test_a_scheduler_on_hold_says_why_it_holds(world: World) -> None:
    world.node("n1")
    world.core.hold("the disk is full")
    (task,) = world.submit()
    answer = why(world, task)
    assert "the scheduler holds: the disk is full" == answer["reason"]
    assert ("the scheduler", 0) == (answer["waits_for"], answer["position"])


def test_a_full_cluster_names_each_nodes_reason(world: World) -> None:
    world.node("n1", cpus=1)
    world.node("n2", cpus=1, gpus=[gpu(1)])
    world.submit(2, priority=60)
    (task,) = world.submit()
    answer = why(world, task)
    assert "resources" == answer["waits_for"]
    expected = "no node has room now: n1 0 CPUs free, wanted 1; n2 0 CPUs free, wanted 1"
    assert expected == answer["reason"]
    assert [("n1", False), ("n2", False)] == [(row["node"], row["fits"]) for row in answer["nodes"]]


def test_each_of_the_alternatives_has_a_reason_of_its_own(world: World) -> None:
    world.node("n1", cpus=1, gpus=[gpu(1)])
    world.submit(cpus_milli=0, gpus=1)
    either = [{"gpus": 2}, {"cpus_milli": 2_000}]
    (task,) = world.submit(gpus=1, alternatives=either)
    answer = why(world, task)
    full = "no node has room now: n1 0 GPUs of that kind wholly free, wanted 1"
    assert full == answer["reason"]
    never = "no known node could ever run it"
    assert [
        ("cpus=1 gpus=1", False, full),
        ("cpus=1 gpus=2", False, never),
        ("cpus=2", False, never),
    ] == [(each["request"], each["fits"], each["reason"]) for each in answer["options"]]


def test_nodes_that_never_could_are_told_from_those_that_are_busy(world: World) -> None:
    world.node("n1")
    world.node("n2", gpus=[gpu(1)])
    world.submit(gpus=1)
    (task,) = world.submit(gpus=1)
    answer = why(world, task)
    assert "no node has room now: n2 0 GPUs of that kind wholly free, wanted 1" == answer["reason"]
    assert ["has no GPU", "0 GPUs of that kind wholly free, wanted 1"] == [
        row["reason"] for row in answer["nodes"]
    ]


def test_a_task_that_no_node_could_run_says_so(world: World) -> None:
    world.node("n1", gpus=[gpu(1, 24)])
    (task,) = world.submit(vram_bytes=40 * GIB, allow_infeasible=True)
    assert "a_fitting_node" == why(world, task)["waits_for"]


def test_a_task_for_a_node_that_there_is_not_says_that_first(world: World) -> None:
    world.node("n1")
    (task,) = world.submit(nodes=["nope"], allow_infeasible=True)
    assert "there is no node nope; known: n1" == why(world, task)["reason"]


def test_the_position_counts_who_goes_first(world: World) -> None:
    world.node("n1", cpus=1)
    world.submit()
    low = world.submit(2, priority=10)
    high = world.submit(2, priority=90)
    assert [0, 1, 2, 3] == [why(world, task)["position"] for task in (*high, *low)]


def test_a_very_long_queue_is_not_counted(world: World, monkeypatch) -> None:
    world.node("n1", cpus=1)
    tasks = world.submit(4)
    assert 2 == why(world, tasks[3])["position"]
    monkeypatch.setattr(explain_module, "QUEUE_SCAN_MAX", 2)
    assert -1 == why(world, tasks[3])["position"]


def test_a_wait_says_when_the_next_try_starts(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit(retries=2, backoff_first_ms=4_000)
    world.end(node, task, m.Outcome.FAILED)
    answer = why(world, task)
    left_ms = (world.core.tasks[task].due_ns - world.mono_ns) // 1_000_000
    assert f"try 1 failed; the next one starts in {left_ms / 1000:.1f} s" == answer["reason"]
    assert world.now.wall_ms + left_ms == answer["next_try_ms"]


def test_an_assigned_task_says_how_far_its_offer_got(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    assert "it was offered to n1" == why(world, task)["reason"]
    world.says(node, m.Accept([ids.to_bytes(task)], [1]))
    assert "n1 has taken it and is starting it" == why(world, task)["reason"]
    world.says(node, m.Progress([ids.to_bytes(task)], [1], [0], ["its environment is being made"]))
    said = "n1 has taken it and prepares it: its environment is being made"
    assert said == why(world, task)["reason"]


def test_a_task_that_was_sent_ahead_waits_for_a_slot(world: World) -> None:
    node = world.node("n1", cpus=1)
    (tiny,) = world.submit()
    world.end(node, tiny, run_us=10)
    _, task = world.submit(2)
    assert "it waits for a free slot on n1" == why(world, task)["reason"]


def test_a_running_task_says_where_and_how_far_it_is(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    assert "it runs on n1, try 1" == why(world, task)["reason"]
    world.says(node, m.Progress([ids.to_bytes(task)], [1], [425], ["tile 17"]))
    assert "it runs on n1, try 1, 42.5% tile 17" == why(world, task)["reason"]


def test_a_task_whose_outputs_are_being_stored_says_so(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    text = "store: the store does not answer"
    world.says(node, m.Progress([ids.to_bytes(task)], [1], [1000], [text]))
    expected = "it ended on n1, and its outputs are being stored: the store does not answer"
    assert expected == why(world, task)["reason"]


def test_a_task_that_is_being_stopped_says_whose_proof_is_missing(world: World) -> None:
    node = world.node("n1")
    (task,) = world.submit()
    world.start(node, task)
    world.cancel(task)
    reason = "cancel was asked; waiting for proof that it is gone from n1"
    assert reason == why(world, task)["reason"]
    world.later(20)
    assert (
        f"{reason}, which was not heard for 20 s: the proof comes when it is back, or with "
        "`remuda node lost n1` if that is off"
    ) == why(world, task)["reason"]


def test_a_task_whose_turn_has_not_come_is_about_to_be_placed(tmp_path) -> None:
    world = World(tmp_path / "state", CoreSettings(grants_per_turn_max=1))
    world.node("n1")
    _, task = world.submit(2)
    answer = why(world, task)
    assert ("it is about to be placed", "its turn") == (answer["reason"], answer["waits_for"])
    world.close()
