"""Do workers of handlers leave, come back and show that they load, when they are to?"""

from __future__ import annotations

from typing import Any

from remuda.node import loading, residents, retiring, verifying
from remuda.node.effects import CloseLane, OpenLane, ResidentsChanged
from remuda.node.endings import LaneEnd, on_lane_ended
from remuda.node.lanes import Lane
from remuda.node.terms import Terms
from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler
from remuda.protocol.messages import Outcome

from .core_driver import GIB, INCARNATION, CoreDriver, read, reasons, spec, task

GREET = spec(kind="handler", target="greet")
VERIFIED = Terms(load_ns=10_000_000_000, is_verified_at_start=True)


def orders(
    driver: CoreDriver, disabled: dict[str, str] | None = None, incarnation: bytes = INCARNATION,
    **reload: int,
) -> None:  # fmt: skip
    driver.say(m.HandlerOrders(incarnation, b"d" * 16, {}, disabled or {}, reload))


def opened(driver: CoreDriver) -> list[Lane]:
    return [effect.lane for effect in driver.of(OpenLane)]


def closed(driver: CoreDriver) -> list[Lane]:
    return [effect.lane for effect in driver.of(CloseLane)]


def gone(driver: CoreDriver, lane: Lane, why: str = "", *, was_loaded: bool = True) -> None:
    """Have a worker end, with the card proven free."""
    on_lane_ended(driver.state, LaneEnd(lane.id, "", why, was_loaded=was_loaded), driver.now)
    driver.turn()
    read(driver)
    driver.turn()


def of(driver: CoreDriver, name: str = "greet") -> list[residents.Resident]:
    found: list[residents.Resident] = driver.state.residents[name]
    return found


def states(driver: CoreDriver) -> list[tuple[str, str]]:
    return [(each.model, each.state.value) for each in of(driver)]


def loaded(*, calls: int = 0, **fields: Any) -> tuple[CoreDriver, Lane]:
    """Return a node whose one worker is loaded, with a call that runs if that is wanted."""
    driver = CoreDriver()
    residents.declare(driver.state, Handler("greet", vram_bytes=4 * GIB, **fields))
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    if calls:
        driver.offer(GREET, *map(task, range(1, calls + 1)))
    driver.turn()
    return driver, opened(driver)[0]


# --- disabled --------------------------------------------------------------------------------


def test_a_handler_that_is_disabled_lets_its_model_go_and_takes_no_calls() -> None:
    driver, lane = loaded()
    orders(driver, {"greet": "it lies"})
    driver.turn()
    assert [lane] == closed(driver)
    driver.offer(GREET, task(1))
    assert ["handler 'greet' is disabled: it lies"] == reasons(driver)
    gone(driver, lane)
    assert ([], 0) == (of(driver), driver.state.slots.cards["GPU-a"].vram_bytes)


def test_a_call_that_runs_goes_on_and_those_that_wait_go_back() -> None:
    driver, lane = loaded(calls=2)
    assert [[task(1)]] == driver.fed()
    orders(driver, {"greet": "it lies"})
    driver.turn()
    assert ([], {task(2): Outcome.RETURNED}) == (closed(driver), driver.results())
    driver.end(task(1))
    assert Outcome.SUCCEEDED == driver.results()[task(1)]
    driver.turn()
    assert [lane] == closed(driver)


def test_a_handler_that_is_enabled_again_loads_what_is_there_from_the_start() -> None:
    driver, lane = loaded()
    orders(driver, {"greet": "it lies"})
    driver.turn()
    gone(driver, lane)
    orders(driver)
    driver.turn()
    assert ([("", "loading")], 2) == (states(driver), len(opened(driver)))


def test_a_load_that_is_under_way_is_ended_when_its_handler_is_disabled() -> None:
    driver = CoreDriver()
    residents.declare(driver.state, Handler("greet"))
    driver.turn()
    orders(driver, {"greet": "it lies"})
    driver.turn()
    assert opened(driver) == closed(driver)
    gone(driver, opened(driver)[0], "ended", was_loaded=False)
    assert [] == of(driver)


def test_orders_for_an_earlier_start_of_the_agent_are_not_obeyed() -> None:
    driver, _ = loaded()
    orders(driver, {"greet": "it lies"}, incarnation=b"o" * 16)
    driver.turn()
    assert ([], b"") == (closed(driver), driver.state.orders.digest)


# --- loaded anew -----------------------------------------------------------------------------


def test_an_idle_worker_is_replaced_and_the_reload_is_confirmed_when_it_is_gone() -> None:
    driver, lane = loaded()
    orders(driver, greet=7)
    driver.turn()
    assert ([lane], {}) == (closed(driver), driver.state.orders.reloaded)
    gone(driver, lane)
    assert ({"greet": 7}, 2) == (driver.state.orders.reloaded, len(opened(driver)))
    assert [("", "loading")] == states(driver)


def test_a_reload_is_not_over_while_the_card_still_shows_the_worker_of_before() -> None:
    driver, lane = loaded()
    orders(driver, greet=7)
    driver.turn()
    on_lane_ended(driver.state, LaneEnd(lane.id, "", "ended"), driver.now)
    driver.turn()
    assert {} == driver.state.orders.reloaded  # it would be said to be cold
    read(driver)
    driver.turn()
    assert ([("", "loading")], {"greet": 7}) == (states(driver), driver.state.orders.reloaded)


def test_a_worker_with_a_call_is_replaced_after_it_and_the_next_call_waits() -> None:
    driver, lane = loaded(calls=2)
    orders(driver, greet=7)
    driver.turn()
    assert [] == closed(driver)
    driver.end(task(1))
    driver.turn()
    assert [lane] == closed(driver)
    gone(driver, lane)
    driver.load(driver.of(OpenLane)[1])
    driver.turn()
    assert [[task(1)], [task(2)]] == driver.fed()


def test_the_same_reload_is_done_once_however_often_it_is_asked() -> None:
    driver, lane = loaded()
    for _ in range(2):
        orders(driver, greet=7)
        driver.turn()
    gone(driver, lane)
    driver.load(driver.of(OpenLane)[1])
    orders(driver, greet=7)
    driver.turn()
    assert [lane] == closed(driver)


def test_a_load_that_was_under_way_begins_anew_and_is_no_failure() -> None:
    driver = CoreDriver()
    residents.declare(driver.state, Handler("greet"))
    driver.turn()
    orders(driver, greet=7)
    driver.turn()
    gone(driver, opened(driver)[0], "ended", was_loaded=False)
    assert ([("", "loading")], 2) == (states(driver), len(opened(driver)))


def test_a_handler_that_failed_is_tried_at_once_when_it_is_reloaded() -> None:
    driver = CoreDriver()
    residents.declare(driver.state, Handler("greet"))
    driver.turn()
    gone(driver, opened(driver)[0], "no weights", was_loaded=False)
    assert [("", "failed")] == states(driver)
    orders(driver, greet=7)
    driver.turn()
    assert (2, {}) == (len(opened(driver)), driver.state.orders.reloaded)
    driver.load(driver.of(OpenLane)[1])
    driver.turn()
    assert {"greet": 7} == driver.state.orders.reloaded  # not before: it would be said to fail


# --- other settings --------------------------------------------------------------------------


def test_a_worker_of_old_settings_leaves_after_its_call_and_one_of_the_new_ones_is_loaded() -> None:
    driver, lane = loaded(calls=1)
    retiring.redeclare(driver.state, Handler("greet", vram_bytes=6 * GIB), Terms())
    driver.turn()
    assert [("", "leaving"), ("", "loading")] == states(driver)
    driver.end(task(1))
    driver.turn()
    assert [lane] == closed(driver)
    gone(driver, lane)
    assert ([6 * GIB], Outcome.SUCCEEDED) == (
        [each.vram_bytes for each in of(driver)],
        driver.results()[task(1)],
    )


def test_a_handler_that_is_withdrawn_is_gone_once_its_worker_is() -> None:
    driver, lane = loaded()
    retiring.withdraw(driver.state, "greet")
    driver.turn()
    assert [lane] == closed(driver)
    gone(driver, lane)
    driver.turn()
    assert {} == driver.state.residents


# --- how long a load may take ----------------------------------------------------------------


def test_a_load_that_takes_too_long_is_ended_and_its_calls_fail_with_that() -> None:
    driver = CoreDriver()
    terms = Terms(load_ns=10_000_000_000)
    residents.declare(driver.state, Handler("greet", on_demand=True), terms)
    driver.offer(GREET, task(1))
    driver.turn()
    assert driver.core.deadline() is not None
    driver.turn(10_000)
    assert opened(driver) == closed(driver)
    gone(driver, opened(driver)[0], "ended", was_loaded=False)
    assert {task(1): Outcome.FAILED} == driver.results()
    assert "its load took longer than load_timeout = 10 s" == of(driver)[0].error


def test_a_model_that_is_loaded_in_time_is_left_alone() -> None:
    driver = CoreDriver()
    residents.declare(driver.state, Handler("greet"), Terms(load_ns=10_000_000_000))
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    driver.turn(60_000)
    assert [] == closed(driver)


# --- shown to load ---------------------------------------------------------------------------


def verifying_node(*models: str, workers: int = 1) -> CoreDriver:
    driver = CoreDriver(cards=("GPU-a",))
    handler = Handler("greet", list(models), vram_bytes=10 * GIB, workers=workers, on_demand=True)
    retiring.redeclare(driver.state, handler, VERIFIED)
    driver.turn()
    return driver


def test_each_model_is_loaded_once_one_after_the_other_and_leaves() -> None:
    driver = verifying_node("a", "b")
    for at, model in enumerate("ab"):
        assert [(model, "loading")] == states(driver)
        assert not verifying.is_verified(driver.state, "greet")
        driver.load(driver.of(OpenLane)[at])
        driver.turn()
        gone(driver, closed(driver)[at])
        driver.turn(1_000)
    assert (True, []) == (verifying.is_verified(driver.state, "greet"), of(driver))
    driver.turn(100_000)
    assert 2 == len(opened(driver))


def test_a_model_that_fails_is_unavailable_with_its_reason_and_the_next_one_is_tried() -> None:
    driver = verifying_node("a", "b")
    gone(driver, opened(driver)[0], "ModuleNotFoundError: No module named 'x'", was_loaded=False)
    driver.turn(1_000)
    assert [("a", "failed"), ("b", "loading")] == states(driver)
    driver.offer(spec(kind="handler", target="greet", model="a"), task(1), gpus=["GPU-a"])
    assert ["handler 'greet' does not load: ModuleNotFoundError: No module named 'x'"] == reasons(
        driver
    )


def test_what_failed_is_tried_again_later_each_time() -> None:
    driver = verifying_node("a")
    waits = []
    for _ in range(3):
        count = len(opened(driver))
        gone(driver, opened(driver)[-1], "no weights", was_loaded=False)
        before = driver.now
        while len(opened(driver)) == count:
            driver.turn(500)
        waits.append((driver.now - before) // 1_000_000_000)
    assert sorted(waits) == waits
    assert waits[0] < waits[2]


def test_nothing_is_verified_while_a_call_waits_for_its_model() -> None:
    driver = CoreDriver(cards=("GPU-a",))
    residents.declare(driver.state, Handler("other", vram_bytes=GIB, on_demand=True))
    driver.offer(spec(kind="handler", target="other"), task(1), gpus=["GPU-a"])
    handler = Handler("greet", vram_bytes=GIB, on_demand=True)
    retiring.redeclare(driver.state, handler, VERIFIED)
    driver.turn(5_000)
    assert (1, []) == (len(opened(driver)), of(driver))
    driver.load(driver.of(OpenLane)[0])
    driver.turn(5_000)
    driver.turn(5_000)
    assert [("", "loading")] == states(driver)


def test_nothing_is_verified_on_a_card_without_room_and_that_is_no_failure() -> None:
    driver = CoreDriver(cards=("GPU-a",))
    driver.offer(spec(argv=["x"], gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    handler = Handler("greet", vram_bytes=GIB, on_demand=True)
    retiring.redeclare(driver.state, handler, VERIFIED)
    driver.turn(5_000)
    assert ([], []) == (opened(driver), of(driver))
    driver.end(task(1))
    driver.turn()
    read(driver)
    driver.turn(5_000)
    assert [("", "loading")] == states(driver)


def test_a_call_that_came_meanwhile_keeps_the_model_that_was_verified() -> None:
    driver = verifying_node("a", "b")
    driver.offer(spec(kind="handler", target="greet", model="a"), task(1), gpus=["GPU-a"])
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    assert ([[task(1)]], []) == (driver.fed(), closed(driver))


def test_a_reload_verifies_anew() -> None:
    driver = verifying_node("a")
    driver.load(driver.of(OpenLane)[0])
    driver.turn()
    gone(driver, closed(driver)[0])
    orders(driver, greet=7)
    driver.turn(1_000)
    assert ([("a", "loading")], {}) == (states(driver), driver.state.orders.reloaded)
    driver.load(driver.of(OpenLane)[1])
    driver.turn()
    assert {"greet": 7} == driver.state.orders.reloaded


def test_a_reload_is_over_when_each_model_had_its_try_whatever_came_of_it() -> None:
    driver = verifying_node("a", "b")
    orders(driver, greet=7)
    driver.turn()
    gone(driver, opened(driver)[0], "ended", was_loaded=False)
    driver.load(driver.of(OpenLane)[1])
    driver.turn()
    assert {} == driver.state.orders.reloaded  # b is to follow, though a leaves its card first
    gone(driver, closed(driver)[1])
    driver.turn(1_000)
    assert ([("b", "loading")], {}) == (states(driver), driver.state.orders.reloaded)
    gone(driver, opened(driver)[2], "no weights", was_loaded=False)
    assert ([("b", "failed")], {"greet": 7}) == (states(driver), driver.state.orders.reloaded)


def test_a_reload_does_not_wait_for_a_card_that_a_task_has() -> None:
    driver = verifying_node("a")
    gone(driver, opened(driver)[0], "no weights", was_loaded=False)
    driver.offer(spec(argv=["x"], gpus=1), task(1), gpus=["GPU-a"])
    driver.turn()
    orders(driver, greet=7)
    driver.turn()
    assert ([("a", "failed")], {"greet": 7}) == (states(driver), driver.state.orders.reloaded)


# --- what an earlier agent left --------------------------------------------------------------


def test_a_worker_that_nobody_wants_any_more_keeps_its_card_until_it_is_gone() -> None:
    driver = CoreDriver(cards=("GPU-a",))
    name = "resident:greet:0"
    lane = loading.adopt_unwanted(driver.state, name, "handler:greet", "GPU-a", 20 * GIB, 0)
    retiring.redeclare(driver.state, Handler("greet", vram_bytes=10 * GIB), Terms())
    driver.turn()
    assert [("", "leaving"), ("", "failed")] == states(driver)
    driver.offer(spec(argv=["x"], gpus=1), task(1), gpus=["GPU-a"])
    assert 1 == len(reasons(driver))
    gone(driver, lane)
    driver.turn(1_500)
    assert (1, 10 * GIB) == (len(of(driver)), driver.state.slots.cards["GPU-a"].vram_bytes)


def test_orders_that_are_repeated_are_not_answered_at_once() -> None:
    driver, _ = loaded()
    orders(driver, {"greet": "new weights"})
    driver.turn()
    assert driver.of(ResidentsChanged)
    driver.effects.clear()
    orders(driver, {"greet": "new weights"})
    driver.turn()
    assert [] == driver.of(ResidentsChanged)
