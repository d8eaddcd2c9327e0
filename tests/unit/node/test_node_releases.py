"""A card is lent again only when a reading shows that its last task is gone from it."""

import pytest

from remuda.node import endings, releases, residents, stops
from remuda.node.effects import CardsChanged, CloseLane, OpenLane
from remuda.node.endings import LaneEnd
from remuda.node.gpu import RELEASE_SLACK_BYTES
from remuda.node.releases import WAIT_NS_MAX
from remuda.protocol.capabilities import Handler
from remuda.protocol.messages import ForgetFaults, Outcome

from .core_driver import GIB, INCARNATION, CoreDriver, card, read, reasons, spec, task

WHOLE = {"argv": ["x"], "gpus": 1, "cpus_milli": 0}
PART = {"argv": ["x"], "vram_bytes": 10 * GIB, "cpus_milli": 0}
PID = 4711


def ended(request: dict[str, object] = WHOLE, **before: object) -> CoreDriver:
    """Return a node on which a task with a card has just ended."""
    driver = CoreDriver()
    driver.turn()
    if before:
        read(driver, card("GPU-a", **before))
    driver.offer(spec(**request), task(1), gpus=["GPU-a"])
    driver.turn()
    driver.end(task(1))
    driver.turn()
    return driver


def test_a_result_waits_until_a_reading_shows_the_card_free() -> None:
    driver = ended()
    before = driver.results()
    read(driver)
    assert ({}, {task(1): Outcome.SUCCEEDED}) == (before, driver.results())
    assert driver.state.slots.is_card_free("GPU-a")
    driver.turn()
    assert [CardsChanged(("GPU-a",))] == driver.of(CardsChanged)


def test_a_task_without_a_card_waits_for_no_reading() -> None:
    driver = CoreDriver()
    driver.offer(spec(argv=["x"]), task(1))
    driver.turn()
    driver.end(task(1))
    assert {task(1): Outcome.SUCCEEDED} == driver.results()


def test_a_task_that_never_began_waits_for_no_reading() -> None:
    driver = CoreDriver()
    driver.offer(spec(**WHOLE), task(1), gpus=["GPU-a"])
    driver.kill(task(1))
    assert {task(1): Outcome.KILLED} == driver.results()


@pytest.mark.parametrize("request_", [WHOLE, PART])
def test_a_dead_process_that_is_still_shown_keeps_the_card(request_: dict[str, object]) -> None:
    driver = ended(request_)
    read(driver, card("GPU-a", PID))
    assert {} == driver.results()
    driver.offer(spec(**WHOLE), task(2), gpus=["GPU-a"])
    assert ["GPU GPU-a is in use"] == reasons(driver)
    read(driver)
    assert [task(1)] == list(driver.results())


def test_a_neighbour_that_lives_does_not_keep_a_shared_card() -> None:
    driver = ended(PART)
    read(driver, card("GPU-a", PID, used=9 * GIB), alive=[PID])
    assert [task(1)] == list(driver.results())


def test_a_reading_asked_for_before_the_end_tells_nothing() -> None:
    driver = ended()
    read(driver, asked=driver.now - 1)
    assert ({}, driver.now) == (driver.results(), releases.deadline(driver.state))
    assert releases.is_reading_due(driver.state, driver.now)
    assert not releases.is_reading_due(driver.state, driver.now)


def test_memory_of_a_card_used_alone_must_come_back_near_what_it_was() -> None:
    driver = ended(used=GIB)
    read(driver, card("GPU-a", used=GIB + RELEASE_SLACK_BYTES + 1))
    stuck = driver.results()
    read(driver, card("GPU-a", used=GIB + RELEASE_SLACK_BYTES))
    assert ({}, [task(1)]) == (stuck, list(driver.results()))


def test_where_processes_are_hidden_memory_tells_of_a_shared_card_without_company() -> None:
    driver = ended(PART, used=GIB, pids_visible=False)
    read(driver, card("GPU-a", used=9 * GIB, pids_visible=False))
    stuck = driver.results()
    read(driver, card("GPU-a", used=GIB, pids_visible=False))
    assert ({}, [task(1)]) == (stuck, list(driver.results()))


def test_where_processes_are_hidden_the_memory_of_company_is_not_held_against_a_task() -> None:
    driver = CoreDriver()
    driver.turn()
    read(driver, card("GPU-a", pids_visible=False))
    driver.offer(spec(**PART), task(1), task(2), gpus=["GPU-a"])
    driver.turn()
    driver.end(task(1))
    driver.turn()
    read(driver, card("GPU-a", used=9 * GIB, pids_visible=False))
    assert [task(1)] == list(driver.results())


def test_a_card_that_is_not_shown_any_more_is_not_free() -> None:
    driver = ended()
    del driver.state.slots.cards["GPU-b"]
    driver.core.on_reading(releases.Reading(), driver.now, frozenset(), driver.now)
    assert {} == driver.results()


def test_what_does_not_come_free_in_time_is_held_back_until_it_does() -> None:
    driver = ended()
    read(driver, card("GPU-a", PID))
    driver.turn(WAIT_NS_MAX // 1_000_000)
    assert {task(1): Outcome.SUCCEEDED} == driver.results()
    reason = f"30 s after the end of its task it still shows process {PID}"
    assert {"GPU-a": reason} == releases.withheld(driver.state)
    assert None is releases.deadline(driver.state)
    driver.offer(spec(**WHOLE), task(2), gpus=["GPU-a"])
    assert ["GPU GPU-a is in use"] == reasons(driver)
    driver.ack(task(1))
    driver.turn()
    read(driver)
    driver.turn()
    assert ({}, True) == (
        releases.withheld(driver.state),
        driver.state.slots.is_card_free("GPU-a"),
    )
    assert [CardsChanged(("GPU-a",), is_news=True)] * 2 == driver.of(CardsChanged)


def test_a_function_keeps_its_card_until_its_worker_is_gone() -> None:
    driver = CoreDriver()
    driver.offer(spec(kind="function", target="a:b", gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    lane = driver.of(OpenLane)[0].lane
    driver.end(task(1))
    driver.turn()
    read(driver)
    alive = driver.results()
    assert [lane] == [each.lane for each in driver.of(CloseLane)]
    endings.on_lane_ended(driver.state, LaneEnd(lane.id, "", ""), driver.now)
    driver.turn()
    read(driver)
    assert ({}, {task(1): Outcome.SUCCEEDED}) == (alive, driver.results())


def test_a_worker_that_died_keeps_its_card_until_a_reading() -> None:
    driver = CoreDriver()
    driver.offer(spec(kind="function", target="a:b", gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    lane = driver.of(OpenLane)[0].lane
    endings.on_lane_ended(driver.state, LaneEnd(lane.id, "worker_died", "it died"), driver.now)
    driver.turn()
    before = driver.results()
    read(driver)
    assert ({}, {task(1): Outcome.FAILED}) == (before, driver.results())


def test_an_answer_that_is_repeated_meanwhile_changes_nothing() -> None:
    driver = ended()
    driver.end(task(1), Outcome.FAILED)
    read(driver)
    assert {task(1): Outcome.SUCCEEDED} == driver.results()


def test_a_cancel_that_comes_after_the_end_stops_nothing() -> None:
    driver = ended()
    driver.effects.clear()
    driver.kill(task(1))
    assert [] == driver.turn()
    read(driver)
    assert {task(1): Outcome.SUCCEEDED} == driver.results()


def test_an_agent_that_leaves_waits_a_second_at_most() -> None:
    driver = ended()
    stops.hand_back(driver.state, 0)
    driver.turn(999)
    before = driver.results()
    driver.turn(1)
    assert ({}, {task(1): Outcome.SUCCEEDED}) == (before, driver.results())


def test_each_card_of_a_task_is_held_back_with_its_own_reason() -> None:
    driver = CoreDriver()
    driver.offer(spec(argv=["x"], gpus=2, cpus_milli=0), task(1), gpus=["GPU-a", "GPU-b"])
    driver.turn()
    driver.end(task(1))
    driver.turn(WAIT_NS_MAX // 1_000_000)
    read(driver, asked=0)
    driver.turn(WAIT_NS_MAX // 1_000_000)
    unread = set(releases.withheld(driver.state).values())
    read(driver, card("GPU-b", PID))
    after = "30 s after the end of its task"
    assert {f"{after} no reading of it was taken"} == unread
    assert {
        "GPU-a": f"{after} another card of that task is not free",
        "GPU-b": f"{after} it still shows process {PID}",
    } == releases.withheld(driver.state)


def test_a_worker_that_does_not_end_keeps_its_card_and_not_its_result() -> None:
    driver = CoreDriver()
    driver.offer(spec(kind="function", target="a:b", gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    driver.end(task(1))
    driver.turn()
    driver.turn(WAIT_NS_MAX // 1_000_000)
    reason = "30 s after the end of its task its worker has not ended"
    assert {"GPU-a": reason} == releases.withheld(driver.state)
    assert {task(1): Outcome.SUCCEEDED} == driver.results()
    lane = driver.of(OpenLane)[0].lane
    endings.on_lane_ended(driver.state, LaneEnd(lane.id, "", ""), driver.now)
    driver.turn()
    read(driver)
    assert {} == releases.withheld(driver.state)


def test_a_resident_is_loaded_again_once_its_card_is_free() -> None:
    driver = CoreDriver(cards=("GPU-a",))
    residents.declare(driver.state, Handler("greet", workers=1, vram_bytes=20 * GIB))
    driver.turn()
    lane = driver.of(OpenLane)[0].lane
    driver.load(driver.of(OpenLane)[0])
    driver.effects.clear()
    endings.on_lane_ended(driver.state, LaneEnd(lane.id, "worker_died", "it died"), driver.now)
    driver.turn()
    read(driver, card("GPU-a", PID))
    driver.turn()
    before = driver.of(OpenLane)
    read(driver)
    driver.turn()
    assert ([], ["resident:greet:0"]) == (before, [e.lane.resident for e in driver.of(OpenLane)])


def test_a_resident_is_loaded_elsewhere_when_its_card_is_held_back() -> None:
    driver = CoreDriver()
    residents.declare(driver.state, Handler("greet", workers=1, vram_bytes=20 * GIB))
    driver.turn()
    lane = driver.of(OpenLane)[0].lane
    driver.load(driver.of(OpenLane)[0])
    endings.on_lane_ended(driver.state, LaneEnd(lane.id, "worker_died", "it died"), driver.now)
    driver.turn()
    read(driver, card("GPU-a", PID))
    driver.turn(WAIT_NS_MAX // 1_000_000)
    assert [("GPU-a",), ("GPU-b",)] == [each.lane.gpus for each in driver.of(OpenLane)]


def test_a_person_has_a_card_lent_again_that_is_held_back() -> None:
    driver = ended()
    read(driver, card("GPU-a", PID))
    driver.turn(WAIT_NS_MAX // 1_000_000)
    driver.say(ForgetFaults(b"another incarnation", ["GPU-a"]))
    assert ["GPU-a"] == list(releases.withheld(driver.state))
    driver.say(ForgetFaults(INCARNATION, ["GPU-a"]))
    assert {} == releases.withheld(driver.state)
    driver.offer(spec(**WHOLE), task(2), gpus=["GPU-a"])
    driver.turn()
    assert [task(1), task(2)] == driver.launched()
