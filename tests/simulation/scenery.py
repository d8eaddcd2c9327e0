"""What every run is played on: the fleet, the shapes of tasks, who may do what, the timers."""

from __future__ import annotations

from remuda.protocol import capabilities as wire
from remuda.protocol.failures import FailureClass
from remuda.scheduler.access import Role
from remuda.scheduler.black_holes import Rules
from remuda.scheduler.core import CoreSettings
from remuda.scheduler.retry import PACKAGED, ClassPolicy, Placement

from ..fakes.world import GIB, gpu
from . import byzantine
from .agenda import SECOND

HANDLER = "draw"
HANDLER_NODE = "gamma"
NODES = {
    "alpha": wire.Capabilities(2_000, 8 * GIB, labels={"zone": "a"}, resources={"licence": 2}),
    "beta": wire.Capabilities(2_000, 8 * GIB, [gpu(1, 8), gpu(2, 8)], labels={"zone": "a"}),
    "gamma": wire.Capabilities(
        4_000,
        64 * GIB,
        [gpu(3, 24), gpu(4, 80, "NVIDIA H100")],
        [wire.Handler(HANDLER, ["a", "b", "c"], 2, 11 * GIB, "cold", on_demand=True, max_batch=2)],
        resources={"licence": 1},
    ),
}
CARDS = tuple(card.uuid for known in NODES.values() for card in known.gpus)
EXCUSES_MAX = len(NODES) + len(CARDS)
"""So often a task may be tried elsewhere for nothing: once for each place that may be bad."""
CLIENTS = ("ana", "bob")
OPERATOR = "olga"
INTRUDER = "eve"
ROLES = {
    **dict.fromkeys(NODES, Role.NODE),
    byzantine.NAME: Role.NODE,
    **dict.fromkeys(CLIENTS, Role.SUBMIT),
    OPERATOR: Role.OPERATOR,
    INTRUDER: Role.VIEWER,
}
CALL: dict[str, object] = {"kind": "handler", "target": HANDLER, "argv": [], "cpus_milli": 250}
FUNCTION: dict[str, object] = {"kind": "function", "target": "m:tiny", "argv": []}
SHAPES: tuple[dict[str, object], ...] = (
    {"cpus_milli": 1_000},
    {"cpus_milli": 500, **FUNCTION},
    {"cpus_milli": 1_000, **FUNCTION, "target": "m:other"},
    {"cpus_milli": 2_000, "memory_bytes": 6 * GIB},
    {"vram_bytes": 6 * GIB},
    {"vram_bytes": 40 * GIB, "cpus_milli": 500},
    {"gpus": 1},
    {"gpus": 1, **FUNCTION},
    {"gpus": 2, "cpus_milli": 500},
    {"gpu_milli": 400, "cpus_milli": 0},
    {"labels": {"zone": "a"}},
    {"nodes": ["alpha", "gamma"]},
    {"resources": {"licence": 1}, "cpus_milli": 250},
    {"resources": {"licence": 1}, "cpus_milli": 250, **FUNCTION},
    {**CALL, "model": "a"},
    {**CALL, "model": "b"},
    {**CALL, "model": "c"},
    {"exclusive": True, "cpus_milli": 500},
    {"gpus": 1, "gpu_type": "H100", "alternatives": [{"vram_bytes": 5 * GIB}, {"cpus_milli": 500}]},
)
PRESSING: tuple[dict[str, object], ...] = (
    {"gpus": 2, "cpus_milli": 250},
    {"vram_bytes": 70 * GIB, "cpus_milli": 250},
    {"vram_bytes": 20 * GIB, "cpus_milli": 250},
)
RUN_MS_MAX = 30_000
GRACE_MS = 2_000
BACKOFF_MS = (500, 2_000)
LEASE_S = 10
SUSPECT_AFTER_S = 4
LOST_AFTER_S = 8
RECONCILE_S = 15
WARM_WAIT_S = 3
FENCE_S, REPLACE_AFTER_S, DRIFT_S = 9, 13, 1
_POLICIES = {
    kind: ClassPolicy(row.retries, *BACKOFF_MS, row.placement) if row.retries else row
    for kind, row in PACKAGED.items()
}
SETTINGS = CoreSettings(
    suspect_after_ns=SUSPECT_AFTER_S * SECOND,
    lost_after_ns=LOST_AFTER_S * SECOND,
    reconcile_ns=RECONCILE_S * SECOND,
    fence_ms=FENCE_S * 1_000,
    replace_after_ns=REPLACE_AFTER_S * SECOND,
    clock_drift_ms=DRIFT_S * 1_000,
    fuse_nodes_min=len(NODES),
    lease_ms=LEASE_S * 1_000,
    policies={**_POLICIES, FailureClass.NODE_LOST: ClassPolicy(2, 0, 0, Placement.ELSEWHERE)},
    warm_wait_ns=WARM_WAIT_S * SECOND,
    queued_max=60,
    queued_per_owner_max=40,
    grants_per_turn_max=4,
    black_holes=Rules(after=2, hold_ns=6 * SECOND, hold_ns_max=12 * SECOND),
)
BUDGETS = {kind.value: row.retries for kind, row in SETTINGS.policies.items() if row.retries}
STALL_S = REPLACE_AFTER_S + 2 * LEASE_S + BACKOFF_MS[1] // 1_000
"""I7: after the last fault nothing is open for so long without that something runs."""
WORK_S_MAX = 3_600
