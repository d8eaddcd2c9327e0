"""Are handlers declared, disabled and loaded anew where they should be, and is it said truly?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from remuda.config.settings_node import HandlerSettings
from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler, to_document
from remuda.protocol.errors import NotFound
from remuda.scheduler import handler_orders
from remuda.scheduler.access import Principal, Role
from remuda.scheduler.configured import Wanted
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.declared import declared_of
from remuda.scheduler.events import ConfigChanged
from remuda.scheduler.explain import explain
from remuda.scheduler.handler_rows import list_handlers
from remuda.scheduler.happenings import happenings
from remuda.scheduler.records import ConfigRow
from remuda.scheduler.view import View

from ...fakes import warm_node
from ...fakes.handler_deeds import disable, enable, reload
from ...fakes.world import GIB, SimNode, World, gpu

DRAW = Handler("draw", ["a"], 2, on_demand=True, target="m:Draw")
WHO = Principal("olga", Role.OPERATOR)


def settings(**fields: Any) -> HandlerSettings:
    return HandlerSettings.model_validate({"target": "m:Draw", **fields})


def declare(world: World, **handlers: HandlerSettings) -> None:
    """Have the configuration declare these from now on."""
    version = world.core.wanted.version + 1
    row = ConfigRow(version, 1, "olga", "set", b"", b"")
    changed = replace(world.core.settings, handlers=declared_of(handlers))
    world.step(ConfigChanged(0, "olga", row, changed, Wanted(version), "handlers", m.Done("")))


def rows(world: World, name: str = "", node: str = "") -> list[dict[str, Any]]:
    view = cast(View, SimpleNamespace(core=world.core))
    return list_handlers(view, m.ListHandlers(name, node), WHO, world.now).rows


def row(world: World, name: str) -> dict[str, Any]:
    (found,) = rows(world, name)
    return found


def on(world: World, name: str, node: str) -> dict[str, Any]:
    return next(each for each in row(world, name)["nodes"] if each["node"] == node)


def call(world: World, count: int = 1) -> list[int]:
    return world.submit(count, kind="handler", target="draw", argv=[])


def reason(world: World, task: int) -> str:
    return str(explain(world.core, task, world.now)["reason"])


def states(world: World, node: SimNode, handler: Handler) -> list[str]:
    """Have a node say what it has; return the kinds of what happened."""
    node.capabilities = replace(node.capabilities, handlers=[handler])
    beat = node.heartbeat()
    beat.capabilities = to_document(node.capabilities)
    return [each.kind for each in happenings(world.says(node, beat))]


# --- declared once ---------------------------------------------------------------------------


def test_what_is_declared_goes_to_the_nodes_that_are_meant_without_what_is_by_default(
    world: World,
) -> None:
    far, near = world.node("n1", labels={"gpu": "l4"}), world.node("n2", labels={"gpu": "a100"})
    declare(world, draw=settings(nodes="gpu=a100", vram_bytes="4GiB"))
    assert ({}, {"draw": {"target": "m:Draw", "vram_bytes": 4 * GIB}}) == (
        far.orders.declared,
        near.orders.declared,
    )
    assert ["n2"] == [each["node"] for each in row(world, "draw")["nodes"]]


def test_a_node_that_registers_is_told_in_the_answer(tmp_path: Path) -> None:
    world = World(tmp_path, CoreSettings(handlers=declared_of({"draw": settings()})))
    node = world.node("n1")
    assert isinstance(welcome := world.join(node), m.Registered)
    assert {"draw": {"target": "m:Draw"}} == welcome.handlers
    world.close()


def test_a_node_that_did_not_hear_is_told_with_each_heartbeat_until_it_goes_by_it(
    world: World,
) -> None:
    node = world.node("n1")
    node.deaf = True
    declare(world, draw=settings())
    assert {} == node.orders.declared
    node.deaf = False
    world.heartbeat(node)
    assert ["draw"] == list(node.orders.declared)
    assert [] == [
        item for item in world.heartbeat(node).to_nodes
        if isinstance(getattr(item, "message", None), m.HandlerOrders)
    ]  # fmt: skip


def test_a_call_may_come_before_a_node_has_heard_of_its_handler_and_says_so(world: World) -> None:
    node = world.node("n1")
    declare(world, draw=settings(load="first_use"))
    (task,) = call(world)
    assert (
        "no node has room now: n1 cannot serve handler draw: it has not heard of it yet"
    ) == reason(world, task)
    states(world, node, replace(DRAW, source="scheduler"))
    assert "assigned" == world.state(task)


def test_a_node_of_an_older_protocol_is_shown_with_what_to_do(world: World) -> None:
    world.node("n1", protocol=4)
    declare(world, draw=settings())
    found = on(world, "draw", "n1")
    assert ("unavailable", "it speaks protocol 4, so it hears of none: upgrade remuda there") == (
        found["state"],
        found["why"],
    )


def test_a_nodes_own_declaration_wins_and_the_list_says_so(world: World) -> None:
    world.node("n1", handlers=[DRAW])
    world.node("n2", handlers=[replace(DRAW, source="scheduler")])
    declare(world, draw=settings())
    shown = row(world, "draw")
    assert [("n1", "node", True), ("n2", "scheduler", False)] == [
        (each["node"], each["declared"], each["overrides"]) for each in shown["nodes"]
    ]
    assert ["scheduler", "node"] == shown["declared"]


def test_what_is_declared_no_more_is_taken_back(world: World) -> None:
    node = world.node("n1")
    declare(world, draw=settings())
    declare(world)
    assert ({}, b"") == (node.orders.declared, node.orders.digest)
    assert [] == rows(world)


def test_a_handler_that_a_node_cannot_serve_is_refused_there_with_the_reason(world: World) -> None:
    why = "the python 'sd' is not there"
    world.node("n1", handlers=[replace(DRAW, refused=why)])
    (task,) = call(world)
    assert f"no node has room now: n1 cannot serve handler draw: {why}" == reason(world, task)
    assert ("unavailable", why) == (
        on(world, "draw", "n1")["state"],
        on(world, "draw", "n1")["why"],
    )


# --- disabled --------------------------------------------------------------------------------


def test_a_disabled_handler_gets_no_new_calls_there_and_they_go_elsewhere(world: World) -> None:
    world.node("n1", handlers=[DRAW])
    assert m.Done("handler draw gets no new calls on n1") == disable(world, "draw", "n1", "it lies")
    (task,) = call(world)
    assert "no node has room" not in reason(world, task)  # it is disabled on each that has it
    world.node("n2", handlers=[DRAW])
    assert "n2" == world.core.tasks[task].live.node  # type: ignore[union-attr]  # it was granted


def test_a_call_of_a_handler_disabled_everywhere_waits_with_that_reason_and_status_names_it(
    world: World,
) -> None:
    node = world.node("n1", handlers=[DRAW])
    disable(world, "draw", "", "it lies")
    tasks = call(world, 2)
    assert (
        "handler draw is disabled on every node that has it, by olga: it lies; "
        "`remuda handler enable draw` lifts that"
    ) == reason(world, tasks[0])
    assert [
        "handler draw is disabled everywhere, by olga: it lies; 2 calls wait"
    ] == handler_orders.alarms(world.core)
    assert {"draw": "it lies"} == node.orders.disabled
    enable(world, "draw")
    assert "assigned" == world.state(tasks[0])
    assert ([], {}) == (handler_orders.alarms(world.core), node.orders.disabled)


def test_calls_that_run_go_on_and_the_answer_counts_them(world: World) -> None:
    node = world.node("n1", handlers=[DRAW])
    (task,) = call(world)
    done = disable(world, "draw")
    assert m.Done("handler draw gets no new calls on any node; 1 call goes on") == done
    world.end(node, task)
    assert "succeeded" == world.state(task)


def test_what_is_disabled_stays_so_over_a_restart_of_the_scheduler(world: World) -> None:
    node = world.node("n1", handlers=[DRAW])
    disable(world, "draw", "n1", "it lies")
    world.restart()
    world.join(node)
    (task,) = call(world)
    assert "handler draw is disabled on every node that has it" in reason(world, task)
    world.heartbeat(node)
    assert {"draw": "it lies"} == node.orders.disabled
    enable(world, "draw", "n1")
    world.restart()
    world.join(node)
    assert {} == world.core.handlers.rows


def test_one_node_of_a_handler_disabled_on_all_is_not_enabled_alone(world: World) -> None:
    world.node("n1", handlers=[DRAW])
    disable(world, "draw")
    refused = enable(world, "draw", "n1")
    assert isinstance(refused, m.Failure)
    assert "disabled on all nodes, not on n1 alone" in refused.message


@pytest.mark.parametrize(
    ("handler", "node", "said"),
    [
        ("paint", "", "there is no handler paint"),
        ("draw", "n9", "there is no node n9"),
        ("draw", "n2", "n2 has no handler draw (it has: none)"),
    ],
)
def test_who_names_what_is_not_there_is_told_so(
    world: World, handler: str, node: str, said: str
) -> None:
    world.node("n1", handlers=[DRAW])
    world.node("n2")
    for answer in (disable(world, handler, node), reload(world, handler, node)):
        assert isinstance(answer, m.Failure)
        assert ("not_found", True) == (answer.code, said in answer.message)


def test_a_node_that_is_forgotten_takes_what_was_asked_of_it_along(world: World) -> None:
    world.node("n1", handlers=[DRAW])
    disable(world, "draw", "n1")
    world.later(100)
    world.forget("n1")
    assert {} == world.core.handlers.rows
    world.restart()
    assert {} == world.core.handlers.rows


# --- loaded anew -----------------------------------------------------------------------------


def asked(answer: m.Message) -> dict[str, Any]:
    assert isinstance(answer, m.Document)
    return answer.body


def test_a_reload_is_asked_until_the_node_confirms_it_also_over_a_restart(world: World) -> None:
    node = world.node("n1", handlers=[DRAW])
    node.deaf = True
    number = asked(reload(world, "draw"))["nodes"]["n1"]
    world.restart()
    node.deaf = False
    world.join(node)
    world.heartbeat(node)
    assert {"draw": number} == node.orders.reload
    assert number == on(world, "draw", "n1")["reload"]
    assert ["handler.reloaded"] == states(world, node, replace(DRAW, reloaded=number))
    world.heartbeat(node)
    assert {} == node.orders.reload
    assert (0, number) == (on(world, "draw", "n1")["reload"], on(world, "draw", "n1")["reloaded"])


def test_a_second_reload_has_a_number_of_its_own_also_at_the_same_moment(world: World) -> None:
    world.node("n1", handlers=[DRAW])
    first, second = (asked(reload(world, "draw"))["nodes"]["n1"] for _ in range(2))
    assert second > first


def test_a_reload_says_which_nodes_it_passes_over_and_why(world: World) -> None:
    for name in ("n1", "n2"):
        world.node(name, handlers=[DRAW])
    world.node("n3", handlers=[DRAW], protocol=4)
    disable(world, "draw", "n2", "it lies")
    answer = asked(reload(world, "draw"))
    assert ["n1"] == list(answer["nodes"])
    assert {
        "n2": "has it disabled: it lies",
        "n3": "speaks protocol 4, so it cannot be told: upgrade remuda there",
    } == answer["passed_over"]


# --- shown -----------------------------------------------------------------------------------


def test_the_list_counts_calls_and_says_when_the_last_one_began(world: World) -> None:
    node = warm_node.join(world, "n1", gpu(1))
    (first,) = call(world)
    world.heartbeat(node)
    world.end(node, first)
    world.later(5)
    call(world)
    shown = row(world, "draw")
    assert (2, world.now.wall_ms, 1, 0) == (
        shown["calls"],
        shown["called_ms"],
        shown["running"],
        shown["queued"],
    )


def test_a_handler_on_a_lost_node_is_away(world: World) -> None:
    world.node("n1", handlers=[DRAW], gpus=[gpu(1)])
    world.later(200)
    world.declare_lost("n1")
    assert ("away", "is lost") == (on(world, "draw", "n1")["state"], on(world, "draw", "n1")["why"])


def test_a_name_that_is_not_there_is_not_found(world: World) -> None:
    world.node("n1", handlers=[DRAW])
    with pytest.raises(NotFound, match=r"there is no handler paint \(known: draw\)"):
        rows(world, "paint")
