"""Rows as a turn commits them, for tests that speak to the journal alone."""

from __future__ import annotations

from remuda.protocol.codec import pack_document
from remuda.protocol.spec import TaskSpec, to_document
from remuda.scheduler.records import (
    AttemptEnded,
    AttemptGranted,
    AuditRow,
    Commit,
    SpecRow,
    SubmissionRow,
    TaskResult,
    TaskRow,
)
from remuda.scheduler.task import State

DAY_MS = 24 * 3_600_000


def submission(
    first: int,
    members: int = 1,
    *,
    owner: str = "ana",
    created_ms: int = 1_000,
    batch: int = 0,
    batch_key: bytes = b"",
    offset: int = 0,
    once: str = "",
    name: str = "true",
    **spec: object,
) -> Commit:
    """Return the turn that stores a frame; ids equal numbers, one spec per frame."""
    body = pack_document(to_document(TaskSpec(kind="command", argv=["true"], **spec)))  # type: ignore[arg-type]  # fields by name
    key = first.to_bytes(16, "big")
    row = SubmissionRow(owner, key, batch, batch_key, offset, first, members, created_ms)
    tasks = [
        TaskRow(n, n, batch, first, owner, name, b"s" * 16, b"%d" % n, once, 0, created_ms)
        for n in range(first, first + members)
    ]
    audit = [AuditRow(created_ms, owner, "submit", f"{members} tasks from {first}")]
    return Commit(submissions=[row], specs=[SpecRow(first, body)], tasks=tasks, audit=audit)


def granted(task: int, number: int = 1, node: str = "n1", *gpus: str) -> Commit:
    return Commit(granted=[AttemptGranted(task, number, node, 1, gpus, 2_000)])


def ended(
    task: int,
    state: State = State.SUCCEEDED,
    *,
    number: int = 1,
    node: str = "n1",
    ended_ms: int = 3_000,
    value: bytes = b"",
) -> Commit:
    """Return the turn in which a task's attempt ends and the task with it."""
    code = "" if state is State.SUCCEEDED else "exit_code"
    how = {State.SUCCEEDED: "succeeded", State.FAILED: "failed"}.get(state, "killed")
    return Commit(
        ended=[AttemptEnded(task, number, node, how, code, "", ended_ms, 5)],
        results=[TaskResult(task, state, code, value, b"", ended_ms)],
    )
