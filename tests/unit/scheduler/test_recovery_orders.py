"""Do handlers and settings of nodes stay what they are until a restored scheduler is released?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from remuda.config.changes import Change, to_plain
from remuda.config.settings_node import HandlerSettings
from remuda.protocol import messages as m
from remuda.protocol.capabilities import Handler
from remuda.scheduler.configured import Wanted, state_of
from remuda.scheduler.declared import declared_of

from ...fakes.configured_world import TunedNode
from ...fakes.handler_deeds import disable, reload
from ...fakes.restorable import QUICK, Restorable
from ...fakes.world import SimNode

DRAW = Handler("draw", workers=1, state="ready", target="m:Draw")
SETTINGS = replace(
    QUICK, handlers=declared_of({"draw": HandlerSettings.model_validate({"target": "m:Draw"})})
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Restorable]:
    made = Restorable(tmp_path / "state", SETTINGS)
    yield made
    made.close()


def restored(world: Restorable, node: SimNode) -> m.Registered:
    world.restore()
    welcome = world.join(node)
    assert isinstance(welcome, m.Registered)
    world.heartbeat(node)
    return welcome


def released(world: Restorable, node: SimNode) -> None:
    assert isinstance(world.decide("release"), m.Done)
    world.heartbeat(node)


def test_what_the_configuration_declares_is_told_once_the_scheduler_is_released(
    world: Restorable,
) -> None:
    node = world.node("n1")
    world.backup()
    node.orders = m.HandlerOrders(b"", b"untold", {}, {}, {})
    welcome = restored(world, node)
    assert (True, {}, {}) == (welcome.is_held, welcome.handlers, node.orders.declared)
    released(world, node)
    assert {"draw": {"target": "m:Draw"}} == node.orders.declared
    welcome = world.join(node)  # type: ignore[assignment]  # it is let in
    assert (False, ["draw"]) == (welcome.is_held, list(welcome.handlers))


def test_a_node_that_waits_for_orders_is_told_that_there_are_none(tmp_path: Path) -> None:
    world = Restorable(tmp_path / "state")
    node = world.node("n1")
    world.backup()
    node.orders = m.HandlerOrders(b"", b"untold", {"old": {"target": "m:Old"}}, {}, {})
    restored(world, node)
    assert ["old"] == list(node.orders.declared)
    released(world, node)
    assert (b"", {}) == (node.orders.digest, node.orders.declared)
    world.close()


def test_a_node_too_old_to_hear_of_a_hold_keeps_what_is_declared(world: Restorable) -> None:
    node = world.node("n1", protocol=4)
    world.backup()
    assert ["draw"] == list(restored(world, node).handlers)


@pytest.mark.parametrize("done", [True, False])
def test_a_reload_of_the_restored_journal_is_done_once(world: Restorable, done: bool) -> None:
    node = world.node("n1", handlers=[DRAW])
    answer = reload(world, "draw")
    assert isinstance(answer, m.Document)
    number = answer.body["nodes"]["n1"]
    world.backup()
    if done:
        node.capabilities = replace(node.capabilities, handlers=[replace(DRAW, reloaded=number)])
        world.join(node)
        world.heartbeat(node)
    node.orders = m.HandlerOrders(b"", b"untold", {}, {}, {})
    restored(world, node)
    assert {} == node.orders.reload
    released(world, node)
    assert ({} if done else {"draw": number}) == node.orders.reload


def test_an_operator_who_asks_while_the_scheduler_is_held_is_obeyed_after_its_release(
    world: Restorable,
) -> None:
    node = world.node("n1", handlers=[DRAW])
    world.backup()
    node.orders = m.HandlerOrders(b"", b"untold", {}, {}, {})
    restored(world, node)
    disable(world, "draw", "n1", "noisy")
    world.heartbeat(node)
    assert {} == node.orders.disabled
    released(world, node)
    assert {"draw": "noisy"} == node.orders.disabled


def test_settings_of_nodes_are_told_once_the_scheduler_is_released(world: Restorable) -> None:
    known = world.node("n1")
    world.backup()
    world.restore()
    node = world.nodes["n1"] = TunedNode("n1", known.capabilities)
    plain = to_plain({"tasks.output_max": Change("16MiB", "olga", 1, 2)})
    world.core.wanted = Wanted(2, 0, plain)
    world.join(node)
    world.heartbeat(node)
    state = state_of(world.core, world.core.fleet.nodes["n1"])
    assert (None, "behind") == (node.told, state.word)
    assert "once the restored scheduler is released" in state.why
    released(world, node)
    assert node.told is not None
    assert plain == node.told.changes
