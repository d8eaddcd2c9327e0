"""What does the journal say in the end: tasks with their attempts, submissions, the audit?"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from remuda.protocol.codec import unpack_document
from remuda.scheduler.audit import first_broken_link
from remuda.scheduler.task import State


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try as the journal has it."""

    number: int
    epoch: int
    outcome: str
    node: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A task as the journal has it, with its attempts in order and whether it has a result.

    `number` is 0 and `retries` -1 where nobody looked.
    """

    state: State
    attempts: tuple[Attempt, ...]
    has_result: bool
    owner: str = ""
    number: int = 0
    retries: int = -1


class Submission(NamedTuple):
    """A frame that was stored."""

    owner: str
    submit_key: bytes
    first_number: int
    members: int


class AuditEntry(NamedTuple):
    principal: str
    verb: str
    subject: str


@dataclass(slots=True)
class Records:
    """All that is judged of a journal; `broken_link` is the first row of the audit that lies."""

    tasks: dict[bytes, Stored] = field(default_factory=dict)
    submissions: list[Submission] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    epoch: int = 0
    broken_link: int | None = None


def read_journal(path: Path) -> Records:
    """Read a journal that may be in use."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")  # one moment for all tables
        return read_records(database)


def read_records(database: Any) -> Records:
    """Read through a connection of sqlite3 or apsw."""
    execute: Callable[[str], Iterable[tuple[Any, ...]]] = database.execute
    epochs = [int(value) for (value,) in execute("SELECT value FROM meta WHERE key = 'epoch'")]
    submissions = execute("SELECT principal, submit_key, first_number, members FROM submissions")
    audit = execute("SELECT principal, verb, subject FROM audit ORDER BY seq")
    return Records(
        tasks=_tasks(execute),
        submissions=[Submission(*row) for row in submissions],
        audit=[AuditEntry(*row) for row in audit],
        epoch=max(epochs, default=0),
        broken_link=first_broken_link(database),
    )


def _tasks(execute: Callable[[str], Iterable[tuple[Any, ...]]]) -> dict[bytes, Stored]:
    attempts: dict[bytes, list[Attempt]] = defaultdict(list)
    query = (
        "SELECT task, number, epoch, outcome, node, code, message FROM attempts"
        " ORDER BY task, number"
    )
    for task, *row in execute(query):
        attempts[task].append(Attempt(*row))
    results = {task for (task,) in execute("SELECT task FROM results")}
    retries = {
        spec_id: int(unpack_document(body).get("retries", 0))
        for spec_id, body in execute("SELECT spec_id, body FROM specs")
    }
    return {
        task: Stored(
            State(state), tuple(attempts[task]), task in results, owner, number,
            retries.get(spec_id, -1),
        )
        for task, state, owner, number, spec_id in execute(
            "SELECT id, state, owner, number, spec_id FROM tasks"
        )
    }  # fmt: skip
