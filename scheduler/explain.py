"""Why a task is where it is: an honest answer from the core's own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..protocol.resources import describe_request
from .events import Now
from .placement import may_ever, refusals_now
from .task import State, Task

if TYPE_CHECKING:
    from .core import Core

NODES_MAX = 200
QUEUE_SCAN_MAX = 50_000


def explain(core: Core, task_id: int, now: Now) -> dict[str, Any]:
    """Return state, reason, what is waited for and what each node says; empty when unknown.

    `position` counts the queued tasks ahead by priority and age, -1 where that is not counted.
    """
    task = core.tasks.get(task_id)
    if task is None:
        return {}
    answer: dict[str, Any] = {
        "state": task.state.word,
        "request": describe_request(task.spec.request),
        "attempt": task.attempt,
        "node": task.live.node if task.live else "",
        "nodes": [],
        "position": -1,
    }
    answer.update(_EXPLAIN[task.state](core, task, now))
    return answer


def _waiting(_core: Core, task: Task, now: Now) -> dict[str, Any]:
    left_ms = max(task.due_ns - now.mono_ns, 0) // 1_000_000
    tries_left = task.spec.policy.retries - task.charged + 1
    return {
        "reason": f"try {task.attempt} failed; the next one starts in {left_ms / 1000:.1f} s "
        f"({tries_left} left)",
        "waits_for": "backoff",
        "next_try_ms": now.wall_ms + left_ms,
    }


def _queued(core: Core, task: Task, _now: Now) -> dict[str, Any]:
    if core.holds:
        why = "; ".join(core.holds)
        return {
            "reason": f"the scheduler holds: {why}",
            "waits_for": "the scheduler",
            "position": _position(core, task),
        }
    if not core.fleet.nodes:
        return {
            "reason": "no node has registered yet: start one with `remuda-node`",
            "waits_for": "no_node_yet",
        }
    request = task.spec.request
    refusals = dict(refusals_now(core.fleet, request))
    nodes = [
        {"node": name, "fits": not why, "reason": why}
        for name, why in sorted(refusals.items())[:NODES_MAX]
    ]
    able = [name for name, node in core.fleet.nodes.items() if not may_ever(node, request)]
    if not able:
        reason, waits_for = "no known node could ever run it", "a_fitting_node"
    elif all(refusals.values()):
        shown = "; ".join(f"{name} {refusals[name]}" for name in sorted(able)[:2])
        reason, waits_for = f"no node has room now: {shown}", "resources"
    else:
        reason, waits_for = "it is about to be placed", "its turn"
    return {
        "reason": reason,
        "waits_for": waits_for,
        "nodes": nodes,
        "position": _position(core, task),
    }


def _position(core: Core, task: Task) -> int:
    if core.counts[State.QUEUED] > QUEUE_SCAN_MAX:
        return -1
    rank = (-task.spec.policy.priority, task.number)
    return sum(
        (-other.spec.policy.priority, other.number) < rank
        for other in core.tasks.values()
        if other.state is State.QUEUED
    )


def _assigned(core: Core, task: Task, now: Now) -> dict[str, Any]:
    assert task.live is not None
    where = task.live.node
    if away := _away(core, where, now):
        return {"reason": f"it was given to {where}, {away}", "waits_for": "the node"}
    if task.live.prefetched:
        return {"reason": f"it waits for a free slot on {where}", "waits_for": "a slot"}
    if task.live.accepted:
        return {"reason": f"{where} has taken it and is starting it", "waits_for": "its start"}
    return {"reason": f"it was offered to {where}", "waits_for": "the node's answer"}


def _away(core: Core, name: str, now: Now) -> str:
    """Say that a node is not heard, and when its tasks move; nothing when it is well."""
    node = core.fleet.nodes[name]
    if node.connected and not node.suspect and not node.lost:
        return ""
    silent_s = (now.mono_ns - node.heard_ns) // 1_000_000_000
    left_s = core.settings.lost_after_ns // 1_000_000_000 - silent_s
    return f"which was not heard for {silent_s} s; in {max(left_s, 0)} s it runs elsewhere"


def _running(core: Core, task: Task, now: Now) -> dict[str, Any]:
    assert task.live is not None
    if away := _away(core, task.live.node, now):
        return {"reason": f"it ran on {task.live.node}, {away}", "waits_for": "the node"}
    reason = f"it runs on {task.live.node}, try {task.attempt}"
    if task.live.progress_milli >= 0:
        reason += f", {task.live.progress_milli / 10:g}% {task.live.progress_text}".rstrip()
    return {"reason": reason, "waits_for": ""}


def _stopping(core: Core, task: Task, _now: Now) -> dict[str, Any]:
    assert task.live is not None
    node = core.fleet.nodes[task.live.node]
    away = "" if node.connected and not node.lost else f"; {node.name} cannot be reached"
    return {
        "reason": f"cancel was asked; waiting for proof that it is gone from {node.name}{away}",
        "waits_for": "the end of its processes",
    }


_EXPLAIN = {
    State.WAITING: _waiting,
    State.QUEUED: _queued,
    State.ASSIGNED: _assigned,
    State.RUNNING: _running,
    State.STOPPING: _stopping,
}
