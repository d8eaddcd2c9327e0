"""Does a node offer what it and its scheduler declare, and say what of it it cannot serve?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from remuda.config.settings_node import HandlerSettings
from remuda.node.effects import OpenLane
from remuda.node.handling import Handling
from remuda.node.interpreters import Interpreter
from remuda.node.premises import Premises
from remuda.protocol import messages as m

from .core_driver import GIB, INCARNATION, CoreDriver

LABELS = {"gpu": "l4"}


def settings(**fields: Any) -> HandlerSettings:
    return HandlerSettings.model_validate({"target": "m:Draw", "load": "first_use", **fields})


def handling(folder: Path, driver: CoreDriver | None = None, **own: HandlerSettings) -> Handling:
    state = (driver or CoreDriver(cards=("GPU-a",))).state
    found = Handling(state, Premises(), folder / "handlers.json", "n1", LABELS, own)
    found.begin()
    return found


def declares(node: Handling, **handlers: dict[str, Any]) -> None:
    """Have the scheduler declare these for the node."""
    node.on_orders(m.HandlerOrders(INCARNATION, b"d" * 16, handlers, {}, {}))


def offered(node: Handling) -> dict[str, str]:
    return {name: each.source for name, each in node.state.handlers.items()}


def test_the_nodes_own_declaration_wins_over_the_schedulers(tmp_path: Path) -> None:
    node = handling(tmp_path, draw=settings(target="m:Own"))
    declares(node, draw={"target": "m:Theirs"}, paint={"target": "m:Paint"})
    assert {"draw": "node", "paint": "scheduler"} == offered(node)
    assert ("m:Own", "m:Paint") == (node.settings["draw"].target, node.settings["paint"].target)


def test_an_own_declaration_for_other_nodes_is_not_offered(tmp_path: Path) -> None:
    node = handling(
        tmp_path, here=settings(nodes="gpu=l4"), there=settings(nodes=["n2", "n3"]),
    )  # fmt: skip
    assert {"here": "node"} == offered(node)


def test_what_another_version_declares_and_this_one_cannot_read_is_shown_so(tmp_path: Path) -> None:
    node = handling(tmp_path)
    declares(node, draw={"target": "m:Draw", "novel": 1})
    assert {"draw": "scheduler"} == offered(node)
    assert (
        "its settings cannot be read here: novel: Extra inputs are not permitted: "
        "is remuda older here?"
    ) == node.state.unserved["draw"]


def test_what_the_node_lacks_for_a_handler_is_said_and_nothing_is_loaded(tmp_path: Path) -> None:
    driver = CoreDriver(cards=("GPU-a",))
    node = handling(
        tmp_path, driver,
        big=settings(load="start", vram_bytes="80GiB"),
        sd=settings(load="start", python="sd"),
        token=settings(load="start", secrets=["hf"]),
    )  # fmt: skip
    driver.turn()
    lacks = node.state.unserved
    assert "it wants 80GiB of VRAM, the largest GPU has 24GiB" == lacks["big"]
    assert ("sd" in lacks["sd"], "hf" in lacks["token"]) == (True, True)
    assert [] == driver.of(OpenLane)


def test_an_interpreter_that_appears_makes_its_handler_load(tmp_path: Path) -> None:
    driver = CoreDriver(cards=("GPU-a",))
    node = handling(tmp_path, driver, sd=settings(load="start", python="sd"))
    driver.turn()
    found = Interpreter(Path("/opt/sd"), "3.11", "/opt", is_venv=False, has_msgpack=True)
    node.premises.interpreters.working = {"sd": found}
    node.look()
    driver.turn()
    assert ({"sd": ""}, 1) == (node.state.unserved, len(driver.of(OpenLane)))


def test_the_next_agent_offers_what_this_one_was_told_before_anybody_says_so(
    tmp_path: Path,
) -> None:
    node = handling(tmp_path)
    declares(node, draw={"target": "m:Draw", "vram_bytes": GIB})
    node.state.orders.disabled, node.state.orders.reloaded = {"draw": "it lies"}, {"draw": 7}
    node.keep()
    later = handling(tmp_path)
    assert ({"draw": "scheduler"}, {"draw": "it lies"}, {"draw": 7}) == (
        offered(later),
        later.state.orders.disabled,
        later.state.orders.reloaded,
    )
    later.on_welcome({})
    assert ({}, {}) == (offered(later), offered(handling(tmp_path)))


def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"declared": 1}'):
        (tmp_path / "handlers.json").write_text(text)
        assert {} == offered(handling(tmp_path))


def test_a_worker_stays_when_nothing_about_its_handler_changes(tmp_path: Path) -> None:
    driver = CoreDriver(cards=("GPU-a",))
    node = handling(tmp_path, driver)
    declares(node, draw={"target": "m:Draw"})
    driver.turn()
    driver.load(driver.of(OpenLane)[0])
    before = list(node.state.residents["draw"])
    declares(node, draw={"target": "m:Draw"}, paint={"target": "m:Paint", "load": "first_use"})
    driver.turn()
    assert before == node.state.residents["draw"]
    declares(node, draw={"target": "m:Draw2"})
    assert "leaving" == before[0].state.value


def test_a_change_of_the_nodes_own_configuration_is_taken_in(tmp_path: Path) -> None:
    node = handling(tmp_path, draw=settings())
    declares(node, draw={"target": "m:Theirs"})
    node.set_own({})
    assert {"draw": "scheduler"} == offered(node)


def test_what_was_declared_stays_while_a_restored_scheduler_is_held(tmp_path: Path) -> None:
    node = handling(tmp_path)
    declares(node, draw={"target": "m:Draw"})
    node.keep()
    again = handling(tmp_path)
    assert b"" == again.state.orders.digest
    again.on_welcome({}, is_held=True)
    assert {"draw": "scheduler"} == offered(again)
    assert b"" != again.state.orders.digest, "orders that order nothing would never be told"
    again.on_welcome({})
    assert {} == offered(again)


def test_orders_that_a_node_goes_by_are_named_to_a_held_scheduler_too(tmp_path: Path) -> None:
    driver = CoreDriver(cards=("GPU-a",))
    node = handling(tmp_path, driver)
    driver.state.orders.digest = b"d" * 16
    node.on_welcome({}, is_held=True)
    assert b"d" * 16 == driver.state.orders.digest
