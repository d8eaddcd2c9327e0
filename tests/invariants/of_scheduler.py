"""I5 and I8 to I10: epochs, counts and bounds, the cache, and who changed what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from remuda.protocol.failures import class_of
from remuda.protocol.ids import from_bytes
from remuda.scheduler.retry import OWN
from remuda.scheduler.task import State

from .history import History
from .journal import Attempt, Records, Stored
from .of_tasks import name_of

SUBMITTERS = frozenset({"submit", "operator", "admin"})
FREE = "charged to nothing"
OPERATORS = frozenset({"operator", "admin"})
MAY = {
    "submit": SUBMITTERS,
    "cancel": SUBMITTERS,
    "register": frozenset({"node"}),
    **dict.fromkeys(("node drain", "node undrain", "node lost", "node forget"), OPERATORS),
}
"""Which roles may make the changes that the audit names; other verbs are not judged here."""


def epochs_grow(history: History, records: Records) -> Iterator[str]:
    """I5: each start has a higher epoch, and no agent goes back to a lower one."""
    for earlier, later in pairwise(history.epochs):
        if later <= earlier:
            yield f"I5 epoch {later} came after {earlier}"
    if history.epochs and history.epochs[-1] != records.epoch:
        yield f"I5 epoch {history.epochs[-1]} runs, {records.epoch} is stored"
    for agent, epochs in history.obeyed.items():
        if epochs != sorted(epochs):
            yield f"I5 {agent} obeyed epochs {epochs}"


def counts_conserve(history: History, records: Records) -> Iterator[str]:
    """I8: every task comes from one frame; retries, backoffs and credits keep their bounds."""
    numbers = Counter(stored.number for stored in records.tasks.values() if stored.number)
    for number, count in numbers.items():
        if count > 1:
            yield f"I8 {count} tasks have the number {number}"
    if history.frames:
        members = sum(row.members for row in records.submissions)
        if members != len(records.tasks):
            yield f"I8 {members} tasks were submitted, {len(records.tasks)} are stored"
    for task, stored in records.tasks.items():
        yield from (f"I8 {name_of(task)} {what}" for what in _overdrawn(history, task, stored))
    for task, drawn_ms, longest_ms in history.waits:
        if not 0 <= drawn_ms <= longest_ms:
            yield f"I8 {name_of(task)} waits {drawn_ms} ms, the bound is {longest_ms}"
    for ahead, allowed in history.credits:
        if not 0 <= ahead <= allowed:
            yield f"I8 {ahead} tasks were sent ahead, {allowed} are allowed"


def _overdrawn(history: History, task: bytes, stored: Stored) -> Iterator[str]:
    """Say which budget a task overdrew: its own retries, or those of a class of failures.

    Tries that a black hole had cost were given back.
    """
    kinds = [
        class_of(each.code)
        for each in stored.attempts
        if each.outcome == "failed" and not _is_free(each)
    ]
    failed = sum(kind in OWN for kind in kinds) - history.commits.refunds[from_bytes(task)]
    if 0 <= stored.retries < failed - 1:
        yield f"failed {failed} times with {stored.retries} retries"
    for kind, count in Counter(kinds).items():
        allowed = history.budgets.get(kind.value)
        if kind not in OWN and allowed is not None and count > allowed + 1:
            yield f"failed {count} times of {kind.value}, {allowed} retries are allowed"


def _is_free(attempt: Attempt) -> bool:
    """Tell whether a try failed where others do as well, so that it is charged to nothing."""
    return attempt.message.endswith(FREE)


def cache_follows(history: History) -> Iterator[str]:
    """I9: no reader of the cache saw what the database did not have, and both agree at rest."""
    for read in history.cache_reads:
        if read.cache_rev > read.database_rev:
            yield f"I9 the cache showed {read.cache_rev}, the database had {read.database_rev}"
    rest = history.cache_at_rest
    if rest is not None and rest.cache_rev != rest.database_rev:
        yield f"I9 at rest the cache has {rest.cache_rev}, the database {rest.database_rev}"


def changes_have_authors(history: History, records: Records) -> Iterator[str]:
    """I10: the audit is whole and names who submitted and cancelled; only submitted work ran."""
    if records.broken_link is not None:
        yield f"I10 row {records.broken_link} of the audit was altered"
    submitted = Counter(
        (row.principal, row.subject) for row in records.audit if row.verb in ("submit", "retry")
    )
    for frame in records.submissions:
        subject = f"{frame.members} tasks from {frame.first_number}"
        if not submitted[frame.owner, subject] and frame.submit_key not in history.forgotten:
            yield f"I10 nobody answers for {subject} of {frame.owner}"
    cancels = sum(row.verb == "cancel" for row in records.audit)
    if not cancels and any(s.state is State.CANCELLED for s in records.tasks.values()):
        yield "I10 tasks are cancelled, and nobody asked for it"
    for row in records.audit:
        role = history.principals.get(row.principal)
        if history.principals and role not in MAY.get(row.verb, frozenset({role})):
            yield f"I10 {row.principal} ({role}) made the change {row.verb} {row.subject}"
    for run in history.runs:
        if run.task not in records.tasks and run.task not in history.forgotten:
            yield f"I10 {name_of(run.task)} ran on {run.node} and was never submitted"
