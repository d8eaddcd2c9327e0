"""Does the node's core share, feed, recycle and give up its warm workers as promised?"""

from remuda.node import residents, stops
from remuda.node.effects import OpenLane, TakeBack
from remuda.node.endings import LaneEnd, on_lane_ended, on_stale, on_started
from remuda.node.lanes import Lane
from remuda.node.task import plan_of
from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler
from remuda.protocol.messages import Outcome, Phase
from remuda.protocol.spec import TaskSpec

from .core_driver import GIB, CoreDriver, read, reasons, spec, task

COMMAND = spec(argv=["true"])
CALL = spec(kind="function", target="a:b")


def running(driver: CoreDriver) -> Lane:
    """Let a call run in a worker of its own; return that worker's lane."""
    driver.offer(CALL, task(1))
    driver.turn()
    effect = driver.of(OpenLane)[0]
    driver.load(effect)
    driver.turn()
    return effect.lane


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
    running(driver)
    driver.end(task(1))
    driver.offer(CALL, task(2), owner="bob")
    driver.turn()
    assert 2 == len({effect.lane.pool for effect in driver.of(OpenLane)})


def test_an_idle_worker_of_another_kind_makes_room():
    driver = CoreDriver(cpus=1)
    first = running(driver)
    driver.end(task(1))
    driver.offer(CALL, task(2), owner="bob")
    driver.turn()
    assert first.state.value == "closing"


def test_an_idle_worker_goes_after_a_minute():
    driver = CoreDriver()
    lane = running(driver)
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
    driver.turn()
    on_lane_ended(driver.state, LaneEnd(lane.id, "", ""), driver.now)
    driver.turn()
    read(driver)
    assert driver.state.slots.is_card_free("GPU-a")
    assert lane.state.value == "closing"


def test_a_call_of_a_handler_waits_for_its_resident_and_unknown_ones_are_refused():
    driver = CoreDriver()
    residents.declare(driver.state, Handler("greet", workers=1, vram_bytes=4 * GIB))
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
    residents.declare(driver.state, Handler("greet"))
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


def test_a_call_that_is_taken_back_from_its_worker_goes_to_the_scheduler():
    driver = CoreDriver(cpus=1)
    running(driver)
    driver.say(m.Kill(b"i" * 16, [task(1)], [1], [-1], [stops.TAKEN_BACK]))
    driver.turn()
    assert 1 == len(driver.of(TakeBack))
    driver.end(task(1), Outcome.RETURNED, code="cancelled")
    assert {task(1): Outcome.RETURNED} == driver.results()


def test_a_task_whose_own_worker_cannot_start_has_failed():
    driver = CoreDriver()
    driver.offer(spec(kind="function", target="a:b", gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    driver.end(task(1), Outcome.RETURNED, code="cwd_missing")
    on_lane_ended(driver.state, LaneEnd(driver.of(OpenLane)[0].lane.id, "", ""), driver.now)
    driver.turn()
    read(driver)
    assert {task(1): Outcome.FAILED} == driver.results()


FRESH = spec(kind="function", target="a:b", fresh=True)


def test_a_call_that_wants_a_fresh_worker_gets_one_that_ends_with_it():
    driver = CoreDriver(cpus=2)
    driver.offer(FRESH, task(1), task(2))
    driver.turn()
    lanes = [effect.lane for effect in driver.of(OpenLane)]
    assert [(True, ()), (True, ())] == [(lane.single, lane.gpus) for lane in lanes]
    assert [[task(1)], [task(2)]] == driver.fed()
    driver.load(driver.of(OpenLane)[0])
    driver.end(task(1))
    assert "closing" == lanes[0].state.value


def test_fresh_workers_are_as_many_as_there_are_slots():
    driver = CoreDriver(cpus=1)
    driver.offer(FRESH, task(1))
    driver.offer(FRESH, task(2), prefetched=True)
    driver.turn()
    assert 1 == len(driver.of(OpenLane))
    driver.load(driver.of(OpenLane)[0])
    driver.end(task(1))
    driver.turn()
    assert [[task(1)], [task(2)]] == driver.fed()


def test_a_worker_with_other_secrets_or_another_interpreter_is_another_worker():
    kinds = [{}, {"secrets": ["hf"]}, {"secrets": ["hf=A"]}, {"python": "sd"},
             {"requirements": "six"}, {"fresh": True}]  # fmt: skip
    specs = [TaskSpec("function", target="a:b", **fields) for fields in kinds]
    assert len(kinds) == len({plan_of(each, "ann").pool for each in specs})


def test_calls_for_a_worker_of_the_past_wait_for_a_new_one():
    driver = CoreDriver(cpus=1)
    lane = running(driver)
    on_stale(driver.state, lane, list(lane.open.values()))
    driver.state.check()
    assert "closing" == lane.state.value
    driver.turn()
    assert [False, False] == [effect.lane.single for effect in driver.of(OpenLane)]


def test_a_worker_of_the_past_ends_with_the_calls_that_it_has():
    driver = CoreDriver(cpus=1)
    lane = running(driver)
    driver.end(task(1), run_us=20)
    driver.offer(CALL, task(2), task(3), prefetched=True)
    driver.turn()
    on_stale(driver.state, lane, [lane.open[task(3), 1]])
    driver.state.check()
    assert (True, "ready") == (lane.single, lane.state.value)
    driver.end(task(2), run_us=20)
    assert "closing" == lane.state.value
