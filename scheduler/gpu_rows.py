"""How a GPU is shown: what it has, who uses it, how it does, and why it gets no work."""

from __future__ import annotations

from typing import Any

from ..protocol import messages as m
from . import cordons, kept_rows
from .access import Principal
from .events import Now
from .fleet import Card, Node
from .node_rows import card_row
from .records import CordonRow
from .task import Task
from .view import View, id_bytes, may_see, owner_of

TASKS_MAX = 100
GPUS_MAX = 10_000


def list_gpus(view: View, message: m.ListGpus, principal: Principal, now: Now) -> m.Page:
    """List GPUs with the tasks and models on them, by node and index."""
    core = view.core
    nodes = core.fleet.nodes
    wanted = ""
    if message.gpu:
        wanted, node = cordons.find(core, message.gpu)
        chosen = [node]
    else:
        chosen = [nodes[name] for name in sorted(nodes) if message.node in ("", name)]
    rows = []
    for node in chosen:
        for card in sorted(node.cards.values(), key=lambda card: (card.gpu.index, card.gpu.uuid)):
            if wanted in ("", card.gpu.uuid, card.gpu.parent):
                row = _gpu_row(core.cordons, card, node, principal)
                row["reserved"] = kept_rows.of_card(core, node.name, card.gpu.uuid, now)
                rows.append(row)
    return m.Page(rows[:GPUS_MAX], len(rows))


def _gpu_row(
    known: dict[str, CordonRow], card: Card, node: Node, principal: Principal
) -> dict[str, Any]:
    uuid = card.gpu.uuid
    row = known.get(uuid) or known.get(card.gpu.parent)
    held = [task for task in node.held.values() if task.live and uuid in task.live.gpus]
    mine = [task for task in held if may_see(owner_of(task), principal)]
    return {
        "node": node.name,
        **card_row(card, node),
        "tasks": [_task_row(task, uuid) for task in mine[:TASKS_MAX]],
        "cordoned_by": (row.principal or "health") if row else "",
        "cordoned_ms": row.since_ms if row else 0,
    }


def _task_row(task: Task, uuid: str) -> dict[str, Any]:
    assert task.live is not None
    charge = next((charge for charge in task.live.charges if charge[0] == uuid), (uuid, 0, 0))
    return {
        "id": id_bytes(task.id),
        "number": task.number,
        "state": task.state.word,
        "vram_bytes": charge[2],
    }
