"""I6 and I7: is a cancelled task gone, and does everything come to an end?"""

from __future__ import annotations

from collections.abc import Iterator

from remuda.scheduler.task import TERMINAL, State

from .history import History
from .journal import Records
from .of_tasks import name_of


def cancelled_is_gone(history: History, records: Records) -> Iterator[str]:
    """I6: an acknowledged cancel ends in CANCELLED, and that means that the attempt is gone."""
    for task, cancel in history.cancels.items():
        stored = records.tasks.get(task)
        is_over = stored is not None and stored.state in TERMINAL - {State.CANCELLED}
        if stored is not None and is_over and task not in history.forgotten:
            yield f"I6 {name_of(task)} is {stored.state.word} after the cancel at {cancel.at_ns}"
    for run in history.runs:
        stored = records.tasks.get(run.task)
        if stored is None or stored.state is not State.CANCELLED or run.node in history.liars:
            continue
        if run.task in history.forgotten:
            continue
        tried = history.commits.tried.get((run.task, run.attempt))
        if tried is None or tried.outcome == "lost" or not tried.outcome:
            continue
        is_last = run.attempt == max(attempt.number for attempt in stored.attempts)
        if is_last and run.end_ns > tried.ended_ns:
            yield f"I6 {name_of(run.task)} was told to be gone, and runs on {run.node}"


def all_ends(history: History, records: Records) -> Iterator[str]:
    """I7: after the faults every task ends, every process too, and clients know."""
    if not history.is_settled:
        return
    for task, stored in records.tasks.items():
        if stored.state not in TERMINAL:
            yield f"I7 {name_of(task)} is still {stored.state.word}"
    for task in sorted(history.acknowledged & (records.tasks.keys() | history.forgotten)):
        if not history.ends.get(task):
            yield f"I7 nobody was told how {name_of(task)} ended"
    for (owner, _), frame in history.frames.items():
        if not frame.refused and not frame.answered:
            yield f"I7 a submission of {owner} was never answered"
    for run in history.runs:
        if run.is_alive:
            yield f"I7 {name_of(run.task)} still runs on {run.node}"
