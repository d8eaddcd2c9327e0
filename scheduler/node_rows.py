"""How a node is shown: what it has, what of it is lent, and when it was last heard."""

from __future__ import annotations

from typing import Any

from ..protocol.measures import UNKNOWN, GpuMeasure
from ..protocol.nodes_said import by_text, in_short
from .events import Now
from .fleet import Card, Node
from .warm import handler_state

ALARMS_MAX = 100
ALARM_CHARS_MAX = 300
_NS_PER_MS = 1_000_000


def alarms(nodes: list[Node]) -> list[str]:
    """Return what nodes that are heard complain of, each complaint once."""
    found = by_text(
        (node.name, alarm[:ALARM_CHARS_MAX])
        for node in nodes
        if node.connected and not node.lost
        for alarm in node.capabilities.alarms
    )
    return [_alarm(text, names) for text, names in found.items()][:ALARMS_MAX]


def _alarm(text: str, names: list[str]) -> str:
    if len(names) == 1:
        return f"node {names[0]}: {text}"
    return f"{text} on {len(names):,} nodes: {in_short(names)}"


def node_row(node: Node, now: Now, suspect_after_s: float) -> dict[str, Any]:
    """Write a node as a document.

    `state` is ready, draining (tasks are left), drained, suspect, lost or unheard (since our
    start).
    """
    silent_ms = max(now.mono_ns - node.heard_ns, 0) // _NS_PER_MS
    known = node.capabilities
    return {
        "name": node.name,
        "state": state_of(node, silent_ms, suspect_after_s),
        "cpus_milli": known.cpus_milli,
        "cpus_used_milli": node.cpus_used_milli,
        "memory_bytes": known.memory_bytes,
        "memory_used_bytes": node.memory_used_bytes,
        "gpus": [card_row(card, node) for card in node.cards.values()],
        "handlers": [
            {
                "name": handler.name,
                **handler_state(node, handler),
                "models": list(handler.models),
                "workers": handler.workers,
                "calls": sum(
                    calls
                    for seat, calls in node.seats.calls.items()
                    if seat.handler == handler.name
                ),
            }
            for handler in known.handlers
        ],
        "labels": dict(known.labels),
        "resources": [
            {"name": name, "count": count, "used": node.resources_used[name]}
            for name, count in sorted(known.resources.items())
        ],
        "exclusive": bool(node.exclusives),
        "pythons": dict(known.pythons),
        "secrets": list(known.secrets),
        "running": len(node.held) - len(node.backlog),
        "backlog": len(node.backlog),
        "boot_id": node.boot_id,
        "seen_ms": now.wall_ms - silent_ms if node.connected else node.seen_ms * node.lost,
        "drain": _drain(node),
        "protocol": node.protocol,
        "hostname": known.hostname,
        "version": known.version,
        "notes": list(known.notes),
        "probe_age_ms": node.probe_age_ms,
        "loop_lag_ms": node.loop_lag_ms,
    }


def state_of(node: Node, silent_ms: float, suspect_after_s: float) -> str:
    """Return the state of a node, as `node_row` has it."""
    if node.lost:
        return "lost"
    if not node.connected:
        return "unheard"
    if node.suspect or silent_ms > suspect_after_s * 1000:
        return "suspect"
    if node.drain is not None:
        return "draining" if node.held else "drained"
    return "ready"


def _drain(node: Node) -> dict[str, Any]:
    drain = node.drain
    if drain is None:
        return {}
    return {"reason": drain.reason, "since_ms": drain.since_ms, "due_ms": drain.due_ms}


def card_row(card: Card, node: Node) -> dict[str, Any]:
    """Write a card of a node as a document; what was not measured is None.

    `health` is `healthy`, `faulty` (its node states why in `faults`), `cordoned` or `withheld`
    (its node does not lend it for now); `why` says more in each case but the first.
    """
    gpu = card.gpu
    measure = node.measures.get(gpu.uuid, GpuMeasure())
    residents = [each for each in node.seats.residents if each.gpu_uuid == gpu.uuid]
    return {
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory_bytes": gpu.memory_bytes,
        "used_bytes": lent_bytes(card),
        "free_bytes": node.gpu_free_bytes.get(gpu.uuid, gpu.free_bytes),
        "share_milli_used": card.share_milli,
        "cc": gpu.cc,
        "index": gpu.index,
        "mig": gpu.mig,
        "parent": gpu.parent,
        "driver": gpu.driver,
        "ours_bytes": _known(measure.ours_bytes),
        "foreign_bytes": _known(measure.foreign_bytes),
        "foreign": measure.foreign,
        "strangers": measure.strangers,
        "temperature_c": _known(measure.temperature_c),
        "utilisation_percent": _known(measure.utilisation_percent),
        "power_w": _known(measure.power_w),
        "running": sum(gpu.uuid in task.live.gpus for task in node.held.values() if task.live),
        "models": [
            {"handler": each.handler, "model": each.model, "vram_bytes": each.vram_bytes,
             "state": each.state}
            for each in residents
        ],
        "health": health_of(card),
        "why": card.cordoned or "; ".join(gpu.faults) or gpu.withheld,
        "faults": list(gpu.faults),
    }  # fmt: skip


def _known(measured: int) -> int | None:
    return None if measured == UNKNOWN else measured


def lent_bytes(card: Card) -> int:
    """Return what of a card's memory is lent, or held by models."""
    share_bytes = card.gpu.memory_bytes * min(card.share_milli, 1000) // 1000
    return max(card.vram_bytes, share_bytes) + card.resident_bytes


def health_of(card: Card) -> str:
    """Return `healthy`, or what is wrong with a card (see `card_row`)."""
    if card.gpu.faults:
        return "faulty"
    if card.cordoned:
        return "cordoned"
    return "withheld" if card.gpu.withheld else "healthy"
