"""Does the node's core take, refuse, order and end attempts as promised?"""

from remuda.node import residents, stops
from remuda.node.effects import Forget, Launch, OpenLane, Stop, TakeBack
from remuda.node.endings import LaneEnd, on_lane_ended, on_started
from remuda.protocol import messages as m
from remuda.protocol.messages import Outcome, Phase

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


def test_calls_get_workers_up_to_the_slots_and_share_them():
    driver = CoreDriver(cpus=2)
    driver.offer(CALL, task(1), task(2))
    driver.offer(CALL, *[task(number) for number in range(3, 13)], prefetched=True)
    driver.turn()
    opened = driver.of(OpenLane)
    assert 2 == len(opened)
    for effect in opened:
        driver.load(effect)
    driver.turn()
    assert [[task(1)], [task(2)]] == driver.fed()
    for number in (1, 2):
        driver.end(task(number), run_us=20)
    driver.turn()
    assert [5, 5] == [len(batch) for batch in driver.fed()[2:]]


def test_two_owners_never_share_a_worker():
    driver = CoreDriver(cpus=2)
    driver.offer(CALL, task(1))
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    driver.end(task(1))
    driver.offer(CALL, task(2), owner="bob")
    driver.turn()
    assert 2 == len({effect.lane.pool for effect in driver.of(OpenLane)})


def test_an_idle_worker_of_another_kind_makes_room():
    driver = CoreDriver(cpus=1)
    driver.offer(CALL, task(1))
    driver.turn()
    first = driver.of(OpenLane)[0].lane
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    driver.end(task(1))
    driver.offer(CALL, task(2), owner="bob")
    driver.turn()
    assert first.state.value == "closing"


def test_an_idle_worker_goes_after_a_minute():
    driver = CoreDriver()
    driver.offer(CALL, task(1))
    driver.turn()
    lane = driver.of(OpenLane)[0].lane
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    driver.end(task(1))
    driver.turn(59_000)
    assert lane.state.value == "ready"
    driver.turn(2_000)
    assert lane.state.value == "closing"


def test_a_call_that_takes_long_gives_back_those_behind_it():
    driver = CoreDriver(cpus=1)
    driver.offer(CALL, *[task(number) for number in range(1, 4)], prefetched=True)
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    driver.end(task(1), run_us=10)
    driver.turn()
    on_started(driver.state, [(task(2), 1)], driver.now)
    driver.turn()
    assert [[task(3)]] == [[each.task for each in e.attempts] for e in driver.of(TakeBack)]
    driver.end(task(3), Outcome.RETURNED, code="cancelled")
    driver.turn()
    held = driver.state.attempts[task(3), 1]
    assert (Phase.QUEUED, False) == (held.phase, held.handed)


def test_a_call_that_comes_back_too_often_is_returned_to_the_scheduler():
    driver = CoreDriver(cpus=1)
    driver.offer(CALL, task(1))
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    for _ in range(4):
        driver.turn()
        driver.end(task(1), Outcome.RETURNED, code="worker_ended")
    assert {task(1): Outcome.RETURNED} == driver.results()


def test_a_worker_that_cannot_start_fails_the_calls_that_wait_for_it():
    driver = CoreDriver(cpus=1)
    driver.offer(CALL, task(1))
    driver.turn()
    lane = driver.of(OpenLane)[0].lane
    on_lane_ended(
        driver.state, LaneEnd(lane.id, "code_missing", "no such file", was_loaded=False), 0
    )
    driver.turn()
    assert {task(1): Outcome.FAILED} == driver.results()


def test_a_worker_of_a_task_with_a_card_ends_with_its_task():
    driver = CoreDriver()
    driver.offer(spec(kind="function", target="a:b", gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    lane = driver.of(OpenLane)[0].lane
    assert ([[task(1)]], ("GPU-a",)) == (driver.fed(), lane.gpus)
    driver.end(task(1))
    assert driver.state.slots.is_card_free("GPU-a")
    assert lane.state.value == "closing"


def test_a_call_of_a_handler_waits_for_its_resident_and_unknown_ones_are_refused():
    driver = CoreDriver()
    residents.declare(driver.state, "greet", 1, 4 * GIB)
    body = spec(kind="handler", target="greet")
    driver.offer(body, task(1))
    driver.offer(spec(kind="handler", target="nobody"), task(2))
    driver.turn()
    assert (["this node has no handler 'nobody'"], []) == (reasons(driver), driver.fed())
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    assert [[task(1)]] == driver.fed()
    assert 4 * GIB == driver.state.slots.cards["GPU-a"].vram_bytes


def test_a_handler_that_does_not_load_returns_its_calls_and_is_tried_again_later():
    driver = CoreDriver()
    residents.declare(driver.state, "greet", 1, 0)
    driver.turn()
    driver.offer(spec(kind="handler", target="greet"), task(1))
    lane = driver.of(OpenLane)[0].lane
    on_lane_ended(
        driver.state, LaneEnd(lane.id, "model_unavailable", "no model", was_loaded=False),
        driver.now,
    )  # fmt: skip
    driver.turn()
    assert {task(1): Outcome.RETURNED} == driver.results()
    assert ("failed", "no model") == residents.summary(driver.state.residents["greet"])
    driver.turn(1_500)
    assert 2 == len(driver.of(OpenLane))


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


def test_a_call_that_is_taken_back_from_its_worker_goes_to_the_scheduler():
    driver = CoreDriver(cpus=1)
    driver.offer(CALL, task(1))
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    driver.say(m.Kill(b"i" * 16, [task(1)], [1], [-1], [stops.TAKEN_BACK]))
    driver.turn()
    assert 1 == len(driver.of(TakeBack))
    driver.end(task(1), Outcome.RETURNED, code="cancelled")
    assert {task(1): Outcome.RETURNED} == driver.results()
