"""Is what was learned of VRAM near the truth, on the safe side of it, bounded, and kept?"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.protocol import messages as m
from remuda.protocol.codec import pack_document
from remuda.protocol.resources import learning_key, split_learning_key
from remuda.scheduler.explain import explain
from remuda.scheduler.learned import (
    KEYS_MAX,
    MARGIN,
    RUNS_MIN,
    SAMPLE_MAX,
    WRITE_RUNS,
    Learned,
    estimate,
    quantile_weights,
    reserve,
)
from remuda.scheduler.records import LearnedRow
from remuda.scheduler.stats import row_of

from ...fakes.world import GIB, World, gpu

SEEDS = 300
RUNS = 20
SPREADS: dict[str, tuple[Callable[[Random], float], float]] = {
    # how peaks are drawn, and the 95th percentile of that
    "normal": (lambda chance: chance.gauss(1, 0.2), 1 + 1.64485 * 0.2),
    "lognormal": (
        lambda chance: chance.lognormvariate(-0.0196, 0.19804),
        math.exp(-0.0196 + 1.64485 * 0.19804),
    ),
    "uniform": (lambda chance: chance.uniform(1 - 0.34641, 1 + 0.34641), 1 + 0.9 * 0.34641),
    "two modes": (
        # of the upper fifth of runs the 75th percentile
        lambda chance: (1.5 if chance.random() < 0.2 else 1) * chance.gauss(1, 0.03),
        1.5 * (1 + 0.67449 * 0.03),
    ),
    "constant": (lambda chance: 1.0, 1.0),
}
PEAKS = st.lists(st.integers(1, 200 * GIB), min_size=1, max_size=SAMPLE_MAX)
OUT = {"outcome": m.Outcome.FAILED, "code": "gpu_out_of_memory"}


@pytest.mark.parametrize("spread", SPREADS)
def test_after_20_runs_the_reservation_is_near_the_95th_percentile(spread: str) -> None:
    draw, part = SPREADS[spread]
    truth, good = part * 10 * GIB, 0
    for seed in range(SEEDS):
        chance = Random(seed)
        peaks = [int(draw(chance) * 10 * GIB) for _ in range(RUNS)]
        good += abs(reserve(peaks) - truth) <= 0.15 * truth
    assert good >= 0.85 * SEEDS


@given(PEAKS)
def test_an_estimate_is_neither_below_the_mean_nor_far_beyond_what_was_seen(
    peaks: list[int],
) -> None:
    found = estimate(peaks)
    spread = max(peaks) - min(peaks)
    assert sum(peaks) / len(peaks) * (1 - 1e-9) <= found <= max(peaks) + spread + 1


@given(PEAKS, st.integers(1, 200 * GIB))
def test_a_run_that_had_more_than_any_needed_and_too_little_raises_the_estimate(
    peaks: list[int], more: int
) -> None:
    assert estimate(peaks, [max(peaks) + more]) > estimate(peaks)


@given(PEAKS, st.integers(2, 8))
def test_the_unit_does_not_matter(peaks: list[int], factor: int) -> None:
    larger = [peak * factor for peak in peaks]
    assert math.isclose(factor * estimate(peaks), estimate(larger), rel_tol=1e-9)


@pytest.mark.parametrize("count", [1, 5, 20, SAMPLE_MAX])
def test_the_weights_of_ranks_are_all_of_it_and_grow_to_the_quantile(count: int) -> None:
    weights = quantile_weights(count)
    assert (count, True) == (len(weights), math.isclose(1.0, sum(weights)))
    assert sorted(weights) == list(weights) or weights.index(max(weights)) >= 0.9 * count


def taught(*peaks_gib: float) -> Learned:
    learned = Learned()
    for peak in peaks_gib:
        learned.add_run("k", int(peak * GIB), 1_000)
    return learned


def test_nothing_is_reserved_before_five_runs_were_measured() -> None:
    assert None is taught(*[10] * (RUNS_MIN - 1)).reservation("k")
    reserved = taught(*[10] * RUNS_MIN).reservation("k")
    assert reserved is not None
    assert 10 * GIB < reserved <= 10 * GIB * MARGIN + (16 << 20)


def test_a_run_that_was_not_measured_counts_as_a_run_and_teaches_nothing() -> None:
    learned = taught(*[10] * RUNS_MIN)
    before = learned.reservation("k")
    learned.add_run("k", -1, 1_000)
    ((_, known),) = learned.items()
    assert (before, RUNS_MIN + 1) == (learned.reservation("k"), known.runs)


def test_running_out_of_memory_raises_the_reservation() -> None:
    learned = taught(*[10] * RUNS)
    before, revision = learned.reservation("k"), learned.revision
    learned.add_oom("k", 11 * GIB)
    after = learned.reservation("k")
    assert before is not None
    assert after is not None
    assert after > before
    assert learned.revision > revision


def test_what_a_kind_needed_long_ago_is_forgotten() -> None:
    learned = taught(*[40] * RUNS, *[10] * SAMPLE_MAX)
    assert taught(*[10] * RUNS).reservation("k") == learned.reservation("k")


def test_keys_are_bounded_and_the_one_unused_for_longest_goes() -> None:
    learned = Learned()
    for number in range(KEYS_MAX):
        learned.add_run(f"k{number}", GIB, 1)
    learned.add_run("k0", GIB, 1)
    learned.add_run("new", GIB, 1)
    keys = [key for key, _ in learned.items()]
    assert (KEYS_MAX, True, False) == (len(keys), "k0" in keys, "k1" in keys)


def test_a_row_is_written_when_the_estimate_moves_and_else_seldom() -> None:
    learned = taught(*[10] * RUNS)
    learned.due("k", 1)
    written = []
    for run in range(2 * WRITE_RUNS):
        learned.add_run("k", 10 * GIB, 1_000)
        if learned.due("k", 1) is not None:
            written.append(run)
    learned.add_run("k", 30 * GIB, 1_000)
    assert [WRITE_RUNS - 1, 2 * WRITE_RUNS - 1] == written
    assert learned.due("k", 1) is not None


def test_a_row_is_read_as_it_was_written_and_a_broken_one_is_left_out() -> None:
    learned = taught(*[10] * RUNS)
    learned.add_oom("k", 12 * GIB)
    row = learned.due("k", 1)
    assert row is not None
    again = Learned()
    broken = LearnedRow("broken", pack_document({"peaks": []}), 1)
    again.recover([row, broken, LearnedRow("torn", b"\xc1", 1)])
    assert list(learned.items()) == list(again.items())


# --- in the core ---------------------------------------------------------------------------------

AUTO = {"vram": "auto", "cpus_milli": 0}


def learn(world: World, node: object, count: int, gib: float = 6) -> None:
    """Run so many tasks of the kind that ask for 10 GiB and are measured."""
    for _ in range(count):
        (task,) = world.submit(vram_bytes=10 * GIB, cpus_milli=0)
        world.end(node, task, vram_peak=int(gib * GIB))  # type: ignore[arg-type]


def granted(world: World, task: int) -> tuple[int, int]:
    """Return the whole cards, and the VRAM, that a task was granted."""
    live = world.core.tasks[task].live
    assert live is not None, "it was not placed"
    return live.request.gpus, live.request.vram_bytes


def test_the_first_runs_of_a_kind_get_a_whole_gpu(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24), gpu(2, 24)])
    learn(world, node, RUNS_MIN - 1)
    (task,) = world.submit(**AUTO)
    assert (1, 0) == granted(world, task)


def test_a_known_kind_shares_a_gpu_by_what_was_learned_also_of_declared_tasks(
    world: World,
) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    learn(world, node, RUNS_MIN)
    tasks = world.submit(4, **AUTO)
    reserved = world.core.learned.reservation(world.core.tasks[tasks[0]].spec.kind)
    assert ["assigned"] * 3 + ["queued"] == world.states(tasks)
    assert (0, reserved) == granted(world, tasks[0])


def test_what_waits_is_placed_when_the_estimate_falls(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24), gpu(2, 24)])
    learn(world, node, RUNS_MIN - 1)
    busy = world.submit(vram_bytes=10 * GIB, cpus_milli=0)
    (first,) = world.submit(**AUTO)
    (second,) = world.submit(**AUTO)
    before = world.state(second)
    world.end(node, first, vram_peak=6 * GIB)
    assert ("queued", "assigned") == (before, world.state(second))
    assert ["assigned"] == world.states(busy)


def test_what_was_learned_survives_a_restart(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    learn(world, node, RUNS)
    before = list(world.core.learned.items())
    world.restart()
    ((key, known),) = world.core.learned.items()
    assert before[0][0] == key
    assert before[0][1].reserved_bytes == known.reserved_bytes > 0


def test_a_kind_that_needs_more_than_any_card_reserves_the_largest_whole(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24), gpu(2, 16)])
    learn(world, node, RUNS_MIN, gib=23.9)
    (task,) = world.submit(**AUTO)
    assert (1, 24 * GIB) == granted(world, task)
    assert ("GPU-1",) == world.core.tasks[task].live.gpus  # type: ignore[union-attr]  # as granted


def test_of_another_size_nothing_is_known(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24), gpu(2, 24)])
    learn(world, node, RUNS_MIN)
    (other,) = world.submit(**AUTO, argv=["another"])
    assert (1, 0) == granted(world, other)


def test_a_gpu_that_was_too_small_raises_what_the_kind_reserves_and_what_the_task_asks(
    world: World,
) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    learn(world, node, RUNS_MIN)
    (task,) = world.submit(**AUTO)
    _, before = granted(world, task)
    world.end(node, task, **OUT)
    world.keep_alive(61, node)
    assert (0, int(before * 1.5)) == granted(world, task)
    after = world.core.learned.reservation(world.core.tasks[task].spec.kind)
    assert after is not None
    assert after > before


def test_a_first_run_that_a_whole_gpu_was_too_small_for_gets_a_larger_one(world: World) -> None:
    small = world.node("small", gpus=[gpu(1, 24)])
    (task,) = world.submit(**AUTO)
    large = world.node("large", gpus=[gpu(2, 80)])
    world.end(small, task, **OUT)
    world.keep_alive(61, small, large)
    assert (1, 80 * GIB) == granted(world, task)


def test_what_was_measured_counts_if_it_is_more_than_was_lent(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 80)])
    (task,) = world.submit(vram_bytes=8 * GIB)
    world.end(node, task, **OUT, vram_peak=20 * GIB)
    assert 30 * GIB == world.core.tasks[task].spec.request.vram_bytes


def test_stats_tell_what_is_known_of_a_kind(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    learn(world, node, RUNS_MIN)
    (task,) = world.submit(vram_bytes=10 * GIB, cpus_milli=0)
    world.end(node, task, **OUT)
    (row,) = [row_of(*split_learning_key(key), known) for key, known in world.core.learned.items()]
    assert row.pop("auto_bytes") > 6 * GIB
    assert {
        "kind": "command true " + row["kind"].split()[-1], "size_class": 0, "runs": RUNS_MIN,
        "run_p50_ms": 1_000, "run_p95_ms": 1_000, "measured": RUNS_MIN, "ooms": 1,
        "vram_p50_bytes": 6 * GIB, "vram_p95_bytes": 6 * GIB, "vram_max_bytes": 6 * GIB,
    } == row  # fmt: skip


@pytest.mark.parametrize(("kind", "size_class"), [("function a:b", 0), ("k ~x", 21), ("k", -3)])
def test_a_learning_key_is_read_as_it_was_made(kind: str, size_class: int) -> None:
    assert (kind, size_class) == split_learning_key(learning_key(kind, size_class))


def test_why_says_what_a_task_of_a_kind_is_given(world: World) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    learn(world, node, RUNS_MIN - 1)
    busy, task = world.submit(2, **AUTO)
    before = explain(world.core, task, world.now)
    world.end(node, busy, vram_peak=6 * GIB)
    after = explain(world.core, task, world.now)
    assert "a whole GPU: 4 of 5 runs of its kind are measured" == before["sized"]
    assert "by 5 measured runs of its kind" in after["sized"]
    assert "vram=auto" in after["request"]
