"""Is VRAM measured, respected and learned? Scripted cards, real daemons, real processes on them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..fakes import gpu_task, scenario
from .command_line import CommandLine, wait_until
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

GIB = 1024**3
FINISH_S = 90.0
LONG_S = 120.0  # until the test has seen enough
ONE, TWO = scenario.card(1, 24 * GIB, name="Fake L4"), scenario.card(2, 24 * GIB, name="Fake L4")
SETTINGS = """
[node]
probe_every_s = 0.3
gpu_sample_s = 0.1
[scheduler]
heartbeat_s = 0.3
suspect_after_s = 5.0
"""


class Stage:
    """A cluster whose cards a test draws; what tasks keep book in is `truth`."""

    def __init__(self, cluster: Cluster, scene: Path, truth: Path) -> None:
        self.cluster, self.scene, self.truth = cluster, scene, truth
        self.remuda = CommandLine(cluster.folder)

    def draw(self, *processes: dict[str, Any], **more: Any) -> None:
        """Show these processes on the first card; the second is idle."""
        used = sum(process["memory_bytes"] for process in processes)
        card = {**ONE, "memory_free_bytes": 24 * GIB - used, "processes": list(processes)}
        scenario.write(self.scene, [card, TWO], **more)

    def submit(self, **options: Any) -> Any:
        """Submit a task that stays on its card until it is let go."""
        argv = [sys.executable, gpu_task.__file__, str(self.truth), str(LONG_S), "0", "0"]
        task = self.cluster.client.submit_command(argv, **{"cpus": 0.01, **options})
        self.cluster.note([task])
        return task

    def pids(self, count: int = 1) -> list[int]:
        """Wait until so many tasks stand in the book of the first card, and return their pids."""
        book = self.truth / f"{ONE['uuid']}.book"

        def found() -> list[int]:
            rows = json.loads(book.read_text() or "[]") if book.exists() else []
            return [row["pid"] for row in rows]

        wait_until(lambda: count == len(found()), "the tasks do not run on the card")
        return found()

    def attempt(self, task: Any) -> dict[str, Any]:
        """Return the last try of a task as `task show` tells it."""
        attempts = self.remuda.json("task", "show", task.id)["attempts"]
        return dict(attempts[-1])

    def let_go(self) -> None:
        (self.truth / gpu_task.ENOUGH).touch()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run one node with two cards of 24 GiB, for all tests of this file that change no setting."""
    folder = tmp_path_factory.mktemp("vram")
    scene = scenario.write(folder / "scene.json", [ONE, TWO])
    with real_cluster(folder, 1, scenario.environment(scene), SETTINGS) as made:
        yield made


@pytest.fixture
def stage(host: Cluster, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(host, host.folder / "scene.json", tmp_path)
    made.draw()
    yield made
    made.draw()
    made.let_go()


def held(pid: int, gib: int) -> dict[str, Any]:
    return {"pid": pid, "memory_bytes": gib * GIB}


def test_the_most_that_a_task_was_seen_to_hold_is_told_of_its_try(stage: Stage) -> None:
    task = stage.submit(vram="10GiB", node="node-1")
    (pid,) = stage.pids()
    stage.draw(held(pid, 7))
    wait_until(lambda: 7 * GIB == stage.attempt(task)["vram_peak_bytes"], "it is not measured")
    stage.draw(held(pid, 3))
    stage.let_go()
    task.result(FINISH_S)
    attempt = stage.attempt(task)
    assert (10 * GIB, 7 * GIB) == (attempt["vram_bytes"], attempt["vram_peak_bytes"])
    assert "7GiB of 10GiB" in stage.remuda("task", "show", task.id).stdout
