"""Do calls go where their model is loaded, wait for it within a bound, and make room within one?"""

from __future__ import annotations

import pytest

from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler
from remuda.protocol.measures import Resident
from remuda.protocol.resources import Request
from remuda.scheduler.explain import explain
from remuda.scheduler.feasible import may_ever
from remuda.scheduler.vacancy import refusal_now

from ...fakes.warm_node import call, join
from ...fakes.world import GIB, World, gpu
from .ledgers import make_node


def where(world: World, task: int) -> tuple[str, tuple[str, ...]]:
    live = world.core.tasks[task].live
    return (live.node, live.gpus) if live else ("", ())


def why(world: World, task: int) -> str:
    return str(explain(world.core, task, world.now)["reason"])


def finish(world: World, node, *tasks: int) -> None:
    for task in tasks:
        world.end(node, task)
    world.heartbeat(node)


def resident_bytes(world: World, name: str = "n1") -> dict[str, int]:
    cards = world.core.fleet.nodes[name].cards
    return {uuid: card.resident_bytes // GIB for uuid, card in cards.items()}


# --- where calls go ----------------------------------------------------------------------------


def test_the_first_call_has_its_model_loaded_on_the_tightest_card_and_the_ledger_counts_it_at_once(
    world: World,
) -> None:
    join(world, "n1", gpu(1, 80), gpu(2, 24))
    (task,) = call(world, "b")
    assert ("n1", ("GPU-2",)) == where(world, task)
    assert {"GPU-1": 0, "GPU-2": 10} == resident_bytes(world)


def test_a_model_counts_once_whether_promised_or_reported(world: World) -> None:
    node = join(world, "n1", gpu(1))
    (task,) = call(world, "a")
    world.heartbeat(node)
    assert {"GPU-1": 10} == resident_bytes(world)
    finish(world, node, task)
    assert {"GPU-1": 10} == resident_bytes(world)


def test_a_call_goes_to_the_node_where_its_model_is_loaded_and_idle(world: World) -> None:
    one, two = join(world, "n1", gpu(1, 24)), join(world, "n2", gpu(2, 80))
    (first,) = call(world, "a")
    finish(world, one, first)
    again, other = *call(world, "a"), *call(world, "b")
    assert (("n1", ("GPU-1",)), ("n1", ("GPU-1",))) == (where(world, again), where(world, other))
    assert ([("a", "GPU-1"), ("b", "GPU-1")], []) == (one.loads, two.loads)


def test_a_call_without_a_model_gets_the_first_that_its_handler_lists(world: World) -> None:
    node = join(world, "n1", gpu(1))
    call(world)
    assert [("a", "GPU-1")] == node.loads


def test_a_model_that_no_handler_lists_is_refused_with_those_that_are(world: World) -> None:
    join(world, "n1", gpu(1))
    call(world, "z")
    refused = world.replies[-1]
    assert isinstance(refused, m.Failure)
    assert "does not list the model z (lists: a, b, c)" in refused.message


def test_a_model_that_does_not_load_here_is_loaded_elsewhere(world: World) -> None:
    one, two = join(world, "n1", gpu(1, 24)), join(world, "n2", gpu(2, 80))
    (task,) = call(world, "a")
    one.residents = []
    world.end(one, task, m.Outcome.FAILED, code="model_unavailable")
    world.later(2)
    assert "n2" == where(world, task)[0]
    assert [("a", "GPU-2")] == two.loads


def test_what_loads_is_not_promised_twice_after_an_offer_that_got_lost(world: World) -> None:
    node = join(world, "n1", gpu(1))
    node.deaf = True
    call(world, "a")
    node.deaf = False
    world.keep_alive(7, node)
    assert ([("a", "GPU-1")], {"GPU-1": 10}) == (node.loads, resident_bytes(world))


def test_a_scheduler_that_starts_again_knows_the_models_that_are_loaded(world: World) -> None:
    node = join(world, "n1", gpu(1))
    (task,) = call(world, "a")
    world.restart()
    world.join(node)
    assert {"GPU-1": 10} == resident_bytes(world)
    finish(world, node, task)
    (again,) = call(world, "a")
    assert [("a", "GPU-1")] == node.loads
    assert ("n1", ("GPU-1",)) == where(world, again)


# --- waiting for warmth ------------------------------------------------------------------------


def test_a_call_waits_for_its_busy_model_as_long_as_a_load_takes_and_says_so(world: World) -> None:
    one, two = join(world, "n1", gpu(1)), join(world, "n2", gpu(2))
    call(world, "a")
    world.heartbeat(one)
    world.keep_alive(30, one, two)
    (second,) = call(world, "a")
    said = why(world, second)
    assert said.startswith("it waits up to 20 s for the warm worker on n1")
    world.keep_alive(19, one, two)
    before = where(world, second)
    world.keep_alive(1, one, two)
    assert (("", ()), "n2") == (before, where(world, second)[0])


def test_a_call_that_waits_for_its_model_gets_it_as_soon_as_that_is_idle(world: World) -> None:
    one, two = join(world, "n1", gpu(1)), join(world, "n2", gpu(2))
    (first,) = call(world, "a")
    world.heartbeat(one)
    (second,) = call(world, "a")
    world.keep_alive(3, one, two)
    world.end(one, first)
    assert "n1" == where(world, second)[0]
    assert [] == two.loads


def test_the_core_wakes_up_when_the_wait_for_a_model_is_over(world: World) -> None:
    one, _ = join(world, "n1", gpu(1)), join(world, "n2", gpu(2))
    call(world, "a")
    world.heartbeat(one)
    call(world, "a")
    due = world.core.warmth.due_ns
    assert due is not None
    assert 20 == (due - world.mono_ns) // 10**9
    assert world.core.deadline() <= due


# --- making room -------------------------------------------------------------------------------


def test_what_a_model_holds_can_be_had_though_not_now() -> None:
    node = make_node(
        "n1", gpu(1, 24), handlers=[Handler("repair", vram_bytes=4 * GIB, gpu_uuids=["GPU-1"])]
    )
    assert "" == may_ever(node, Request(gpus=1))
    assert "0 GPUs of that kind wholly free, wanted 1" == refusal_now(node, Request(gpus=1))


def test_the_model_that_was_used_least_recently_leaves_for_another(world: World) -> None:
    node = join(world, "n1", gpu(1, 24))
    for model in ("a", "b"):
        finish(world, node, *call(world, model))
    node.used("a", 5_000)
    world.heartbeat(node)
    (task,) = call(world, "c")
    said = why(world, task)
    world.heartbeat(node)
    assert ["a"] == node.evicted
    assert said == "n1 makes room for it: a leaves its memory there"
    assert ("n1", ("GPU-1",)) == where(world, task)


@pytest.mark.parametrize("asks", [{"vram_bytes": 20 * GIB}, {"gpus": 1}, {"gpu_milli": 900}])
def test_idle_models_leave_for_a_plain_task_that_would_not_fit(
    world: World, asks: dict[str, int]
) -> None:
    node = join(world, "n1", gpu(1, 24))
    for model in ("a", "b"):
        finish(world, node, *call(world, model))
    (task,) = world.submit(**asks)
    world.heartbeat(node)
    assert {"a", "b"} == set(node.evicted)
    assert ("n1", ("GPU-1",)) == where(world, task)


def test_no_more_models_leave_than_are_in_the_way(world: World) -> None:
    node = join(world, "n1", gpu(1, 24))
    for model in ("a", "b"):
        finish(world, node, *call(world, model))
    world.submit(vram_bytes=8 * GIB)
    assert ["a"] == node.evicted


def test_a_model_with_a_call_never_leaves(world: World) -> None:
    node = join(world, "n1", gpu(1, 24))
    call(world, "a")
    world.heartbeat(node)
    (task,) = world.submit(gpus=1)
    world.keep_alive(200, node)
    assert ([], "queued") == (node.evicted, world.state(task))


def test_the_ledger_lends_nothing_of_a_model_that_leaves_before_the_node_says_it_is_gone(
    world: World,
) -> None:
    node = join(world, "n1", gpu(1, 24))
    finish(world, node, *call(world, "a"))
    node.stubborn = True
    (task,) = world.submit(vram_bytes=20 * GIB)
    world.heartbeat(node)
    assert (["queued"], {"GPU-1": 10}) == (world.states([task]), resident_bytes(world))


def test_room_that_is_made_for_a_task_is_not_lent_to_a_smaller_one_that_came_later(
    world: World,
) -> None:
    node = join(world, "n1", gpu(1, 24))
    finish(world, node, *call(world, "a"))
    (large,) = world.submit(gpus=1)
    (small,) = world.submit(vram_bytes=GIB)
    assert "cleared for another task" in why(world, small)
    world.heartbeat(node)
    assert ["assigned", "queued"] == world.states([large, small])


def test_room_that_was_made_for_a_task_that_is_gone_is_lent_to_others(world: World) -> None:
    node = join(world, "n1", gpu(1, 24))
    finish(world, node, *call(world, "a"))
    (large,) = world.submit(gpus=1)
    (small,) = world.submit(vram_bytes=GIB)
    world.cancel(large)
    assert "assigned" == world.state(small)


def test_a_node_that_keeps_a_model_holds_the_room_up_only_until_it_says_so(world: World) -> None:
    node = join(world, "n1", gpu(1, 24))
    finish(world, node, *call(world, "a"))
    node.stubborn = True
    world.submit(gpus=1)
    (small,) = world.submit(vram_bytes=GIB, priority=90)
    before = world.state(small)
    world.heartbeat(node)
    assert ("queued", "assigned") == (before, world.state(small))


def test_room_that_never_comes_is_kept_for_a_while_only(world: World) -> None:
    node, other = join(world, "n1", gpu(1, 24)), world.node("n2")
    finish(world, node, *call(world, "a"))
    node.slow_to_leave = True
    world.submit(gpus=1)
    (small,) = world.submit(vram_bytes=GIB, priority=90)
    world.keep_alive(44, node, other)
    before = world.state(small)
    world.keep_alive(2, node, other)
    assert ("queued", "assigned") == (before, world.state(small))


def test_a_call_asks_again_when_another_model_took_the_worker_that_was_freed_for_it(
    world: World,
) -> None:
    node = join(world, "n1", gpu(1, 24), gpu(2, 24), workers=1)
    finish(world, node, *call(world, "a"))
    (task,) = call(world, "b")
    assert ["a"] == node.evicted
    seat = Resident(handler="draw", model="c", gpu_uuid="GPU-2", vram_bytes=10 * GIB)
    node.residents = [seat]
    world.heartbeat(node)
    world.heartbeat(node)
    assert (["a", "c"], "n1") == (node.evicted, where(world, task)[0])


def test_a_handler_with_all_its_workers_replaces_one_model_by_another(world: World) -> None:
    node = join(world, "n1", gpu(1, 80), workers=1)
    finish(world, node, *call(world, "a"))
    (task,) = call(world, "b")
    world.heartbeat(node)
    assert (["a"], "n1") == (node.evicted, where(world, task)[0])


def test_a_model_that_calls_wait_for_stays_for_a_while_and_then_leaves(world: World) -> None:
    node = join(world, "n1", gpu(1, 12), cpus=1)
    (running,) = call(world, "a")
    world.heartbeat(node)
    (cold,) = call(world, "b")
    late = call(world, "a", 100)
    began = 0
    for _ in range(90):
        world.end(node, running)
        world.keep_alive(1, node)
        running = next(iter(node.living()), 0)
        began += 1
        if running == cold:
            break
    assert running == cold, "it starved"
    assert 55 <= began <= 65
    assert "queued" == world.state(late[-1])
    assert [("a", "GPU-1"), ("b", "GPU-1")] == node.loads


def test_a_plain_task_that_names_a_model_prefers_the_node_that_has_it(world: World) -> None:
    join(world, "n1", gpu(1, 24))
    two = join(world, "n2", gpu(2, 24), gpu(3, 80))
    (asked,) = call(world, "a", nodes=["n2"])
    finish(world, two, asked)
    (task,) = world.submit(vram_bytes=GIB, model="a")
    (other,) = world.submit(vram_bytes=GIB, model="z", nodes=["n2"])
    finish(world, two, other)
    (again,) = world.submit(model="z")
    assert ("n2", "n2") == (where(world, task)[0], where(world, again)[0])
