"""Does the cluster keep its word when nodes fall silent and tasks fail in every class of failure?

The faults of the simulation, injected into real processes: agents and the scheduler stopped by
SIGSTOP (from the other side that looks like a partition), runners, workers and tasks killed.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from remuda import Client, Retry
from remuda.client import control
from remuda.client.task import Task
from remuda.protocol.errors import TaskFailed, Unreachable

from ..fakes import faulty
from .command_line import wait_until
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

FINISH_S = 60.0
LOST_AFTER_S = 3
SETTINGS = f"""
[scheduler]
heartbeat = "200ms"
suspect_after = "600ms"
lost_after = "{LOST_AFTER_S}s"
fence_after = "2s"
replace_after = "15s"

[tasks]
grace = "1s"

[policies.memory]
backoff_min = "10ms"
backoff_max = "10ms"

[policies.network]
backoff_min = "10ms"
backoff_max = "10ms"

[node]
python_path = ["{Path(faulty.__file__).parent}"]
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a cluster whose timers are short."""
    with real_cluster(tmp_path_factory.mktemp("quick"), settings=SETTINGS) as made:
        yield made


def shown(cluster: Cluster, task: Task) -> dict[str, Any]:
    return control.show_task(cluster.client.link, task.key)


def outcomes(cluster: Cluster, task: Task) -> list[tuple[str, str]]:
    return [(row["outcome"], row["code"]) for row in shown(cluster, task)["attempts"]]


def node_state(cluster: Cluster, name: str) -> str:
    return str(control.list_nodes(cluster.client.link, name)[0]["state"])


def running(cluster: Cluster, argv: list[str], **options: Any) -> tuple[Task, str]:
    """Submit a command, wait until it runs, and return it with its node."""
    task = cluster.client.submit_command(argv, grace="1s", **options)
    cluster.note([task])
    wait_until(lambda: shown(cluster, task)["state"] == "running", "it does not start")
    return task, str(shown(cluster, task)["node"])


def pid_of(task: Task) -> int:
    """Return what a command printed as its pid."""
    wait_until(lambda: "".join(task.logs()).strip().isdigit(), "it did not say its pid")
    return int("".join(task.logs()))


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- nodes that fall silent ------------------------------------------------------------------


def test_a_task_of_a_silent_node_runs_elsewhere_and_succeeds_once(
    quick: Cluster, common: Path
) -> None:
    flag = common / "may-end"
    script = f'while [ ! -e "{flag}" ]; do sleep 0.05; done; echo "$REMUDA_NODE"'
    task, node = running(quick, ["sh", "-c", script])
    agent = quick.pid(node)
    os.kill(agent, signal.SIGSTOP)
    try:
        wait_until(lambda: shown(quick, task)["attempt"] == 2, "it does not move")
        assert "lost" == node_state(quick, node)
        flag.touch()
        other = task.result(FINISH_S).stdout.strip()
        assert node != other
    finally:
        os.kill(agent, signal.SIGCONT)
    wait_until(lambda: node_state(quick, node) == "ready", "it does not come back")
    wait_until(
        lambda: [row["late_ms"] > 0 for row in shown(quick, task)["attempts"]] == [True, False],
        "the late result was not recorded",
    )
    assert [("lost", "node_lost"), ("succeeded", "")] == outcomes(quick, task)


def test_a_silence_shorter_than_lost_after_restarts_nothing(quick: Cluster, common: Path) -> None:
    flag = common / "may-end"
    script = f'while [ ! -e "{flag}" ]; do sleep 0.05; done'
    task, node = running(quick, ["sh", "-c", script])
    agent = quick.pid(node)
    os.kill(agent, signal.SIGSTOP)
    try:
        wait_until(lambda: node_state(quick, node) == "suspect", "its silence is not noticed")
    finally:
        os.kill(agent, signal.SIGCONT)
    wait_until(lambda: node_state(quick, node) == "ready", "it does not come back")
    flag.touch()
    task.result(FINISH_S)
    assert [("succeeded", "")] == outcomes(quick, task)


def test_a_node_that_was_forgotten_while_it_was_silent_comes_back_by_itself(quick: Cluster) -> None:
    agent = quick.pid("node-2")
    os.kill(agent, signal.SIGSTOP)
    try:
        wait_until(lambda: node_state(quick, "node-2") == "suspect", "its silence is not noticed")
        control.forget_node(quick.client.link, "node-2")
        assert ["node-1"] == [row["name"] for row in control.list_nodes(quick.client.link)]
    finally:
        os.kill(agent, signal.SIGCONT)
    task = quick.client.submit_command(["true"], node=["node-2"], allow_infeasible=True)
    task.result(FINISH_S)
    assert agent == quick.pid("node-2")


def test_a_fenced_task_is_stopped_by_its_own_node_while_the_scheduler_is_silent(
    quick: Cluster, common: Path
) -> None:
    truth = common / "truth"
    script = f'echo $$; echo begun >> "{truth}"; [ $(wc -l < "{truth}") -gt 1 ] || exec sleep 300'
    task, _ = running(quick, ["sh", "-c", script], if_node_lost="fence")
    pid = pid_of(task)
    scheduler = quick.pid("scheduler")
    os.kill(scheduler, signal.SIGSTOP)
    try:
        wait_until(lambda: is_gone(pid), "the node does not stop it")
        assert 1 == len(truth.read_text().splitlines()), "it ran twice at a time"
    finally:
        os.kill(scheduler, signal.SIGCONT)
    task.result(FINISH_S)
    assert [("returned", ""), ("succeeded", "")] == outcomes(quick, task)
    assert 2 == len(truth.read_text().splitlines())


def test_a_scheduler_that_was_stopped_gives_no_node_up(quick: Cluster, common: Path) -> None:
    flag = common / "may-end"
    tasks = [
        running(quick, ["sh", "-c", f'while [ ! -e "{flag}" ]; do sleep 0.05; done'], cpus=0.1)[0]
        for _ in range(4)
    ]
    with Client(quick.home.root, request_timeout_s=2 * LOST_AFTER_S) as impatient:
        impatient.status()
        scheduler = quick.pid("scheduler")
        os.kill(scheduler, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable):  # for twice as long as makes a node lost
                impatient.status()
        finally:
            os.kill(scheduler, signal.SIGCONT)
    flag.touch()
    for task in tasks:
        task.result(FINISH_S)
        assert [("succeeded", "")] == outcomes(quick, task)


# --- classes of failure ----------------------------------------------------------------------


def test_a_task_that_kills_its_node_again_and_again_is_quarantined(quick: Cluster) -> None:
    task = quick.client.submit_command(["sh", "-c", "kill -9 $PPID; sleep 60"], retries=50)
    quick.note([task])
    with pytest.raises(TaskFailed) as caught:
        task.result(FINISH_S)
    assert "poison" == caught.value.task_code
    assert [("failed", "node_lost")] * 3 == outcomes(quick, task)


@pytest.mark.parametrize(
    ("name", "times", "retries", "code"),
    [
        ("refused_at_first", 3, 0, "network"),
        ("out_of_memory_at_first", 2, 0, "out_of_memory"),
        ("dies_at_first", 1, 1, "worker_died"),
    ],
)
def test_each_class_is_tried_again_from_its_own_budget(
    quick: Cluster, common: Path, name: str, times: int, retries: int, code: str
) -> None:
    options = quick.client.options(retries=retries, backoff="10ms")
    task = options.submit(f"faulty:{name}", str(common / "tries"), times)
    quick.note([task])
    assert times + 1 == task.result(FINISH_S)
    assert [("failed", code)] * times + [("succeeded", "")] == outcomes(quick, task)


def test_what_never_on_names_is_not_tried_again(quick: Cluster, common: Path) -> None:
    options = quick.client.options(retry=Retry(retries=5, never_on=["network"]))
    task = options.submit("faulty:refused_at_first", str(common / "tries"), 1)
    quick.note([task])
    with pytest.raises(TaskFailed) as caught:
        task.result(FINISH_S)
    assert "network" == caught.value.task_code
    assert [("failed", "network")] == outcomes(quick, task)


def test_a_task_that_is_killed_by_somebody_fails_with_the_signal(quick: Cluster) -> None:
    task, _ = running(quick, ["sh", "-c", "echo $$; exec sleep 300"])
    os.kill(pid_of(task), signal.SIGKILL)
    with pytest.raises(TaskFailed) as caught:
        task.result(FINISH_S)
    assert ("exit_code", -signal.SIGKILL) == (caught.value.task_code, caught.value.returncode)


def test_a_task_that_was_stopped_by_somebody_is_cancelled_all_the_same(quick: Cluster) -> None:
    task, _ = running(quick, ["sh", "-c", "echo $$; exec sleep 300"])
    pid = pid_of(task)
    os.kill(pid, signal.SIGSTOP)
    assert task.cancel()
    with pytest.raises(Exception, match="cancel"):
        task.result(FINISH_S)
    assert is_gone(pid)


@pytest.mark.parametrize("ends", ["timeout", "cancel"])
def test_a_worker_that_was_stopped_by_somebody_is_ended_all_the_same(
    quick: Cluster, common: Path, ends: str
) -> None:
    said = common / "pid"
    options = quick.client.options(timeout="3s" if ends == "timeout" else "5m", grace="1s")
    task = options.submit("faulty:says_its_pid_and_hangs", str(said))
    quick.note([task])
    wait_until(lambda: said.exists() and said.read_text().isdigit(), "it does not start")
    pid = int(said.read_text())
    os.kill(pid, signal.SIGSTOP)
    assert ends == "timeout" or task.cancel()
    with pytest.raises(Exception, match=ends):
        task.result(FINISH_S)
    assert is_gone(pid)


# --- time that runs out ----------------------------------------------------------------------


def test_a_deadline_ends_a_task_that_runs(quick: Cluster) -> None:
    task, _ = running(quick, ["sh", "-c", "echo $$; exec sleep 300"], deadline="2s", retries=9)
    pid = pid_of(task)
    with pytest.raises(TaskFailed) as caught:
        task.result(FINISH_S)
    assert "deadline" == caught.value.task_code
    assert is_gone(pid)
    assert [("killed", "")] == outcomes(quick, task)


def test_a_task_that_waits_in_the_queue_for_too_long_expires(quick: Cluster) -> None:
    task = quick.client.submit_command(["true"], expires="300ms", node=["nowhere"],
                                       allow_infeasible=True)  # fmt: skip
    quick.note([task])
    with pytest.raises(TaskFailed) as caught:
        task.result(FINISH_S)
    assert ("expired", 0) == (caught.value.task_code, caught.value.attempt)
