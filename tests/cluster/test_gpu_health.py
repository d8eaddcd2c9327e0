"""Does one sick card leave its host at work, and come back when it is well? Real agents."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..fakes import scenario
from .command_line import CommandLine, wait_until
from .far import far
from .harness import Cluster, real_cluster

pytestmark = pytest.mark.cluster

GIB = 1024**3
FINISH_S = 90.0
FIRST, SECOND = scenario.card(1, 24 * GIB), scenario.card(2, 24 * GIB)
SETTINGS = """
[node]
probe_every_s = 0.1
gpu_sample_s = 0.1
[gpus]
slowed_for_s = 0.3
recovered_for_s = 0.3
trial_after_s = 0.3
trial_after_s_max = 0.6
trial = '''test "$CUDA_VISIBLE_DEVICES" = "$REMUDA_GPU_UUIDS" && test -e {well}'''
trial_timeout_s = 20
"""


class Host:
    """One node with two cards, of which a test says how they are."""

    def __init__(self, folder: Path, common: Path, cluster: Cluster) -> None:
        self.common = common
        self.cluster = cluster
        self.remuda = CommandLine(folder)

    def shows(self, *cards: dict[str, Any], **more: Any) -> None:
        scenario.write(self.common / "scene.json", cards, **more)

    def cards(self) -> dict[str, dict[str, Any]]:
        return {row["uuid"]: row for row in self.remuda.json("gpu", "list")}

    def wait_health(self, card: dict[str, Any], health: str, why: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}

        def is_so() -> bool:
            found.update(self.cards()[card["uuid"]])
            return found["health"] == health and why in found["why"]

        wait_until(is_so, f"{card['uuid']} is never {health} ({why})")
        return found

    def submit(self, *argv: str, **options: Any) -> Any:
        task = self.cluster.client.submit_command(list(argv), **{"cpus": 0.01, **options})
        self.cluster.note([task])
        return task

    def where(self) -> str:
        """Run a task on whichever card is lent; return its UUID."""
        task = self.submit("sh", "-c", "echo $REMUDA_GPU_UUIDS", gpus=1)
        task.result(FINISH_S)
        return "".join(task.logs()).strip()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("health")
    common = far().common_folder("health")
    scene = scenario.write(common / "scene.json", [FIRST, SECOND])
    settings = SETTINGS.format(well=common / "well")
    with real_cluster(folder, 1, scenario.environment(scene), settings) as made:
        yield Host(folder, common, made)


@pytest.fixture
def host(shared: Host) -> Iterator[Host]:
    """Begin and end each test with two cards that are well and lent.

    Events are told to a probe that listens already: it does once the agent has measured.
    """
    wait_until(
        lambda: all(card["temperature_c"] for card in shared.cards().values()), "nothing is read"
    )
    yield shared
    (shared.common / "well").touch()
    shared.shows(FIRST, SECOND)
    for card in (FIRST, SECOND):
        shared.wait_health(card, "healthy")
    (shared.common / "well").unlink()


def test_an_xid_takes_its_card_out_and_a_trial_that_passes_brings_it_back(host: Host) -> None:
    host.shows({**FIRST, "xids": [[1, 79]]}, SECOND)
    found = host.wait_health(FIRST, "faulty", "XID 79: the GPU has fallen off the bus")
    assert "health" == found["cordoned_by"]
    assert {SECOND["uuid"]} == {host.where() for _ in range(3)}
    waiting = host.submit("true", gpus=2)
    why = host.remuda("why", waiting.id).stdout
    assert "GPU 0 is cordoned: XID 79" in why
    assert f"GPU {FIRST['uuid']} of node-1 is cordoned: XID 79" in host.remuda("status").stdout
    kinds = [row["kind"] for row in host.remuda.json("events", "--kind", "gpu")]
    assert "gpu.cordoned" == kinds[-1]
    (host.common / "well").touch()
    waiting.result(FINISH_S)
    kinds = [row["kind"] for row in host.remuda.json("events", "--kind", "gpu")]
    assert "gpu.uncordoned" == kinds[-1]


def test_a_running_task_goes_on_beside_a_card_that_breaks(host: Host) -> None:
    go = host.common / "go"
    tasks = [
        host.submit("sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; exit 3", gpus=1)
        for _ in range(2)
    ]
    for task in tasks:
        host.remuda.wait_state(task.id, "running")
    host.shows({**FIRST, "ecc_errors": 1}, SECOND)
    host.wait_health(FIRST, "faulty", "1 new uncorrectable memory error")
    states = {host.remuda.json("task", "show", task.id)["state"] for task in tasks}
    assert {"running"} == states
    go.touch()
    ends: dict[str, dict[str, Any]] = {}

    def have_failed_once() -> bool:
        for task in tasks:
            tries = host.remuda.json("task", "show", task.id)["attempts"]
            ends[tries[0]["gpus"][0]] = tries[0]
        return all(each["outcome"] == "failed" for each in ends.values())

    wait_until(have_failed_once, "they do not end")
    assert ("gpu_lost", "exit_code") == (ends[FIRST["uuid"]]["code"], ends[SECOND["uuid"]]["code"])
    go.unlink()
    host.remuda("cancel", *[task.id for task in tasks])


def test_a_card_off_the_bus_stays_in_the_list_and_counts_for_what_can_be(host: Host) -> None:
    host.shows({**FIRST, "error": "GpuIsLost"}, SECOND)
    host.wait_health(FIRST, "faulty", "it has fallen off the bus")
    waiting = host.submit("true", gpus=2)
    assert "queued" == host.remuda.json("task", "show", waiting.id)["state"]
    (host.common / "well").touch()
    host.shows(FIRST, SECOND)
    waiting.result(FINISH_S)


def test_a_fault_outlives_its_agent_and_the_scheduler(host: Host) -> None:
    host.shows({**FIRST, "xids": [[2, 48]]}, SECOND)
    host.wait_health(FIRST, "faulty", "XID 48")
    host.shows(FIRST, SECOND)
    for name in ("node-1", "scheduler"):
        old = host.cluster.kill(name)
        host.cluster.wait_restarted(name, old)
    host.wait_health(SECOND, "healthy")
    assert SECOND["uuid"] == host.where()
    assert "XID 48" in host.cards()[FIRST["uuid"]]["why"]


def test_a_person_gives_a_faulty_card_back_and_takes_a_healthy_one_out(host: Host) -> None:
    host.shows({**FIRST, "xids": [[3, 95]]}, SECOND)
    host.wait_health(FIRST, "faulty", "XID 95")
    done = host.remuda("gpu", "uncordon", FIRST["uuid"])
    assert "as soon as node-1 has forgotten its faults" in done.stdout
    host.wait_health(FIRST, "healthy")
    assert 0 == host.remuda("gpu", "cordon", "node-1:0", "--reason", "new fans").returncode
    assert SECOND["uuid"] == host.where()
    old = host.cluster.kill("scheduler")
    host.cluster.wait_restarted("scheduler", old)
    host.wait_health(FIRST, "cordoned", "new fans")
    assert 0 == host.remuda("gpu", "uncordon", "node-1:0").returncode
    host.wait_health(FIRST, "healthy")


def test_heat_passes_by_itself(host: Host) -> None:
    host.shows({**FIRST, "throttled": ["HwSlowdown", "HwThermalSlowdown"]}, SECOND)
    host.wait_health(FIRST, "withheld", "it is slowed down by heat (hardware)")
    assert SECOND["uuid"] == host.where()
    assert "" == host.cards()[FIRST["uuid"]]["cordoned_by"]
    host.shows({**FIRST, "throttled": ["SwPowerCap"]}, SECOND)
    host.wait_health(FIRST, "healthy")


def test_a_page_fault_is_told_with_the_task_and_leaves_its_card(host: Host) -> None:
    go = host.common / "go"
    task = host.submit("sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; exit 1", gpus=2)
    host.remuda.wait_state(task.id, "running")
    host.shows({**FIRST, "xids": [[4, 31]]}, SECOND)
    log = host.cluster.home.logs_dir / "node-1.log"
    wait_until(lambda: log.exists() and "XID 31" in log.read_text(), "the agent says nothing")
    go.touch()
    host.remuda.wait_state(task.id, "failed")
    assert "XID 31: a GPU memory page fault" in host.remuda("task", "show", task.id).stdout
    go.unlink()
    assert {"healthy"} == {card["health"] for card in host.cards().values()}


def test_processes_of_others_are_drawn_beside_ours(host: Host) -> None:
    stranger = {"pid": os.getpid(), "memory_bytes": 6 * GIB}
    host.shows({**FIRST, "memory_free_bytes": 18 * GIB, "processes": [stranger]}, SECOND)
    wait_until(lambda: host.cards()[FIRST["uuid"]]["foreign"] == 1, "nobody sees it")
    drawn = host.remuda("gpu", "list").stdout.splitlines()
    assert "▒▒▒········· 24GiB 0B 6GiB (1)" in " ".join(drawn[1].split())
    assert "············ 24GiB 0B - 24GiB" in " ".join(drawn[2].split())
    assert "▒··· ····" in host.remuda("status").stdout
    assert "▒▒▒·········" in host.remuda("node", "show", "node-1").stdout
