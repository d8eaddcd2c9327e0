"""Does what needs much begin in bounded time, however much that is small comes after it?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from remuda.scheduler.core import SECOND_NS, CoreSettings
from remuda.scheduler.explain import explain
from remuda.scheduler.reservations import VAIN_NS, Reservation

from ...fakes.streams import StrangeStream, Stream
from ...fakes.warm_node import join
from ...fakes.world import GIB, World, gpu
from ...fakes.worlds import worlds

NEVER = CoreSettings(reserve_after_ns=0)
AFTER_S = CoreSettings().reserve_after_ns // SECOND_NS
LOOK_S = AFTER_S // 4
LONGEST_S = 50
RUNS_S = (20, 35, LONGEST_S, 41)
CALL = {"kind": "handler", "target": "draw", "argv": [], "cpus_milli": 100, "model": "a"}
BIG: dict[str, dict[str, Any]] = {
    "a whole GPU": {"gpus": 1},
    "two GPUs": {"gpus": 2},
    "a node alone": {"exclusive": True, "cpus_milli": 0},
    "much VRAM": {"vram_bytes": 22 * GIB},
    "all CPUs": {"cpus_milli": 4_000},
}


def busy(world: World, kind: type[Stream] = Stream, **small: Any) -> Stream:
    """Return a stream that keeps two nodes full."""
    world.node("n1", cpus=4, gpus=[gpu(1, 24), gpu(2, 24)])
    world.node("n2", cpus=4, gpus=[gpu(3, 24)])
    stream = kind(world, RUNS_S, **small)
    stream.seconds(60)
    return stream


def ask(world: World, **wanted: Any) -> int:
    (task,) = world.submit(**{"cpus_milli": 500, "argv": ["big"], **wanted})
    return task


def kept(world: World) -> Reservation:
    (found,) = world.core.reservations.of.values()
    return found


def wait_for_place(world: World, stream: Stream) -> Reservation:
    for _ in range(AFTER_S + 2 * LOOK_S + 2):
        if world.core.reservations.of:
            return kept(world)
        stream.second()
    raise AssertionError("no place was kept")


def said(world: World, task: int) -> dict[str, Any]:
    return explain(world.core, task, world.now)


# --- nothing waits for ever ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Stream, StrangeStream])
@pytest.mark.parametrize("wanted", BIG.values(), ids=BIG)
def test_what_needs_much_begins_within_the_wait_and_the_longest_run(
    world: World, wanted: dict[str, Any], kind: type[Stream]
) -> None:
    stream = busy(world, kind)
    found = stream.until_begun(ask(world, **wanted), 400)
    assert found is not None
    assert found <= AFTER_S + 2 * LOOK_S + 2 * LONGEST_S


@pytest.mark.parametrize("wanted", BIG.values(), ids=BIG)
def test_without_reservations_it_waits_for_ever(tmp_path: Path, wanted: dict[str, Any]) -> None:
    for world in worlds(tmp_path / "state", NEVER):
        stream = busy(world)
        assert stream.until_begun(ask(world, **wanted), 400) is None


def test_a_limit_of_time_stands_in_where_no_run_was_measured(world: World) -> None:
    stream = busy(world, StrangeStream, timeout_ms=LONGEST_S * 1_000, grace_ms=0)
    big = ask(world, gpus=1)
    place = wait_for_place(world, stream)
    assert place.start_ns is not None
    assert stream.until_begun(big, LONGEST_S + 2) is not None


def test_the_oldest_of_many_have_places_kept_and_no_more_than_allowed(tmp_path: Path) -> None:
    for world in worlds(tmp_path / "state", CoreSettings(reservations_max=2)):
        stream = busy(world)
        tasks = [ask(world, gpus=1, owner=owner) for owner in ("ana", "bob", "cyd")]
        stream.seconds(AFTER_S + 2 * LOOK_S)
        assert len(world.core.reservations.of) <= 2
        for task in tasks:
            stream.run(task, 10)
        waits = [stream.until_begun(task, 600) for task in tasks]
        assert None not in waits


@pytest.mark.parametrize(("owners", "places"), [(("ana", "ana"), 1), (("ana", "bob"), 2)])
def test_what_one_submits_at_a_time_for_parts_of_cards_has_one_place_kept_after_the_other(
    world: World, owners: tuple[str, str], places: int
) -> None:
    stream = busy(world)
    sizes = zip((22, 21), owners, strict=True)
    tasks = [ask(world, vram_bytes=gib * GIB, owner=owner) for gib, owner in sizes]
    most = 0
    for _ in range(400):
        stream.second()
        most = max(most, len(world.core.reservations.of))
    assert (places, ["succeeded"] * 2) == (most, world.states(tasks))


# --- who may use the place -----------------------------------------------------------------------


def one_card(world: World, blocker_s: int, **blocker: Any) -> tuple[Stream, int, int]:
    """Return a stream on one card that a long task shares, what blocks, and what waits."""
    world.node("n1", cpus=8, gpus=[gpu(1, 24)])
    (blocks,) = world.submit(**{"vram_bytes": 4 * GIB, "argv": ["long"], **blocker})
    stream = Stream(world, [4])
    stream.run(blocks, blocker_s)
    stream.seconds(20)
    return stream, blocks, ask(world, gpus=1)


def begun_after(world: World, stream: Stream, seconds: int) -> int:
    before = {task for task, _ in world.nodes["n1"].held}
    seen: set[int] = set()
    for _ in range(seconds):
        stream.second()
        seen |= {task for task, _ in world.nodes["n1"].held} - before
    return len(seen)


def test_what_is_over_in_time_uses_the_place_meanwhile(world: World) -> None:
    stream, blocks, big = one_card(world, 300, timeout_ms=300_000, grace_ms=0)
    wait_for_place(world, stream)
    assert begun_after(world, stream, 40) > 10
    assert stream.until_begun(big, 300) is not None
    assert "succeeded" == world.state(blocks)


def test_what_may_take_too_long_does_not(world: World) -> None:
    stream, _, big = one_card(world, 300, timeout_ms=300_000, grace_ms=0)
    place = wait_for_place(world, stream)
    stream.depth = 0
    stream.seconds(20)
    (strange,) = world.submit(vram_bytes=4 * GIB, cpus_milli=500, argv=["never seen before"])
    (slow,) = world.submit(vram_bytes=4 * GIB, cpus_milli=500, argv=["slow"], timeout_ms=400_000)
    (quick,) = world.submit(
        vram_bytes=4 * GIB, cpus_milli=500, argv=["quick"], timeout_ms=20_000, grace_ms=0
    )
    assert ["queued", "queued", "assigned"] == world.states([strange, slow, quick])
    assert place.task == big
    number = world.core.tasks[big].number
    words = f"keeps GPU 1 for task {number}, which comes first"
    assert [words] == [each["reason"] for each in said(world, strange)["nodes"]]


def test_while_nobody_knows_when_it_is_free_only_short_work_uses_the_place(world: World) -> None:
    stream, _, big = one_card(world, 200)
    place = wait_for_place(world, stream)
    assert place.start_ns is None
    assert begun_after(world, stream, 30) > 5
    found = stream.until_begun(big, 300)
    assert found is not None


def test_work_that_leaves_the_place_room_goes_on(world: World) -> None:
    """A place for a GPU keeps no CPUs beyond what its task asks for."""
    stream, _, big = one_card(world, 300)
    wait_for_place(world, stream)
    stream.depth = 0
    stream.seconds(20)
    others = [world.submit(cpus_milli=2_000, argv=["cpu", str(n)])[0] for n in range(4)]
    assert "queued" == world.state(big)
    assert [*["assigned"] * 3, "queued"] == world.states(others)


def test_what_ranks_before_it_is_not_held_up(world: World) -> None:
    stream, _, big = one_card(world, 300, timeout_ms=300_000)
    wait_for_place(world, stream)
    stream.depth = 0
    stream.seconds(20)
    (urgent,) = world.submit(vram_bytes=4 * GIB, cpus_milli=500, argv=["unknown"], priority=90)
    assert ["assigned", "queued"] == world.states([urgent, big])
    stream.run(urgent, 10)
    assert stream.until_begun(big, 400) is not None


def test_calls_of_a_loaded_model_give_way_to_a_whole_card(world: World) -> None:
    """The card is kept from calls as well; then the model is idle, and leaves."""
    node = join(world, "n1", gpu(1, 24), cpus=8)
    stream = Stream(world, [4])
    stream.small = CALL
    stream.seconds(10)
    assert node.residents
    found = stream.until_begun(ask(world, gpus=1), 400)
    assert found is not None
    assert found <= AFTER_S + 2 * LOOK_S + AFTER_S


# --- what becomes of the place -------------------------------------------------------------------


def test_a_place_on_a_node_that_is_drained_is_kept_elsewhere(world: World) -> None:
    stream = busy(world)
    big = ask(world, gpus=1)
    first = wait_for_place(world, stream).node
    world.drain(first)
    stream.seconds(2)
    other = kept(world).node
    assert {first, other} == {"n1", "n2"}
    assert stream.until_begun(big, 200) is not None


def test_no_place_is_kept_on_a_card_that_is_cordoned(world: World) -> None:
    stream = busy(world)
    ask(world, gpus=1)
    (first,) = wait_for_place(world, stream).cards
    world.cordon(first)
    stream.seconds(2)
    assert first not in kept(world).cards


def test_a_place_outlives_a_card_of_another_place_that_vanishes(world: World) -> None:
    node = world.node("n1", cpus=8, gpus=[gpu(1), gpu(2), gpu(3, 48)])
    blockers = world.submit(3, gpus=1, cpus_milli=500)
    wide = ask(world, gpus=1, vram_bytes=40 * GIB)
    world.keep_alive(61, node)  # or what wants more would go first
    pair = ask(world, gpus=2)
    world.keep_alive(AFTER_S + 2 * LOOK_S + 2, node)
    assert [wide, pair] == list(world.core.reservations.of)
    (ends,) = [task for task in blockers if node.gpus[task] == ("GPU-2",)]
    world.end(node, ends)
    left = [each for each in node.capabilities.gpus if each.uuid != "GPU-2"]
    node.capabilities = dataclasses.replace(node.capabilities, gpus=left)
    world.join(node)
    assert ("GPU-3",) == world.core.reservations.of[wide].cards
    assert all("GPU-2" not in each.cards for each in world.core.reservations.of.values())


def test_no_place_is_kept_on_a_silent_node(world: World) -> None:
    stream = busy(world)
    ask(world, gpus=1)
    first = wait_for_place(world, stream).node
    (other,) = {"n1", "n2"} - {first}
    world.keep_alive(8, world.nodes[other])
    assert other == kept(world).node


def test_no_place_is_kept_for_a_task_that_was_cancelled(world: World) -> None:
    stream = busy(world)
    big = ask(world, gpus=1)
    wait_for_place(world, stream)
    world.cancel(big)
    assert {} == world.core.reservations.of
    assert {} == world.core.reservations.on


def test_a_place_that_is_free_and_not_taken_is_given_up(world: World) -> None:
    node = world.node("n1", cpus=8, gpus=[gpu(1, 24)])
    stream = Stream(world, [4])
    stream.seconds(10)
    big = ask(world, gpus=1)
    wait_for_place(world, stream)
    shunned = world.core.fleet.nodes["n1"].shunned
    request = world.core.tasks[big].spec.request
    for _ in range(VAIN_NS // SECOND_NS + 10):
        shunned[request] = world.mono_ns + 10 * SECOND_NS  # its node refuses it, again and again
        stream.second()
    assert {} == world.core.reservations.of
    assert node.held


def test_a_place_is_kept_while_the_scheduler_holds(world: World) -> None:
    stream, blocks, big = one_card(world, 40)
    place = wait_for_place(world, stream)
    world.core.hold("the disk is full")
    stream.seconds(40 + VAIN_NS // SECOND_NS + 10)
    assert "succeeded" == world.state(blocks)
    assert place is kept(world)
    assert not world.nodes["n1"].held
    world.core.resume("the disk is full")
    world.step()
    assert "assigned" == world.state(big)


def test_nothing_is_looked_at_while_nothing_waits(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    first, second = world.submit(2, gpus=1)
    assert world.core.reservations.due_ns is not None
    world.end(node, first)
    world.end(node, second)
    world.later(AFTER_S)
    assert world.core.reservations.due_ns is None


def test_a_place_is_forgotten_and_found_again_over_a_restart(world: World) -> None:
    stream = busy(world)
    big = ask(world, gpus=1)
    wait_for_place(world, stream)
    world.restart()
    for node in world.nodes.values():
        world.join(node)
    found = stream.until_begun(big, 400)
    assert found is not None


# --- what is said of it --------------------------------------------------------------------------


def test_explain_says_where_and_when(world: World) -> None:
    stream, _, big = one_card(world, 300, timeout_ms=300_000, grace_ms=0)
    wait_for_place(world, stream)
    answer = said(world, big)
    assert answer["reason"].startswith("reserved on n1 GPU 1, free in about ")
    assert answer["reason"].endswith(" min")
    assert "its reservation" == answer["waits_for"]


def test_explain_says_that_nobody_knows_when(world: World) -> None:
    stream, _, big = one_card(world, 300)
    wait_for_place(world, stream)
    stream.depth = 0
    stream.seconds(20)
    assert "reserved on n1 GPU 1, free once 1 task there has ended" == said(world, big)["reason"]
