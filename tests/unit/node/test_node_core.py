"""Does the node's core take, refuse, order and end attempts as promised?"""

from remuda.node import stops
from remuda.node.effects import Forget, Launch, OpenLane, Stop
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome

from .core_driver import GIB, CoreDriver, reasons, spec, task

COMMAND = spec(argv=["true"])
CALL = spec(kind="function", target="a:b")


def test_an_offer_is_accepted_and_started():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1))
    driver.turn()
    assert [task(1)] == driver.launched()
    assert [[task(1)]] == [accept.tasks for accept in driver.said(m.Accept)]


def test_the_same_offer_is_accepted_again_and_started_once():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1))
    driver.turn()
    driver.said(m.Accept)
    driver.offer(COMMAND, task(1))
    driver.turn()
    assert [task(1)] == driver.launched()
    assert 1 == len(driver.said(m.Accept))


def test_the_same_offer_of_an_ended_attempt_sends_its_result_again():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1))
    driver.turn()
    driver.end(task(1))
    assert [task(1)] == driver.state.outbox.take(driver.now)[0].tasks
    assert driver.state.outbox.take(driver.now) is None
    driver.offer(COMMAND, task(1))
    driver.turn()
    assert [task(1)] == driver.state.outbox.take(driver.now)[0].tasks
    assert [task(1)] == driver.launched()


def test_an_offer_to_another_incarnation_is_dropped_and_counted():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1), incarnation=b"x" * 16)
    driver.turn()
    assert ({}, {"other_incarnation": 1}) == (
        driver.state.attempts,
        driver.state.counters.by_name,
    )


def test_an_older_attempt_on_its_way_out_outlives_the_later_one():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1))
    driver.turn()
    driver.offer(COMMAND, task(1), number=2)
    driver.turn()
    driver.end(task(1), number=2)
    driver.state.outbox.take(driver.now)
    driver.say(m.ResultAck(driver.core.state.incarnation, [task(1)], [2]))
    driver.turn()
    assert [(task(1), 1)] == list(driver.state.attempts)
    assert {task(1): 1} == driver.state.newest


def test_a_later_attempt_ends_the_older_one():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1))
    driver.turn()
    driver.offer(COMMAND, task(1), number=2)
    driver.turn()
    assert [(task(1), 1)] == [stop.attempt.key for stop in driver.of(Stop)]
    driver.offer(COMMAND, task(1), number=1)
    driver.ack(task(1))
    assert 2 == len(driver.state.attempts)


def test_what_does_not_fit_is_refused_with_a_true_reason():
    driver = CoreDriver(cpus=1)
    driver.offer(COMMAND, task(1))
    driver.offer(COMMAND, task(2))
    assert ["1 CPUs asked, 0 free"] == reasons(driver)
    driver.turn()
    assert [task(1)] == driver.launched()


def test_a_card_that_is_taken_is_refused_and_an_unknown_one_too():
    driver = CoreDriver()
    whole = spec(argv=["x"], gpus=1, cpus_milli=0)
    driver.offer(whole, task(1), gpus=["GPU-a"])
    driver.offer(whole, task(2), gpus=["GPU-a"])
    driver.offer(whole, task(3), gpus=["GPU-z"])
    driver.offer(whole, task(4))
    assert [
        "GPU GPU-a is in use",
        "GPU GPU-z is not one of this node's",
        "0 GPUs were granted, 1 are asked for",
    ] == reasons(driver)


def test_what_was_sent_ahead_waits_and_starts_when_a_slot_is_free():
    driver = CoreDriver(cpus=1)
    driver.offer(COMMAND, task(1))
    driver.offer(COMMAND, task(2), prefetched=True)
    driver.turn()
    assert [task(1)] == driver.launched()
    driver.end(task(1))
    driver.turn()
    assert [task(1), task(2)] == driver.launched()


def test_the_nodes_queue_goes_by_priority_then_by_arrival():
    driver = CoreDriver(cpus=1)
    driver.offer(COMMAND, task(1))
    driver.turn()
    driver.offer(spec(argv=["x"], priority=10), task(2), prefetched=True)
    driver.offer(COMMAND, task(3), prefetched=True)
    driver.offer(spec(argv=["x"], priority=90), task(4), prefetched=True)
    driver.offer(COMMAND, task(5), prefetched=True)
    for number in (1, 4, 3, 5, 2):
        driver.end(task(number))
        driver.turn()
    assert [task(number) for number in (1, 4, 3, 5, 2)] == driver.launched()


def test_a_queued_attempt_is_killed_without_having_run():
    driver = CoreDriver(cpus=1)
    driver.offer(COMMAND, task(1), task(2), prefetched=True)
    driver.turn()
    driver.kill(task(2))
    driver.end(task(1))
    driver.turn()
    assert [task(1)] == driver.launched()
    assert {task(2): Outcome.KILLED, task(1): Outcome.SUCCEEDED} == driver.results()


def test_a_running_attempt_is_killed_only_when_its_runner_says_so():
    driver = CoreDriver()
    driver.offer(spec(argv=["x"], grace_ms=700), task(1))
    driver.turn()
    driver.kill(task(1))
    driver.kill(task(1))
    driver.turn()
    assert ([700], {}) == ([stop.grace_ms for stop in driver.of(Stop)], driver.results())
    driver.end(task(1), Outcome.FAILED, code="timeout")
    assert {task(1): Outcome.KILLED} == driver.results()


def test_a_success_that_was_faster_than_its_kill_stays_one():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1))
    driver.turn()
    driver.kill(task(1))
    driver.end(task(1))
    assert {task(1): Outcome.SUCCEEDED} == driver.results()


def test_desired_ends_what_was_offered_before_it_and_is_not_listed():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1), task(2))
    driver.turn()
    driver.desired(task(2))
    driver.turn()
    assert [task(1)] == [stop.attempt.task for stop in driver.of(Stop)]


def test_desired_leaves_alone_what_was_offered_after_it():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1), rev=5)
    driver.turn()
    driver.desired(rev=4)
    driver.turn()
    assert [] == driver.of(Stop)
    assert 5 == driver.state.rev


def test_registration_ends_what_the_scheduler_does_not_name_and_says_results_again():
    driver = CoreDriver(cpus=3)
    driver.offer(COMMAND, task(1), task(2), task(3))
    driver.turn()
    driver.end(task(3))
    assert driver.state.outbox.take(driver.now) is not None
    driver.core.on_registered(m.Registered("n", 7, 1, 1, 1, 1, 2000, 30000, [task(1)], [1]))
    driver.turn()
    assert [task(2)] == [stop.attempt.task for stop in driver.of(Stop)]
    assert ([task(3)], 7) == (driver.state.outbox.take(driver.now)[0].tasks, driver.state.rev)


def test_an_acknowledged_result_is_gone_and_its_runner_may_forget_it():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1))
    driver.turn()
    driver.end(task(1))
    driver.ack(task(1))
    driver.ack(task(1))
    driver.turn()
    assert ([(task(1), 1)], {}) == (
        [forget.key for forget in driver.of(Forget)],
        driver.state.attempts,
    )


def test_an_unacknowledged_result_is_sent_again_after_a_while():
    driver = CoreDriver()
    driver.offer(COMMAND, task(1))
    driver.turn()
    driver.end(task(1))
    assert driver.state.outbox.take(driver.now) is not None
    assert driver.state.outbox.take(driver.now) is None
    assert driver.state.outbox.take(driver.state.outbox.deadline()) is not None


def test_handing_back_returns_everything_and_takes_nothing_more():
    driver = CoreDriver(cpus=1)
    driver.offer(COMMAND, task(1), task(2), prefetched=True)
    driver.turn()
    stops.hand_back(driver.state, 100)
    driver.end(task(1), Outcome.KILLED)
    driver.offer(COMMAND, task(3))
    driver.turn()
    assert {task(1): Outcome.RETURNED, task(2): Outcome.RETURNED} == driver.results()
    assert (["the node is stopping"], [task(1)]) == (reasons(driver), driver.launched())


def test_a_card_that_vanished_takes_no_more_tasks():
    driver = CoreDriver()
    driver.state.slots.see({"GPU-b": 24 * GIB})
    driver.offer(spec(argv=["x"], gpus=1), task(1), gpus=["GPU-a"])
    assert ["GPU GPU-a is gone"] == reasons(driver)


def test_an_offer_whose_spec_cannot_be_read_is_rejected_and_counted_as_nothing_else():
    driver = CoreDriver()
    driver.offer(b"\x01", task(1))
    driver.offer(COMMAND, task(2))
    driver.turn()
    assert 1 == len(reasons(driver))
    assert [task(2)] == [e.attempt.task for e in driver.of(Launch)]


def test_what_is_taken_back_returns_only_if_it_has_not_begun():
    driver = CoreDriver(cpus=1)
    driver.offer(COMMAND, task(1), task(2), prefetched=True)
    driver.turn()
    back = m.Kill(b"i" * 16, [task(1), task(2)], [1, 1], [-1, -1], [stops.TAKEN_BACK] * 2)
    driver.say(back)
    driver.turn()
    assert ({task(2): Outcome.RETURNED}, []) == (driver.results(), driver.of(Stop))


def test_an_agent_that_ends_gives_back_what_no_runner_has():
    driver = CoreDriver(cpus=1)
    driver.offer(COMMAND, task(1), task(2), prefetched=True)
    driver.turn()
    stops.hand_over(driver.state)
    assert {task(2): Outcome.RETURNED} == driver.results()


def launched_of(driver, *names):
    """Offer these commands, each with what it asks for; return which of them began."""
    for number, fields in enumerate(names, 1):
        driver.offer(spec(argv=["true"], cpus_milli=0, **fields), task(number))
    driver.turn()
    return driver.launched()


def test_named_things_are_lent_no_more_often_than_there_are():
    driver = CoreDriver(resources={"licence": 2})
    wanted = {"resources": {"licence": 1}}
    assert [task(1), task(2)] == launched_of(driver, wanted, wanted, wanted)
    assert ["1 licence asked, 0 free"] == reasons(driver)
    driver.end(task(1))
    driver.offer(spec(argv=["true"], cpus_milli=0, **wanted), task(4))
    driver.turn()
    assert [task(4)] == driver.launched()[-1:]


def test_a_task_that_is_to_be_alone_gets_no_company():
    driver = CoreDriver()
    alone = {"exclusive": True}
    assert [task(1)] == launched_of(driver, alone, {}, alone)
    assert ["one task has this node alone"] * 2 == reasons(driver)


def test_a_task_that_is_to_be_alone_is_refused_beside_others():
    driver = CoreDriver()
    assert [task(1)] == launched_of(driver, {}, {"exclusive": True})
    assert ["it is to be alone, and other tasks run"] == reasons(driver)


def test_several_mig_devices_are_never_taken_for_one_task():
    driver = CoreDriver(cards=("MIG-a", "MIG-b"))
    driver.offer(spec(argv=["true"], gpus=2), task(1), gpus=["MIG-a", "MIG-b"])
    driver.turn()
    assert ["CUDA shows one MIG device to a process: several were granted"] == reasons(driver)


def test_calls_with_named_things_wait_for_them():
    driver = CoreDriver(resources={"licence": 1})
    call = spec(kind="function", target="a:b", cpus_milli=0, resources={"licence": 1})
    driver.offer(call, task(1), task(2))
    driver.turn()
    for effect in driver.of(OpenLane):
        driver.load(effect)
    driver.turn()
    assert [[task(1)]] == driver.fed()
    assert 1 == driver.state.slots.resources_taken["licence"]
