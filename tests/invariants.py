"""Did a run of a cluster keep its promises? One judge for clients, journal and what tasks did.

I1: what was acknowledged is stored. I2: a task has at most one accepted success, and an end never
changes. I3: what was accepted belongs to the current attempt, and attempts only grow.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from remuda.protocol.ids import format_id, from_bytes
from remuda.scheduler.task import TERMINAL, State

WORDS = {state: state.word for state in State}


@dataclass(slots=True)
class History:
    """What clients saw: which tasks were acknowledged, and every end that they were told of."""

    acknowledged: set[bytes] = field(default_factory=set)
    ends: dict[bytes, list[str]] = field(default_factory=lambda: defaultdict(list))

    def on_acknowledged(self, tasks: Iterable[bytes]) -> None:
        self.acknowledged.update(tasks)

    def on_end(self, task: bytes, state: str) -> None:
        self.ends[task].append(state)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try as the journal has it."""

    number: int
    epoch: int
    outcome: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A task as the journal has it, with its attempts in order and whether it has a result."""

    state: State
    attempts: tuple[Attempt, ...]
    has_result: bool


def read_journal(path: Path) -> dict[bytes, Stored]:
    """Read all tasks of a journal, which may be in use."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")  # one moment for all three tables
        attempts: dict[bytes, list[Attempt]] = defaultdict(list)
        query = "SELECT task, number, epoch, outcome FROM attempts ORDER BY task, number"
        for task, number, epoch, outcome in database.execute(query):
            attempts[task].append(Attempt(number, epoch, outcome))
        results = {task for (task,) in database.execute("SELECT task FROM results")}
        return {
            task: Stored(State(state), tuple(attempts[task]), task in results)
            for task, state in database.execute("SELECT id, state FROM tasks")
        }


def violations(
    history: History,
    journal: Mapping[bytes, Stored],
    runs: Mapping[bytes, int] | None = None,
) -> list[str]:
    """Name every broken promise; `runs` counts how often each task really did its work.

    Hand `runs` in only where nothing was lost with a node: there a task may run twice.
    """
    found = [
        f"I1 {_name(task)} was acknowledged and is not stored"
        for task in sorted(history.acknowledged - journal.keys())
    ]
    for task, stored in journal.items():
        found += (f"{rule} {_name(task)} {what}" for rule, what in _of_task(stored))
        found += (
            f"I2 {_name(task)} {what}" for what in _of_ends(history.ends.get(task, []), stored)
        )
    for task, count in (runs or {}).items():
        if count > 1:
            found.append(f"I2 {_name(task)} did its work {count} times")
    if runs is not None:
        found += [
            f"I2 {_name(task)} succeeded and never did its work"
            for task, stored in journal.items()
            if stored.state is State.SUCCEEDED and not runs.get(task)
        ]
    return found


def _of_task(stored: Stored) -> Iterable[tuple[str, str]]:
    won = [attempt for attempt in stored.attempts if attempt.outcome == "succeeded"]
    if len(won) > 1:
        yield "I2", f"has {len(won)} accepted successes"
    if bool(won) != (stored.state is State.SUCCEEDED):
        yield "I2", f"is {stored.state.word} with {len(won)} accepted successes"
    if stored.has_result and stored.state not in TERMINAL:
        yield "I2", f"has a result and is {stored.state.word}"
    if won and won[-1] is not stored.attempts[-1]:
        yield "I3", f"accepted attempt {won[-1].number}, the last was {stored.attempts[-1].number}"
    numbers = [attempt.number for attempt in stored.attempts]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        yield "I3", f"attempts do not grow: {numbers}"
    epochs = [attempt.epoch for attempt in stored.attempts]
    if epochs != sorted(epochs):
        yield "I3", f"attempts go back in epochs: {epochs}"
    alive = [attempt.number for attempt in stored.attempts if not attempt.outcome]
    if len(alive) > 1 or (alive and stored.state in TERMINAL):
        yield "I3", f"is {stored.state.word} while attempts {alive} live"


def _of_ends(ends: list[str], stored: Stored) -> Iterable[str]:
    if len(set(ends)) > 1:
        yield f"was told to have ended as {sorted(set(ends))}"
    for end in set(ends) - {stored.state.word}:
        yield f"was told to be {end} and is stored as {stored.state.word}"


def _name(task: bytes) -> str:
    return format_id(from_bytes(task))
