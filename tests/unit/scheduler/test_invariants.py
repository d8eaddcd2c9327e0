"""Can the checker of the core fail? Each broken thing is found and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remuda.protocol.failures import FailureClass
from remuda.scheduler import invariants
from remuda.scheduler.core import Core
from remuda.scheduler.task import State

from ...fakes.world import GIB, World, gpu


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """Yield a core with task 1 on a GPU of n1, task 2 sent ahead there, 3 and 4 queued."""
    world = World(tmp_path / "state")
    node = world.node("n1", cpus=1, gpus=[gpu(1)])
    (tiny,) = world.submit()
    world.end(node, tiny, run_us=30_000)
    world.submit(vram_bytes=GIB)
    world.submit()
    world.submit(2, vram_bytes=GIB)
    assert [State.ASSIGNED, State.ASSIGNED, State.QUEUED, State.QUEUED] == [
        task.state for task in world.core.tasks.values()
    ]
    assert [] == invariants.violations(world.core)
    yield world.core
    world.close()


def end_in_memory(core: Core) -> None:
    core.tasks[4].state = State.SUCCEEDED
    core.counts[State.QUEUED] -= 1
    core.counts[State.SUCCEEDED] += 1


def have_a_ghost_live(core: Core) -> None:
    core.tasks[4].live = core.tasks[2].live


def forget_in_ledger(core: Core) -> None:
    del core.fleet.nodes["n1"].held[2]


def wait_too_long(core: Core) -> None:
    core.tasks[4].state = State.WAITING
    core.counts[State.QUEUED] -= 1
    core.counts[State.WAITING] += 1
    core.tasks[4].charged = core.tasks[4].attempt = 1


def stop_without_reason(core: Core) -> None:
    core.tasks[2].state = State.STOPPING
    core.counts[State.ASSIGNED] -= 1
    core.counts[State.STOPPING] += 1


def spend_too_much(core: Core) -> None:
    core.tasks[2].spent = Counter({FailureClass.NETWORK: 6})


def lose_a_node_that_holds_tasks(core: Core) -> None:
    core.fleet.nodes["n1"].lost = True


def send_gpu_ahead(core: Core) -> None:
    task = core.tasks[2]
    assert task.live is not None
    task.live.prefetched = True
    core.fleet.nodes["n1"].backlog[2] = task


def lend_twice(core: Core) -> None:
    live = core.tasks[2].live
    assert live is not None
    live.charges = (("GPU-1", 0, 25 * GIB),)
    core.fleet.nodes["n1"].cards["GPU-1"].vram_bytes = 25 * GIB


def charge_a_stranger(core: Core) -> None:
    node = core.fleet.nodes["n1"]
    node.held[4] = core.tasks[4]


BROKEN: dict[str, Callable[[Core], None]] = {
    "has ended and is still in memory": end_in_memory,
    "task 4 is queued with attempt": have_a_ghost_live,
    "attempt 1 of 2 lives": lambda core: setattr(core.tasks[2], "attempt", 2),
    "task 2 is not in the ledger of n1": forget_in_ledger,
    "5 charged of 0 attempts": lambda core: setattr(core.tasks[4], "charged", 5),
    "waits beyond its 0 retries": wait_too_long,
    "task 2 is stopping, to be stopped: none": stop_without_reason,
    "task 2 goes on after 6 failures of network, not 5": spend_too_much,
    "n1 is lost and still holds task 2": lose_a_node_that_holds_tasks,
    "is charged for task 4, which is not there": charge_a_stranger,
    "backlog and task 3 disagree": lambda core: core.fleet.nodes["n1"].backlog.clear(),
    "what is no plain task was sent ahead": send_gpu_ahead,
    "n1: CPUs or memory drifted": lambda core: setattr(
        core.fleet.nodes["n1"], "cpus_used_milli", 7
    ),
    "the ledger of GPU-1 drifted": lambda core: setattr(
        core.fleet.nodes["n1"].cards["GPU-1"], "vram_bytes", 7
    ),
    "GPU-1 is lent beyond what it has": lend_twice,
    "counts drifted": lambda core: core.counts.update({State.QUEUED: 1}),
    "batch 99 drifted": lambda core: core.batches.add(99, "ana", 1, is_first=True),
    "owners drifted": lambda core: core.open_by_owner.update({"ana": 1}),
}


@pytest.mark.parametrize("words", BROKEN)
def test_what_is_broken_is_found_and_named(core: Core, words: str) -> None:
    BROKEN[words](core)
    assert any(words in found for found in invariants.violations(core))
