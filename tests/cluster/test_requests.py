"""Do real daemons grant what is asked for by name, by expression, alone, or instead of it?"""

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
SLICES = [
    {"uuid": f"MIG-{number}", "name": "Fake A100 MIG 1g.10gb", "memory_bytes": 10 * GIB}
    for number in (1, 2)
]
PLAIN = scenario.card(1, 24 * GIB, name="Fake L4", cc=89)
CUT = scenario.card(2, 80 * GIB, name="Fake A100", cc=80, mig=SLICES)
SETTINGS = f"""
[node]
probe_every_s = 0.5
python_path = ["{Path(gpu_task.__file__).parent}"]

[node.resources]
licence = 2
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run one node with a card, and one that is cut into two MIG devices, for all tests here."""
    folder = tmp_path_factory.mktemp("requests")
    scene = scenario.write(far().common_folder("requests") / "scene.json", [PLAIN, CUT])
    with real_cluster(folder, 1, scenario.environment(scene), SETTINGS) as made:
        yield made


@pytest.fixture
def remuda(host: Cluster) -> CommandLine:
    return CommandLine(host.folder)


class Waiting:
    """Tasks that go on until the test has seen enough."""

    def __init__(self, host: Cluster, common: Path) -> None:
        self._host = host
        self._common = common
        self._enough = common / "enough"
        self._tasks: list[Any] = []

    def submit(self, **options: Any) -> Any:
        wait = f"while ! test -e {self._enough}; do sleep 0.05; done"
        script = f"touch {self._common}/$REMUDA_TASK_ID; {wait}; echo $REMUDA_GPU_UUIDS"
        given = {"cpus": 0.01, **options}
        task = self._host.client.submit_command(["sh", "-c", script], **given)
        self._host.note([task])
        self._tasks.append(task)
        return task

    def wait_begun(self, task: Any) -> None:
        """Wait until its process lives: it is RUNNING as soon as a runner is ordered for it."""
        wait_until((self._common / task.id).exists, f"{task.id} does not begin")

    def end(self) -> list[str]:
        """Let them end; return the cards that each had."""
        self._enough.touch()
        for task in self._tasks:
            task.result(FINISH_S)
        return ["".join(task.logs()).strip() for task in self._tasks]


@pytest.fixture
def waiting(host: Cluster, common: Path) -> Waiting:
    return Waiting(host, common)


def test_alternatives_are_granted_in_order_and_shown(remuda: CommandLine, waiting: Waiting) -> None:
    wanted = {"gpus": 1, "gpu_cc": 8.9, "or": ["gpus=1,gpu-type=MIG", "gpus=0,resource=licence=2"]}
    tasks = [waiting.submit(**wanted) for _ in range(4)]
    remuda.wait_state(tasks[3].id, "running")
    last = waiting.submit(**wanted)
    why = remuda("why", last.id).stdout
    granted = [remuda.json("task", "show", task.id)["attempts"][0]["asked"] for task in tasks]
    assert [PLAIN["uuid"], "MIG-1", "MIG-2", ""] == waiting.end()[:4]
    assert [
        "cpus=0.01 gpus=1 gpu-cc=8.9",
        "cpus=0.01 gpus=1 gpu-type=MIG",
        "cpus=0.01 gpus=1 gpu-type=MIG",
        "cpus=0.01 resource=licence=2",
    ] == granted
    assert "0 licence free, wanted 2" in why
    assert "0 GPUs of that kind wholly free, wanted 1" in why
    page = remuda("task", "show", tasks[1].id).stdout
    assert "GRANTED" in page
    assert "gpus=1 gpu-type=MIG" in page


def test_named_things_and_being_alone_hold_while_all_daemons_are_killed(
    host: Cluster, remuda: CommandLine, waiting: Waiting
) -> None:
    first = waiting.submit(resource={"licence": 2})
    second = waiting.submit(resource={"licence": 1})
    alone = waiting.submit(exclusive=True)
    waiting.wait_begun(first)
    for name, pid in [(name, host.kill(name)) for name in ("scheduler", "node-1")]:
        host.wait_restarted(name, pid)
    remuda.wait_state(first.id, "running")
    assert "0 licence free, wanted 1" in remuda("why", second.id).stdout
    assert "wanted a node without any" in remuda("why", alone.id).stdout
    assert "licence 2 of 2 used" in remuda("node", "show", "node-1").stdout
    waiting.end()
    shown = [remuda.json("task", "show", task.id) for task in (first, second, alone)]
    assert [1, 1, 1] == [len(each["attempts"]) for each in shown]
    assert max(each["ended_at"] for each in shown[:2]) <= shown[2]["attempts"][0]["granted_at"]


def test_a_call_asks_for_what_its_arguments_come_to(host: Cluster, remuda: CommandLine) -> None:
    calls = host.client.options(cpus=0.01, vram="1GiB*gib", size="gib")
    tasks = [calls.submit("gpu_task:echo", gib=gib) for gib in (4, 20)]
    host.note(tasks)
    assert [4, 20] == [task.result(FINISH_S) for task in tasks]
    shown = [remuda.json("task", "show", task.id) for task in tasks]
    assert [4 * GIB, 20 * GIB] == [each["attempts"][0]["vram_bytes"] for each in shown]
    assert [2, 4] == [each["sized"]["class"] for each in shown]
    assert "vram='1GiB*gib', which is 20GiB" in remuda("task", "show", tasks[1].id).stdout
    with pytest.raises(Exception, match=r"largest GPU has 24GiB of VRAM, wanted 100GiB"):
        calls.submit("gpu_task:echo", gib=100)
    with pytest.raises(Exception, match="needs the keyword argument gib"):
        calls.submit("gpu_task:echo", gib="four")


def test_a_copy_may_ask_for_something_else(remuda: CommandLine) -> None:
    first = remuda.submit("--cpus", "0.01", "--vram", "4GiB", "--", "true")
    remuda.wait_state(first, "succeeded")
    done = remuda("task", "retry", first, "--set", "vram=8GiB", "--set", "or=gpus=0")
    assert 0 == done.returncode, done.stderr
    copy = done.stdout.split()[-1]
    remuda.wait_state(copy, "succeeded")
    assert "vram=8GiB or cpus=0.01" in remuda("task", "show", copy).stdout


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (("--gpus", "2"), "1 GPU besides MIG devices, of which a task gets one alone, wanted 2"),
        (("--gpus", "1", "--gpu-cc", "9.0"), "wanted 9 or more"),
        (("--resource", "licence=3"), "has 2 licence, wanted 3"),
        (("--resource", "seat=1"), "has no seat (countable there: licence)"),
        (("--not-node", "node-1"), "is a node that was ruled out"),
        (("--vram", "24.5GiB"), "cards show less than they are sold as: ask for 24GiB"),
        (("--vram", "auto", "--gpus", "2"), "--vram: auto finds the share of one GPU"),
        (("--vram", "1GiB*width"), "a command has no keyword arguments"),
        (("--or", "colour=red"), "'colour' is nothing that an alternative can ask for"),
    ],
)
def test_what_cannot_be_is_refused_with_the_option_and_the_reason(
    remuda: CommandLine, wish: tuple[str, ...], said: str
) -> None:
    done = remuda("submit", *wish, "true")
    assert 4 == done.returncode
    assert said in done.stderr
