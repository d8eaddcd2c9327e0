"""What a move of a task entails: its record, its place in the ledger, the news for watchers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.codec import pack_document, unpack_document
from ..protocol.errors import MalformedFrame
from ..protocol.failures import FailureClass
from . import limits, needs, recovery
from .events import Now
from .placement import could_run
from .records import AttemptEnded, Change, Effects, TaskMoved, TaskResult
from .retry import Placement, Verdict, is_past_expiry, judge, pause_ns, spent_text
from .task import Attempt, Fact, State, StopReason, Task, move

if TYPE_CHECKING:
    from .core import Core

AVOIDED_MAX = 16
POISON = "poison"
RESTORED = "restored"


def advance(core: Core, task: Task, fact: Fact) -> None:
    """Move a task along the table and keep the counts."""
    before = task.state
    core.counts[before] -= 1
    move(task, fact)
    core.counts[task.state] += 1
    if task.batch:
        core.batches.move(task, before)


def close_attempt(
    core: Core,
    task: Task,
    outcome: str,
    now: Now,
    effects: Effects,
    *,
    code: str = "",
    message: str = "",
    run_us: int = 0,
) -> Attempt:
    """End the live attempt: record how, give back what it held."""
    attempt = task.live
    assert attempt is not None
    effects.commit.ended.append(
        AttemptEnded(
            task.id,
            attempt.number,
            attempt.node,
            outcome,
            code,
            message,
            now.wall_ms,
            run_us,
            attempt.vram_peak_bytes,
            attempt.batch_calls,
        )
    )
    node = core.fleet.nodes[attempt.node]
    node.remove(task, attempt)
    core.fleet.changed(node)
    task.live = None
    task.stop, task.grace_ms = StopReason.NONE, -1
    return attempt


def finish(
    core: Core,
    task: Task,
    fact: Fact,
    now: Now,
    effects: Effects,
    *,
    code: str = "",
    value: bytes = b"",
    details: bytes = b"",
    node: str = "",
    objects: bytes = b"",
) -> None:
    """Bring a task to its end and forget it: from here on the journal speaks for it."""
    advance(core, task, fact)
    core.counts[task.state] -= 1
    effects.commit.results.append(
        TaskResult(task.id, task.state, code, value, details, now.wall_ms, objects)
    )
    effects.commit.moved.pop(task.id, None)
    effects.changes.append(_change(task, code, node, value, details))
    recovery.settle(core, task, effects)
    del core.tasks[task.id]
    if task.batch:
        core.batches.end(task, now.wall_ms)
    core.black_holes.excused.pop(task.id, None)
    core.open_by_owner[task.spec.owner] -= 1
    if not core.open_by_owner[task.spec.owner]:
        del core.open_by_owner[task.spec.owner]


def requeue(core: Core, task: Task, now: Now, effects: Effects, outcome: str, reason: str) -> None:
    """Put a task back through no fault of its own.

    One that was to be stopped is gone now, and one that has no other try ends.
    """
    if task.state is State.STOPPING:
        gone(core, task, now, effects, outcome=outcome, message=reason)
        return
    attempt = close_attempt(core, task, outcome, now, effects, message=reason)
    if _was_only_try(core, task, attempt, now, effects, reason):
        return
    _queue_again(core, task, now, effects, outcome)
    if is_past_expiry(task):
        record_position(task, effects)


def _was_only_try(
    core: Core,
    task: Task,
    attempt: Attempt,
    now: Now,
    effects: Effects,
    reason: str,
    details: bytes = b"",
) -> bool:
    """End a task that would be tried again and cannot be; tell whether it was such a one."""
    why = task.spec.policy.only_try
    if not why:
        return False
    text = f"{reason}; it was adopted after a restore and cannot be tried again: {why}"
    said = error_document(RESTORED, text, details)
    finish(
        core, task, Fact.FAIL, now, effects, code=RESTORED, details=said, node=attempt.node
    )  # fmt: skip
    return True


def _queue_again(core: Core, task: Task, now: Now, effects: Effects, code: str) -> None:
    advance(core, task, Fact.REQUEUE)
    limits.watch_wait(core, task, now)
    core.buckets.put(task, front=True)
    tell(task, effects, code=code)


def gone(
    core: Core,
    task: Task,
    now: Now,
    effects: Effects,
    *,
    outcome: str = "killed",
    message: str = "",
    details: bytes = b"",
    run_us: int = 0,
) -> None:
    """Go on from the proof that a stopped task is gone, as the reason of the stop says."""
    reason = task.stop
    if reason is StopReason.START_TIMEOUT:
        text = f"it did not start within {task.spec.policy.start_timeout_ms / 1000:g} s"
        said = error_document(reason.word, text, details)
        settle_failure(
            core, task, now, effects, code=reason.word, message=text, details=said, run_us=run_us
        )
        return
    why = message or _STOPPED[reason]
    attempt = close_attempt(core, task, outcome, now, effects, message=why, run_us=run_us)
    if reason is StopReason.DRAIN:
        if _was_only_try(core, task, attempt, now, effects, why, details):
            return
        _queue_again(core, task, now, effects, "drain")
        record_position(task, effects)
    elif reason is StopReason.DEADLINE:
        said = error_document(reason.word, _OVER[reason.word], details)
        finish(
            core, task, Fact.FAIL, now, effects,
            code=reason.word, details=said, node=attempt.node,
        )  # fmt: skip
    else:
        finish(
            core, task, Fact.GONE, now, effects,
            code="cancelled", details=details, node=attempt.node,
        )  # fmt: skip


_STOPPED = {
    StopReason.CANCELLED: "cancelled",
    StopReason.DRAIN: "its node was drained, and the deadline of that passed",
    StopReason.DEADLINE: "its deadline passed",
}
_OVER = {
    "deadline": "its deadline passed before it was done",
    "expired": "it waited in the queue for longer than it was to",
}


def fail_for_time(core: Core, task: Task, now: Now, effects: Effects, code: str) -> None:
    """End a task whose time is over and that no node holds."""
    details = error_document(code, _OVER[code])
    finish(core, task, Fact.EXPIRE, now, effects, code=code, details=details)


def error_document(code: str, message: str, details: bytes = b"") -> bytes:
    """Write the details of a failure that we know of, with what a node said of its end."""
    try:
        said = unpack_document(details) if details else {}
    except MalformedFrame:
        said = {}
    return pack_document({**said, "code": code, "message": message})


def settle_failure(
    core: Core,
    task: Task,
    now: Now,
    effects: Effects,
    *,
    code: str,
    message: str,
    details: bytes = b"",
    run_us: int = 0,
    outcome: str = "failed",
    began: bool = True,
    objects: bytes = b"",
) -> None:
    """Charge a failed try to its budget, then wait for the next one or end the task.

    One that had not begun on a lost node is charged nothing.
    """
    attempt = close_attempt(
        core, task, outcome, now, effects, code=code, message=message, run_us=run_us
    )
    verdict = judge(core.settings.policies, task, code, charge=began)
    if verdict.kind is FailureClass.GPU_MEMORY:
        needs.note_oom(core, task, attempt, now, effects.commit.learned)
    if verdict.again and _was_only_try(
        core, task, attempt, now, effects, f"{code}: {message}", details
    ):
        return
    if not verdict.again or not _place_again(core, task, attempt, verdict):
        if verdict.kind is FailureClass.NODE_LOST and task.spec.policy.if_node_lost != "fail":
            code, message = POISON, f"{verdict.tries} of its nodes were lost: {message}"
            details = objects = b""
        finish(
            core, task, Fact.FAIL, now, effects,
            code=code, details=details or error_document(code, message), node=attempt.node,
            objects=objects,
        )  # fmt: skip
        return
    wait_ns = pause_ns(task.spec.policy, verdict, core.chance)
    if not wait_ns:
        _queue_again(core, task, now, effects, code)
        record_position(task, effects)
        return
    advance(core, task, Fact.RETRY)
    core.wait_until(task, now.mono_ns + wait_ns)
    record_position(task, effects, due_ms=now.wall_ms + wait_ns // 1_000_000)
    tell(task, effects, code=code)


def excuse(
    core: Core, task: Task, now: Now, effects: Effects, *, code: str, message: str, run_us: int
) -> None:
    """Queue a task again that failed where others do as well: that is charged to nothing."""
    assert task.live is not None
    text = f"{message}; {task.live.node} is suspected: tried elsewhere, charged to nothing"
    close_attempt(core, task, "failed", now, effects, code=code, message=text, run_us=run_us)
    _queue_again(core, task, now, effects, code)
    record_position(task, effects)


def _place_again(core: Core, task: Task, attempt: Attempt, verdict: Verdict) -> bool:
    """Draw the consequence for the next placement; False when there is no place for it."""
    placement = verdict.row.placement
    if placement is Placement.ANY:
        return True
    if placement is Placement.LARGER:
        more = needs.larger(task.spec, verdict.kind, attempt, core.fleet, core.needs)
        if more is not None:
            task.spec = more
            return True
    known = [name for name in task.avoid if name != attempt.node]
    task.avoid = (*known, attempt.node)[-AVOIDED_MAX:]
    if placement is Placement.ONLY_ELSEWHERE:
        return could_run(core.fleet, task.spec.request, avoid=task.avoid)
    return True


def lose(core: Core, task: Task, now: Now, effects: Effects, reason: str, *, is_sure: bool) -> bool:
    """Settle the attempt of a node that was given up; tell whether it was settled.

    `is_sure`: nothing of it runs there any more. Without that a cancelled task keeps waiting for
    its proof, and a fenced one for the time at which its node has surely stopped it.
    """
    attempt = task.live
    assert attempt is not None
    if not is_sure and (task.stop is StopReason.CANCELLED or waits_for_fence(task)):
        return False
    if task.state is State.STOPPING and task.stop is not StopReason.DRAIN:
        gone(core, task, now, effects, outcome="lost", message=reason)
        return True
    began = attempt.accepted and not attempt.prefetched
    settle_failure(
        core, task, now, effects,
        code="node_lost", message=reason, outcome="lost", began=began,
    )  # fmt: skip
    return True


def waits_for_fence(task: Task) -> bool:
    """Tell whether another try may follow, which begins only once the last one surely stopped."""
    return task.spec.policy.if_node_lost == "fence" and task.stop not in (
        StopReason.CANCELLED,
        StopReason.DEADLINE,
    )


def record_position(task: Task, effects: Effects, *, due_ms: int = 0) -> None:
    """Journal where a task stands (WAITING, QUEUED or STOPPING)."""
    memory_bytes, vram_bytes, _ = task.spec.raised
    effects.commit.moved[task.id] = TaskMoved(
        task.id,
        task.state,
        task.charged,
        due_ms,
        task.grace_ms,
        " ".join(task.avoid),
        task.stop,
        spent_text(task),
        memory_bytes,
        vram_bytes,
    )


def tell(task: Task, effects: Effects, *, code: str = "", details: bytes = b"") -> None:
    """Let watchers know where a live task stands."""
    node = task.live.node if task.live else ""
    effects.changes.append(_change(task, code, node, b"", details))


def _change(task: Task, code: str, node: str, value: bytes, details: bytes) -> Change:
    return Change(
        task.session, task.id, task.state, code, task.attempt, node, value, details,
        task.spec.owner, task.batch,
    )  # fmt: skip
