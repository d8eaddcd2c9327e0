"""Why a task is where it is: an honest answer from the core's own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..protocol.failures import BUDGET_WORDS, FailureClass, class_of
from ..protocol.resources import Request, describe_request, format_bytes
from . import evictions, handler_orders, kept_rows, warmth
from .events import Now
from .explain_held import WORDS_FOR_HELD
from .feasible import may_ever
from .fleet import Node
from .learned import RUNS_MIN
from .placement import avoided, could_run, nowhere, refusals_now
from .recovery import is_doubtful
from .retry import budget, is_own, used, waits_for_another
from .spans import span
from .task import NOT_RAISED, State, Task

if TYPE_CHECKING:
    from .core import Core

NODES_MAX = 200
QUEUE_SCAN_MAX = 50_000
NODES_IN_REASON = 2


def explain(core: Core, task_id: int, now: Now, failed_of: str = "") -> dict[str, Any]:
    """Return state, reason, what is waited for and what each node says; empty when unknown.

    `position` counts the queued tasks ahead by priority and age, -1 where that is not counted.
    `failed_of` is the code of the newest try that failed: the journal knows it, the core does not.
    """
    task = core.tasks.get(task_id)
    if task is None:
        return {}
    policy = task.spec.policy
    answer: dict[str, Any] = {
        "state": task.state.word,
        "request": describe_request(task.spec.request),
        "attempt": task.attempt,
        "node": task.live.node if task.live else "",
        "nodes": [],
        "position": -1,
        "deadline_ms": policy.deadline_ms,
    }
    if task.spec.request.learned:
        answer["sized"] = _sized(core, task.spec.request.learned)
    if policy.expires_ms and not task.has_begun and task.live is None:
        answer["expiry_ms"] = task.created_ms + policy.expires_ms
    if task.spec.raised != NOT_RAISED:
        answer["raised"] = True
    if is_doubtful(core, task):
        return answer | {
            "reason": "nobody knows what became of it since the backup: nothing is concluded of it "
            "before `remuda recovery rerun` or `remuda recovery fail`",
            "waits_for": "a decision",
        }
    if task.state is State.WAITING:
        return answer | _waiting(core, task, now, failed_of)
    if task.state is State.QUEUED:
        return answer | _queued(core, task, now)
    return answer | WORDS_FOR_HELD[task.state](core, task, now)


def _sized(core: Core, key: str) -> str:
    """Say what a task that asks for what its kind was seen to need is given."""
    measured, reserved = core.learned.measured(key), core.learned.reservation(key)
    if reserved is None:
        return f"a whole GPU: {measured} of {RUNS_MIN} runs of its kind are measured"
    return f"{format_bytes(reserved)}, by {measured} measured runs of its kind"


def _waiting(core: Core, task: Task, now: Now, failed_of: str) -> dict[str, Any]:
    left_ms = max(task.due_ns - now.mono_ns, 0) // 1_000_000
    failed = f"try {task.attempt} failed" + (f" ({failed_of})" if failed_of else "")
    return {
        "reason": f"{failed}; the next one starts in {span(left_ms / 1000)}"
        + (f", {_budget_text(core, task, failed_of)}" if failed_of else ""),
        "waits_for": "backoff",
        "next_try_ms": now.wall_ms + left_ms,
    }


def _budget_text(core: Core, task: Task, code: str) -> str:
    """Say which of how many retries comes next, and what they are for."""
    policies, kind = core.settings.policies, class_of(code)
    count, most = used(policies, task, kind), budget(policies, task.spec.policy, kind)
    what = BUDGET_WORDS[FailureClass.TASK if is_own(policies, kind) else kind]
    return f"retry {count} of {most} after {what}"


def _queued(core: Core, task: Task, now: Now) -> dict[str, Any]:
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
    refusals = _refusals(core, task, request)
    reason, waits_for = _why_queued(core, request, refusals)
    if waits := handler_orders.explain(core, request):
        reason, waits_for = waits, "its handler"
    elif kept := kept_rows.explain(core, task, now):
        reason, waits_for = kept, "its reservation"
    elif waits := evictions.explain(core, task):
        reason, waits_for = waits, "room"
    elif waits := warmth.explain(core, task, now):
        reason, waits_for = waits, "a warm worker"
    answer = {
        "reason": reason,
        "waits_for": waits_for,
        "nodes": [
            {"node": name, "fits": not why, "reason": why}
            for name, why in sorted(refusals.items())[:NODES_MAX]
        ],
        "position": _position(core, task),
    }
    if request.others:
        answer["options"] = [_option(core, task, each) for each in core.options.of(request)]
    return answer


def _option(core: Core, task: Task, option: Request) -> dict[str, Any]:
    """Say of one of the things that will do for a task why it cannot be had now."""
    refusals = _refusals(core, task, option)
    return {
        "request": describe_request(option),
        "fits": not all(refusals.values()),
        "reason": _why_queued(core, option, refusals)[0],
    }


def _refusals(core: Core, task: Task, request: Request) -> dict[str, str]:
    """Return what each node says now; one that failed the task is passed over for others."""
    passed_over = avoided(core.fleet, request, task.avoid)
    why = "failed it before, and another node may take it"
    waits = waits_for_another(core.settings.policies, task)
    if not passed_over and waits and could_run(core.fleet, request, avoid=task.avoid):
        passed_over, why = task.avoid, "failed it before, and would again"
    refusals = dict(refusals_now(core.fleet, core.options.of(request)))
    for name in core.reservations.on:
        if not refusals.get(name, "unknown"):
            refusals[name] = kept_rows.why_not(core, core.fleet.nodes[name], task)
    for name in passed_over:
        if not refusals.get(name, "unknown"):
            refusals[name] = why
    return refusals


def _why_queued(core: Core, request: Request, refusals: dict[str, str]) -> tuple[str, str]:
    able = [node for node in core.fleet.nodes.values() if not may_ever(node, request)]
    if not able:
        why = nowhere(core.fleet, request)
        return why or "no known node could ever run it", "a_fitting_node"
    if not all(refusals.values()):
        return "it is about to be placed", "its turn"
    working = [node for node in able if node.takes_work]
    shown = _in_short(working or able, refusals)
    if working:
        return f"no node has room now: {shown}", "resources"
    return f"no node that could run it takes work: {shown}", "a_working_node"


def _in_short(nodes: list[Node], refusals: dict[str, str]) -> str:
    names = sorted(node.name for node in nodes)
    more = len(names) - NODES_IN_REASON
    texts = [f"{name} {refusals[name]}" for name in names[:NODES_IN_REASON]]
    return "; ".join([*texts, f"and {more} more"] if more > 0 else texts)


def _position(core: Core, task: Task) -> int:
    if core.counts[State.QUEUED] > QUEUE_SCAN_MAX:
        return -1
    rank = (-task.spec.policy.priority, task.number)
    return sum(
        (-other.spec.policy.priority, other.number) < rank
        for other in core.tasks.values()
        if other.state is State.QUEUED
    )
