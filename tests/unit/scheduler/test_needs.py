"""Does a task that ran out of memory get more, where there is more, and is that remembered?"""

from __future__ import annotations

from remuda.protocol import messages as m
from remuda.protocol.codec import unpack_document
from remuda.protocol.spec import from_document

from ...fakes.world import GIB, SimNode, World, gpu

OUT = {"outcome": m.Outcome.FAILED, "code": "gpu_out_of_memory"}


def ended_as(world: World, task: int) -> tuple[str, str]:
    shown = world.journal.history.show_task(task)
    assert shown is not None
    return world.state(task), shown["code"]


def again(world: World, *nodes: SimNode) -> None:
    """Let a backoff pass."""
    world.keep_alive(61, *nodes)


def test_a_share_that_was_too_small_grows_by_half(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    (task,) = world.submit(vram_bytes=8 * GIB)
    world.end(node, task, **OUT)
    again(world, node)
    assert 12 * GIB == world.core.tasks[task].spec.request.vram_bytes
    assert 12 * GIB == world.core.fleet.nodes["n1"].cards["GPU-1"].vram_bytes
    assert 0 == world.core.tasks[task].charged


def test_what_is_offered_says_what_is_asked_now(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    (task,) = world.submit(vram_bytes=8 * GIB)
    world.end(node, task, **OUT)
    again(world, node)
    spec = from_document(unpack_document(node.specs[task]))
    assert 12 * GIB == spec.vram_bytes


def test_what_was_raised_survives_a_restart(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    (task,) = world.submit(vram_bytes=8 * GIB)
    world.end(node, task, **OUT)
    world.restart()
    assert 12 * GIB == world.core.tasks[task].spec.request.vram_bytes
    world.join(node)
    again(world, node)
    world.restart()
    assert 12 * GIB == world.core.fleet.nodes["n1"].cards["GPU-1"].vram_bytes


def test_a_share_never_grows_beyond_the_largest_card(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    (task,) = world.submit(vram_bytes=20 * GIB)
    world.end(node, task, **OUT)
    again(world, node)
    assert 24 * GIB == world.core.tasks[task].spec.request.vram_bytes


def test_a_whole_card_that_was_too_small_becomes_a_larger_one(world: World) -> None:
    small = world.node("small", gpus=[gpu(1, 24)])
    (task,) = world.submit(gpus=1)
    large = world.node("large", gpus=[gpu(2, 80)])
    world.end(small, task, **OUT)
    again(world, small, large)
    assert [task] == [held for held, _ in large.held]
    assert 80 * GIB == world.core.tasks[task].spec.request.vram_bytes


def test_a_part_of_a_card_becomes_memory_that_is_more_than_it_had(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    (task,) = world.submit(gpu_milli=500)
    world.end(node, task, **OUT)
    again(world, node)
    request = world.core.tasks[task].spec.request
    assert (0, 18 * GIB) == (request.gpu_milli, request.vram_bytes)


def test_where_no_card_is_larger_it_is_tried_elsewhere_and_then_failed(world: World) -> None:
    first = world.node("n1", gpus=[gpu(1, 24)])
    (task,) = world.submit(gpus=1)
    second = world.node("n2", gpus=[gpu(2, 24)])
    world.end(first, task, **OUT)
    again(world, first, second)
    assert [task] == [held for held, _ in second.held]
    world.end(second, task, **OUT)
    again(world, first, second)
    world.end(first, task, **OUT)
    assert ("failed", "gpu_out_of_memory") == ended_as(world, task)


def test_the_next_task_of_that_kind_goes_at_once_to_what_was_enough(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 80)])
    (first,) = world.submit(vram_bytes=8 * GIB)
    for _ in range(2):
        world.end(node, first, **OUT)
        again(world, node)
    world.end(node, first)
    (second,) = world.submit(vram_bytes=8 * GIB)
    world.end(node, second, **OUT)
    assert 18 * GIB == world.core.tasks[second].spec.request.vram_bytes


def test_memory_of_the_host_grows_likewise_from_what_was_booked_or_a_first_booking(
    world: World,
) -> None:
    node = world.node("n1", memory_gib=64)
    booked, unbooked = (
        *world.submit(cpus_milli=500, memory_bytes=4 * GIB, argv=["a"]),
        *world.submit(cpus_milli=500, argv=["b"]),
    )
    for task in (booked, unbooked):
        world.end(node, task, m.Outcome.FAILED, code="out_of_memory")
    asked = [world.core.tasks[task].spec.request.memory_bytes for task in (booked, unbooked)]
    assert [6 * GIB, GIB] == asked


def test_a_task_that_needs_more_than_anybody_has_fails_after_its_budget(world: World) -> None:
    node = world.node("n1", memory_gib=8)
    (task,) = world.submit(memory_bytes=8 * GIB)
    for _ in range(3):
        world.end(node, task, m.Outcome.FAILED, code="out_of_memory")
        again(world, node)
    assert ("failed", "out_of_memory") == ended_as(world, task)
    assert ["failed"] * 3 == world.attempts(task)


def alternatives_of(world: World, task: int) -> list[tuple[int, int]]:
    request = world.core.tasks[task].spec.request
    return [(each.gpus, each.vram_bytes // GIB) for each in (request, *request.others)]


def test_an_alternative_of_more_cards_was_not_what_ran_out_and_asks_for_what_it_did(
    world: World,
) -> None:
    node = world.node("large", gpus=[gpu(1, 80)])
    others = [{"gpus": 2, "vram_bytes": 20 * GIB}, {"vram_bytes": 16 * GIB}, {"cpus_milli": 4_000}]
    (task,) = world.submit(vram_bytes=40 * GIB, alternatives=others)
    pair = world.node("pair", gpus=[gpu(2, 24), gpu(3, 24)])
    world.end(node, task, **OUT)
    raised = [(0, 60), (2, 20), (0, 60), (0, 0)]
    assert raised == alternatives_of(world, task)
    world.restart()
    assert raised == alternatives_of(world, task)
    world.join(pair)  # without the large card
    again(world, pair)
    assert [task] == [held for held, _ in pair.held]


def test_what_ran_out_on_several_cards_raises_what_asks_for_less_on_as_many_or_fewer(
    world: World,
) -> None:
    node = world.node("pair", gpus=[gpu(1, 24), gpu(2, 24)])
    others = [{"vram_bytes": 80 * GIB}, {"vram_bytes": 16 * GIB}, {"gpus": 4}]
    (task,) = world.submit(gpus=2, vram_bytes=20 * GIB, alternatives=others)
    world.node("large", gpus=[gpu(3, 80)])
    world.end(node, task, **OUT)
    assert [(2, 80), (0, 80), (0, 80), (4, 0)] == alternatives_of(world, task)


def test_a_kind_remembers_what_was_enough_for_each_number_of_cards(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 80)], memory_gib=128)
    (with_card,) = world.submit(cpus_milli=0, vram_bytes=GIB, memory_bytes=40 * GIB)
    (without,) = world.submit(cpus_milli=0)
    (alike,) = world.submit(cpus_milli=0, vram_bytes=GIB, memory_bytes=36 * GIB)
    for task in (with_card, without, alike):
        world.end(node, task, m.Outcome.FAILED, code="out_of_memory")
    asked = [world.core.tasks[task].spec.request.memory_bytes for task in (without, alike)]
    assert [GIB, 60 * GIB] == asked


def test_what_a_large_task_needed_is_not_asked_for_by_a_small_one_of_its_kind(
    world: World,
) -> None:
    node = world.node("n1", gpus=[gpu(1, 80)])
    large, small = (world.submit(vram_bytes=size * GIB)[0] for size in (40, 4))
    for task in (large, small):
        world.end(node, task, **OUT)
    asked = [world.core.tasks[task].spec.request.vram_bytes // GIB for task in (large, small)]
    assert [60, 6] == asked
