"""What a move of a task entails: its record, its place in the ledger, the news for watchers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import Now
from .records import AttemptEnded, Change, Effects, TaskMoved, TaskResult
from .retry import backoff_ns, may_retry
from .task import Attempt, Fact, State, Task, move

if TYPE_CHECKING:
    from .core import Core


def advance(core: Core, task: Task, fact: Fact) -> None:
    """Move a task along the table and keep the counts."""
    core.counts[task.state] -= 1
    move(task, fact)
    core.counts[task.state] += 1


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
            task.id, attempt.number, attempt.node, outcome, code, message, now.wall_ms, run_us
        )
    )
    core.fleet.nodes[attempt.node].remove(task, attempt)
    core.fleet.revision += 1
    task.live = None
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
) -> None:
    """Bring a task to its end and forget it: from here on the journal speaks for it."""
    advance(core, task, fact)
    core.counts[task.state] -= 1
    effects.commit.results.append(
        TaskResult(task.id, task.state, code, value, details, now.wall_ms)
    )
    effects.commit.moved.pop(task.id, None)
    effects.changes.append(
        Change(task.session, task.id, task.state, code, task.attempt, node, value, details)
    )
    del core.tasks[task.id]
    core.open_by_owner[task.spec.owner] -= 1
    if not core.open_by_owner[task.spec.owner]:
        del core.open_by_owner[task.spec.owner]


def requeue(core: Core, task: Task, now: Now, effects: Effects, outcome: str, reason: str) -> None:
    """Put a task back through no fault of its own; one that was being stopped is gone now."""
    attempt = close_attempt(core, task, outcome, now, effects, message=reason)
    if task.state is State.STOPPING:
        finish(core, task, Fact.GONE, now, effects, code="cancelled", node=attempt.node)
        return
    advance(core, task, Fact.REQUEUE)
    core.buckets.put(task, front=True)
    tell(task, effects, code=outcome)


def settle_failure(
    core: Core,
    task: Task,
    now: Now,
    effects: Effects,
    *,
    code: str,
    message: str,
    details: bytes,
    run_us: int,
) -> None:
    """Charge a failed try, then wait for the next one or end the task."""
    attempt = close_attempt(
        core, task, "failed", now, effects, code=code, message=message, run_us=run_us
    )
    task.charged += 1
    if not may_retry(task.spec.policy, task.charged, code):
        finish(core, task, Fact.FAIL, now, effects, code=code, details=details, node=attempt.node)
        return
    advance(core, task, Fact.RETRY)
    task.avoid = attempt.node
    wait_ns = backoff_ns(task.spec.policy, task.charged, core.chance)
    core.wait_until(task, now.mono_ns + wait_ns)
    record_position(task, effects, due_ms=now.wall_ms + wait_ns // 1_000_000)
    tell(task, effects, code=code)


def record_position(task: Task, effects: Effects, *, due_ms: int = 0) -> None:
    """Journal where a task stands (WAITING, QUEUED or STOPPING)."""
    effects.commit.moved[task.id] = TaskMoved(
        task.id, task.state, task.charged, due_ms, task.grace_ms, task.avoid
    )


def tell(task: Task, effects: Effects, *, code: str = "", details: bytes = b"") -> None:
    """Let watchers know where a live task stands."""
    node = task.live.node if task.live else ""
    effects.changes.append(
        Change(task.session, task.id, task.state, code, task.attempt, node, b"", details)
    )
