"""Does what found no place look again where something changed, and only there?"""

from __future__ import annotations

import dataclasses

import pytest

from remuda.scheduler import invariants, places
from remuda.scheduler.fleet import Fleet
from remuda.scheduler.news import News

from ...fakes.world import GIB, World, gpu
from .ledgers import make_node

CORES = {"cpus_milli": 0}


def fleet_of(*names: str) -> Fleet:
    fleet = Fleet()
    for number, name in enumerate(names):
        fleet.nodes[name] = make_node(name, gpu(number, 8 * (number + 1)))
    fleet.changed_shape()
    return fleet


def names_since(fleet: Fleet, revision: int) -> set[str]:
    return {node.name for node in News(fleet).since(revision)}


def test_only_nodes_that_changed_since_are_news() -> None:
    fleet = fleet_of("a", "b", "c")
    start = fleet.revision
    fleet.changed(fleet.nodes["b"])
    middle = fleet.revision
    fleet.changed(fleet.nodes["a"])
    assert {"a", "b"} == names_since(fleet, start)
    assert {"a"} == names_since(fleet, middle)
    assert set() == names_since(fleet, fleet.revision)


def test_a_node_that_changed_twice_is_news_once() -> None:
    fleet = fleet_of("a", "b")
    start = fleet.revision
    for _ in range(3):
        fleet.changed(fleet.nodes["a"])
    assert ["a"] == [node.name for node in fleet.changed_since(start)]


def test_every_node_is_news_after_something_that_concerns_all_changed() -> None:
    fleet = fleet_of("a", "b", "c")
    start = fleet.revision
    fleet.changed(fleet.nodes["b"])
    fleet.changed_all()
    assert {"a", "b", "c"} == names_since(fleet, start)


def test_a_node_that_was_forgotten_is_no_news() -> None:
    fleet = fleet_of("a", "b")
    start = fleet.revision
    fleet.changed(fleet.nodes["b"])
    del fleet.nodes["b"]
    assert set() == names_since(fleet, start)


def test_the_most_that_is_free_is_that_of_the_nodes_that_changed() -> None:
    fleet = fleet_of("a", "b")
    start = fleet.revision
    fleet.changed(fleet.nodes["a"])
    assert 8 * GIB == News(fleet).most_bytes(start)
    assert 16 * GIB == News(fleet).most_bytes(-1)


def test_an_end_shows_a_waiting_task_the_node_of_that_end_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.node("n1", gpus=[gpu(1, 24)])
    world.node("n2", gpus=[gpu(2, 24)])
    first, _ = world.submit(2, vram_bytes=20 * GIB, **CORES)
    (waits,) = world.submit(vram_bytes=16 * GIB, **CORES)
    shown: list[list[str]] = []
    candidates = places.Candidates

    def seen(nodes, *rest):  # type: ignore[no-untyped-def]  # as Candidates
        shown.append([node.name for node in nodes])
        return candidates(nodes, *rest)

    monkeypatch.setattr(places, "Candidates", seen)
    world.end(one, first)
    assert [["n1"]] == shown
    assert "assigned" == world.state(waits)


def test_work_without_a_card_begins_where_the_only_card_went_while_it_was_lent(
    world: World,
) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    world.submit(vram_bytes=20 * GIB, **CORES)
    node.capabilities = dataclasses.replace(node.capabilities, gpus=[])
    world.join(node)
    assert world.core.fleet.nodes["n1"].cards["GPU-1"].vram_free_bytes < 0
    (plain,) = world.submit(cpus_milli=500)
    assert "assigned" == world.state(plain)


def test_room_that_nobody_was_told_of_is_found_out(world: World) -> None:
    """The judge of every test of the core sees a node that should have been looked at."""
    node = world.node("n1", gpus=[gpu(1, 24)])
    (task, _) = world.submit(2, vram_bytes=20 * GIB, **CORES)
    held = world.core.tasks[task]
    live = held.live
    assert live is not None
    ledger = world.core.fleet.nodes[node.name]
    ledger.remove(held, live)  # without `Fleet.changed`
    found = invariants.violations(world.core)
    assert any("was passed over, and n1 has room for it" in words for words in found)
    ledger.add(held, live)
