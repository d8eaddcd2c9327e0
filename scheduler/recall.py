"""How work that was sent ahead is taken back: for a free node, or for more urgent work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import ids
from ..protocol.messages import TAKEN_BACK, Kill
from .events import Now
from .feasible import may_ever
from .fleet import Node
from .records import Effects, ToNode
from .task import Task
from .vacancy import refusal_now

if TYPE_CHECKING:
    from .core import Core

RECALL_AFTER_NS = 250_000_000


def take_back(core: Core, now: Now, effects: Effects) -> None:
    """Ask nodes for what waits in their queues while another node has room, or while a task of
    higher priority waits for such a node.

    Looks at most every `RECALL_AFTER_NS`; takes the youngest first, no more than fit elsewhere.
    """
    if now.mono_ns < core.recall_due_ns:
        return
    core.recall_due_ns = now.mono_ns + RECALL_AFTER_NS
    held_up = [node for node in core.fleet.nodes.values() if node.backlog and node.connected]
    if not held_up:
        return
    urgent = core.buckets.most_urgent()
    for node in held_up:
        waiting = _waiting_long(node, now)
        if not waiting:
            continue
        if urgent is not None and not may_ever(node, urgent.spec.request):
            lower = [task for task in waiting if _priority(task) < _priority(urgent)]
            if lower:
                _recall(node, lower, effects)
                continue
        room = sum(
            _room(other, waiting[0]) for other in core.fleet.nodes.values() if other is not node
        )
        room -= sum(bool(task.live and task.live.recalled) for task in node.backlog.values())
        if room > 0:
            _recall(node, waiting[:room], effects)


def _priority(task: Task) -> int:
    return task.spec.policy.priority


def _waiting_long(node: Node, now: Now) -> list[Task]:
    """Return the queued tasks of a node, youngest first, that it has had for a while."""
    return [
        task
        for task in reversed(node.backlog.values())
        if task.live
        and not task.live.recalled
        and not task.spec.policy.only_try
        and now.mono_ns - task.live.offered_ns >= RECALL_AFTER_NS
    ]


def _room(node: Node, task: Task) -> int:
    """Count how many tasks of this request a node could start now."""
    request = task.spec.request
    if refusal_now(node, request):
        return 0
    free_milli = node.capabilities.cpus_milli - node.cpus_used_milli
    slots = free_milli // max(request.cpus_milli, 1)
    return min(slots, node.free_workers(request)) if request.handler else slots


def _recall(node: Node, tasks: list[Task], effects: Effects) -> None:
    for task in tasks:
        assert task.live is not None
        task.live.recalled = True
    effects.to_nodes.append(
        ToNode(
            node.name,
            Kill(
                incarnation=node.incarnation,
                tasks=[ids.to_bytes(task.id) for task in tasks],
                attempts=[task.attempt for task in tasks],
                grace_ms=[-1] * len(tasks),
                reasons=[TAKEN_BACK] * len(tasks),
            ),
        )
    )
