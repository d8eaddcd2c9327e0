"""How are places shown that are kept for waiting tasks?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..protocol.ids import to_bytes
from .events import Now
from .fleet import Node
from .reservations import Asker, Reservation, bars
from .spans import span
from .task import Task

if TYPE_CHECKING:
    from .core import Core

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


def rows(core: Core, now: Now) -> list[dict[str, Any]]:
    """Return all places that are kept, the longest kept first."""
    kept = sorted(core.reservations.of.values(), key=lambda each: (each.since_ms, each.task))
    return [_row(core, each, now) for each in kept]


def of_node(core: Core, name: str, now: Now) -> list[dict[str, Any]]:
    return [_row(core, each, now) for each in core.reservations.on.get(name, ())]


def of_card(core: Core, name: str, uuid: str, now: Now) -> list[dict[str, Any]]:
    kept = core.reservations.on.get(name, ())
    return [_row(core, each, now) for each in kept if uuid in each.cards]


def _row(core: Core, kept: Reservation, now: Now) -> dict[str, Any]:
    """Write a place as a document; `start_ms` is when it will be free, 0 where nobody knows."""
    node, task = core.fleet.nodes[kept.node], core.tasks[kept.task]
    start_ms = 0
    if kept.start_ns is not None:
        start_ms = now.wall_ms + max(kept.start_ns - now.mono_ns, 0) // _NS_PER_MS
    return {
        "task": to_bytes(kept.task),
        "number": task.number,
        "node": kept.node,
        "gpus": list(kept.cards),
        "indexes": [node.cards[uuid].gpu.index for uuid in kept.cards if uuid in node.cards],
        "since_ms": kept.since_ms,
        "start_ms": start_ms,
        "after": len(kept.blockers),
    }


def explain(core: Core, task: Task, now: Now) -> str:
    """Say which place is kept for a task and when it will be free; empty when none is."""
    kept = core.reservations.of.get(task.id)
    if kept is None or kept.node not in core.fleet.nodes:
        return ""
    return f"reserved on {_place(core, kept)}, {_when(kept, now)}"


def why_not(core: Core, node: Node, task: Task) -> str:
    """Say for which task a node that has room keeps it from another; empty when it does not."""
    asker = Asker(core, task)
    barring = [each for each in core.reservations.on.get(node.name, ()) if bars(each, asker)]
    if not barring:
        return ""
    kept = barring[0]
    return f"keeps {_what(core, kept)} for task {core.tasks[kept.task].number}, which comes first"


def _what(core: Core, kept: Reservation) -> str:
    cards = core.fleet.nodes[kept.node].cards
    if kept.request.exclusive:
        return "all of itself"
    indexes = [str(cards[uuid].gpu.index) for uuid in kept.cards if uuid in cards]
    if not indexes:
        return "room"
    return f"GPU {indexes[0]}" if len(indexes) == 1 else f"GPUs {', '.join(indexes)}"


def _place(core: Core, kept: Reservation) -> str:
    what = _what(core, kept) if kept.cards and not kept.request.exclusive else ""
    return f"{kept.node} {what}".rstrip()


def _when(kept: Reservation, now: Now) -> str:
    if not kept.blockers:
        return "free now"
    left = "1 task" if len(kept.blockers) == 1 else f"{len(kept.blockers)} tasks"
    if kept.start_ns is None:
        return f"free once {left} there {'has' if len(kept.blockers) == 1 else 'have'} ended"
    return f"free in about {span(max(kept.start_ns - now.mono_ns, 0) / _NS_PER_S)}"
