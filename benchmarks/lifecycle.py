"""How soon does work move when a node dies, and not when it is only cut off? How soon is it killed?

The agent of a node is frozen for a partition; for a death its runners are killed as well. Each
try of a task writes a line, so that what ran where, and when, is counted by the work itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from remuda import Client
from remuda.client.local import LocalCluster
from remuda.client.task import Task
from remuda.config.home import Home
from remuda.protocol.messages import DeclareLost, Done

LOST_AFTER_S = 5.0
HEARTBEAT_S = 0.5
GRACE_S = 1.0
TASKS = 20
WAIT_S = 60.0
SETTINGS = f"""
[scheduler]
heartbeat = "{HEARTBEAT_S:g}s"
suspect_after = "1.5s"
lost_after = "{LOST_AFTER_S:g}s"
lease = "3s"
offer_resend = "0.8s"
"""
WORK = 'echo "$REMUDA_NODE $(date +%s.%N)" >> "$0/$REMUDA_TASK_ID"; exec sleep 600'
# Three generations, none of which minds TERM; the last has a session of its own.
TREE = """trap '' TERM
sh -c 'trap "" TERM
    setsid sh -c "trap \\"\\" TERM; while :; do sleep 1; done" &
    while :; do sleep 1; done' &
while :; do sleep 1; done"""
GOALS = {
    "partition_restarts": ("tasks restarted by a partition shorter than lost_after", 0.0),
    "death_s": ("a node dies: its tasks run elsewhere, beyond lost_after (s)", 2.0),
    "declared_s": ("`node lost`: its tasks run elsewhere (s)", 2.0),
    "cancel_s": ("cancel of a tree that ignores TERM: gone, beyond grace (s)", 1.0),
}


def main() -> dict[str, float]:
    """Return what was measured, by the names of GOALS."""
    with _cluster() as (client, home, truth):
        measured = {"cancel_s": _cancel(client, truth) - GRACE_S}
        tasks = _start(client, truth)
        measured["partition_restarts"] = _partition(home, tasks, truth)
        measured["death_s"] = _death(home, tasks, truth) - LOST_AFTER_S
        _end(tasks)
    with _cluster() as (client, home, truth):
        tasks = _start(client, truth)
        measured["declared_s"] = _declared(client, home, tasks, truth)
        _end(tasks)
    return {name: measured[name] for name in GOALS}


@contextmanager
def _cluster() -> Iterator[tuple[Client, Home, Path]]:
    with TemporaryDirectory(prefix="remuda-bench-") as folder:
        home, truth = Home(Path(folder) / "home"), Path(folder) / "truth"
        truth.mkdir()
        home.create()
        home.config_file.write_text(SETTINGS)
        locks = {"REMUDA_NODE__LOCK_DIR": str(Path(folder) / "locks")}
        with LocalCluster(2, home=home.root, environment=locks) as local:
            yield local.client(), home, truth


def _start(client: Client, truth: Path) -> list[Task]:
    """Have tasks run on both nodes."""
    argv = ["sh", "-c", WORK, str(truth)]
    tasks = [client.submit_command(argv, cpus=0.05) for _ in range(TASKS)]
    _wait(lambda: len(_runs(truth)) == TASKS, "all tasks to run")
    assert {"node-1", "node-2"} == {node for node, _ in _runs(truth)}
    return tasks


def _runs(truth: Path) -> list[tuple[str, float]]:
    """Return the node and the time of each try that began."""
    lines = [line.split() for path in truth.iterdir() for line in path.read_text().splitlines()]
    return [(node, float(at)) for node, at in lines]


def _end(tasks: list[Task]) -> None:
    for task in tasks:
        task.cancel(grace_s=0)


def _partition(home: Home, tasks: list[Task], truth: Path) -> float:
    """Let a node say nothing for less than lost_after; count the tasks that began again."""
    agent = _agent(home, "node-1")
    agent.suspend()
    time.sleep(LOST_AFTER_S * 0.7)
    agent.resume()
    time.sleep(LOST_AFTER_S)
    return float(len(_runs(truth)) - len(tasks))


def _death(home: Home, tasks: list[Task], truth: Path) -> float:
    """Stop an agent and kill its runners; return seconds until the last of its tasks runs again."""
    on_node = sum(node == "node-1" for node, _ in _runs(truth))
    agent = _agent(home, "node-1")
    died = time.time()
    agent.suspend()
    for runner in _runners(home, "node-1"):
        for process in [runner, *runner.children(recursive=True)]:
            process.kill()
    _wait(lambda: len(_runs(truth)) == len(tasks) + on_node, "the tasks to run elsewhere")
    agent.resume()
    return max(at for _, at in _runs(truth)) - died


def _declared(client: Client, home: Home, tasks: list[Task], truth: Path) -> float:
    """Freeze a node and say that it is lost; return seconds until its tasks run again.

    The scheduler believes it once the node is suspect.
    """
    on_node = sum(node == "node-1" for node, _ in _runs(truth))
    agent = _agent(home, "node-1")
    agent.suspend()
    _wait(lambda: _state_of(client, "node-1") == "suspect", "the node to be suspect")
    declared = time.time()
    client.link.request(DeclareLost("node-1"), Done)
    _wait(lambda: len(_runs(truth)) == len(tasks) + on_node, "the tasks to run elsewhere")
    agent.resume()
    return max(at for _, at in _runs(truth)) - declared


def _state_of(client: Client, name: str) -> str:
    return str(next(node["state"] for node in client.nodes() if node["name"] == name))


def _cancel(client: Client, truth: Path) -> float:
    """Cancel a tree of processes that ignore TERM; return seconds until nothing of it lives."""
    task = client.submit_command(["sh", "-c", TREE])
    _wait(lambda: len(_living(task)) >= 3, "the tree to grow")
    asked = time.monotonic()
    task.cancel(GRACE_S)
    _wait(lambda: not _living(task) and task.refresh().state == "cancelled", "the tree to be gone")
    return time.monotonic() - asked


def _living(task: Task) -> list[psutil.Process]:
    """Find the processes of a task by their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("REMUDA_TASK_ID") == task.id:
                found.append(process)
        except psutil.Error:
            continue  # it ended meanwhile, or is not ours
    return found


def _agent(home: Home, name: str) -> psutil.Process:
    return psutil.Process(json.loads(home.pid_file(name).read_text())["pid"])


def _runners(home: Home, name: str) -> list[psutil.Process]:
    mark = str(home.node_dir(name) / "runners")
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(mark in word for word in process.info["cmdline"] or [])
    ]


def _wait(look: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + WAIT_S
    while not look():
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {WAIT_S:g} s for {what}")
        time.sleep(0.02)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", action="store_true", help="print one JSON document")
    as_json = options.parse_args().json
    figures = main()
    if as_json:
        print(json.dumps(figures))
    else:
        print("| figure | measured | goal |\n|---|---:|---:|")
        for key, (figure, goal) in GOALS.items():
            print(f"| {figure} | {figures[key]:.2f} | <= {goal:g} |")
