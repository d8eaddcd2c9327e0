"""Who holds how much of a card: told by the runner that a process descends from, or by memory."""

from dataclasses import replace

import pytest

from remuda.node import residents
from remuda.node.capabilities import HostFacts, Limits
from remuda.node.gpu import Gpu, GpuProcess
from remuda.node.report import Report
from remuda.node.slots import Charge
from remuda.node.task import Attempt
from remuda.node.usage import BLIND, ForeignPolicy, Owner, look_back, measure
from remuda.protocol.capabilities import Handler
from remuda.protocol.measures import UNKNOWN, GpuMeasure
from remuda.protocol.resources import Request

from .core_driver import GIB, CoreDriver, read, reasons, spec, task

RUNNER, OTHER_RUNNER, FOREIGN = 100, 200, 300
PART = {"argv": ["x"], "vram_bytes": 10 * GIB, "cpus_milli": 0}


def shown(*processes: GpuProcess, used: int, **more: object) -> Gpu:
    """Describe GPU-a with these processes and `used` bytes that are not free."""
    return Gpu(
        "GPU-a", 0, "card", 24 * GIB, 24 * GIB - used, 86, "550", processes=processes, **more
    )  # type: ignore[arg-type]


def below(runner: int, gib: int | None, pid: int = 1) -> GpuProcess:
    """Describe a grandchild of a runner."""
    size = None if gib is None else gib * GIB
    return GpuProcess(runner + pid, size, "python3", (runner + 50, runner, 1))


def running(driver: CoreDriver, number: int, **request: object) -> Attempt:
    driver.offer(spec(**{**PART, **request}), task(number), gpus=["GPU-a"])
    driver.turn()
    return driver.state.attempts[task(number), 1]


def see(driver: CoreDriver, gpu: Gpu, *owned: tuple[int, Attempt]) -> GpuMeasure:
    owners = {pid: Owner(attempt.seq, attempt) for pid, attempt in owned}
    read(driver, gpu, owners=owners)
    found = measure(driver.state, "GPU-a")
    assert found is not None
    return found


def test_what_descends_from_a_runner_is_its_attempts_and_its_most_is_kept() -> None:
    driver = CoreDriver()
    first, second = running(driver, 1), running(driver, 2)
    both = (RUNNER, first), (OTHER_RUNNER, second)
    see(driver, shown(below(RUNNER, 6), below(RUNNER, 1, 2), used=7 * GIB), *both)
    see(driver, shown(below(RUNNER, 4), below(OTHER_RUNNER, 3), used=7 * GIB), *both)
    assert (4 * GIB, 7 * GIB) == (first.vram_used_bytes, first.vram_peak_bytes)
    assert (3 * GIB, 3 * GIB) == (second.vram_used_bytes, second.vram_peak_bytes)
    assert [4 * GIB, 3 * GIB] == driver.core.held().vram_used


def test_the_peak_goes_with_the_result() -> None:
    driver = CoreDriver()
    attempt = running(driver, 1)
    see(driver, shown(below(RUNNER, 6), used=6 * GIB), (RUNNER, attempt))
    driver.end(task(1))
    driver.turn()
    read(driver)
    taken = driver.state.outbox.take(driver.now)
    assert taken is not None
    assert [6 * GIB] == taken[0].vram_peaks


def test_where_the_driver_keeps_book_a_peak_between_two_readings_is_known() -> None:
    driver = CoreDriver()
    attempt = running(driver, 1)
    process = replace(below(RUNNER, 6), peak_bytes=9 * GIB)
    see(driver, shown(process, used=6 * GIB), (RUNNER, attempt))
    assert (6 * GIB, 9 * GIB) == (attempt.vram_used_bytes, attempt.vram_peak_bytes)


def test_a_task_that_was_not_seen_on_its_card_yet_is_not_measured() -> None:
    driver = CoreDriver()
    attempt = running(driver, 1)
    see(driver, shown(used=0), (RUNNER, attempt))
    assert (UNKNOWN, []) == (attempt.vram_peak_bytes, driver.core.held().vram_used)


def test_a_process_of_nobody_here_is_foreign_and_is_named() -> None:
    driver = CoreDriver()
    attempt = running(driver, 1)
    stranger = GpuProcess(FOREIGN, 5 * GIB, "train.py", (1,))
    draws = GpuProcess(FOREIGN + 1, GIB, "Xorg", (1,), is_compute=False)
    found = see(driver, shown(below(RUNNER, 6), stranger, draws, used=12 * GIB), (RUNNER, attempt))
    assert (6 * GIB, 6 * GIB, 1) == (found.ours_bytes, found.foreign_bytes, found.foreign)
    assert "train.py (pid 300, 5GiB)" == found.strangers


def test_room_is_what_is_free_less_what_loading_tasks_are_still_to_take() -> None:
    driver = CoreDriver()
    loading, grown = running(driver, 1), running(driver, 2)
    both = (RUNNER, loading), (OTHER_RUNNER, grown)
    found = see(driver, shown(below(RUNNER, 2), below(OTHER_RUNNER, 11), used=13 * GIB), *both)
    assert (24 - 13 - (10 - 2)) * GIB == found.room_bytes


def test_who_came_after_the_reading_is_to_take_all_that_is_theirs() -> None:
    driver = CoreDriver()
    read(driver, shown(used=0))
    running(driver, 1)
    found = measure(driver.state, "GPU-a")
    assert found is not None
    assert 14 * GIB == found.room_bytes


def test_what_a_driver_keeps_for_itself_counts_as_room_and_a_leak_does_not() -> None:
    driver = CoreDriver()
    quarter, leak = GIB // 4, 5 * GIB
    assert 24 * GIB == see(driver, shown(used=quarter)).room_bytes
    assert 20 * GIB == see(driver, shown(used=leak)).room_bytes


@pytest.mark.parametrize("hides", [{"pids_visible": False}, {}])
def test_a_task_alone_on_a_card_that_hides_its_processes_is_told_by_memory(
    hides: dict[str, object],
) -> None:
    driver = CoreDriver()
    read(driver, shown(used=GIB, **hides))
    attempt = running(driver, 1)
    process = below(RUNNER, None)  # one that is shown without its memory
    found = see(driver, shown(process, used=7 * GIB, **hides), (RUNNER, attempt))
    assert (6 * GIB, UNKNOWN) == (attempt.vram_peak_bytes, found.foreign_bytes)
    assert (24 - 7 + 1 - (10 - 6)) * GIB == found.room_bytes


def test_of_two_on_a_card_that_hides_its_processes_nothing_is_known() -> None:
    driver = CoreDriver()
    read(driver, shown(used=0, pids_visible=False))
    first, second = running(driver, 1), running(driver, 2)
    found = see(
        driver, shown(used=7 * GIB, pids_visible=False), (RUNNER, first), (OTHER_RUNNER, second)
    )
    assert (UNKNOWN, UNKNOWN) == (first.vram_peak_bytes, second.vram_peak_bytes)
    assert (24 - 7 - (20 - 7)) * GIB == found.room_bytes


def test_a_worker_that_ends_with_its_task_still_belongs_to_it() -> None:
    driver = CoreDriver()
    attempt = running(driver, 1)
    read(driver, shown(below(RUNNER, 6), used=6 * GIB), owners={RUNNER: Owner(None)})
    found = measure(driver.state, "GPU-a")
    assert found is not None
    assert (6 * GIB, 0, 0) == (found.ours_bytes, found.foreign_bytes, found.foreign)
    assert UNKNOWN == attempt.vram_peak_bytes


def test_a_card_is_lent_to_its_holders_and_to_nobody_after_them() -> None:
    driver = CoreDriver()
    charge = Charge(cards=driver.state.slots.charge(Request(vram_bytes=10 * GIB), ("GPU-a",)).cards)
    driver.state.slots.take("x", charge)
    before = dict(driver.state.slots.cards["GPU-a"].lent)
    driver.state.slots.release("x")
    assert ({"x": 10 * GIB}, {}) == (before, driver.state.slots.cards["GPU-a"].lent)


def test_a_card_of_idle_memory_is_shown_with_its_facts() -> None:
    driver = CoreDriver()
    found = see(driver, shown(used=0, temperature_c=51, power_w=77))
    assert (51, 77, UNKNOWN) == (
        found.temperature_c,
        found.power_w,
        found.utilisation_percent,
    )


# --- the guard ---------------------------------------------------------------------------------


def strangers(gib: int) -> Gpu:
    return shown(GpuProcess(FOREIGN, gib * GIB, "train.py", (1,)), used=gib * GIB)


def refused(driver: CoreDriver, **request: object) -> list[str]:
    """Offer a task for the card and return why it is refused."""
    driver.offer(spec(**{**PART, **request}), task(1), gpus=["GPU-a"])
    return reasons(driver)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (ForeignPolicy.SHARE, []),
        (ForeignPolicy.IGNORE, []),
        (ForeignPolicy.AVOID, ["GPU GPU-a has 0B free as measured"]),
    ],
)
def test_a_card_that_others_use_is_avoided_shared_or_lent_as_told(
    policy: ForeignPolicy, expected: list[str]
) -> None:
    driver = CoreDriver()
    driver.state.foreign = policy
    read(driver, strangers(6))
    assert expected == [reason[: len(expected[0])] for reason in refused(driver)]


def test_what_others_hold_is_not_lent_unless_they_are_ignored() -> None:
    driver = CoreDriver()
    read(driver, strangers(16))
    (reason,) = refused(driver)
    assert "has 8GiB free as measured" in reason
    assert "train.py (pid 300, 16GiB), which is not a task of its node; 10GiB asked" in reason
    other = CoreDriver()
    other.state.foreign = ForeignPolicy.IGNORE
    read(other, strangers(16))
    assert [] == refused(other)


def test_two_tasks_that_load_are_not_lent_the_same_free_memory() -> None:
    driver = CoreDriver()
    read(driver, shown(GpuProcess(FOREIGN, 6 * GIB, "x", ()), used=6 * GIB))
    running(driver, 2)
    assert ["GPU GPU-a has 8GiB free as measured"] == [text[:35] for text in refused(driver)]


def test_a_whole_card_that_others_compute_on_is_refused_and_one_that_they_draw_on_is_not() -> None:
    driver = CoreDriver()
    read(driver, shown(GpuProcess(FOREIGN, GIB, "Xorg", (), is_compute=False), used=GIB))
    whole = {"gpus": 1, "vram_bytes": 0}
    assert [] == refused(driver, **whole)
    other = CoreDriver()
    read(other, strangers(1))
    assert ["GPU GPU-a is not free as a whole"] == [text[:32] for text in refused(other, **whole)]


def test_a_handler_is_not_loaded_where_others_left_too_little() -> None:
    driver = CoreDriver(cards=("GPU-a",))
    read(driver, strangers(16))
    residents.declare(driver.state, Handler("sd", vram_bytes=10 * GIB))
    driver.turn()
    (resident,) = driver.state.residents["sd"]
    assert "no GPU of this node has 10GiB free" == resident.error


def test_a_card_of_which_nothing_was_read_for_long_is_not_lent_until_it_is_read_again() -> None:
    driver = CoreDriver()
    read(driver, shown(used=0))
    changes = [look_back(driver.state, silent_ns, 60) for silent_ns in (60, 61, 62)]
    (reason,) = refused(driver)
    assert "GPU GPU-a is not lent: its driver has not answered" in reason
    assert [False, True, False] == changes
    assert look_back(driver.state, 1, 60)
    driver.offer(spec(**PART), task(2), gpus=["GPU-a"])
    assert task(2) in {key[0] for key in driver.state.attempts}


def test_what_is_not_lent_for_want_of_readings_is_said_with_the_reason() -> None:
    driver = CoreDriver()
    look_back(driver.state, 61, 60)
    facts = HostFacts("h", "boot", "6.1", "3.11", 1000, GIB, gpus=(shown(used=0),))
    statement = Report(facts, Limits(), {}, "1").statement(driver.core, {})
    assert [BLIND] == [gpu["withheld"] for gpu in statement["gpus"]]
