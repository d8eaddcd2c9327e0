"""How are nodes and their GPUs written as rows of metrics? Those of a dead node are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..protocol.measures import UNKNOWN, GpuMeasure
from .events import Now
from .fleet import Card, Node
from .metrics_table import Rows
from .node_rows import health_of, lent_bytes, state_of

HEARD = frozenset({"ready", "draining", "drained", "suspect"})
_MS, _NS = 1e3, 1e9


def fleet_rows(nodes: Iterable[Node], now: Now, suspect_after_s: float) -> dict[str, Rows]:
    """Write nodes as rows by family (see `metrics_table.py`); each tells its own state once."""
    rows: dict[str, Rows] = defaultdict(list)
    for node in nodes:
        silent_s = max(now.mono_ns - node.heard_ns, 0) / _NS
        state = state_of(node, silent_s * _MS, suspect_after_s)
        rows["nodes"].append([[state], 1])
        rows["node_up"].append([[node.name], int(state in HEARD)])
        if state in HEARD:
            _alive(node, silent_s, rows)
    return dict(rows)


def _alive(node: Node, silent_s: float, rows: dict[str, Rows]) -> None:
    name, known = node.name, node.capabilities
    waiting = len(node.backlog)
    rows["node_tasks"] += [
        [[name, "running"], len(node.held) - waiting],
        [[name, "ahead"], waiting],
    ]
    rows["node_cpus"] += [
        [[name, "total"], known.cpus_milli / 1000],
        [[name, "lent"], node.cpus_used_milli / 1000],
    ]
    rows["node_memory_bytes"] += [
        [[name, "total"], known.memory_bytes],
        [[name, "lent"], node.memory_used_bytes],
    ]
    rows["node_heartbeat_age_seconds"].append([[name], silent_s])
    rows["node_probe_age_seconds"].append([[name], node.probe_age_ms / _MS])
    for card in node.cards.values():
        _card(node, card, rows)


def _card(node: Node, card: Card, rows: dict[str, Rows]) -> None:
    gpu = card.gpu
    labels = [node.name, gpu.uuid]
    measure = node.measures.get(gpu.uuid, GpuMeasure())
    rows["gpu_info"].append([[*labels, gpu.name, str(gpu.index)], 1])
    rows["gpu_health"].append([[*labels, health_of(card)], 1])
    memory = {
        "total": gpu.memory_bytes,
        "lent": lent_bytes(card),
        "free": node.gpu_free_bytes.get(gpu.uuid, gpu.free_bytes),
        "ours": measure.ours_bytes,
        "foreign": measure.foreign_bytes,
    }
    rows["gpu_memory_bytes"] += [
        [[*labels, part], size] for part, size in memory.items() if size != UNKNOWN
    ]
    for family, value, unit in (
        ("gpu_temperature_celsius", measure.temperature_c, 1),
        ("gpu_utilisation_ratio", measure.utilisation_percent, 100),
        ("gpu_power_watts", measure.power_w, 1),
    ):
        if value != UNKNOWN:
            rows[family].append([labels, value / unit])
