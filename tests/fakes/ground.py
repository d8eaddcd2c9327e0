"""A fleet in a world: what Hypothesis drives, what must hold of it after each step, how it ends."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from remuda.protocol import capabilities as wire
from remuda.protocol import ids
from remuda.protocol import messages as m
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.task import TERMINAL, State

from .guarded_node import GuardedNode, Key, over_lent
from .handler_deeds import enable
from .world import GIB, World, gpu, mig

HANDLERS = ("draw", "repair")
OWNERS = ("ana", "bob")
FLEET = {
    "plain": wire.Capabilities(2_000, 8 * GIB, resources={"licence": 2}),
    "small": wire.Capabilities(2_000, 8 * GIB, [gpu(1, 8), gpu(2, 8)], labels={"zone": "a"}),
    "large": wire.Capabilities(
        4_000,
        64 * GIB,
        [gpu(3, 24), gpu(4, 80, "NVIDIA H100")],
        [
            wire.Handler("repair", workers=2, vram_bytes=2 * GIB, gpu_uuids=["GPU-3"], max_batch=3),
            wire.Handler("draw", ["a", "b", "c"], 3, 11 * GIB, on_demand=True),
        ],
        resources={"licence": 1, "slot": 3},
    ),
    "sliced": wire.Capabilities(2_000, 8 * GIB, [mig(5, 10), mig(6, 10), mig(7, 20)]),
}
SHAPES: list[dict[str, object]] = [
    {"cpus_milli": 1_000},
    {"cpus_milli": 500, "kind": "function", "target": "m:tiny", "argv": []},
    {"cpus_milli": 2_000, "memory_bytes": 6 * GIB},
    {"vram_bytes": 6 * GIB},
    {"vram_bytes": 40 * GIB, "cpus_milli": 500},
    {"gpus": 1},
    {"gpus": 2, "cpus_milli": 500},
    {"gpu_milli": 400, "cpus_milli": 0},
    {"gpus": 1, "gpu_type": "H100"},
    {"labels": {"zone": "a"}},
    {"nodes": ["plain", "large"]},
    {"kind": "handler", "target": "repair", "argv": [], "cpus_milli": 250},
    {"kind": "handler", "target": "draw", "argv": [], "cpus_milli": 250},
    {"kind": "handler", "target": "draw", "argv": [], "cpus_milli": 250, "model": "b"},
    {"kind": "handler", "target": "draw", "argv": [], "cpus_milli": 250, "model": "c"},
    {"exclusive": True, "cpus_milli": 500},
    {"exclusive": True, "vram_bytes": GIB, "nodes": ["small", "large"]},
    {"resources": {"licence": 1}, "cpus_milli": 0},
    {"resources": {"licence": 1, "slot": 2}, "kind": "function", "target": "m:f", "argv": []},
    {"gpus": 1, "gpu_type": "H100", "alternatives": [{"gpus": 2, "gpu_type": "L4"}, {}]},
    {
        "vram_bytes": 20 * GIB,
        "alternatives": [{"gpu_milli": 300}, {"resources": {"licence": 2}, "nodes": ["plain"]}],
    },
]
SETTINGS = CoreSettings(queued_max=60, queued_per_owner_max=40, grants_per_turn_max=4)

IN_MEMORY = Path("/dev/shm")
"""Where a commit need not wait for a disk: each of ten thousand does, and no power fails here."""
KIND_S = 400
"""Longer than any pause before another try, also of a clock that was set back at a restart."""


class Ground(RuleBasedStateMachine):
    """A world with three nodes, what must hold of it after each step, and how it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.world = self.make_world()
        self.nodes = {name: GuardedNode(name, FLEET[name], self.world) for name in FLEET}
        self.world.nodes = dict(self.nodes)
        self.stored: list[int] = []
        self.old_heartbeats: list[tuple[int, GuardedNode, m.Heartbeat]] = []

    def make_world(self) -> World:
        return World(self.folder / "state", SETTINGS)

    def teardown(self) -> None:
        try:
            self.finish_everything()
        finally:
            self.world.close()
            shutil.rmtree(self.folder)

    @initialize(
        known=st.permutations(list(FLEET)),
        shapes=st.lists(st.sampled_from(SHAPES), min_size=3, max_size=6),
    )
    def work_waits_for_nodes(self, known, shapes) -> None:
        for shape in shapes:
            self.store(2, shape)
        for name in known[:2]:
            self.world.join(self.nodes[name])

    def store(self, count: int, shape: dict[str, object], **fields: object) -> None:
        """Submit tasks and remember those that were taken in."""
        tasks = self.world.submit(
            count, allow_infeasible=True, backoff_first_ms=500, backoff_longest_ms=2_000,
            **{"retries": 1, **shape, **fields},
        )  # fmt: skip
        if tasks[0] in self.world.core.tasks:
            self.stored += tasks

    def pick_node(self, pick: int) -> GuardedNode:
        return list(self.nodes.values())[pick % len(self.nodes)]

    def pick_held(self, pick: int, *phases: m.Phase) -> tuple[GuardedNode, Key] | None:
        found = [
            (node, key)
            for node in self.nodes.values()
            for key, (_, phase) in node.held.items()
            if phase in phases
        ]
        return found[pick % len(found)] if found else None

    def refuse(self) -> None:
        """Say what the guards refused: something was not back yet."""
        for node in self.nodes.values():
            refused, node.refused = node.refused, []
            for (task, number), token in refused:
                said = m.Reject([ids.to_bytes(task)], [number], [token], ["no room"])
                self.world.says(node, said)

    @invariant()
    def guards_have_spoken(self) -> None:
        for node in self.nodes.values():
            node.settle()
            assert [] == over_lent(node), f"{node.name} lends too much"
        self.refuse()

    @invariant()
    def every_stored_task_is_somewhere(self) -> None:
        live, ended = self.world.core.tasks, self.world.chronicle.ended
        assert [] == [task for task in self.stored if (task in live) == (task in ended)]
        assert self.world.chronicle.ended == self.world.chronicle.told

    def finish_everything(self) -> None:
        """Let the world be kind for a while: every task then ends, and the journal agrees."""
        world = self.world
        for node in self.nodes.values():
            node.deaf = False
            world.join(node)
            world.undrain(node.name)
        for name in HANDLERS:
            enable(world, name)
        for _ in range(KIND_S):
            for node in self.nodes.values():
                self.refuse()
                for key, (_, phase) in list(node.held.items()):
                    if phase is not m.Phase.ENDED:
                        node.end(key, m.Outcome.SUCCEEDED, "")
                for said in list(node.unacked.values()):
                    world.says(node, said)
                world.heartbeat(node)
            world.later(1.0)
            if not world.core.tasks:
                break
        assert {} == world.core.tasks
        rows = world.journal.history.ended(self.stored)
        assert world.chronicle.ended == {task: State(row.state) for task, row in rows.items()}
        assert set(self.stored) == set(rows)
        assert {row.state for row in rows.values()} <= TERMINAL
        assert 0 == sum(node.cpus_used_milli for node in world.core.fleet.nodes.values())
