"""Do calls run together in a real cluster, each with its own result, error, cancel and timeout?"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remuda import TaskCancelled, TaskFailed
from remuda.client.task import Task

from ..fakes import batch_handler
from .command_line import CommandLine, wait_until
from .far import far
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

FINISH_S = 60.0
SETTINGS = """
[node]
python_path = ["{fakes}"]

[tasks]
grace = "30s"

[tasks.env]
BATCH_FOLDER = "{folder}"

[handlers.work]
target = "batch_handler:Work"
max_batch = 4

[handlers.patient]
target = "batch_handler:Work"
max_batch = 3
max_wait = "10s"

[handlers.brief]
target = "batch_handler:Work"
max_batch = 4
max_wait = "50ms"
"""


class Site:
    """A cluster of one node whose handler takes four calls at a time, or waits for three."""

    def __init__(self, cluster: Cluster, home: Path, folder: Path) -> None:
        self.cluster = cluster
        self.remuda = CommandLine(home)
        self.folder = folder

    def call(self, value: Any, handler: str = "work", **options: Any) -> Task:
        return self.cluster.client.options(**options).submit(handler, value)

    def close_gate(self) -> None:
        for name in ("runs", "open"):
            (self.folder / name).unlink(missing_ok=True)

    def running(self, *values: Any) -> list[Task]:
        """Let a batch of three begin that waits at the gate; return its calls."""
        self.close_gate()
        found = [self.call(value, "patient") for value in ("gate", *values)]
        wait_until((self.folder / "runs").exists, "the batch runs")
        return found

    def open(self) -> None:
        (self.folder / "open").touch()

    @property
    def pid(self) -> int:
        return int((self.folder / "runs").read_text())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("batches")
    folder = far().common_folder("batches")
    said = SETTINGS.format(fakes=Path(batch_handler.__file__).parent, folder=folder)
    with real_cluster(home, 1, None, said) as cluster:
        yield Site(cluster, home, folder)


def values_of(tasks: list[Task]) -> list[tuple[Any, int]]:
    found = [task.result(FINISH_S) for task in tasks]
    return [(each["value"], each["together"]) for each in found]


def test_calls_that_wait_run_together_and_results_belong_to_their_tasks(site: Site) -> None:
    site.close_gate()
    gate = site.call("gate")
    wait_until((site.folder / "runs").exists, "the first call runs")
    others = [site.call(number) for number in range(3)]
    for each in others:
        site.remuda.wait_state(each.id, "assigned")
    site.open()
    assert [("gate", 1), (0, 3), (1, 3), (2, 3)] == values_of([gate, *others])
    (attempt,) = site.remuda.json("task", "show", others[0].id)["attempts"]
    assert 3 == attempt["batch_calls"]
    assert "in a batch of 3 calls" in site.remuda("task", "show", others[0].id).stdout


def test_one_member_that_fails_leaves_the_others_alone_and_output_is_each_ones_own(
    site: Site,
) -> None:
    tasks = [site.call(value, "patient") for value in ("a", "bad", "c")]
    assert [("a", 3), ("c", 3)] == values_of([tasks[0], tasks[2]])
    with pytest.raises(TaskFailed, match="this one"):
        tasks[1].result(FINISH_S)
    assert "all 3\nmine c\n" == "".join(tasks[2].logs())


def test_a_lone_call_waits_no_longer_than_max_wait(site: Site) -> None:
    assert [("alone", 1)] == values_of([site.call("alone", "brief")])


def test_a_cancel_in_a_running_batch_takes_one_call_alone(site: Site) -> None:
    gate, second, third = site.running("stopped", 3)
    assert second.cancel()
    wait_until((site.folder / "over-stopped").exists, "its batch is told of the cancel")
    site.open()
    assert [("gate", 3), (3, 3)] == values_of([gate, third])
    with pytest.raises(TaskCancelled):
        second.result(FINISH_S)


def test_a_timeout_in_a_running_batch_takes_one_call_alone(site: Site) -> None:
    site.close_gate()
    hasty = site.call("hasty", "patient", timeout="300ms")
    gate, third = site.call("gate", "patient"), site.call(3, "patient")
    wait_until((site.folder / "over-hasty").exists, "its batch is told of the timeout")
    pid = site.pid
    site.open()
    assert [("gate", 3), (3, 3)] == values_of([gate, third])
    with pytest.raises(TaskFailed) as failed:
        hasty.result(FINISH_S)
    assert "timeout" == failed.value.task_code
    tasks = site.running(1, 2)
    site.open()
    assert [pid] * 3 == [task.result(FINISH_S)["pid"] for task in tasks]


def test_a_call_that_kills_its_worker_takes_its_neighbours_down_once(site: Site) -> None:
    tasks = [site.call(value, "patient") for value in ("a", "poison", "c")]
    assert [("a", 1), ("c", 1)] == values_of([tasks[0], tasks[2]])
    with pytest.raises(TaskFailed) as failed:
        tasks[1].result(FINISH_S)
    assert "worker_died" == failed.value.task_code
    assert ["3", "1"] == (site.folder / "poisoned").read_text().split()


def test_a_worker_that_is_killed_in_a_batch_loses_no_call(site: Site) -> None:
    tasks = site.running(2, 3)
    pid = site.pid
    os.kill(pid, signal.SIGKILL)
    site.open()  # for when they run again
    assert [("gate", 1), (2, 1), (3, 1)] == values_of(tasks)
    assert pid != tasks[1].result()["pid"]
    attempts = [site.remuda.json("task", "show", each.id)["attempts"] for each in tasks]
    assert [1, 1, 1] == [len(each) for each in attempts]


def test_a_batch_outlives_its_agent(site: Site) -> None:
    tasks = site.running(2, 3)
    pid, old = site.pid, site.cluster.kill("node-1")
    site.cluster.wait_restarted("node-1", old)
    site.open()
    found = [task.result(FINISH_S) for task in tasks]
    assert [(3, pid)] * 3 == [(each["together"], each["pid"]) for each in found]
