"""Does an adopted task that cannot be tried again end as such, and does any other run again?"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda.protocol import codec, ids
from remuda.protocol import messages as m
from remuda.protocol.errors import Conflict
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler.claimed import Signatures
from remuda.scheduler.edge import Edge

from ...fakes.restorable import OLGA, Restorable, running
from ...fakes.world import GIB, SimNode, gpu


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Restorable]:
    made = Restorable(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def adopted(world: Restorable) -> tuple[SimNode, int]:
    """Adopt a running task of which its node knows what it takes, not what it is."""
    node = world.node("n1")
    world.backup()
    task = running(world, node, retries=3)
    adopt(world, node, task, spec=to_document(TaskSpec("command")), is_whole=False)
    return node, task


def adopt(world: Restorable, node: SimNode, task: int, **said: Any) -> None:
    """Restore the journal, and adopt what a node describes like this."""
    world.restore()
    world.join(node)
    world.heartbeat(node)
    world.describe(**said)
    assert isinstance(world.decide("adopt", task), m.Done)


def lose_it(world: Restorable, node: SimNode, _task: int) -> None:
    node.held.clear()
    world.keep_alive(30, node)


def restart_its_host(world: Restorable, node: SimNode, _task: int) -> None:
    world.reboot(node)


def give_its_node_up(world: Restorable, _node: SimNode, _task: int) -> None:
    world.decide("release")  # nothing is concluded from silence before
    world.later(120)
    world.declare_lost("n1")


def hand_it_back(world: Restorable, node: SimNode, task: int) -> None:
    world.end(node, task, m.Outcome.RETURNED)


def fail_of_the_network(world: Restorable, node: SimNode, task: int) -> None:
    world.end(node, task, m.Outcome.FAILED, code="network")


def drain_its_node(world: Restorable, node: SimNode, task: int) -> None:
    assert isinstance(world.decide("release"), m.Done)  # nothing is stopped before
    world.drain("n1", deadline_s=1)
    world.keep_alive(3, node)
    assert [task] == node.killed[:1]
    world.end(node, task, m.Outcome.KILLED)


@pytest.mark.parametrize(
    ("lose", "reason"),
    [
        (lose_it, "the node does not hold it"),
        (restart_its_host, "node_lost: n1 was restarted"),
        (give_its_node_up, "node_lost: "),
        (hand_it_back, "the node handed it back"),
        (fail_of_the_network, "network: it broke"),
        (drain_its_node, "its node was drained"),
    ],
)
def test_an_adopted_task_of_which_little_is_known_ends_where_another_would_be_tried_again(
    world: Restorable,
    adopted: tuple[SimNode, int],
    lose: Callable[[Restorable, SimNode, int], None],
    reason: str,
) -> None:
    node, task = adopted
    lose(world, node, task)
    other = world.node("n2")
    world.decide("release", force=True)
    world.keep_alive(60, node, other)
    assert [] == list(other.held), "it was given out without its command"
    ended = world.journal.history.ended([task])[task]
    said = codec.unpack_document(ended.details)
    assert ("failed", "restored", "restored") == (world.state(task), ended.code, said["code"])
    assert reason in said["message"]
    assert said["message"].endswith(
        "it was adopted after a restore and cannot be tried again: what it runs is not known"
    )


def test_an_adopted_task_that_cannot_be_tried_again_is_known_as_such_after_a_restart(
    world: Restorable, adopted: tuple[SimNode, int]
) -> None:
    node, task = adopted
    world.decide("release", force=True)
    world.restart()
    world.join(node)
    hand_it_back(world, node, task)
    assert "restored" == world.journal.history.ended([task])[task].code


def lags_behind(world: Restorable, node: SimNode) -> None:
    """Have a node that lost what it had be heard without having heard of the adoption."""
    node.held.clear()
    for _ in range(10):
        node.rev = 0
        world.keep_alive(1, node)


def test_an_adopted_task_that_cannot_be_tried_again_is_not_offered_to_its_own_node(
    world: Restorable, adopted: tuple[SimNode, int]
) -> None:
    node, _task = adopted
    world.decide("release", force=True)
    lags_behind(world, node)
    assert [] == list(node.held)


def test_an_adopted_task_is_not_offered_to_its_own_node_by_a_scheduler_that_is_held(
    world: Restorable,
) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node)
    adopt(world, node, task)
    lags_behind(world, node)
    assert [] == list(node.held)
    assert isinstance(world.decide("release"), m.Done)
    lags_behind(world, node)
    assert [task] == [each for each, _ in node.held]


def test_doubts_of_adopted_tasks_end_where_others_run_again(
    world: Restorable, adopted: tuple[SimNode, int]
) -> None:
    node, task = adopted
    world.decide("release", force=True)
    world.backup()
    world.end(node, task)
    world.restore()
    world.come(node)
    answer = world.decide("rerun", task)
    assert isinstance(answer, m.Done)
    assert "0 tasks will run again; 1 task could not, and ended" == answer.message
    assert "restored" == world.journal.history.ended([task])[task].code


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"args": b"", "spec": {"kind": "function", "target": "m:f"}}, "its arguments"),
        ({"args": b"", "spec": {"kind": "command", "argv": ["x"], "array": True}}, "its arguments"),
        ({"spec": {"kind": "command", "argv": ["x"], "stdin_object": b"d" * 32}}, "the right"),
        ({"spec": {"kind": "function", "target": "m:f", "objects": True}}, "the right"),
    ],
)
def test_what_lacks_its_arguments_or_its_files_has_no_other_try(
    world: Restorable, document: dict[str, Any], why: str
) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node)
    adopt(world, node, task, **document)
    hand_it_back(world, node, task)
    details = world.journal.history.ended([task])[task].details
    assert f"cannot be tried again: {why}" in codec.unpack_document(details)["message"]


@pytest.mark.parametrize("lose", [lose_it, restart_its_host, give_its_node_up, hand_it_back])
def test_an_adopted_task_of_which_all_is_known_runs_again(
    world: Restorable, lose: Callable[[Restorable, SimNode, int], None]
) -> None:
    node = world.node("n1")
    world.backup()
    task = running(world, node, argv=["true"], env={"A": "1"})
    adopt(world, node, task)
    lose(world, node, task)
    world.decide("release", force=True)
    world.later(120)
    world.declare_lost("n1")
    other = world.node("n2")
    world.keep_alive(10, other)
    assert [task] == [each for each, _ in other.held]
    told = codec.unpack_document(other.specs[task])
    assert (["true"], {"A": "1"}) == (told["argv"], told["env"])


def test_an_adopted_task_that_cannot_be_tried_again_is_not_taken_back(
    world: Restorable, adopted: tuple[SimNode, int]
) -> None:
    node, task = adopted
    world.decide("release", force=True)
    live = world.core.tasks[task].live
    assert live is not None
    world.core.fleet.nodes["n1"].remove(world.core.tasks[task], live)
    live.prefetched = True  # as a restarted scheduler takes it, where the node has no room for it
    world.core.fleet.nodes["n1"].add(world.core.tasks[task], live)
    world.node("n2")
    world.later(1)
    assert [] == node.killed


def test_a_copy_of_an_adopted_task_that_could_not_run_is_refused(
    world: Restorable, adopted: tuple[SimNode, int]
) -> None:
    node, task = adopted
    world.end(node, task)
    edge = Edge(
        world.journal.history, value_bytes_max=1_000, random_bits=secrets.randbits,
        signatures=Signatures(b"s" * 32),
    )  # fmt: skip
    again = m.Retry(secrets.token_bytes(16), b"", [ids.to_bytes(task)], [])
    with pytest.raises(Conflict, match="what it runs is not known: submit it anew"):
        edge.retry(again, OLGA, 1, world.now.wall_ms, world.core.tasks)


def test_an_adopted_attempt_is_charged_for_what_it_was_granted(world: Restorable) -> None:
    or_less = {"gpus": 1, "gpu_type": "H100", "alternatives": [{"vram_bytes": 5 * GIB}]}
    tasks = world.submit(2, allow_infeasible=True, **or_less)  # type: ignore[arg-type]  # by name
    world.backup()
    node = world.node("n1", gpus=[gpu(1)])
    assert [*tasks] == [task for task, _ in node.held]
    world.restore()
    world.come(node)
    assert isinstance(world.decide("adopt", *tasks), m.Done)
    assert isinstance(world.decide("release"), m.Done)
    for _ in range(2):
        card = world.core.fleet.nodes["n1"].cards["GPU-1"]
        assert (0, 10 * GIB) == (card.share_milli, card.vram_bytes)
        world.restart()
        world.join(node)
