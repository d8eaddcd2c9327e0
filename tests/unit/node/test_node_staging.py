"""Is what an attempt needs prepared before it begins, and given up when it ends meanwhile?"""

import pytest

from remuda.node import endings, stops
from remuda.node.effects import Launch, StageIn, StopMoving
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome, Phase
from remuda.protocol.spec import FileRow

from .core_driver import CoreDriver, details, spec, staged, task, welcome

WITH_FILES = spec(argv=["true"], files={"in.png": FileRow(b"d" * 32, 4, "file")})
CALL = spec(kind="function", target="a:b")


def driver_with(body: bytes = WITH_FILES, **fields) -> CoreDriver:
    driver = CoreDriver()
    driver.offer(body, task(1), **fields)
    driver.turn()
    return driver


def test_a_task_with_files_is_staged_before_it_is_launched():
    driver = driver_with()
    assert [StageIn, []] == [type(driver.effects[0]), driver.launched()]
    staged(driver, task(1))
    driver.turn()
    assert [task(1)] == driver.launched()


def test_a_task_without_needs_is_launched_at_once():
    driver = driver_with(spec(argv=["true"]))
    assert ([], [task(1)]) == (driver.of(StageIn), driver.launched())


@pytest.mark.parametrize(
    "needs",
    [{"outputs": ["*.png"]}, {"project": b"p" * 32}, {"stdin_object": b"s" * 32}],
    ids=["outputs", "project", "stdin"],
)
def test_outputs_code_and_a_large_standard_input_are_prepared_for(needs):
    assert 1 == len(driver_with(spec(argv=["true"], **needs)).of(StageIn))


def test_a_call_whose_argument_names_objects_waits_for_them_with_their_claims():
    driver = driver_with(CALL, inputs=[b"c" * 64], spec_inputs=[b"s" * 64])
    (effect,) = driver.of(StageIn)
    assert b"s" * 64 + b"c" * 64 == effect.attempt.claims


def test_a_call_that_names_nothing_passes_one_that_waits_for_objects():
    driver = CoreDriver()
    driver.offer(CALL, task(1), task(2), inputs=[b"c" * 64, b""])
    driver.turn()
    driver.load(driver.effects[-1])
    driver.turn()
    assert [[task(2)]] == driver.fed()


def test_a_task_that_is_staged_holds_its_slot_and_is_queued_for_the_scheduler():
    driver = driver_with()
    assert (1000, [Phase.QUEUED]) == (
        driver.state.slots.cpus_taken_milli,
        driver.core.held().phases,
    )


def test_what_cannot_be_prepared_fails_the_task_with_its_code_and_frees_its_slot():
    driver = driver_with()
    endings.on_stage_failed(driver.state, (task(1), 1), "input_missing", "in.png is gone")
    assert ({task(1): Outcome.FAILED}, 0) == (
        driver.results(),
        driver.state.slots.cpus_taken_milli,
    )
    assert {"code": "input_missing", "message": "in.png is gone"} == details(driver, task(1))


@pytest.mark.parametrize("how", ["kill", "desired", "registered", "taken_back", "stop", "leave"])
def test_a_task_that_ends_while_it_is_staged_stops_the_preparation_and_never_runs(how):
    driver = driver_with()
    outcome = Outcome.KILLED
    if how == "kill":
        driver.kill(task(1))
    elif how == "desired":
        driver.desired()
    elif how == "registered":
        welcome(driver)
    elif how == "taken_back":
        driver.say(m.Kill(b"i" * 16, [task(1)], [1], [-1], [m.TAKEN_BACK]))
        outcome = Outcome.RETURNED
    elif how == "stop":
        stops.hand_over(driver.state)
        outcome = Outcome.RETURNED
    else:
        stops.hand_back(driver.state, 0)
        outcome = Outcome.RETURNED
    driver.turn()
    assert [StopMoving((task(1), 1))] == driver.of(StopMoving)
    assert {task(1): outcome} == driver.results()
    staged(driver, task(1))  # said before it heard of the end
    driver.turn()
    assert [] == driver.of(Launch)


def test_a_fenced_task_is_given_up_while_it_is_staged():
    driver = CoreDriver()
    welcome(driver, fence_ms=1_000)
    driver.core.on_boot_time(0)
    body = spec(argv=["x"], outputs=["*"], if_node_lost="fence")
    driver.offer(body, task(1))
    driver.turn()
    driver.core.on_boot_time(5_000_000_000)
    driver.state.fence.until_boot_ns = 1_000_000_000
    driver.turn()
    assert {task(1): Outcome.RETURNED} == driver.results()


@pytest.mark.parametrize(
    "claims",
    [{"inputs": [b"", b""]}, {"spec_inputs": [b"", b""]}, {"inputs": [b"x"]}],
    ids=["tasks", "specs", "torn"],
)
def test_an_offer_whose_claims_are_not_sound_is_dropped_and_counted(claims):
    driver = driver_with(CALL, **claims)
    assert ({}, {"malformed_offer": 1}) == (
        driver.state.attempts,
        driver.state.counters.by_name,
    )


def test_code_that_changed_gets_workers_of_its_own():
    driver = CoreDriver()
    for number, project in enumerate([b"1" * 32, b"2" * 32], start=1):
        driver.offer(spec(kind="function", target="a:b", project=project), task(number))
        staged(driver, task(number))
    driver.turn()
    assert 2 == len(driver.state.lanes.by_pool)
