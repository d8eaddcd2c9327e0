"""Are GPUs lent as asked and never twice? Scripted cards, real daemons, tasks that keep book."""

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
SMALL, SMALL_TOO, LARGE = (
    scenario.card(1, 24 * GIB, name="Fake L4"),
    scenario.card(2, 24 * GIB, name="Fake L4"),
    scenario.card(3, 80 * GIB, name="Fake A100"),
)
MEMORY = {card["uuid"]: card["memory_bytes"] for card in (SMALL, SMALL_TOO, LARGE)}
SETTINGS = """
[node]
probe_every_s = 0.5
python_path = ["{fakes}"]
"""


def settings(more: str = "") -> str:
    return SETTINGS.format(fakes=Path(gpu_task.__file__).parent) + more


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run one node with two cards of 24 GiB and one of 80, for all tests of this file."""
    folder = tmp_path_factory.mktemp("gpus")
    scene = scenario.write(folder / "scene.json", [SMALL, SMALL_TOO, LARGE])
    with real_cluster(folder, 1, scenario.environment(scene), settings()) as made:
        yield made


@pytest.fixture
def truth(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in which tasks keep book; no card may have been lent twice in it."""
    folder = tmp_path / "truth"
    folder.mkdir()
    yield folder
    assert not (folder / "overlaps").exists(), (folder / "overlaps").read_text()
    for uuid, rows in books(folder):
        assert sum(row["vram_bytes"] for row in rows) <= MEMORY[uuid]
        assert sum(row["share_milli"] for row in rows) <= gpu_task.MILLI
        assert len({row["pid"] for row in rows}) == len(rows)


def books(folder: Path) -> Iterator[tuple[str, list[dict[str, int]]]]:
    """Yield each state that the book of a card was ever in."""
    for path in folder.glob("*.history"):
        for line in path.read_text().splitlines():
            yield path.stem, json.loads(line)


def most_at_once(folder: Path) -> dict[str, int]:
    most: dict[str, int] = {}
    for uuid, rows in books(folder):
        most[uuid] = max(most.get(uuid, 0), len(rows))
    return most


def command(truth: Path, seconds: float = 0.0, vram: int = 0, share: int = 0) -> list[str]:
    return [sys.executable, gpu_task.__file__, *map(str, (truth, seconds, vram, share))]


def told(task: Any) -> dict[str, Any]:
    """Return what a task printed of its environment."""
    task.result(FINISH_S)
    printed: dict[str, Any] = json.loads("".join(task.logs()))
    return printed


def submit(cluster: Cluster, argv: list[str], **options: Any) -> Any:
    task = cluster.client.submit_command(argv, **{"cpus": 0.01, **options})
    cluster.note([task])
    return task


def test_vram_packs_two_tasks_on_a_card_and_never_more(host: Cluster, truth: Path) -> None:
    tasks = [
        submit(host, command(truth, 3.0, 10 * GIB), vram="10GiB", gpu_type="L4") for _ in range(5)
    ]
    seen = [told(task) for task in tasks]
    assert {SMALL["uuid"]: 2, SMALL_TOO["uuid"]: 2} == most_at_once(truth)
    assert {SMALL["uuid"], SMALL_TOO["uuid"]} == {each["REMUDA_GPU_UUIDS"] for each in seen}


def test_a_task_sees_its_own_cards_by_uuid(host: Cluster, truth: Path) -> None:
    seen = told(submit(host, command(truth, 0.0, 40 * GIB), vram="40GiB"))
    assert (LARGE["uuid"], LARGE["uuid"], "PCI_BUS_ID") == (
        seen["CUDA_VISIBLE_DEVICES"],
        seen["REMUDA_GPU_UUIDS"],
        seen["CUDA_DEVICE_ORDER"],
    )


def test_a_task_that_asks_for_no_card_sees_none(host: Cluster, truth: Path) -> None:
    seen = told(submit(host, command(truth)))
    assert ("", "") == (seen["CUDA_VISIBLE_DEVICES"], seen["REMUDA_GPU_UUIDS"])
    in_worker = host.client.options(cpus=0.01).submit("gpu_task:seen").result(FINISH_S)
    assert ("", "") == (in_worker["CUDA_VISIBLE_DEVICES"], in_worker["REMUDA_GPU_UUIDS"])


def test_a_whole_card_is_used_alone(host: Cluster, truth: Path) -> None:
    whole = [submit(host, command(truth, 0.3, 0, 1000), gpus=1) for _ in range(6)]
    parts = [submit(host, command(truth, 0.3, 5 * GIB), vram="5GiB") for _ in range(6)]
    for task in whole + parts:
        told(task)
    assert [] == host.violations()


def test_two_halves_fit_on_a_card_and_no_third(host: Cluster, truth: Path) -> None:
    tasks = [
        submit(host, command(truth, 2.0, 0, 500), gpus=0.5, gpu_type="A100") for _ in range(3)
    ]
    for task in tasks:
        told(task)
    assert {LARGE["uuid"]: 2} == most_at_once(truth)


def test_a_type_is_chosen_by_pattern(host: Cluster, truth: Path) -> None:
    seen = told(submit(host, command(truth, 0.0, 0, 1000), gpus=1, gpu_type="a100"))
    assert LARGE["uuid"] == seen["REMUDA_GPU_UUIDS"]


def test_two_whole_cards_are_two(host: Cluster, truth: Path) -> None:
    seen = told(submit(host, command(truth, 0.0, 0, 1000), gpus=2, gpu_type="L4"))
    assert {SMALL["uuid"], SMALL_TOO["uuid"]} == set(seen["CUDA_VISIBLE_DEVICES"].split(","))


@pytest.mark.parametrize(
    ("wish", "nearest"),
    [
        (("--gpus", "2", "--vram", "40GiB"), "node-1 has 1 such GPUs, wanted 2"),
        (("--vram", "100GiB"), "node-1 largest GPU has 80GiB of VRAM, wanted 100GiB"),
        (("--gpus", "1", "--gpu-type", "H100"), "node-1 has Fake A100, Fake L4, wanted a GPU like"),
    ],
)
def test_what_can_never_be_is_refused_with_the_nearest_fit(
    host: Cluster, wish: tuple[str, ...], nearest: str
) -> None:
    done = CommandLine(host.folder)("submit", *wish, "true")
    assert 4 == done.returncode
    assert nearest in done.stderr


def test_a_function_with_vram_has_a_worker_of_its_own_that_ends_with_it(
    host: Cluster, truth: Path
) -> None:
    calls = host.client.options(cpus=0.01, vram="10GiB", gpu_type="L4")
    tasks = [calls.submit("gpu_task:hold", str(truth), 0.5, 10 * GIB) for _ in range(5)]
    host.note(tasks)
    seen = [task.result(FINISH_S) for task in tasks]
    assert 5 == len({each["pid"] for each in seen})
    for each in seen:
        assert each["REMUDA_GPU_UUIDS"] == each["CUDA_VISIBLE_DEVICES"]
        assert each["REMUDA_GPU_UUIDS"] in {SMALL["uuid"], SMALL_TOO["uuid"]}
        assert not Path(f"/proc/{each['pid']}").exists(), "its worker outlives its task"
