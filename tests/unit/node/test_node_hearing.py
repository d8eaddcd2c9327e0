"""Does the agent read the words of its runners rightly when they cross its own?"""

import pytest

from remuda.node.archive import Archive
from remuda.node.asking import Asks
from remuda.node.crew import Crew
from remuda.node.effects import OpenLane
from remuda.node.gpu_locks import GpuLocks
from remuda.node.grants import WorkerGrant
from remuda.node.hearing import Hearing
from remuda.node.moving import Moving
from remuda.node.porter import Porter
from remuda.node.stage import Stage
from remuda.protocol.messages import Outcome, Phase
from remuda.worker.frames import Hello, WorkerEnded

from .core_driver import CoreDriver, spec, task

CALL = spec(kind="function", target="a:b")


@pytest.fixture
def scene(tmp_path):
    """Play an agent with one runner that hosts a worker, which has been handed task 1."""
    driver = CoreDriver(cpus=1)
    crew = Crew(tmp_path, tmp_path, idle_s=60, runners_max=4)
    locks = GpuLocks("n", tmp_path / "locks")
    moving = Moving(driver.state, Porter(pytest.fail), tmp_path / "tasks", 1)
    stage = Stage(driver.core, crew, Archive(10, 10), locks, {}, moving)
    hearing = Hearing(stage, Asks(driver.state, crew, stage.seat_of))
    (tmp_path / "r1").mkdir()
    seat = crew.take_over(tmp_path / "r1")
    driver.offer(CALL, task(1))
    driver.turn()
    lane = driver.of(OpenLane)[0].lane
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    seat.lane, seat.worker = lane.id, WorkerGrant("w", lane.pool, "", ())
    seat.open[task(1), 1] = None
    hearing.stage.seat_of[task(1), 1] = seat
    hearing.stage.lane_seats[lane.id] = seat
    yield driver, hearing, seat
    moving.porter.close()
    crew.close()
    locks.close()


def hello(**fields):
    plain = {"occupant": "worker", "worker": "w", "loaded": True, "held": [], "unacked": []}
    return Hello(1, "r1", 1, "boot", locks=[], cgroup="", **{**plain, **fields})


def test_a_call_sent_to_a_worker_that_had_just_ended_waits_for_another(scene):
    driver, hearing, seat = scene
    hearing.on_worker_ended(seat, WorkerEnded("w", "cancelled", 0), 0)
    driver.turn()
    held = driver.state.attempts[task(1), 1]
    assert (Phase.QUEUED, False, {}) == (held.phase, held.handed, driver.results())
    assert 2 == len(driver.of(OpenLane))


def test_what_a_runner_never_got_comes_back_unharmed(scene):
    driver, hearing, seat = scene
    hearing.on_hello(seat, hello(), 0)
    assert (Phase.QUEUED, {}) == (driver.state.attempts[task(1), 1].phase, seat.open)


def test_what_a_runner_holds_stays_with_it(scene):
    driver, hearing, seat = scene
    hearing.on_hello(seat, hello(held=[[task(1).hex(), 1, True]]), 0)
    assert driver.state.attempts[task(1), 1].handed
    assert [(task(1), 1)] == list(seat.open)


def test_a_worker_that_ended_unseen_is_noticed_at_the_next_hello(scene):
    driver, hearing, seat = scene
    hearing.on_hello(seat, hello(occupant="", worker="", loaded=False), 0)
    assert (0, {}) == (seat.lane, driver.state.lanes.by_id)


def test_the_calls_of_a_runner_that_was_killed_are_charged_to_the_node(scene):
    driver, hearing, seat = scene
    hearing.on_gone(seat, 0)
    assert {task(1): Outcome.FAILED} == driver.results()
    assert "node_lost" == driver.state.outbox.entries[task(1), 1][0].code


def test_a_call_that_moved_on_is_not_taken_back_with_its_old_runner(scene):
    driver, hearing, seat = scene
    elsewhere = object()
    hearing.stage.seat_of[task(1), 1] = elsewhere
    hearing.on_hello(seat, hello(), 0)
    assert driver.state.attempts[task(1), 1].handed
