"""Do fenced tasks, and only they, end once their scheduler was not heard for too long?"""

import pytest

from remuda.node.effects import Launch, OpenLane, RenewFences, Stop
from remuda.node.fencing import SAID_MAX
from remuda.node.task import FENCED
from remuda.protocol.messages import Outcome

from .core_driver import CoreDriver, spec, task, welcome

S = 1_000_000_000
FENCE_MS = 45_000
FENCED_SPEC = spec(argv=["x"], if_node_lost="fence")


@pytest.fixture
def driver() -> CoreDriver:
    """A node that registered at second 100 and runs a fenced task."""
    driver = CoreDriver()
    at(driver, 100)
    driver.state.fence.on_knock()
    welcome(driver, fence_ms=FENCE_MS)
    driver.offer(FENCED_SPEC, task(1))
    driver.turn()
    return driver


def at(driver: CoreDriver, second: float) -> None:
    driver.core.on_boot_time(int(second * S))


def beat(driver: CoreDriver, seq: int, second: float) -> None:
    at(driver, second)
    driver.state.fence.on_said(seq)


def stopped(driver: CoreDriver) -> list[bytes]:
    driver.turn()
    return [effect.attempt.task for effect in driver.of(Stop)]


def test_a_fenced_task_ends_when_its_lease_is_over_and_not_before(driver):
    at(driver, 144.9)
    assert [] == stopped(driver)
    at(driver, 145)
    assert [task(1)] == stopped(driver)


def test_a_fenced_task_comes_back_uncharged_with_its_own_code(driver):
    at(driver, 145)
    driver.turn()
    driver.end(task(1), Outcome.KILLED, code="cancelled")
    answer = driver.state.outbox.entries[task(1), 1][0]
    assert (Outcome.RETURNED, FENCED) == (answer.outcome, answer.code)


def test_a_fenced_task_that_ended_well_just_before_keeps_its_result(driver):
    at(driver, 145)
    driver.turn()
    driver.end(task(1), Outcome.SUCCEEDED)
    assert {task(1): Outcome.SUCCEEDED} == driver.results()


def test_what_waits_on_the_node_comes_back_when_the_lease_is_over(driver):
    driver.offer(spec(argv=["x"], if_node_lost="fence", cpus_milli=2000), task(2), prefetched=True)
    at(driver, 145)
    driver.turn()
    assert Outcome.RETURNED == driver.results()[task(2)]


@pytest.mark.parametrize("fate", ["rerun", "fail"])
def test_other_tasks_run_on_unheard(driver, fate):
    driver.offer(spec(argv=["x"], if_node_lost=fate), task(2))
    at(driver, 1_000)
    assert [task(1)] == stopped(driver)


def test_an_answered_heartbeat_renews_the_lease_from_when_it_was_said(driver):
    beat(driver, 7, 120)
    at(driver, 140)
    driver.desired(task(1), answers=7)
    at(driver, 164.9)
    assert [] == stopped(driver)
    at(driver, 165)
    assert [task(1)] == stopped(driver)


def test_an_answer_that_lay_in_a_buffer_renews_nothing(driver):
    beat(driver, 7, 101)
    at(driver, 150)
    driver.desired(task(1), answers=7)
    assert [task(1)] == stopped(driver)


def test_an_answer_to_what_was_never_said_renews_nothing(driver):
    at(driver, 144)
    driver.desired(task(1), answers=99)
    at(driver, 145)
    assert [task(1)] == stopped(driver)


def test_only_so_many_heartbeats_are_remembered(driver):
    for seq in range(1, SAID_MAX + 2):
        beat(driver, seq, 100 + seq / 100)
    assert SAID_MAX == len(driver.state.fence.said)
    assert 1 not in driver.state.fence.said


def test_an_older_answer_never_shortens_the_lease(driver):
    beat(driver, 7, 110)
    beat(driver, 8, 120)
    driver.desired(task(1), answers=8)
    driver.desired(task(1), answers=7)
    assert 165 * S == driver.state.fence.until_boot_ns


def test_a_renewal_is_handed_to_the_runners(driver):
    beat(driver, 7, 120)
    driver.desired(task(1), answers=7)
    driver.turn()
    assert [RenewFences(165 * S)] == driver.of(RenewFences)


def test_nobody_is_told_of_renewals_without_fenced_tasks():
    driver = CoreDriver()
    welcome(driver, fence_ms=FENCE_MS)
    driver.offer(spec(argv=["x"]), task(1))
    driver.desired(task(1))
    driver.turn()
    assert [] == driver.of(RenewFences)


def test_a_task_starts_with_the_lease_of_its_node(driver):
    (launch,) = driver.of(Launch)
    assert 145 * S == driver.state.fence.until_for(launch.attempt.plan.spec)


def test_a_scheduler_that_fences_nothing_ends_nothing():
    driver = CoreDriver()
    welcome(driver)
    driver.offer(FENCED_SPEC, task(1))
    at(driver, 10_000)
    assert [] == stopped(driver)
    assert 0 == driver.state.fence.until_for(driver.of(Launch)[0].attempt.plan.spec)


def test_an_agent_that_was_never_let_in_leaves_the_decision_to_the_runners():
    driver = CoreDriver()
    driver.offer(FENCED_SPEC, task(1))
    at(driver, 10_000)
    assert [] == stopped(driver)


def test_a_fenced_task_is_forgotten_with_its_result(driver):
    driver.end(task(1))
    driver.ack(task(1))
    assert {} == driver.state.fence.attempts


def test_a_call_that_its_runner_fenced_is_not_run_again_here():
    driver = CoreDriver()
    driver.offer(spec(kind="function", target="a:b", if_node_lost="fence"), task(1))
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    driver.end(task(1), Outcome.RETURNED, code=FENCED)
    assert {task(1): Outcome.RETURNED} == driver.results()
