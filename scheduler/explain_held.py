"""Why a task that a node holds is where it is, and what follows when the node is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .events import Now
from .fleet import Node
from .life import waits_for_fence
from .silence import reconcile_left_ns
from .spans import span
from .task import State, StopReason, Task

if TYPE_CHECKING:
    from .core import Core

NS_PER_S = 1_000_000_000
STORING = "store: "
"""How the progress of an attempt begins whose outputs its node stores."""
_LOSS = {
    "rerun": "it runs elsewhere",
    "fence": "it runs elsewhere, for the node has surely stopped it then",
    "fail": "it fails, as it is to",
}
_STOPS = {
    StopReason.CANCELLED: ("cancel was asked", ""),
    StopReason.DRAIN: ("its node is drained, past the deadline", "; then it runs elsewhere"),
    StopReason.DEADLINE: ("its deadline has passed", "; then it fails"),
    StopReason.START_TIMEOUT: ("it did not start in time", "; that counts as a failed try"),
}
_FUSE = "many nodes fell silent at once, so nobody is given up before they are heard"


def _assigned(core: Core, task: Task, now: Now) -> dict[str, Any]:
    assert task.live is not None
    where = task.live.node
    if away := _away(core, task, now):
        return {"reason": f"it was given to {where}, {away}", "waits_for": "the node"}
    if task.live.prefetched:
        return {"reason": f"it waits for a free slot on {where}", "waits_for": "a slot"}
    if task.live.accepted:
        preparing = task.live.progress_text
        doing = f"prepares it: {preparing}" if preparing else "is starting it"
        reason = f"{where} has taken it and {doing}"
        return {"reason": reason, "waits_for": "its start", "doing": preparing}
    return {"reason": f"it was offered to {where}", "waits_for": "the node's answer"}


def _running(core: Core, task: Task, now: Now) -> dict[str, Any]:
    assert task.live is not None
    node = core.fleet.nodes[task.live.node]
    if away := _away(core, task, now):
        return {"reason": f"it ran on {node.name}, {away}", "waits_for": "the node"}
    reason = f"it runs on {node.name}, try {task.attempt}"
    if task.live.progress_text.startswith(STORING):
        how_far = task.live.progress_text.removeprefix(STORING)
        reason = f"it ended on {node.name}, and its outputs are being stored: {how_far}"
        return {"reason": reason, "waits_for": "the store", "doing": how_far}
    if task.live.progress_milli >= 0:
        reason += f", {task.live.progress_milli / 10:g}% {task.live.progress_text}".rstrip()
    if node.drain and node.drain.due_ms:
        left_s = max(node.drain.due_ms - now.wall_ms, 0) / 1000
        reason += f"; the node is drained: unless it ends it moves on in {span(left_s)}"
    return {"reason": reason, "waits_for": ""}


def _stopping(core: Core, task: Task, now: Now) -> dict[str, Any]:
    assert task.live is not None
    node = core.fleet.nodes[task.live.node]
    why, then = _STOPS[task.stop]
    reason = f"{why}; waiting for proof that it is gone from {node.name}"
    answer = {"waits_for": "the end of its processes", "stop": task.stop.word}
    if not _is_silent(node):
        return answer | {"reason": f"{reason}{then}"}
    reason += f", {_not_heard(node, now)}"
    by_hand = f"`remuda node lost {node.name}` if that is off"
    if task.stop is StopReason.CANCELLED:
        reason += f": the proof comes when it is back, or with {by_hand}"
    elif core.fuse_names:
        reason += f"; {_FUSE}, or with {by_hand}"
    else:
        reason += f": it is given up in {span(_given_up_in_s(core, task, now))}, or with {by_hand}"
    return answer | {"reason": reason, "waits_for": "the node"}


def _away(core: Core, task: Task, now: Now) -> str:
    """Say that a node is not heard, and when its task moves; nothing when it is well."""
    assert task.live is not None
    node = core.fleet.nodes[task.live.node]
    if not _is_silent(node):
        return ""
    by_hand = f"at once with `remuda node lost {node.name}` if that is off"
    if core.fuse_names:
        return f"{_not_heard(node, now)}; {_FUSE}, or {by_hand}"
    left = span(_given_up_in_s(core, task, now))
    what = _LOSS[task.spec.policy.if_node_lost]
    moves = f"{_not_heard(node, now)}; in {left} {what}"
    return f"{moves}; {by_hand}" if node.suspect or node.lost else moves


def _given_up_in_s(core: Core, task: Task, now: Now) -> float:
    """Return when the task is settled if its node stays silent."""
    assert task.live is not None
    node, settings = core.fleet.nodes[task.live.node], core.settings
    silent_ns = now.mono_ns - node.heard_ns
    left_ns = settings.replace_after_ns if waits_for_fence(task) else settings.lost_after_ns
    left_ns -= silent_ns
    if not node.lost:
        left_ns = max(left_ns, reconcile_left_ns(core, now))
    return max(left_ns, 0) / NS_PER_S


def _is_silent(node: Node) -> bool:
    return node.lost or node.suspect or not node.connected


def _not_heard(node: Node, now: Now) -> str:
    """Write a silent node's silence; one that did not come back after a start says so."""
    silent = span((now.mono_ns - node.heard_ns) / NS_PER_S)
    return f"which was not heard for {silent}" + ("" if node.connected else ", since our start")


WORDS_FOR_HELD: dict[State, Callable[[Core, Task, Now], dict[str, Any]]] = {
    State.ASSIGNED: _assigned,
    State.RUNNING: _running,
    State.STOPPING: _stopping,
}
