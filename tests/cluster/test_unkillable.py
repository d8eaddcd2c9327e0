"""Is a task that does not die of KILL reported, never taken for dead, and done with once it is?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome
from remuda.worker import frames

from ..fakes import freezer
from ..fakes.freezer import Freezer
from ..fakes.node_driver import FakeScheduler, document, new_task, node
from ..fakes.runner_driver import driven, living_with, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not freezer.is_there(), reason=freezer.MISSING),
]
AFTER_S = 0.3


@pytest.fixture
def frozen() -> Iterator[Freezer]:
    group = Freezer()
    yield group
    group.remove()


def test_a_runner_says_what_does_not_die_and_answers_only_when_it_did(
    tmp_path: Path, frozen: Freezer
) -> None:
    with driven(tmp_path) as runner:
        runner.link.send(frames.Attach(frames.PROTOCOL, AFTER_S))
        run = runner.start("sleep 1000")
        pid = runner.wait(frames.Started).pid
        frozen.freeze(runner.processes())
        runner.link.send(frames.Cancel(run.task, 1, 0.0))
        stuck = runner.wait(frames.Stuck)
        assert (run.task, 1, pid) == (stuck.task, stuck.attempt, stuck.rows[0][0])
        assert AFTER_S <= stuck.since_s
        runner.link.close()
        assert [[run.task.hex(), 1, True]] == runner.attach().held
        runner.link.send(frames.Attach(frames.PROTOCOL, AFTER_S))
        assert run.task == runner.wait(frames.Stuck).task
        frozen.thaw()
        assert "cancelled" == runner.finished(run).how


def notes(scheduler: FakeScheduler) -> list[str]:
    """Return the notes of the newest heartbeat that has any statement."""
    said = [beat.capabilities for beat in scheduler.all_of(m.Heartbeat) if beat.capabilities]
    return list(said[-1]["notes"]) if said else []


def begin(scheduler: FakeScheduler) -> tuple[bytes, list[int]]:
    """Start a task; return it with its processes."""
    task = new_task()
    scheduler.offer(document(kind="command", argv=["sleep", "1000"], grace_ms=0), task)
    scheduler.wait_for(m.Started, task)
    return task, living_with(f"REMUDA_ATTEMPT={task.hex()}.1")


def alarm(scheduler: FakeScheduler) -> str:
    return next((note for note in notes(scheduler) if "does not die" in note), "")


def test_a_node_says_which_task_does_not_die_until_it_does(tmp_path: Path, frozen: Freezer) -> None:
    with node(tmp_path, 'unkillable_after = "300ms"\n') as (scheduler, _):
        task, pids = begin(scheduler)
        frozen.freeze(pids)
        scheduler.say(m.Kill(scheduler.incarnation, [task], [1], [0], ["cancelled"]))
        text = scheduler.wait(lambda: alarm(scheduler))
        assert f"process {pids[0]} (sleep)" in text
        assert [] == scheduler.all_of(m.Results)
        frozen.thaw()
        assert Outcome.KILLED == scheduler.result(task)["outcome"]
        scheduler.wait(lambda: not alarm(scheduler))


def test_a_task_that_outlives_its_killed_runner_is_held_until_it_is_dead(
    tmp_path: Path, frozen: Freezer
) -> None:
    with node(tmp_path, 'unkillable_after = "300ms"\n') as (scheduler, under_test):
        task, pids = begin(scheduler)
        runner = parent_of(pids[0])
        frozen.freeze(pids)
        os.kill(runner, signal.SIGKILL)
        text = scheduler.wait(lambda: alarm(scheduler))
        assert "a runner that was killed" in text
        beat = scheduler.all_of(m.Heartbeat)[-1]
        assert ([task], []) == (beat.tasks, scheduler.all_of(m.Results))
        under_test.kill()
        under_test.start()  # the next agent finds it so
        assert [task] == scheduler.registers[-1].tasks
        frozen.thaw()
        assert "node_lost" == scheduler.result(task)["code"]
        wait_until(lambda: not living_with(f"REMUDA_ATTEMPT={task.hex()}.1"), "its end")


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat[stat.rindex(")") + 2 :].split()[1])
