"""Are GPUs lent as asked and never twice? Scripted cards, real daemons, tasks that keep book."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..fakes import gpu_task, scenario
from .command_line import CommandLine, wait_until
from .far import far
from .harness import Cluster, kill_all, real_cluster

pytestmark = pytest.mark.cluster

GIB = 1024**3
FINISH_S = 90.0
LONG_S = 120.0  # until the test has seen enough
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
    scene = scenario.write(far().common_folder("gpus") / "scene.json", [SMALL, SMALL_TOO, LARGE])
    with real_cluster(folder, 1, scenario.environment(scene), settings()) as made:
        yield made


@pytest.fixture
def truth(common: Path) -> Iterator[Path]:
    """Return a folder in which tasks keep book; no card may have been lent twice in it."""
    folder = common / "truth"
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


def let_end(folder: Path) -> None:
    """Let the tasks of a test end that wait for it."""
    (folder / gpu_task.ENOUGH).touch()


def command(truth: Path, seconds: float = 0.0, vram: int = 0, share: int = 0) -> list[str]:
    return ["python3", gpu_task.__file__, *map(str, (truth, seconds, vram, share))]


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
        submit(host, command(truth, LONG_S, 10 * GIB), vram="10GiB", gpu_type="L4")
        for _ in range(5)
    ]
    expected = {SMALL["uuid"]: 2, SMALL_TOO["uuid"]: 2}
    wait_until(lambda: expected == most_at_once(truth), "they do not share the cards")
    let_end(truth)
    seen = [told(task) for task in tasks]
    assert expected == most_at_once(truth)
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
        submit(host, command(truth, LONG_S, 0, 500), gpus=0.5, gpu_type="A100") for _ in range(3)
    ]
    wait_until(lambda: {LARGE["uuid"]: 2} == most_at_once(truth), "they do not share the card")
    let_end(truth)
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
        (("--gpus", "2", "--vram", "40GiB"), "node-1 has 1 .*, wanted 2"),
        (("--vram", "100GiB"), "node-1 largest GPU has 80GiB of VRAM, wanted 100GiB"),
        (("--gpus", "1", "--gpu-type", "H100"), "node-1 has Fake A100, Fake L4, wanted a GPU like"),
    ],
)
def test_what_can_never_be_is_refused_with_the_nearest_fit(
    host: Cluster, wish: tuple[str, ...], nearest: str
) -> None:
    done = CommandLine(host.folder)("submit", *wish, "true")
    assert 4 == done.returncode
    assert re.search(nearest, done.stderr), done.stderr


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


def test_cards_can_be_shown_by_index(tmp_path: Path, common: Path, truth: Path) -> None:
    scene = scenario.write(common / "scene.json", [SMALL, SMALL_TOO])
    indexed = settings('gpu_ids = "index"\n')
    with real_cluster(tmp_path, 1, scenario.environment(scene), indexed) as cluster:
        both = [submit(cluster, command(truth, 0.3, 0, 1000), gpus=1) for _ in range(8)]
        seen = {
            (each["CUDA_VISIBLE_DEVICES"], each["REMUDA_GPU_UUIDS"]) for each in map(told, both)
        }
    assert {("0", SMALL["uuid"]), ("1", SMALL_TOO["uuid"])} == seen


def test_a_card_that_two_agents_claim_is_lent_by_one_and_the_conflict_is_said(
    tmp_path: Path, common: Path, truth: Path
) -> None:
    scene = scenario.write(common / "scene.json", [SMALL])
    both = {**scenario.environment(scene), "REMUDA_NODE__GPUS": json.dumps([SMALL["uuid"]])}
    with real_cluster(tmp_path, 2, both, settings()) as cluster:
        remuda = CommandLine(tmp_path)
        first = submit(cluster, command(truth, LONG_S, 0, 1000), gpus=1)
        remuda.wait_state(first.id, "running")
        holder = remuda.json("task", "show", first.id)["node"]
        other = ({"node-1", "node-2"} - {holder}).pop()
        second = submit(cluster, command(truth, 0.0, 0, 1000), gpus=1)
        conflict = f"GPU {SMALL['uuid']} is held by node '{holder}'"

        def is_said() -> bool:
            return any(conflict in note for note in remuda.json("node", "show", other)["notes"])

        wait_until(is_said, "nobody says who holds the card")
        wait_until(
            lambda: "held back" in remuda("why", second.id).stdout,
            "it is offered to the other again",
        )
        let_end(truth)
        told(first)
        told(second)
        tries = remuda.json("task", "show", second.id)["attempts"]
    assert conflict in tries[0]["message"]
    *before, last = [each["outcome"] for each in tries]
    assert ({"rejected"}, "succeeded") == (set(before), last)
    assert len(before) <= 3, "once the conflict is known, the card is not tried again"


def test_a_card_stays_with_its_task_when_its_agent_is_killed(
    tmp_path: Path, common: Path, truth: Path
) -> None:
    scene = scenario.write(common / "scene.json", [SMALL])
    with real_cluster(tmp_path, 1, scenario.environment(scene), settings()) as cluster:
        first = submit(cluster, command(truth, LONG_S, 0, 1000), gpus=1)
        # It is RUNNING as soon as its runner is ordered; an order that dies with the agent is
        # given again, and this test wants one that has arrived.
        wait_until(lambda: {SMALL["uuid"]: 1} == most_at_once(truth), "it never had its card")
        parts = [submit(cluster, command(truth, 0.0, 5 * GIB), vram="5GiB") for _ in range(3)]
        whole = submit(cluster, command(truth, 0.0, 0, 1000), gpus=1)
        old = cluster.kill("node-1")
        cluster.wait_restarted("node-1", old)
        for _ in range(3):  # the new agent serves, and the card stays where it is
            told(submit(cluster, command(truth)))
        assert "running" == CommandLine(tmp_path).json("task", "show", first.id)["state"]
        assert {SMALL["uuid"]: 1} == most_at_once(truth)
        let_end(truth)
        for task in (first, whole, *parts):
            told(task)
            assert 1 == task.standing.attempt


RESIDENT = """
[handlers.model]
target = "gpu_task:Model"
vram = "10GiB"
"""


def test_an_idle_model_gives_its_room_to_tasks_and_comes_back_with_the_next_call(
    tmp_path: Path, common: Path, truth: Path
) -> None:
    scene = scenario.write(common / "scene.json", [SMALL])
    with real_cluster(tmp_path, 1, scenario.environment(scene), settings(RESIDENT)) as cluster:
        remuda = CommandLine(tmp_path)
        resident = cluster.client.submit("model").result(FINISH_S)
        first = submit(cluster, command(truth, LONG_S, 10 * GIB), vram="10GiB")
        remuda.wait_state(first.id, "running")
        second = submit(cluster, command(truth, 0.0, 10 * GIB), vram="10GiB")
        assert SMALL["uuid"] == told(second)["REMUDA_GPU_UUIDS"]
        assert "running" == remuda.json("task", "show", first.id)["state"]
        (handler,) = remuda.json("node", "show", "node-1")["handlers"]
        assert "cold" == handler["state"]
        back = cluster.client.submit("model").result(FINISH_S)
        whole = submit(cluster, command(truth, 0.0, 20 * GIB), gpus=1)
        let_end(truth)
        told(first)
        assert SMALL["uuid"] == told(whole)["REMUDA_GPU_UUIDS"]
    assert SMALL["uuid"] == resident["CUDA_VISIBLE_DEVICES"] == back["CUDA_VISIBLE_DEVICES"]
    assert resident["pid"] != back["pid"]


def test_a_card_on_which_its_task_is_still_shown_is_not_lent(
    tmp_path: Path, common: Path, truth: Path
) -> None:
    scene = scenario.write(common / "scene.json", [SMALL])
    with real_cluster(tmp_path, 1, scenario.environment(scene), settings()) as cluster:
        remuda = CommandLine(tmp_path)
        go = common / "go"
        script = f"echo $$ > {go}.pid; while ! test -e {go}; do sleep 0.05; done"
        first = submit(cluster, ["sh", "-c", script], gpus=1)
        said = Path(f"{go}.pid")  # a moment after it counts as running
        wait_until(lambda: said.exists() and bool(said.read_text()), "it does not start")
        pid = int(said.read_text())
        scenario.write(scene, [{**SMALL, "processes": [{"pid": pid, "memory_bytes": GIB}]}])
        go.touch()
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "it goes on")
        second = submit(cluster, command(truth, 0.0, 0, 1000), gpus=1)
        wait_until(
            lambda: "GPU" in remuda("why", second.id).stdout, "nothing says what it waits for"
        )
        assert ["running", "queued"] == [
            remuda.json("task", "show", task.id)["state"] for task in (first, second)
        ]
        old = cluster.kill("node-1")  # the next agent finds the result, and judges the card anew
        cluster.wait_restarted("node-1", old)
        for _ in range(3):  # time enough to look at the card
            told(submit(cluster, command(truth)))
        assert ["running", "queued"] == [
            remuda.json("task", "show", task.id)["state"] for task in (first, second)
        ]
        scenario.write(scene, [SMALL])
        first.result(FINISH_S)
        told(second)
        assert (1, 1) == (first.standing.attempt, second.standing.attempt)


def test_no_card_is_lent_twice_while_all_daemons_are_killed(
    tmp_path: Path, common: Path, truth: Path
) -> None:
    scene = scenario.write(common / "scene.json", [SMALL, SMALL_TOO, LARGE])
    with real_cluster(tmp_path, 2, scenario.environment(scene), settings()) as cluster:
        tasks = [submit(cluster, command(truth, 0.5, 0, 1000), gpus=1) for _ in range(8)]
        tasks += [submit(cluster, command(truth, 0.5, 10 * GIB), vram="10GiB") for _ in range(12)]
        calls = cluster.client.options(cpus=0.01, vram="12GiB")
        tasks += [calls.submit("gpu_task:hold", str(truth), 0.3, 12 * GIB) for _ in range(8)]
        cluster.note(tasks[20:])
        for ended in (4, 12):
            wait_until(
                lambda ended=ended: sum(map(len, cluster.history.ends.values())) >= ended,
                "nothing goes on",
            )
            before = kill_all(cluster)
            for name, pid in before.items():
                cluster.wait_restarted(name, pid)
        for task in tasks:
            task.result(FINISH_S)
        seen = {row["pid"] for _, rows in books(truth) for row in rows}
    assert len(tasks) == len(seen), "a task ran twice"
