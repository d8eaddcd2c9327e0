"""NVML in a child process: an agent is never stopped by it, whatever the child does."""

import math
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.node.gpu import Reading
from remuda.node.probe import STUCK_CHILDREN_MAX, Probe, read_once

from ..fakes import scenario

GIB = 1024**3
WAIT_S = 20.0


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = scenario.write(tmp_path / "scene.json", [scenario.card(1), scenario.card(2)])
    for name, value in scenario.environment(path).items():
        monkeypatch.setenv(name, value)
    return path


@pytest.fixture
def probe(scene: Path) -> Iterator[Probe]:
    probe = Probe()
    yield probe
    probe.close()


def wait_reading(probe: Probe) -> Reading:
    """Ask until a good reading comes, as an agent's loop does."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        probe.request(time.monotonic_ns())
        if select.select([probe.fileno()], [], [], 0.05)[0]:
            reading = probe.on_readable()
            if reading is not None:
                return reading
    raise AssertionError(f"no reading: {probe.last_failure}")


def wait_failure(probe: Probe, count: int = 1) -> str:
    """Let the probe run until it has failed so often."""
    end = time.monotonic() + WAIT_S
    while probe.failures < count and time.monotonic() < end:
        probe.request(time.monotonic_ns())
        if select.select([probe.fileno()], [], [], 0.05)[0]:
            probe.on_readable()
    assert probe.failures >= count
    return probe.last_failure


def test_the_facts_of_a_card_arrive(scene: Path, probe: Probe) -> None:
    process = {"pid": os.getpid(), "memory_bytes": 3 * GIB}
    card = scenario.card(
        1, name="RTX", cc=89, memory_free_bytes=20 * GIB, processes=[process], temperature_c=61
    )
    scenario.write(scene, [card], driver="560.1")
    gpu = wait_reading(probe).gpus[0]
    assert (card["uuid"], 0, "RTX", 89, "560.1") == (
        gpu.uuid,
        gpu.index,
        gpu.name,
        gpu.cc,
        gpu.driver,
    )
    assert (gpu.memory_bytes, gpu.memory_free_bytes) == (24 * GIB, 20 * GIB)
    assert (frozenset({os.getpid()}), 61, False) == (gpu.pids, gpu.temperature_c, gpu.mig)


def test_what_the_driver_books_of_a_process_arrives_where_it_keeps_book(
    scene: Path, probe: Probe
) -> None:
    processes = [{"pid": pid, "memory_bytes": GIB} for pid in (os.getpid(), os.getppid())]
    booked = scenario.card(1, processes=processes, accounting={str(os.getpid()): 3 * GIB})
    scenario.write(scene, [booked, scenario.card(2, processes=processes)])
    first, second = wait_reading(probe).gpus
    expected = {os.getpid(): 3 * GIB, os.getppid(): None}
    assert expected == {each.pid: each.peak_bytes for each in first.processes}
    assert dict.fromkeys(expected) == {each.pid: each.peak_bytes for each in second.processes}


def test_one_child_answers_again_and_again(probe: Probe) -> None:
    wait_reading(probe)
    fileno = probe.fileno()
    wait_reading(probe)
    assert (0, fileno) == (probe.failures, probe.fileno())


def test_a_card_that_vanishes_is_gone_from_the_next_reading(scene: Path, probe: Probe) -> None:
    wait_reading(probe)
    scenario.write(scene, [scenario.card(2)])
    assert [scenario.card(2)["uuid"]] == [gpu.uuid for gpu in wait_reading(probe).gpus]


def test_a_lost_card_does_not_hide_its_neighbour(scene: Path, probe: Probe) -> None:
    scenario.write(scene, [scenario.card(1, error="GpuIsLost"), scenario.card(2)])
    reading = wait_reading(probe)
    assert [scenario.card(2)["uuid"]] == [gpu.uuid for gpu in reading.gpus]
    assert [(lost.index, lost.error) for lost in reading.lost] == [(0, "GPU is lost")]


def test_mig_devices_stand_for_their_card(scene: Path, probe: Probe) -> None:
    slices = [{"uuid": f"MIG-{n}", "memory_bytes": 5 * GIB, "name": "1g.5gb"} for n in (1, 2)]
    scenario.write(scene, [scenario.card(1, cc=80, mig=slices), scenario.card(2)])
    found = [(g.uuid, g.mig, g.index, g.cc) for g in wait_reading(probe).gpus]
    expected = [("MIG-1", True, 0, 80), ("MIG-2", True, 0, 80)]
    assert [*expected, (scenario.card(2)["uuid"], False, 1, 86)] == found


def test_a_missing_driver_is_a_reading_with_a_reason(scene: Path, probe: Probe) -> None:
    scenario.write(scene, [], error="LibraryNotFound")
    reading = wait_reading(probe)
    assert (
        reading.gpus,
        reading.reason,
        probe.failures,
    ) == ((), "NVML Shared Library Not Found", 0)


def test_a_driver_that_comes_later_is_found(scene: Path, probe: Probe) -> None:
    scenario.write(scene, [], error="LibraryNotFound")
    wait_reading(probe)
    scenario.write(scene, [scenario.card(1)])
    assert len(wait_reading(probe).gpus) == 1


def test_a_module_that_cannot_be_loaded_is_a_reading_with_a_reason(tmp_path: Path) -> None:
    reading = read_once(tmp_path / "absent.py")
    assert "could not be loaded" in reading.reason


def test_hidden_pids_are_said(scene: Path, probe: Probe) -> None:
    scenario.write(scene, [scenario.card(1)], pids_visible=False)
    probe.request(time.monotonic_ns())
    assert [gpu.pids_visible for gpu in wait_reading(probe).gpus] == [False]


def test_a_hang_past_the_deadline_is_killed_and_replaced(scene: Path) -> None:
    scenario.write(scene, [], hang_s=3600)
    probe = Probe(deadline_s=0.3)
    try:
        assert wait_failure(probe) == "no answer within 0.3 s"
        scenario.write(scene, [scenario.card(1)])
        probe._deadline_ns = 10**10  # a fresh interpreter needs longer than the hang was given
        assert len(wait_reading(probe).gpus) == 1
    finally:
        probe.close()


def test_asking_a_hung_child_returns_without_an_answer(scene: Path, probe: Probe) -> None:
    scenario.write(scene, [], hang_s=3600)
    now = time.monotonic_ns()
    assert [probe.request(now), probe.request(now + 1)] == [True, False]
    assert probe.on_readable() is None


def test_the_age_of_a_reading_grows_while_the_child_hangs(scene: Path, probe: Probe) -> None:
    assert math.inf == probe.age_s(time.monotonic_ns())
    wait_reading(probe)
    scenario.write(scene, [], hang_s=3600)
    asked = time.monotonic_ns()
    probe.request(asked)
    assert probe.age_s(asked + 60 * 10**9) >= 60.0


@pytest.mark.parametrize("garbage", ["not json", "[]", '{"gpus": 3}', "[" * 100_000, "{}\n{}"])
def test_garbage_is_counted_and_the_child_replaced(scene: Path, garbage: str) -> None:
    probe = Probe()
    try:
        wait_reading(probe)
        scenario.write(scene, [], garbage=garbage)
        wait_failure(probe)
        scenario.write(scene, [scenario.card(1)])
        assert len(wait_reading(probe).gpus) == 1
    finally:
        probe.close()


def test_a_child_that_ends_is_replaced(scene: Path, probe: Probe) -> None:
    scenario.write(scene, [], exit=True)
    assert "ended" in wait_failure(probe)
    scenario.write(scene, [scenario.card(1)])
    assert len(wait_reading(probe).gpus) == 1


def test_children_that_cannot_die_are_not_piled_up(scene: Path, tmp_path: Path) -> None:
    probe = Probe()
    stuck = Stuck()
    probe._stuck = [stuck] * STUCK_CHILDREN_MAX  # type: ignore[list-item]
    try:
        assert not probe.request(time.monotonic_ns())
        assert "hang in the driver" in probe.last_failure
        stuck.code = 0
        assert probe.request(time.monotonic_ns())
    finally:
        probe.close()


class Stuck:
    """A process in the D state: the one thing that a test cannot make."""

    code: int | None = None

    def poll(self) -> int | None:
        return self.code


def test_a_stopped_child_costs_one_deadline(scene: Path) -> None:
    probe = Probe(deadline_s=WAIT_S)
    try:
        wait_reading(probe)
        assert probe._child is not None
        os.kill(probe._child.pid, signal.SIGSTOP)
        now = time.monotonic_ns()
        probe.request(now)
        assert probe.request(now + int(WAIT_S * 10**9))
        assert "no answer" in probe.last_failure
    finally:
        probe.close()


def test_one_reading_gives_up_at_its_deadline(scene: Path) -> None:
    scenario.write(scene, [], hang_s=3600)
    assert "did not answer" in read_once(deadline_s=0.3).reason
