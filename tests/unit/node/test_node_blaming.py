"""Is a card's fault told with the task that had it, and not taken for the task's own?"""

from __future__ import annotations

from dataclasses import replace

from remuda.node import blaming, health, residents
from remuda.node.effects import OpenLane
from remuda.node.gpu import LostGpu, Reading, Xid
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler
from remuda.protocol.failures import FailureClass, class_of

from .core_driver import CARDS, GIB, INCARNATION, CoreDriver, card, details, read, spec, task

FAILED = m.Outcome.FAILED
SAID = codec.pack_document({"code": "exit_code", "message": "it ended with 1"})


def on_a_card() -> CoreDriver:
    driver = CoreDriver()
    see(driver)
    driver.offer(spec(argv=["x"], gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    return driver


def see(driver: CoreDriver, *xids: int, lost: tuple[LostGpu, ...] = ()) -> None:
    """Have the agent judge a reading, as its shell does before the core hears it."""
    cards = tuple(replace(card(uuid), index=at) for at, uuid in enumerate(CARDS))
    gpus = cards[1 if lost else 0 :]
    reading = Reading(gpus, "550", lost=lost, xids=tuple(Xid(0, xid) for xid in xids))
    state = driver.state
    blaming.note(state, health.see(state.health, reading, gpus, frozenset(), driver.now, "noon"))
    state.slots.closed = state.health.withheld()


def fail(driver: CoreDriver) -> None:
    driver.end(task(1), FAILED, details=SAID, code="exit_code")
    driver.turn()


def told(driver: CoreDriver) -> tuple[str, str]:
    found = details(driver, task(1))
    return found["code"], found["message"]


def test_what_the_driver_said_of_the_application_is_told_with_its_failure() -> None:
    driver = on_a_card()
    see(driver, 31, 31)
    fail(driver)
    read(driver, *map(card, CARDS))
    assert ("exit_code", "XID 31: a GPU memory page fault; it ended with 1") == told(driver)


def test_what_the_driver_said_is_not_told_of_a_success_nor_of_the_next_task() -> None:
    driver = on_a_card()
    see(driver, 31)
    driver.end(task(1))
    driver.turn()
    read(driver, *map(card, CARDS))
    driver.offer(spec(argv=["x"], gpus=1), task(2), gpus=["GPU-a"])
    driver.turn()
    driver.end(task(2), FAILED, details=SAID, code="exit_code")
    driver.turn()
    read(driver, *map(card, CARDS))
    assert "it ended with 1" == details(driver, task(2))["message"]
    assert {} == driver.state.blamed


def test_a_task_whose_card_broke_failed_of_that() -> None:
    driver = on_a_card()
    see(driver, 79)
    fail(driver)
    read(driver, *map(card, CARDS))
    code, message = told(driver)
    assert "gpu_lost" == code
    assert FailureClass.NODE_LOST is class_of(code)
    broken = "GPU GPU-a: XID 79: the GPU has fallen off the bus (at noon); it ended with 1"
    assert broken == message


def test_a_task_that_met_a_contained_error_failed_of_its_card_which_goes_on() -> None:
    driver = on_a_card()
    see(driver, 94)
    fail(driver)
    read(driver, *map(card, CARDS))
    assert ("gpu_lost", "XID 94: a contained memory error; it ended with 1") == told(driver)
    driver.offer(spec(argv=["x"], gpus=1), task(2), gpus=["GPU-a"])
    driver.turn()
    assert [task(1), task(2)] == driver.launched()


def test_a_result_does_not_wait_for_a_card_that_is_lost() -> None:
    driver = on_a_card()
    see(driver, lost=(LostGpu(0, "GPU is lost", is_gone=True),))
    fail(driver)
    reading = Reading((card("GPU-b"),))
    driver.core.on_reading(reading, driver.now, frozenset(), driver.now)
    assert "gpu_lost" == told(driver)[0]


def test_a_task_that_did_well_on_a_card_that_broke_did_well() -> None:
    driver = on_a_card()
    see(driver, 48)
    driver.end(task(1))
    driver.turn()
    read(driver, *map(card, CARDS))
    assert {task(1): m.Outcome.SUCCEEDED} == driver.results()


def test_a_faulty_card_is_granted_to_nobody_until_a_person_says_so() -> None:
    driver = CoreDriver()
    see(driver, 48)
    driver.offer(spec(argv=["x"], gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    assert [] == driver.launched()
    (rejection,) = driver.said(m.Reject)
    assert "GPU GPU-a is not well: XID 48" in rejection.reasons[0]
    driver.say(m.ForgetFaults(INCARNATION, ["GPU-a"]))
    driver.state.slots.closed = driver.state.health.withheld()
    driver.offer(spec(argv=["x"], gpus=1), task(2), gpus=["GPU-a"])
    driver.turn()
    assert [task(2)] == driver.launched()


def test_a_model_on_a_card_that_broke_gets_no_more_calls_and_none_is_loaded_there() -> None:
    driver = CoreDriver()
    see(driver)
    residents.declare(driver.state, Handler("greet", vram_bytes=4 * GIB))
    driver.turn()
    (lane,) = [each.lane for each in driver.of(OpenLane)]
    assert ("GPU-a",) == tuple(lane.gpus)
    driver.load(driver.of(OpenLane)[0])
    see(driver, 79)
    driver.offer(spec(kind="handler", target="greet"), task(1))
    driver.turn()
    assert [] == driver.fed()
    driver.say(m.ForgetFaults(INCARNATION, ["GPU-a"]))
    driver.state.slots.closed = driver.state.health.withheld()
    driver.turn()
    assert [[task(1)]] == driver.fed()


def test_a_model_is_loaded_on_a_card_that_is_well() -> None:
    driver = CoreDriver()
    see(driver, 79)
    residents.declare(driver.state, Handler("greet", vram_bytes=4 * GIB))
    driver.turn()
    assert [("GPU-b",)] == [tuple(each.lane.gpus) for each in driver.of(OpenLane)]
