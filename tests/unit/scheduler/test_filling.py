"""Are cards filled by size within a minute, by age beyond it, and by speed where that is asked?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.scheduler import fills
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.paces import NEWS_EVERY
from remuda.scheduler.scores import FASTEST, POLICIES, Rating

from ...fakes.world import GIB, SimNode, World, gpu
from ...fakes.worlds import worlds
from .ledgers import H100

CORES = {"cpus_milli": 0}


def card_of(world: World, number: int, node: str = "n1") -> int:
    """Return the GiB that are lent of a card."""
    return world.core.fleet.nodes[node].cards[f"GPU-{number}"].vram_bytes // GIB


def ask(world: World, *sizes_gib: int, **fields: object) -> list[int]:
    return [world.submit(vram_bytes=size * GIB, **CORES | fields)[0] for size in sizes_gib]


def begin(world: World, gib: int = 24) -> SimNode:
    """Let a node with one card come when all that was submitted waits."""
    return world.node("n1", gpus=[gpu(1, gib)])


@pytest.fixture
def by_age(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path / "state", CoreSettings(order_window_ms=0))


def test_the_larger_of_two_tasks_of_the_same_minute_goes_first(world: World) -> None:
    tasks = ask(world, 10, 20)
    begin(world)
    assert ["queued", "assigned"] == world.states(tasks)


def test_an_older_minute_goes_first_whatever_its_size(world: World) -> None:
    older = ask(world, 10)
    world.later(61)
    younger = ask(world, 20)
    begin(world)
    assert ["assigned", "queued"] == world.states(older + younger)


def test_a_pair_that_fills_a_card_goes_before_the_largest(world: World) -> None:
    tasks = ask(world, 19, 18, 6)
    begin(world)
    assert ["queued", "assigned", "assigned"] == world.states(tasks)


def test_a_size_of_which_many_wait_goes_before_one_that_is_a_little_larger(world: World) -> None:
    tasks = ask(world, 20, *[18] * 8)
    begin(world)
    assert ["queued", "assigned"] == world.states(tasks[:2])


def test_sizes_are_searched_however_many_kinds_of_tasks_want_each(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fills, "SIZES_MAX", 3)
    tasks = [*ask(world, 19, 18, 6), *ask(world, 19, 18, 6, memory_bytes=GIB)]
    begin(world)
    assert ["queued", "assigned", "assigned"] == world.states(tasks[:3])


def test_a_higher_priority_is_not_held_up_to_fill_a_card(world: World) -> None:
    tasks = [*ask(world, 19, priority=90), *ask(world, 18, 6)]
    begin(world)
    assert ["assigned", "queued", "queued"] == world.states(tasks)


def test_without_a_window_tasks_go_by_age_alone(by_age: World) -> None:
    tasks = ask(by_age, 19, 18, 6)
    begin(by_age)
    assert ["assigned", "queued", "queued"] == by_age.states(tasks)
    tasks = ask(by_age, 3, 5)
    assert ["assigned", "queued"] == by_age.states(tasks)


def test_the_quickest_model_is_found_out_and_taken(tmp_path: Path) -> None:
    rating = Rating(FASTEST, POLICIES[FASTEST])
    for world in worlds(tmp_path / "state", CoreSettings(rating=rating)):
        slow, quick = (
            world.node("slow", gpus=[gpu(1, 24)]),
            world.node("quick", gpus=[gpu(2, 80, H100)]),
        )
        for _ in range(NEWS_EVERY // 2):
            for node, run_us in ((slow, 9_000_000), (quick, 3_000_000)):
                (task,) = world.submit(gpus=1, nodes=[node.name], **CORES)
                world.end(node, task, run_us=run_us)
        world.submit(gpus=1, **CORES)
        assert 80 == card_of(world, 2, "quick")


def test_of_equal_sizes_what_runs_longest_goes_first_as_far_as_it_is_known(world: World) -> None:
    node = begin(world)
    for name, run_us in (("short", 1_000_000), ("long", 60_000_000)):
        (task,) = ask(world, 20, argv=[name])
        world.end(node, task, run_us=run_us)
    (filler,) = ask(world, 20, argv=["filler"])
    short, unknown, long = (ask(world, 20, argv=[n])[0] for n in ("short", "unknown", "long"))
    world.end(node, filler)
    assert ["queued", "queued", "assigned"] == world.states([short, unknown, long])


def test_what_runs_long_does_not_overtake_what_is_a_minute_older(world: World) -> None:
    node = begin(world)
    (task,) = ask(world, 20, argv=["long"])
    world.end(node, task, run_us=60_000_000)
    (filler,) = ask(world, 20, argv=["filler"])
    (older,) = ask(world, 20, argv=["unknown"])
    world.keep_alive(61, node)
    (long,) = ask(world, 20, argv=["long"])
    world.end(node, filler)
    assert ["assigned", "queued"] == world.states([older, long])
