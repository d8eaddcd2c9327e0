"""Is what nodes measure respected, spent once, and never a way to lend what another guard would
refuse?"""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda.node.gpu import Gpu, GpuProcess, Reading
from remuda.node.slots import Card, Slots
from remuda.node.state import State
from remuda.node.usage import Owner
from remuda.node.usage import measure as measured_there
from remuda.node.usage import refusal as refusal_there
from remuda.node.usage import see as see_there
from remuda.protocol import ids
from remuda.protocol.measures import GpuMeasure
from remuda.protocol.messages import Phase
from remuda.protocol.resources import Request
from remuda.scheduler.fleet import Node
from remuda.scheduler.measured import GROWTH_BYTES_MIN, see
from remuda.scheduler.task import Task
from remuda.scheduler.vacancy import refusal_now

from ...fakes.world import GIB, SimNode, World, gpu
from .ledgers import lend, make_node

TEN = Request(vram_bytes=10 * GIB, cpus_milli=0)
WHOLE = Request(gpus=1, cpus_milli=0)


def measure(room_gib: float, **more: object) -> dict[str, GpuMeasure]:
    return {"GPU-1": GpuMeasure(room_bytes=round(room_gib * GIB), **more)}  # type: ignore[arg-type]


def phases(*tasks: Task, phase: Phase = Phase.RUNNING) -> dict[tuple[bytes, int], int]:
    return {(ids.to_bytes(task.id), 1): int(phase) for task in tasks}


def test_what_is_measured_as_taken_is_not_lent_and_the_reason_says_by_whom() -> None:
    node = make_node("n1", gpu(1, 24))
    see(node, measure(8, foreign=1, strangers="train.py (pid 7, 16GiB)"), {})
    expected = (
        "GPU 1 has 8GiB free as measured, less what loading tasks are still to take, beside "
        "train.py (pid 7, 16GiB), which is not a task of its node; 10GiB asked"
    )
    assert expected == refusal_now(node, TEN)
    assert "" == refusal_now(node, Request(vram_bytes=8 * GIB))


def test_a_card_that_others_compute_on_is_nobodys_whole() -> None:
    node = make_node("n1", gpu(1, 24))
    see(node, measure(23, foreign=1, strangers="train.py (pid 7)"), {})
    expected = "GPU 1 is not free as a whole: train.py (pid 7) is not a task of its node"
    assert expected == refusal_now(node, WHOLE)


def test_a_card_that_was_not_measured_is_lent_by_what_is_asked() -> None:
    node = make_node("n1", gpu(1, 24))
    see(node, {"GPU-1": GpuMeasure(free_bytes=0)}, {})
    assert "" == refusal_now(node, TEN)


def test_a_measure_is_spent_once() -> None:
    node = make_node("n1", gpu(1, 80))
    see(node, measure(25), {})
    lend(node, TEN)
    lend(node, TEN, 2)
    assert "5GiB free as measured" in refusal_now(node, TEN)


def test_what_a_statement_does_not_hold_yet_is_taken_off_it() -> None:
    node = make_node("n1", gpu(1, 80))
    held, _ = lend(node, TEN)
    lend(node, TEN, 2)
    see(node, measure(25), phases(held))
    assert 15 * GIB == node.room_bytes["GPU-1"]


@pytest.mark.parametrize(("phase", "left_gib"), [(Phase.RUNNING, 25), (Phase.ENDED, 15)])
def test_what_ends_gives_its_part_back_unless_the_measure_did(phase: Phase, left_gib: int) -> None:
    node = make_node("n1", gpu(1, 80))
    task, attempt = lend(node, TEN)
    see(node, measure(15), phases(task, phase=phase))
    node.remove(task, attempt)
    assert left_gib * GIB == node.room_bytes["GPU-1"]


def test_only_what_grows_by_much_has_tasks_placed_anew() -> None:
    node = make_node("n1", gpu(1, 80))
    little = GROWTH_BYTES_MIN / GIB / 2
    rooms = (10, 10 + little, 10 + 2 * little, 5, 5 + little, 5 + 2 * little)
    grown = [see(node, measure(room), {}) for room in rooms]
    assert [True, False, True, False, False, True] == grown


def says(world: World, node: SimNode, measures: dict[str, GpuMeasure]) -> None:
    heartbeat = node.heartbeat()
    heartbeat.gpus = {uuid: asdict(each) for uuid, each in measures.items()}
    world.says(node, heartbeat)


BESIDE = measure(23, foreign=1, strangers="train.py (pid 7)")


@pytest.mark.parametrize(
    ("before", "after", "wants"),
    [
        pytest.param(measure(4), measure(12), {"vram_bytes": 10 * GIB}, id="more is free"),
        pytest.param(measure(4), {}, {"vram_bytes": 10 * GIB}, id="nothing is measured any more"),
        pytest.param(
            measure(4), {"GPU-1": GpuMeasure()}, {"vram_bytes": 10 * GIB}, id="nothing is known"
        ),
        pytest.param(BESIDE, measure(23), {"gpus": 1}, id="who computed there is gone"),
    ],
)
def test_a_task_waits_until_its_card_has_room_as_measured_and_then_runs(
    world: World,
    before: dict[str, GpuMeasure],
    after: dict[str, GpuMeasure],
    wants: dict[str, object],
) -> None:
    node = world.node("n1", gpus=[gpu(1, 24)])
    says(world, node, before)
    (task,) = world.submit(**wants)  # type: ignore[arg-type]  # fields by name
    waited = world.state(task)
    says(world, node, after)
    assert ("queued", "assigned") == (waited, world.state(task))


# --- both guards together ----------------------------------------------------------------------

TOTAL = 24 * GIB
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), st.integers(1, 14)),
        st.tuples(st.just("arrive"), st.just(0)),
        st.tuples(st.just("grow"), st.integers(0, 5)),
        st.tuples(st.just("end"), st.integers(0, 5)),
        st.tuples(st.just("read"), st.just(0)),
        st.tuples(st.just("beat"), st.just(0)),
        st.tuples(st.just("foreign"), st.integers(0, 12)),
    ),
    max_size=40,
)


class Two:
    """A scheduler's ledger and a node with one card; tasks load as they like up to their part."""

    def __init__(self) -> None:
        self.node: Node = make_node("n1", gpu(1, 24))
        self.state = State(b"i" * 16, Slots(4_000, GIB, {"GPU-1": Card(TOTAL)}))
        self.sent: list[Task] = []
        self.running: dict[int, tuple[Task, int]] = {}
        self.foreign = 0
        self.is_unsaid = False  # others took memory since the last statement
        self.outdated: set[int] = set()  # granted before the scheduler heard of that
        self.count = 0
        self.read()
        self.beat()

    def grant(self, gib: int) -> None:
        request = Request(vram_bytes=gib * GIB, cpus_milli=0)
        if not refusal_now(self.node, request):
            self.count += 1
            self.sent.append(lend(self.node, request, self.count)[0])
            if self.is_unsaid:
                self.outdated.add(self.count)

    def arrive(self, _: int) -> None:
        """The oldest offer comes to the node, whose guard must have nothing against it unless
        somebody else took memory meanwhile."""
        if not self.sent:
            return
        task = self.sent.pop(0)
        assert task.live is not None
        charge = self.state.slots.charge(task.live.request, ("GPU-1",))
        reason = self.state.slots.refusal(charge) or refusal_there(self.state, charge)
        if reason:
            assert task.id in self.outdated, (
                f"the node refuses what the scheduler granted: {reason}"
            )
            self.node.remove(task, task.live)
            return
        self.state.slots.take(task.id, charge)
        self.running[task.id] = (task, 0)

    def grow(self, which: int) -> None:
        for number, (task, _) in list(self.running.items())[which : which + 1]:
            assert task.live is not None
            self.running[number] = (task, task.live.request.vram_bytes)

    def end(self, which: int) -> None:
        """A task ends: a reading that shows it gone comes before its result."""
        for number, (task, _) in list(self.running.items())[which : which + 1]:
            assert task.live is not None
            del self.running[number]
            self.read()
            self.state.slots.release(number)
            self.node.remove(task, task.live)

    def read(self, _: int = 0) -> None:
        used = {number: size for number, (_, size) in self.running.items()}
        shown = [GpuProcess(number, size, "t") for number, size in used.items()]
        if self.foreign:
            shown.append(GpuProcess(10_000, self.foreign, "x"))
        free = TOTAL - sum(used.values()) - self.foreign
        card = Gpu("GPU-1", 0, "c", TOTAL, max(0, free), 86, "d", processes=tuple(shown))
        see_there(self.state, Reading(gpus=(card,)), {number: Owner(number) for number in used})

    def beat(self, _: int = 0) -> None:
        found = measured_there(self.state, "GPU-1")
        assert found is not None
        see(self.node, {"GPU-1": found}, phases(*(task for task, _ in self.running.values())))
        self.is_unsaid = False

    def take(self, gib: int) -> None:
        """Somebody else takes of what nobody has at this moment, or gives all back."""
        promised = sum(
            task.live.request.vram_bytes for task, _ in self.running.values() if task.live
        )
        self.is_unsaid = True
        self.outdated.update(task.id for task in self.sent)
        self.foreign = min(gib * GIB, max(0, TOTAL - promised))


@settings(max_examples=300)
@given(STEPS)
def test_no_task_is_taken_in_that_could_not_load_beside_what_was_seen(
    steps: list[tuple[str, int]],
) -> None:
    two = Two()
    for name, number in steps:
        if name == "foreign":
            two.take(number)
            two.read()
        else:
            getattr(two, name)(number)
        promised = sum(
            task.live.request.vram_bytes for task, _ in two.running.values() if task.live
        )
        assert promised + two.foreign <= TOTAL
