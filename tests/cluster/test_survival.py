"""Does work outlive the daemons, and does a cancel leave nothing alive?"""

import os
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from remuda.client.outcome import TaskCancelled
from remuda.protocol.ids import parse_id, to_bytes

from .command_line import wait_until
from .harness import Cluster

pytestmark = pytest.mark.cluster

TASKS = 1_000
LINES = 400
FINISH_S = 120.0


def runs_in(folder: Path) -> dict[bytes, int]:
    """Count what tasks wrote: each appends a line to the file of its id."""
    return {
        to_bytes(parse_id(path.name)): len(path.read_text().splitlines())
        for path in folder.iterdir()
    }


def ended(cluster: Cluster) -> int:
    return sum(map(len, list(cluster.history.ends.values())))


def test_a_thousand_tasks_outlive_a_killed_scheduler_and_none_runs_twice(
    cluster: Cluster, common: Path
) -> None:
    truth = common / "truth"
    truth.mkdir()
    script = 'echo "$REMUDA_TASK_ID" >> "$0/$REMUDA_TASK_ID"'
    batch = cluster.client.submit_array(["sh", "-c", script, str(truth)], range(TASKS), cpus=0.1)
    cluster.note(batch)
    wait_until(lambda: ended(cluster) >= TASKS // 10, "the first tasks did not end")
    old = cluster.kill("scheduler")
    assert ended(cluster) < TASKS, "the kill came too late to show anything"
    cluster.wait_restarted("scheduler", old)
    _, left = cluster.client.wait(batch, FINISH_S)
    assert set() == left
    assert {"succeeded": TASKS} == batch.counts
    runs = runs_in(truth)
    assert Counter({1: TASKS}) == Counter(runs.values())
    assert [] == cluster.violations(runs)


def test_a_call_in_flight_when_the_scheduler_dies_is_not_lost(
    cluster: Cluster, tmp_path: Path
) -> None:
    batch = cluster.client.map("math:sqrt", range(TASKS))
    cluster.note(batch)
    old = cluster.kill("scheduler")
    tasks = [cluster.client.submit("math:sqrt", number) for number in range(10)]
    cluster.note(tasks)
    cluster.wait_restarted("scheduler", old)
    assert [number**0.5 for number in range(TASKS)] == list(batch.results(FINISH_S))
    assert [number**0.5 for number in range(10)] == [task.result(FINISH_S) for task in tasks]


def test_a_printing_task_outlives_its_agent_with_output_and_exit_code_whole(
    cluster: Cluster,
) -> None:
    script = f"i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit 7"
    task = cluster.client.submit_command(["sh", "-c", script], node="node-1")
    cluster.note([task])
    wait_until(lambda: "line 50" in "".join(task.logs()), "it prints nothing")
    old = cluster.kill("node-1")
    cluster.wait_restarted("node-1", old)
    with pytest.raises(Exception, match="exit_code"):
        task.result(FINISH_S)
    assert (7, 1) == (task.exception().returncode, task.standing.attempt)
    printed = "".join(task.logs())
    assert [f"line {number}" for number in range(LINES)] == printed.splitlines()


def sleepers(mark: str) -> list[int]:
    """Find the `sleep` processes of one test by their unusual duration."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] == ["sleep", mark]
    ]


def test_a_cancel_leaves_no_process_of_the_tree(cluster: Cluster) -> None:
    mark = f"100.{os.getpid()}{time.monotonic_ns() % 10_000}"
    script = f"sleep {mark} & setsid sleep {mark} & sleep {mark}"
    task = cluster.client.submit_command(["sh", "-c", script])
    cluster.note([task])
    wait_until(lambda: len(sleepers(mark)) == 3, "the three did not start")
    assert task.cancel()
    with pytest.raises(TaskCancelled):
        task.result(FINISH_S)
    assert [] == sleepers(mark)
