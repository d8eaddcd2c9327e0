"""Is VRAM measured, respected and learned? Scripted cards, real daemons, real processes on them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..fakes import gpu_task, scenario
from .command_line import CommandLine, wait_until
from .far import far
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

    def draw(self, *first: dict[str, Any], second: Any = None, **more: Any) -> None:
        """Show these processes on the first card, and one or none on the second."""
        cards = [_with(ONE, list(first)), _with(TWO, [second] if second else [])]
        scenario.write(self.scene, cards, **more)

    def wait_measured(self, strangers: int) -> None:
        """Wait until the scheduler knows of so many cards that others compute on."""

        def found() -> int:
            gpus = self.remuda.json("gpu", "list")
            return sum(bool(each["foreign"]) for each in gpus)

        wait_until(lambda: strangers == found(), "the scheduler does not hear of the others")

    def submit(self, **options: Any) -> Any:
        """Submit a task that stays on its card until it is let go."""
        argv = ["python3", gpu_task.__file__, str(self.truth), str(LONG_S), "0", "0"]
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

    def attempts(self, task: Any) -> list[dict[str, Any]]:
        """Return the tries of a task as `task show` tells them."""
        return list(self.remuda.json("task", "show", task.id)["attempts"])

    def attempt(self, task: Any) -> dict[str, Any]:
        return self.attempts(task)[-1]

    def let_go(self) -> None:
        (self.truth / gpu_task.ENOUGH).touch()


def _with(card: dict[str, Any], processes: list[dict[str, Any]]) -> dict[str, Any]:
    used = sum(process["memory_bytes"] for process in processes)
    return {**card, "memory_free_bytes": 24 * GIB - used, "processes": processes}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    """Run one node with two cards of 24 GiB, for all tests of this file that change no setting."""
    scene = scenario.write(far().common_folder("vram") / "scene.json", [ONE, TWO])
    folder = tmp_path_factory.mktemp("vram")
    with real_cluster(folder, 1, scenario.environment(scene), SETTINGS) as made:
        yield made, scene


@pytest.fixture
def stage(host: tuple[Cluster, Path], common: Path) -> Iterator[Stage]:
    made = Stage(*host, common)
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
    assert 7 * GIB == stage.attempt(task)["vram_used_bytes"]
    stage.draw()  # what is dead and still shown would keep the card
    stage.let_go()
    task.result(FINISH_S)
    attempt = stage.attempt(task)
    assert (10 * GIB, 7 * GIB) == (attempt["vram_bytes"], attempt["vram_peak_bytes"])
    assert "7GiB of 10GiB" in stage.remuda("task", "show", task.id).stdout


def stranger(gib: int) -> dict[str, Any]:
    """Describe a process that is nobody's task: this one."""
    return held(os.getpid(), gib)


def test_what_others_hold_is_left_to_them_and_why_says_who_they_are(stage: Stage) -> None:
    stage.draw(stranger(16), second=stranger(20))
    stage.wait_measured(strangers=2)
    task = stage.submit(vram="10GiB")
    wait_until(
        lambda: f"(pid {os.getpid()}, 16GiB)" in stage.remuda("why", task.id).stdout,
        "nobody says who holds the card",
    )
    why = stage.remuda("why", task.id).stdout
    assert "8GiB free as measured" in why
    assert "is not a task of its node; 10GiB asked" in why
    stage.draw(stranger(8), second=stranger(20))
    stage.pids()
    stage.let_go()
    task.result(FINISH_S)
    assert ["succeeded"] == [each["outcome"] for each in stage.attempts(task)]


def test_two_tasks_that_load_are_not_lent_the_same_free_memory(stage: Stage) -> None:
    stage.draw(stranger(8), second=stranger(24))
    stage.wait_measured(strangers=2)
    first = stage.submit(vram="10GiB")
    (pid,) = stage.pids()
    second = stage.submit(vram="10GiB")
    wait_until(
        lambda: "6GiB free as measured" in stage.remuda("why", second.id).stdout,
        "it does not wait for memory that is there only until the first has loaded",
    )
    stage.draw(stranger(8), held(pid, 4), second=stranger(24))
    wait_until(lambda: 4 * GIB == stage.attempt(first)["vram_peak_bytes"], "it is not measured")
    assert "6GiB free as measured" in stage.remuda("why", second.id).stdout
    stage.draw(held(pid, 4), second=stranger(24))
    stage.pids(2)
    stage.draw(second=stranger(24))
    stage.let_go()
    second.result(FINISH_S)
    assert [1, 1] == [len(stage.attempts(task)) for task in (first, second)]


@pytest.mark.parametrize(("policy", "where"), [("avoid", TWO["uuid"]), ("ignore", ONE["uuid"])])
def test_a_card_that_others_use_is_avoided_or_lent_as_if_they_were_not_there(
    tmp_path: Path, common: Path, policy: str, where: str
) -> None:
    """Of two cards alike the first is chosen where nothing speaks against it."""
    settings = SETTINGS.replace("[node]", f'[node]\nforeign_processes = "{policy}"')
    scene = common / "scene.json"
    used = {"memory_free_bytes": 4 * GIB, "processes": [stranger(20)]}
    scenario.write(scene, [{**ONE, **used}, TWO])
    with real_cluster(tmp_path, 1, scenario.environment(scene), settings) as cluster:
        stage = Stage(cluster, scene, common)
        stage.wait_measured(strangers=1)
        task = stage.submit(vram="10GiB")
        wait_until(lambda: "running" == stage.remuda.json("task", "show", task.id)["state"], "no")
        assert [where] == stage.attempt(task)["gpus"]
        stage.let_go()
        task.result(FINISH_S)


def test_where_processes_are_hidden_a_task_alone_on_its_card_is_told_by_memory(
    tmp_path: Path, common: Path
) -> None:
    scene = scenario.write(common / "scene.json", [ONE, TWO], pids_visible=False)
    with real_cluster(tmp_path, 1, scenario.environment(scene), SETTINGS) as cluster:
        stage = Stage(cluster, scene, common)
        task = stage.submit(vram="10GiB")
        (pid,) = stage.pids()
        stage.draw(held(pid, 7), pids_visible=False)
        wait_until(lambda: 7 * GIB == stage.attempt(task)["vram_peak_bytes"], "it is not measured")
        stage.draw(pids_visible=False)
        stage.let_go()
        task.result(FINISH_S)


GREEDY = """
import os, sys, time
from pathlib import Path
truth = Path(sys.argv[1])
if not (truth / "pid").exists():  # at the first try
    (truth / "pid.new").write_text(str(os.getpid()))
    (truth / "pid.new").rename(truth / "pid")
    while not (truth / "grown").exists():
        time.sleep(0.05)
    sys.exit("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB")
"""


def test_a_task_that_runs_out_of_gpu_memory_is_tried_again_with_more_than_it_used(
    stage: Stage,
) -> None:
    argv = ["python3", "-c", GREEDY, str(stage.truth)]
    task = stage.cluster.client.submit_command(argv, cpus=0.01, vram="8GiB")
    stage.cluster.note([task])
    wait_until((stage.truth / "pid").exists, "it does not begin")
    stage.draw(held(int((stage.truth / "pid").read_text()), 12))
    wait_until(lambda: 12 * GIB == stage.attempt(task)["vram_peak_bytes"], "it is not measured")
    stage.draw()
    (stage.truth / "grown").touch()
    task.result(FINISH_S)
    first, second = stage.attempts(task)
    assert ("gpu_out_of_memory", 8 * GIB, 12 * GIB) == (
        first["code"], first["vram_bytes"], first["vram_peak_bytes"]
    )  # fmt: skip
    assert ("succeeded", 18 * GIB) == (second["outcome"], second["vram_bytes"])
    page = " ".join(stage.remuda("task", "show", task.id).stdout.split())
    assert "12GiB of 8GiB" in page
    assert "raised to vram=18GiB" in page
    (known,) = [row for row in stage.remuda.json("stats") if row["ooms"]]
    assert (1, 1) == (known["ooms"], known["runs"])


def test_auto_takes_a_whole_gpu_until_five_runs_were_measured_and_then_what_they_used(
    stage: Stage,
) -> None:
    stage.draw(second=stranger(24))  # all on the first card
    stage.wait_measured(strangers=1)
    first = stage.submit(vram="auto", kind="portraits")
    stage.pids()
    assert "gpus=1" in stage.attempt(first)["asked"]
    stage.let_go()
    first.result(FINISH_S)
    (stage.truth / gpu_task.ENOUGH).unlink()
    tasks = [stage.submit(vram="4GiB", kind="portraits") for _ in range(5)]
    stage.draw(*(held(pid, 3) for pid in stage.pids(5)), second=stranger(24))
    for task in tasks:
        wait_until(lambda: 3 * GIB == stage.attempt(task)["vram_peak_bytes"], "not measured")  # noqa: B023 - it is called at once
    stage.draw(second=stranger(24))
    stage.let_go()
    for task in tasks:
        task.result(FINISH_S)
    (stage.truth / gpu_task.ENOUGH).unlink()
    after = stage.submit(vram="auto", kind="portraits")
    stage.pids()
    reserved = stage.attempt(after)["vram_bytes"]
    stage.let_go()
    after.result(FINISH_S)
    assert 3 * GIB < reserved < 3.2 * GIB
    (known,) = stage.remuda.json("stats", "portraits")
    assert (7, 5, reserved) == (known["runs"], known["measured"], known["auto_bytes"])


def test_a_driver_that_hangs_gets_no_task_until_it_answers_again(
    tmp_path: Path, common: Path
) -> None:
    settings = SETTINGS.replace("[node]", "[node]\nprobe_deadline_s = 1.0")
    scene = scenario.write(common / "scene.json", [ONE, TWO])
    with real_cluster(tmp_path, 1, scenario.environment(scene), settings) as cluster:
        stage = Stage(cluster, scene, common)
        stage.draw(hang_s=3_600)
        wait_until(
            lambda: all(
                "has not answered" in gpu["why"] for gpu in stage.remuda.json("gpu", "list")
            ),
            "nobody says that the GPUs are not read",
        )
        task = stage.submit(vram="1GiB")
        assert "has not answered" in stage.remuda("why", task.id).stdout
        stage.draw()
        stage.let_go()
        task.result(FINISH_S)
        assert 1 == len(stage.attempts(task))
