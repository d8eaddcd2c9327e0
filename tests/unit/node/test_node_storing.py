"""Is a success told only once its outputs are stored, and is its slot free meanwhile?"""

import pytest

from remuda.node import stops
from remuda.node.effects import StopMoving, StoreOutputs
from remuda.protocol import codec
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome, Phase

from .core_driver import CARDS, CoreDriver, details, not_stored, read, spec, staged, stored, task

WITH_OUTPUTS = spec(argv=["true"], outputs=["*.png"])
CALL = spec(kind="function", target="a:b")
ROW = ["out.png", b"d" * 32, 4, "file"]


def ended(body: bytes = WITH_OUTPUTS, outcome=Outcome.SUCCEEDED, gpus=(), **answer) -> CoreDriver:
    """Offer a command, run it, and let it end."""
    driver = CoreDriver()
    driver.offer(body, task(1), gpus=gpus)
    staged(driver, task(1))
    driver.turn()
    driver.end(task(1), outcome, **answer)
    driver.turn()
    return driver


def test_a_success_with_outputs_is_told_once_they_are_stored():
    driver = ended(details=codec.pack_document({"exit_code": 0}))
    assert ({}, 1) == (driver.results(), len(driver.of(StoreOutputs)))
    stored(driver, task(1), found={"outputs": [ROW]}, objects=b"c" * 64)
    assert {task(1): Outcome.SUCCEEDED} == driver.results()
    assert {"exit_code": 0, "outputs": [ROW]} == details(driver, task(1))
    message, _ = driver.state.outbox.take(driver.now)
    assert [b"c" * 64] == message.objects


def test_a_success_without_outputs_is_told_at_once_and_names_no_objects():
    driver = ended(spec(argv=["true"]))
    assert {task(1): Outcome.SUCCEEDED} == driver.results()
    assert [] == driver.state.outbox.take(driver.now)[0].objects


def test_slot_and_card_are_free_while_outputs_are_stored():
    driver = ended(spec(argv=["x"], outputs=["*"], gpus=1), gpus=CARDS[:1])
    driver.turn()
    read(driver)
    driver.turn()
    assert 1 == len(driver.of(StoreOutputs))
    assert (0, True) == (
        driver.state.slots.cpus_taken_milli,
        driver.state.slots.is_card_free(CARDS[0]),
    )


def test_the_scheduler_sees_it_run_until_its_outputs_are_stored():
    assert [Phase.RUNNING] == ended().core.held().phases


def test_a_call_that_was_over_before_it_was_said_to_run_is_said_to_run_now():
    driver = CoreDriver()
    driver.offer(CALL, task(1))
    driver.turn()
    driver.load(driver.effects[0])
    driver.turn()
    driver.end(task(1), returns_objects=True)
    assert [[task(1)]] == [word.tasks for word in driver.said(m.Started)]


def test_a_value_that_names_objects_is_told_once_they_are_stored():
    driver = CoreDriver()
    driver.offer(CALL, task(1))
    driver.turn()
    driver.load(driver.effects[0])
    driver.turn()
    driver.end(task(1), value=b"names", returns_objects=True)
    driver.turn()
    assert {} == driver.results()
    stored(driver, task(1), objects=b"c" * 64)
    assert b"names" == driver.state.outbox.entries[task(1), 1][0].value


@pytest.mark.parametrize("code", ["output_missing", "network"])
def test_what_cannot_be_stored_turns_a_success_into_a_failure(code):
    driver = ended(details=codec.pack_document({"exit_code": 0, "out": b"hi"}))
    not_stored(driver, task(1), code, "*.png matches nothing")
    assert {task(1): Outcome.FAILED} == driver.results()
    told = {"exit_code": 0, "out": b"hi", "code": code, "message": "*.png matches nothing"}
    assert told == details(driver, task(1))


def test_a_failure_stays_what_it_was_when_its_log_cannot_be_stored():
    word = codec.pack_document({"code": "exit_code"})
    driver = ended(WITH_OUTPUTS, Outcome.FAILED, details=word, printed=9, is_cut=True)
    assert 1 == len(driver.of(StoreOutputs))
    not_stored(driver, task(1), "network")
    assert {"code": "exit_code"} == details(driver, task(1))


@pytest.mark.parametrize(
    ("body", "outcome", "answer", "is_stored"),
    [
        (spec(argv=["x"]), Outcome.FAILED, {"printed": 9}, False),
        (spec(argv=["x"]), Outcome.FAILED, {"printed": 9, "is_cut": True}, True),
        (spec(argv=["x"]), Outcome.SUCCEEDED, {"printed": 9, "is_cut": True}, False),
        (spec(argv=["x"], keep_log=True), Outcome.SUCCEEDED, {"printed": 9}, True),
        (spec(argv=["x"], keep_log=True), Outcome.SUCCEEDED, {}, False),
        (spec(argv=["x"], keep_log=True), Outcome.FAILED, {"printed": 9}, True),
        (WITH_OUTPUTS, Outcome.FAILED, {"printed": 9}, False),
    ],
)
def test_output_is_stored_of_failures_that_it_does_not_fit_and_where_it_was_asked_for(
    body, outcome, answer, is_stored
):
    assert is_stored == bool(ended(body, outcome, **answer).of(StoreOutputs))


@pytest.mark.parametrize(
    ("how", "outcome"), [("kill", Outcome.KILLED), ("leave", Outcome.RETURNED)]
)
def test_a_task_that_is_stopped_while_its_outputs_are_stored_did_not_succeed(how, outcome):
    driver = ended()
    if how == "kill":
        driver.kill(task(1))
    else:
        stops.hand_back(driver.state, 0)
    driver.turn()
    assert [StopMoving((task(1), 1))] == driver.of(StopMoving)
    assert {task(1): outcome} == driver.results()
    stored(driver, task(1))
    assert {task(1): outcome} == driver.results()


def test_an_agent_that_stops_leaves_the_storing_to_the_next_one():
    driver = ended()
    stops.hand_over(driver.state)
    driver.turn()
    assert ({}, []) == (driver.results(), driver.of(StopMoving))


def test_a_success_that_was_asked_to_end_is_not_stored_any_more():
    driver = CoreDriver()
    driver.offer(WITH_OUTPUTS, task(1))
    staged(driver, task(1))
    driver.turn()
    driver.kill(task(1))
    driver.end(task(1))
    driver.turn()
    assert ({task(1): Outcome.KILLED}, []) == (driver.results(), driver.of(StoreOutputs))


def test_a_repeated_answer_changes_nothing_while_outputs_are_stored():
    driver = ended()
    driver.end(task(1), Outcome.FAILED)
    driver.turn()
    assert {"repeated_answer": 1} == driver.state.counters.by_name
    stored(driver, task(1))
    assert {task(1): Outcome.SUCCEEDED} == driver.results()
