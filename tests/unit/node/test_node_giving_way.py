"""Does a model leave once nobody called for it for as long as its handler says, not before?"""

from __future__ import annotations

from remuda.node import residents
from remuda.node.effects import CloseLane, OpenLane
from remuda.node.endings import LaneEnd, on_lane_ended
from remuda.node.terms import Terms
from remuda.protocol.capabilities import Handler

from .core_driver import GIB, CoreDriver, read, spec, task

KEEP_MS = 600_000
TICK_MS = 1_000
CALL = spec(kind="handler", target="greet")


def loaded(keep_ms: int = KEEP_MS) -> CoreDriver:
    """Return a node with one model in memory that nobody called yet."""
    driver = CoreDriver()
    handler = Handler("greet", vram_bytes=4 * GIB)
    residents.declare(driver.state, handler, Terms(keep_ns=keep_ms * 1_000_000))
    driver.turn()
    driver.load(driver.of(OpenLane)[-1])
    return driver


def wait(driver: CoreDriver, ms: int) -> list[object]:
    """Let time pass tick by tick; return the workers that were told to leave."""
    before = len(driver.of(CloseLane))
    for _ in range(ms // TICK_MS):
        driver.turn(TICK_MS)
    return driver.of(CloseLane)[before:]


def end_worker(driver: CoreDriver) -> None:
    on_lane_ended(driver.state, LaneEnd(driver.of(CloseLane)[-1].lane.id, "", ""), driver.now)
    driver.turn()
    read(driver)  # its card is free


def test_a_model_that_nobody_called_for_so_long_leaves_and_is_not_loaded_again() -> None:
    driver = loaded()
    assert [] == wait(driver, KEEP_MS - 2 * TICK_MS)
    assert 1 == len(wait(driver, 3 * TICK_MS))
    end_worker(driver)
    wait(driver, KEEP_MS)
    assert (1, {}) == (len(driver.of(OpenLane)), driver.state.slots.holders)


def test_a_call_puts_the_time_off_from_its_end_on() -> None:
    driver = loaded()
    wait(driver, KEEP_MS // 2)
    driver.offer(CALL, task(1))
    assert [] == wait(driver, 2 * KEEP_MS)
    driver.end(task(1))
    assert [] == wait(driver, KEEP_MS - 2 * TICK_MS)
    assert 1 == len(wait(driver, 3 * TICK_MS))


def test_a_call_for_a_model_that_left_brings_it_back() -> None:
    driver = loaded()
    wait(driver, KEEP_MS + TICK_MS)
    end_worker(driver)
    driver.turn()
    driver.offer(CALL, task(1))
    driver.turn()
    assert 2 == len(driver.of(OpenLane))
    driver.load(driver.of(OpenLane)[-1])
    driver.turn()
    assert [[task(1)]] == driver.fed()


def test_a_model_that_is_kept_for_good_stays() -> None:
    assert [] == wait(loaded(keep_ms=0), 4 * KEEP_MS)
