"""I1 to I3: is everything stored, does it end once, and under its newest attempt?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from remuda.protocol.ids import format_id, from_bytes
from remuda.scheduler.task import TERMINAL, State

from .history import History
from .journal import Records, Stored


def name_of(task: bytes) -> str:
    """Name a task as people do."""
    return format_id(from_bytes(task))


def acknowledged_is_stored(history: History, records: Records) -> Iterator[str]:
    """I1: nothing acknowledged is lost, nothing is there that nobody asked for."""
    for task in sorted(history.acknowledged - history.forgotten - records.tasks.keys()):
        yield f"I1 {name_of(task)} was acknowledged and is not stored"
    if not history.frames:
        return
    for row in records.submissions:
        if row.submit_key in history.forgotten:
            continue  # its task was adopted: nothing else is known of its frame
        frame = history.frames.get((row.owner, row.submit_key))
        if frame is None:
            yield f"I1 task {row.first_number} of {row.owner} was stored and never submitted"
        elif frame.refused:
            yield f"I1 task {row.first_number} of {row.owner} was refused and is stored"
        elif frame.members != row.members:
            yield f"I1 a frame of {frame.members} tasks was stored as {row.members}"


def one_success(history: History, records: Records) -> Iterator[str]:
    """I2: one accepted success at most, and an end stays what it was told to be."""
    for task, stored in records.tasks.items():
        for what in _contradictions(stored):
            yield f"I2 {name_of(task)} {what}"
        said = [] if task in history.forgotten else history.ends.get(task, [])
        for what in _of_ends(said, stored):
            yield f"I2 {name_of(task)} {what}"


def _contradictions(stored: Stored) -> Iterator[str]:
    won = [attempt for attempt in stored.attempts if attempt.outcome == "succeeded"]
    if len(won) > 1:
        yield f"has {len(won)} accepted successes"
    if bool(won) != (stored.state is State.SUCCEEDED):
        yield f"is {stored.state.word} with {len(won)} accepted successes"
    if stored.has_result and stored.state not in TERMINAL:
        yield f"has a result and is {stored.state.word}"


def _of_ends(ends: list[str], stored: Stored) -> Iterator[str]:
    if len(set(ends)) > 1:
        yield f"was told to have ended as {sorted(set(ends))}"
    for end in sorted(set(ends) - {stored.state.word}):
        yield f"was told to be {end} and is stored as {stored.state.word}"


def attempts_grow(records: Records) -> Iterator[str]:
    """I3: attempts and their epochs only grow, the last one wins, one lives at a time."""
    for task, stored in records.tasks.items():
        for what in _disorder(stored):
            yield f"I3 {name_of(task)} {what}"


def _disorder(stored: Stored) -> Iterator[str]:
    won = [attempt for attempt in stored.attempts if attempt.outcome == "succeeded"]
    if won and won[-1] is not stored.attempts[-1]:
        yield f"accepted attempt {won[-1].number}, the last was {stored.attempts[-1].number}"
    numbers = [attempt.number for attempt in stored.attempts]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        yield f"attempts do not grow: {numbers}"
    epochs = [attempt.epoch for attempt in stored.attempts]
    if epochs != sorted(epochs):
        yield f"attempts go back in epochs: {epochs}"
    alive = [attempt.number for attempt in stored.attempts if not attempt.outcome]
    if len(alive) > 1 or (alive and stored.state in TERMINAL):
        yield f"is {stored.state.word} while attempts {alive} live"


def success_is_true(history: History, records: Records) -> Iterator[str]:
    """I3 in ground truth: the attempt whose success was accepted is the one that succeeded."""
    if not history.runs:
        return
    done = {(run.task, run.attempt) for run in history.runs if run.succeeded}
    for task, stored in records.tasks.items():
        for attempt in stored.attempts:
            lied = attempt.node in history.liars
            if attempt.outcome == "succeeded" and not lied and (task, attempt.number) not in done:
                yield f"I3 {name_of(task)} never succeeded in attempt {attempt.number}"


def outputs_are_stored(history: History, records: Records) -> Iterator[str]:
    """I12: nothing runs before what it needs is prepared, or succeeds before all is stored."""
    with_outputs = {(run.task, run.attempt) for run in history.runs if run.has_outputs}
    for task, number in sorted(with_outputs - history.prepared):
        yield f"I12 {name_of(task)} ran as attempt {number} before it was prepared"
    for task, stored in records.tasks.items():
        for attempt in stored.attempts:
            key = task, attempt.number
            if attempt.outcome == "succeeded" and key in with_outputs - history.stored:
                yield f"I12 {name_of(task)} succeeded before its outputs were stored"


def work_is_done_once(records: Records, runs: Mapping[bytes, int] | None) -> Iterator[str]:
    """I2 in ground truth: what succeeded did its work once."""
    if runs is None:
        return
    for task, count in runs.items():
        if count > 1:
            yield f"I2 {name_of(task)} did its work {count} times"
    for task, stored in records.tasks.items():
        if stored.state is State.SUCCEEDED and not runs.get(task):
            yield f"I2 {name_of(task)} succeeded and never did its work"
