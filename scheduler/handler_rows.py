"""How a handler is shown: where it is declared, which nodes have it, and how it does on each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..protocol import messages as m
from ..protocol.capabilities import Handler
from ..protocol.errors import NotFound
from ..protocol.measures import UNKNOWN, Resident
from . import handler_orders
from .access import Principal
from .events import Now
from .fleet import Node
from .handler_orders import Declared
from .records import HandlerRow
from .seats import FAILED, LOADING, READY
from .view import View

if TYPE_CHECKING:
    from .core import Core

NODES_MAX = 10_000


def list_handlers(view: View, message: m.ListHandlers, _who: Principal, _now: Now) -> m.Page:
    """List handlers by name, each with all nodes that have it; raises NotFound for one by name."""
    core = view.core
    if message.node and message.node not in core.fleet.nodes:
        raise NotFound(f"there is no node {message.node}", field="node")
    having: dict[str, list[Node]] = {name: [] for name in core.handlers.declared}
    having |= {name: [] for name, _ in core.handlers.rows}
    for node in sorted(core.fleet.nodes.values(), key=lambda node: node.name):
        for name in node.handlers:
            having.setdefault(name, []).append(node)
    if message.name and message.name not in having:
        known = ", ".join(sorted(having)) or "none"
        raise NotFound(f"there is no handler {message.name} (known: {known})", field="name")
    rows = [
        _row(core, name, [node for node in nodes if message.node in ("", node.name)])
        for name, nodes in sorted(having.items())
        if message.name in ("", name)
    ]
    shown = [row for row in rows if row["nodes"] or not message.node]
    if message.name and not shown:
        raise NotFound(f"{message.node} has no handler {message.name}", field="node")
    return m.Page(shown, len(shown))


def _row(core: Core, name: str, nodes: list[Node]) -> dict[str, Any]:
    declared = core.handlers.declared.get(name)
    on = [_node_row(core, node, name, declared) for node in nodes[:NODES_MAX]]
    shown = declared.handler if declared else nodes[0].handlers[name] if nodes else Handler(name)
    everywhere = handler_orders.disabled_everywhere(core, name)
    sources = dict.fromkeys(["scheduler"] if declared else [])
    sources |= dict.fromkeys(each["declared"] for each in on)
    return {
        "name": name,
        "target": shown.target,
        "declared": list(sources),
        "selector": str(declared.selector) if declared else "",
        "models": list(dict.fromkeys(model for row in on for model in row["models"])),
        "vram_bytes": max((row["vram_bytes"] for row in on), default=shown.vram_bytes),
        "used_bytes": _sum(row["used_bytes"] for row in on),
        "running": sum(row["running"] for row in on),
        "queued": core.buckets.count_of(name),
        "calls": sum(row["calls"] for row in on),
        "called_ms": max((row["called_ms"] for row in on), default=0),
        "disabled": _disabled(everywhere),
        "nodes": on,
    }


def _node_row(core: Core, node: Node, name: str, declared: Declared | None) -> dict[str, Any]:
    handler, seats = node.handlers[name], node.seats
    residents = [each for each in seats.residents if each.handler == name]
    off = core.handlers.switched_off(name, node.name)
    order = core.handlers.rows.get((name, node.name))
    state, why = _state(core, node, handler, residents)
    used = node.handler_uses.get(name)
    is_own = handler.source != "scheduler"
    return {
        "node": node.name,
        "state": state,
        "why": why,
        "declared": "node" if is_own else "scheduler",
        "overrides": is_own and name in core.handlers.are_for(node) and declared is not None,
        "target": handler.target,
        "models": list(handler.models),
        "workers": handler.workers,
        "vram_bytes": handler.vram_bytes,
        "used_bytes": _sum(each.used_bytes for each in residents),
        "loaded": sum(each.state == READY for each in residents),
        "running": seats.calls_of(name),
        "calls": used.calls if used else 0,
        "called_ms": used.last_ms if used else 0,
        "verified": handler.verified,
        "disabled": _disabled(off),
        "reload": order.reload if order else 0,
        "reloaded": handler.reloaded,
        "residents": [_resident(seats.idle_ms(each), each) for each in residents],
    }


def _resident(idle_ms: int, each: Resident) -> dict[str, Any]:
    return {
        "model": each.model,
        "gpu_uuid": each.gpu_uuid,
        "state": each.state,
        "calls": each.calls,
        "idle_ms": idle_ms,
        "load_ms": each.load_ms,
        "vram_bytes": each.vram_bytes,
        "used_bytes": None if each.used_bytes == UNKNOWN else each.used_bytes,
        "error": each.error,
    }


def _state(core: Core, node: Node, handler: Handler, residents: list[Resident]) -> tuple[str, str]:
    """Say in a word how a handler does on a node, and why that is so where it takes no calls."""
    if node.lost or not node.connected:
        return "away", "is lost" if node.lost else "has not registered since the scheduler started"
    off = core.handlers.switched_off(handler.name, node.name)
    if off is not None:
        return "disabled", f"by {off.principal}: {off.reason}"
    if handler.refused:
        return "unavailable", handler.refused
    words = {each.state for each in residents}
    error = next((each.error for each in residents if each.state == FAILED), "")
    if READY in words:
        return ("busy" if node.seats.calls_of(handler.name) else "idle"), error
    if LOADING in words:
        return "loading", error
    return ("failed", error) if FAILED in words else ("cold", "")


def _disabled(row: HandlerRow | None) -> dict[str, Any]:
    if row is None:
        return {}
    return {"reason": row.reason, "by": row.principal, "since_ms": row.since_ms}


def _sum(measured: Iterable[int | None]) -> int | None:
    known = [each for each in measured if each is not None and each != UNKNOWN]
    return sum(known) if known else None
