"""Does a node hand calls to a worker that takes several at a time so that they run together?"""

from __future__ import annotations

from typing import Any

import pytest

from remuda.node import residents
from remuda.node.effects import OpenLane
from remuda.node.endings import LaneEnd, on_formed, on_lane_ended, on_started
from remuda.protocol.capabilities import Handler
from remuda.protocol.messages import Outcome

from .core_driver import CoreDriver, reasons, spec, task

CALL = spec(kind="handler", target="work")


def driver_with(workers: int = 1, max_batch: int = 4, cpus: int = 2) -> CoreDriver:
    """Return a node whose workers of a handler are loaded."""
    driver = CoreDriver(cpus=cpus)
    residents.declare(driver.state, Handler("work", workers=workers, max_batch=max_batch))
    driver.turn()
    for effect in driver.of(OpenLane):
        driver.load(effect)
    return driver


def offered(driver: CoreDriver, *numbers: int, **fields: Any) -> None:
    driver.offer(fields.pop("body", CALL), *map(task, numbers), **fields)
    driver.turn()


def begun(driver: CoreDriver, *numbers: int) -> None:
    on_formed(driver.state, [(task(number), 1) for number in numbers])


def fed(driver: CoreDriver) -> list[list[int]]:
    return [[int.from_bytes(each, "big") for each in names] for names in driver.fed()]


def test_a_worker_gets_as_many_calls_as_it_takes_at_a_time_on_one_slot():
    driver = driver_with(cpus=1)
    offered(driver, 1, 2, 3, 4, 5)
    assert [[1, 2, 3, 4]] == fed(driver)
    assert 1000 == driver.state.slots.cpus_taken_milli


def test_calls_join_those_that_wait_but_no_batch_that_runs():
    driver = driver_with()
    offered(driver, 1)
    offered(driver, 2)
    begun(driver, 1, 2)
    offered(driver, 3)
    assert [[1], [2]] == fed(driver)
    driver.end(task(1))
    driver.turn()
    assert [[1], [2]] == fed(driver)
    driver.end(task(2))
    driver.turn()
    assert [[1], [2], [3]] == fed(driver)


def test_a_call_is_taken_by_a_full_node_whose_worker_has_its_slot():
    driver = driver_with(cpus=1)
    offered(driver, 1)
    offered(driver, 2)
    assert [] == reasons(driver)
    assert [[1], [2]] == fed(driver)


def test_calls_are_shared_among_workers():
    driver = driver_with(workers=2)
    offered(driver, 1, 2, 3, 4)
    assert [[1, 2], [3, 4]] == fed(driver)


def test_no_worker_is_loaded_for_calls_that_fit_into_the_batches_of_those_that_are():
    driver = CoreDriver()
    residents.declare(driver.state, Handler("work", workers=2, max_batch=4, on_demand=True))
    offered(driver, 1)
    offered(driver, 2, 3, 4)
    assert 1 == len(driver.of(OpenLane))
    offered(driver, 5)
    assert 2 == len(driver.of(OpenLane))


def test_a_batch_that_takes_long_gives_nothing_back():
    driver = driver_with()
    offered(driver, 1, 2)
    begun(driver, 1, 2)
    on_started(driver.state, [(task(1), 1), (task(2), 1)], driver.now)
    effects = [type(effect).__name__ for effect in driver.turn()]
    assert "TakeBack" not in effects


def test_calls_whose_worker_died_in_a_batch_run_again_each_alone():
    driver = driver_with()
    offered(driver, 1, 2, 3)
    begun(driver, 1, 2)
    for number, code in ((1, "batch_died"), (2, "batch_died"), (3, "worker_ended")):
        driver.end(task(number), Outcome.RETURNED, code=code)
    (lane,) = (effect.lane for effect in driver.of(OpenLane))
    on_lane_ended(driver.state, LaneEnd(lane.id, "worker_died", "it died"), driver.now)
    driver.turn()
    driver.load(driver.of(OpenLane)[-1])
    for number in (3, 2, 1):  # those that come back go in front
        driver.turn()
        assert [number] == fed(driver)[-1]
        driver.end(task(number))
    assert {task(number): Outcome.SUCCEEDED for number in (1, 2, 3)} == driver.results()


def test_what_kills_its_worker_alone_is_charged_for_it():
    driver = driver_with()
    offered(driver, 1)
    driver.end(task(1), Outcome.FAILED, code="worker_died")
    assert {task(1): Outcome.FAILED} == driver.results()


@pytest.mark.parametrize("code", ["batch_died", "batch_ended"])
def test_a_task_that_must_not_run_twice_fails_with_its_batch(code: str):
    driver = driver_with()
    offered(driver, 1, body=spec(kind="handler", target="work", if_node_lost="fail"))
    driver.end(task(1), Outcome.RETURNED, code=code)
    assert {task(1): Outcome.FAILED} == driver.results()


def test_the_result_says_in_a_batch_of_how_many_calls_it_ran():
    driver = driver_with()
    offered(driver, 1, 2)
    begun(driver, 1, 2)
    driver.end(task(1))
    answer, _ = driver.state.outbox.entries[task(1), 1]
    assert 2 == answer.batch_calls
