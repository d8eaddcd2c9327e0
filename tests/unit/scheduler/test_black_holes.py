"""Is a place that eats the queue told from a task that is bad, and are its victims spared?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol import messages as m
from remuda.scheduler.black_holes import REASON, Rules
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.happenings import happenings

from ...fakes.world import SimNode, World, gpu
from ...fakes.worlds import worlds

FAILED = m.Outcome.FAILED
FAST_US = 50_000
SLOW_US = 60_000_000
HOLD_S = 300
AGAIN = {"retries": 1, "backoff_first_ms": 600_000, "backoff_longest_ms": 600_000}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[World]:
    """A fleet of two nodes, of which n1 is taken first."""
    for world in worlds(tmp_path / "state"):
        world.node("n1", cpus=8)
        world.node("n2", cpus=8)
        yield world


def node_of(world: World, task: int) -> str:
    live = world.core.tasks[task].live if task in world.core.tasks else None
    return live.node if live else ""


def submit_to(world: World, node: str, **fields: object) -> int:
    """Submit a task of its own spec that goes to a node first, and may go to others.

    It may be tried again, but that is long to come.
    """
    others = [each for each in world.core.fleet.nodes.values() if each.name != node]
    for each in others:
        each.suspect = True
    (task,) = world.submit(**AGAIN | fields)
    for each in others:
        each.suspect = False
    assert node == node_of(world, task), world.core.tasks.get(task)
    return task


def fail(world: World, task: int, run_us: int = FAST_US, code: str = "exit_code") -> None:
    world.end(world.nodes[node_of(world, task)], task, FAILED, code=code, run_us=run_us)


def succeed(world: World, task: int) -> None:
    world.end(world.nodes[node_of(world, task)], task, run_us=FAST_US)


def break_n1(world: World) -> list[int]:
    """Have three different tasks fail on n1; the last two then do well on n2."""
    tasks = [submit_to(world, "n1") for _ in range(3)]
    for task in tasks:
        fail(world, task)
    for task in tasks[1:]:
        assert "n2" == node_of(world, task)
        succeed(world, task)
    return tasks


def drained(world: World, name: str) -> str:
    drain = world.core.fleet.nodes[name].drain
    return drain.reason if drain else ""


def test_a_node_that_fails_different_tasks_which_do_well_elsewhere_gets_no_more(
    pair: World,
) -> None:
    tasks = break_n1(pair)
    assert drained(pair, "n1").startswith(f"{REASON} 3 different tasks in a row failed fast here")
    assert ["waiting", "succeeded", "succeeded"] == pair.states(tasks)
    assert {"n2"} == {node_of(pair, task) for task in pair.submit(4)}


def test_a_task_is_tried_elsewhere_and_charged_nothing_from_the_second_failure_on(
    pair: World,
) -> None:
    first, second = submit_to(pair, "n1"), submit_to(pair, "n1")
    fail(pair, first)
    fail(pair, second)
    assert ("waiting", "assigned") == (pair.state(first), pair.state(second))
    assert "n2" == node_of(pair, second)
    assert 0 == pair.core.tasks[second].charged


def test_tries_that_were_charged_before_it_was_suspected_are_given_back(pair: World) -> None:
    first = submit_to(pair, "n1", retries=1, backoff_first_ms=600_000, backoff_longest_ms=600_000)
    fail(pair, first)
    assert 1 == pair.core.tasks[first].charged
    for task in [submit_to(pair, "n1") for _ in range(2)]:
        fail(pair, task)
        succeed(pair, task)
    assert drained(pair, "n1")
    assert 0 == pair.core.tasks[first].charged
    pair.restart()
    assert 0 == pair.core.tasks[first].charged


def test_one_bad_batch_never_trips_it(pair: World) -> None:
    tasks = pair.submit(40, cpus_milli=100)
    for task in tasks:
        fail(pair, task)
    assert {"failed"} == set(pair.states(tasks))
    assert ("", "") == (drained(pair, "n1"), drained(pair, "n2"))
    assert [1] * 40 == [len(pair.attempts(task)) for task in tasks]


def test_different_tasks_that_are_bad_everywhere_are_held_against_no_node(pair: World) -> None:
    tasks = []
    for _ in range(20):
        task = submit_to(pair, "n1")
        tasks.append(task)
        fail(pair, task)
        if node_of(pair, task):
            fail(pair, task)
    assert {"waiting"} == set(pair.states(tasks))
    assert ("", "") == (drained(pair, "n1"), drained(pair, "n2"))
    assert {1, 2} == {len(pair.attempts(task)) for task in tasks}


def test_a_success_in_between_absolves_a_node(pair: World) -> None:
    for _ in range(6):
        bad, good = submit_to(pair, "n1"), submit_to(pair, "n1")
        fail(pair, bad)
        succeed(pair, good)
    assert "" == drained(pair, "n1")


@pytest.mark.parametrize(
    ("code", "run_us"), [("exit_code", SLOW_US), ("timeout", FAST_US), ("disk_full", FAST_US)]
)
def test_failures_that_are_slow_or_of_another_kind_do_not_count(
    pair: World, code: str, run_us: int
) -> None:
    for _ in range(8):
        fail(pair, submit_to(pair, "n1", cpus_milli=100), run_us=run_us, code=code)
    assert "" == drained(pair, "n1")


def test_twice_as_many_are_enough_while_nobody_knows_how_they_do_elsewhere(pair: World) -> None:
    for _ in range(5):
        fail(pair, submit_to(pair, "n1", cpus_milli=100))
    assert "" == drained(pair, "n1")
    fail(pair, submit_to(pair, "n1", cpus_milli=100))
    assert f"{REASON} 6 different tasks in a row failed fast here" == drained(pair, "n1")


def test_a_lone_node_is_never_one(world: World) -> None:
    world.node("n1", cpus=8)
    for _ in range(20):
        (task,) = world.submit()
        fail(world, task)
        assert "failed" == world.state(task)
    assert "" == drained(world, "n1")


@pytest.mark.parametrize(
    ("fields", "state"), [({"retries": 0}, "failed"), ({"if_node_lost": "fail"}, "waiting")]
)
def test_a_task_that_is_not_to_run_twice_does_not(
    pair: World, fields: dict[str, object], state: str
) -> None:
    for _ in range(3):
        task = submit_to(pair, "n1", **fields)
        fail(pair, task)
        assert state == pair.state(task)


def test_tasks_without_retries_alone_stop_a_place_after_six_different_ones(pair: World) -> None:
    for _ in range(5):
        fail(pair, submit_to(pair, "n1", retries=0))
    assert "" == drained(pair, "n1")
    fail(pair, submit_to(pair, "n1", retries=0))
    assert f"{REASON} 6 different tasks in a row failed fast here" == drained(pair, "n1")


def test_members_of_a_batch_without_retries_stop_no_place_however_many_fail(pair: World) -> None:
    failed = [task for task in pair.submit(16) if node_of(pair, task) == "n1"]
    for task in failed:
        fail(pair, task)
    assert len(failed) > 6
    assert "" == drained(pair, "n1")


def test_it_is_tried_again_and_a_single_failure_is_then_enough(pair: World) -> None:
    break_n1(pair)
    pair.keep_alive(HOLD_S, *pair.nodes.values())
    assert "" == drained(pair, "n1")
    task = submit_to(pair, "n1")
    fail(pair, task)
    assert f"{REASON} it was given work again, and failed again" == drained(pair, "n1")
    assert ("n2", 0) == (node_of(pair, task), pair.core.tasks[task].charged)
    pair.keep_alive(HOLD_S, *pair.nodes.values())
    assert drained(pair, "n1"), "the second hold lasts longer"
    pair.keep_alive(HOLD_S, *pair.nodes.values())
    assert "" == drained(pair, "n1")


def test_a_success_ends_the_probation(pair: World) -> None:
    break_n1(pair)
    pair.keep_alive(HOLD_S, *pair.nodes.values())
    succeed(pair, submit_to(pair, "n1"))
    fail(pair, submit_to(pair, "n1"))
    assert "" == drained(pair, "n1")


def test_a_persons_undrain_is_believed(pair: World) -> None:
    break_n1(pair)
    pair.undrain("n1")
    task = submit_to(pair, "n1")
    fail(pair, task)
    assert ("waiting", "") == (pair.state(task), drained(pair, "n1"))


def test_a_drain_that_a_person_made_of_it_is_not_lifted(pair: World) -> None:
    break_n1(pair)
    pair.drain("n1")
    pair.keep_alive(HOLD_S + 1, *pair.nodes.values())
    assert "drained" == pair.node_state("n1")


def test_it_stays_held_over_a_restart_and_is_tried_again_after_it(pair: World) -> None:
    break_n1(pair)
    pair.restart()
    for node in pair.nodes.values():
        pair.join(node)
    assert drained(pair, "n1").startswith(REASON)
    pair.keep_alive(HOLD_S, *pair.nodes.values())
    assert "" == drained(pair, "n1")


def test_it_is_told_as_an_event(pair: World) -> None:
    tasks = [submit_to(pair, "n1") for _ in range(3)]
    for task in tasks:
        fail(pair, task)
    node = pair.nodes["n2"]
    attempt = node.attempt_of(tasks[1])
    token, _ = node.held[tasks[1], attempt]
    said = m.Results([tasks[1].to_bytes(16, "big")], [attempt], [token], [0], [b""], [b""], [1])
    told = [(each.kind, each.node) for each in happenings(pair.says(node, said))]
    assert ("node.black_hole", "n1") in told


def test_none_of_this_happens_where_it_is_turned_off(tmp_path: Path) -> None:
    for world in worlds(tmp_path / "state", CoreSettings(black_holes=Rules(after=0))):
        world.node("n1", cpus=8)
        world.node("n2", cpus=8)
        for _ in range(8):
            task = submit_to(world, "n1")
            fail(world, task)
            assert "waiting" == world.state(task)
        assert "" == drained(world, "n1")


# --- one GPU of several --------------------------------------------------------------------------


def cards_of(world: World, task: int) -> tuple[str, ...]:
    live = world.core.tasks[task].live if task in world.core.tasks else None
    return live.gpus if live else ()


def on_first(world: World, node: SimNode) -> int:
    """Submit a task that goes to the first card; the other is in use until it has begun."""
    (task,) = world.submit(gpus=1, **AGAIN)
    if cards_of(world, task) != ("GPU-1",):
        (other,) = world.submit(gpus=1, **AGAIN)
        assert ("GPU-1",) == cards_of(world, other)
        world.end(node, task, run_us=FAST_US)
        return other
    return task


def test_one_gpu_on_which_all_fail_is_cordoned_and_its_node_works_on(world: World) -> None:
    node = world.node("n1", cpus=8, gpus=[gpu(1, 24), gpu(2, 24)])
    tasks = []
    for _ in range(3):
        task = on_first(world, node)
        world.end(node, task, FAILED, run_us=FAST_US)
        tasks.append(task)
        if cards_of(world, task):
            assert ("GPU-2",) == cards_of(world, task), "a suspected card is taken last"
            world.end(node, task, run_us=FAST_US)
    row = world.core.cordons["GPU-1"]
    assert "black hole" == row.principal
    assert row.reason.startswith(f"{REASON} 3 different tasks")
    assert "" == drained(world, "n1")
    assert ["waiting", "succeeded", "succeeded"] == world.states(tasks)
    (task,) = world.submit(gpus=1)
    assert ("GPU-2",) == cards_of(world, task)
    world.keep_alive(HOLD_S, node)
    assert {} == world.core.cordons


def test_uncordoning_a_gpu_forgets_what_spoke_against_it(world: World) -> None:
    node = world.node("n1", cpus=8, gpus=[gpu(1, 24), gpu(2, 24)])
    known = world.core.black_holes
    for _ in range(3):
        task = on_first(world, node)
        world.end(node, task, FAILED, run_us=FAST_US)
        if cards_of(world, task):
            world.end(node, task, run_us=FAST_US)
    assert known.suspects("n1", "GPU-1")
    world.uncordon("GPU-1")
    assert not known.suspects("n1", "GPU-1")


def test_what_one_gpu_explains_is_not_held_against_its_node(world: World) -> None:
    node = world.node("n1", cpus=8, gpus=[gpu(1, 24)])
    tasks = []
    for _ in range(3):
        tasks += world.submit(gpus=1, **AGAIN)
        if len(tasks) == 1:
            world.node("n2", cpus=8, gpus=[gpu(2, 80)])
        world.end(node, tasks[-1], FAILED, run_us=FAST_US)
    assert "n2" == node_of(world, tasks[1])
    succeed(world, tasks[1])
    assert ["GPU-1"] == list(world.core.cordons)
    assert "" == drained(world, "n1")
