"""What can be asked of a scheduler: one plain function for each request, without futures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..protocol import ids
from ..protocol.messages import (
    AllowKey,
    Cancel,
    Cancelled,
    DeclareLost,
    Document,
    Done,
    Drain,
    Explain,
    ForgetNode,
    Invite,
    ListBatches,
    ListKeys,
    ListNodes,
    ListTasks,
    Logs,
    Output,
    Page,
    Resolve,
    Resolved,
    Retry,
    RevokeKey,
    ShowBatch,
    ShowTask,
    Status,
    Submitted,
    Undrain,
)
from .connection import Connection
from .watching import states as states
from .watching import wait_ended as wait_ended

CANCEL_SLICE = 10_000
FAILURES_MAX = 10
OUTPUT_BYTES = 256 * 1024
LAST, LAST_BATCH = "last", "last-batch"
"""The newest submission, which may be a single task; and the newest batch."""
GRACE_OF_TASK = -1


def resolve(link: Connection, refs: Sequence[str]) -> Resolved:
    """Turn what a user typed into ids; raises NotFound for what means nothing.

    `tasks` are the single tasks meant; `batches` has an id for each ref that named a whole batch,
    and nothing for the others.
    """
    return link.request(Resolve(list(refs)), Resolved)


def find_batch(link: Connection, ref: str) -> bytes:
    """Return the batch that is meant, where `last` is the newest one; empty: it is none."""
    found = resolve(link, [LAST_BATCH if ref == LAST else ref])
    return next(iter(found.batches), b"")


def list_tasks(
    link: Connection,
    *,
    active: bool = False,
    states: Sequence[str] = (),
    owner: str = "",
    node: str = "",
    name: str = "",
    batch: bytes = b"",
    tags: Mapping[str, str] | None = None,
    limit: int = 100,
    cursor: str = "",
) -> Page:
    """List tasks, newest first; `cursor` is that of the page before."""
    wanted: dict[str, Any] = {
        "active": active,
        "states": list(states),
        "owner": owner,
        "node": node,
        "name": name,
        "batch": batch,
        "tags": dict(tags or {}),
    }
    filters = {key: value for key, value in wanted.items() if value}
    return link.request(ListTasks(filters, limit, cursor), Page)


def show_task(link: Connection, task: bytes) -> dict[str, Any]:
    """Return all that is known of a task, with every attempt."""
    return link.request(ShowTask(task), Document).body


def explain(link: Connection, task: bytes) -> dict[str, Any]:
    """Return why a task is where it is."""
    return link.request(Explain(task), Document).body


def show_batch(link: Connection, batch: bytes) -> dict[str, Any]:
    """Return how far a batch is: counts by state, rate, first failures.

    The scheduler counts what ended long ago in slices, so that others are served in between.
    """
    body = link.request(ShowBatch(batch), Document).body
    counts = Counter(body.get("counts", {}))
    start = body.get("next", 0)
    while start:
        more = link.request(ShowBatch(batch, start), Document).body
        counts.update(more["counts"])
        body["failures"] += more["failures"]
        start = more["next"]
    return {**body, "counts": dict(counts), "failures": body.get("failures", [])[:FAILURES_MAX]}


def batch_total(link: Connection, batch: bytes) -> int:
    """Return how many members a batch has."""
    return int(link.request(ShowBatch(batch), Document).body["total"])


def list_batches(
    link: Connection, *, active: bool = False, owner: str = "", limit: int = 100, cursor: str = ""
) -> Page:
    """List batches, newest first, like `show_batch` but without failures.

    `cursor` is that of the page before. What the scheduler did not count is counted here.
    """
    page = link.request(ListBatches(active, owner, limit, cursor), Page)
    for row in page.rows:
        if "counts" not in row:
            row["counts"] = show_batch(link, row["id"])["counts"]
    return page


def list_nodes(link: Connection, name: str = "") -> list[dict[str, Any]]:
    """List the nodes, or the one of that name."""
    return link.request(ListNodes(name), Page).rows


def drain(link: Connection, node: str, *, reason: str = "", deadline_s: float | None = None) -> str:
    """Give a node no new work; return what was done.

    What is left there after `deadline_s` (None: it may end there) is stopped and queued again.
    """
    deadline_ms = 0 if deadline_s is None else max(1, round(deadline_s * 1000))
    return link.request(Drain(node, reason, deadline_ms), Done).message


def undrain(link: Connection, node: str) -> str:
    """Give a node work again; return what was done."""
    return link.request(Undrain(node), Done).message


def declare_lost(link: Connection, node: str) -> str:
    """Move the tasks of a node that somebody saw to be off; return what was done.

    Raises Conflict for a node that is heard.
    """
    return link.request(DeclareLost(node), Done).message


def forget_node(link: Connection, node: str) -> str:
    """Strike a node from the list and move what it held; return what was done.

    Raises Conflict for a node that is heard. It may register again.
    """
    return link.request(ForgetNode(node), Done).message


def status(link: Connection, *, timeout_s: float | None = None) -> dict[str, Any]:
    """Return the cluster's name, version, epoch and counts."""
    return link.request(Status(), Document, timeout_s=timeout_s).body


def list_keys(link: Connection) -> list[dict[str, Any]]:
    """List the keys that were admitted or withdrawn."""
    return link.request(ListKeys(), Page).rows


def allow_key(link: Connection, name: str, role: str, public_key: str) -> str:
    """Admit a public key; return what was done."""
    return link.request(AllowKey(name, role, public_key), Done).message


def invite(
    link: Connection, name: str, role: str, public_key: str, valid_s: float
) -> dict[str, Any]:
    """Let whoever has the secret half of a one-time key enrol; return what was noted."""
    question = Invite(name, role, public_key, round(valid_s * 1000))
    return link.request(question, Document).body


def revoke_key(link: Connection, name: str) -> str:
    """Withdraw a key; return what was done."""
    return link.request(RevokeKey(name), Done).message


def cancel(
    link: Connection,
    tasks: Sequence[bytes] = (),
    batches: Sequence[bytes] = (),
    *,
    grace_s: float | None = None,
) -> list[tuple[bytes, str]]:
    """Cancel tasks and whole batches; return each task with its verdict (see `Cancelled`).

    A large batch is cancelled in slices, so that others are served in between.
    """
    grace_ms = GRACE_OF_TASK if grace_s is None else round(grace_s * 1000)
    named, whole = list(tasks), []
    for batch in batches:
        total = batch_total(link, batch)
        if total <= CANCEL_SLICE:
            whole.append(batch)
        else:
            first = ids.from_bytes(batch)
            named += [ids.to_bytes(ids.member(first, index)) for index in range(total)]
    verdicts: list[tuple[bytes, str]] = []
    for start in range(0, max(len(named), 1), CANCEL_SLICE):
        message = Cancel(named[start : start + CANCEL_SLICE], [] if start else whole, grace_ms)
        answer = link.request(message, Cancelled)
        verdicts += zip(answer.tasks, answer.verdicts, strict=True)
    return verdicts


def retry(
    link: Connection,
    tasks: Sequence[bytes] = (),
    batches: Sequence[bytes] = (),
    *,
    failed_only: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Submitted:
    """Submit copies of ended tasks; `changes` are fields of a TaskSpec."""
    message = Retry(
        submit_key=os.urandom(16),
        session=os.urandom(16),
        tasks=list(tasks),
        batches=list(batches),
        failed_only=failed_only,
        changes=dict(changes or {}),
    )
    return link.request(message, Submitted)


def read_output(
    link: Connection,
    task: bytes,
    *,
    stream: str = "out",
    offset: int = 0,
    attempt: int = 0,
    bytes_max: int = OUTPUT_BYTES,
) -> Output:
    """Read a piece of what an attempt (0: the newest) printed, from `offset` on."""
    return link.request(Logs(task, attempt, stream, offset, bytes_max), Output)
