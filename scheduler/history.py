"""What the journal can tell: questions about tasks, answered from a read-only connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apsw

from ..protocol import ids
from .records import Payload, SpecRow, SubmissionRow, TaskResult

CHUNK = 500


class TaskBrief(NamedTuple):
    """A stored task, ended or not: `state` is its durable one."""

    id: int
    number: int
    batch: int
    spec_id: int
    owner: str
    state: int
    code: str
    attempt: int
    node: str


_SUBMISSION = (
    "SELECT principal, submit_key, batch, batch_key, offset, first_number, members, created_ms"
    " FROM submissions"
)
ROW = """
SELECT t.id, t.number, t.batch, t.spec_id, t.name, t.owner, t.state, t.code, t.created_ms,
       t.ended_ms, coalesce(a.number, 0), coalesce(a.node, ''), t.retry_of,
       coalesce(a.granted_ms, 0)
FROM tasks t LEFT JOIN attempts a ON a.task = t.id
     AND a.number = (SELECT max(number) FROM attempts WHERE task = t.id)
"""

_ATTEMPT_NAMES = (
    "number", "node", "gpus", "outcome", "code", "message", "granted_ms", "ended_ms", "run_us",
    "epoch", "late_ms", "asked", "vram_peak_bytes", "batch_calls",
)  # fmt: skip
_ATTEMPTS = (
    "SELECT task, number, node, gpus, outcome, code, message, granted_ms, ended_ms, run_us,"
    " epoch, late_ms, asked, vram_peak_bytes, coalesce(calls, 0)"
    " FROM attempts LEFT JOIN batched USING (task, number) WHERE task IN"
)


def row_of(values: Sequence[Any]) -> dict[str, Any]:
    (task, number, batch, spec_id, name, owner, state, code, created_ms, ended_ms, attempt, node,
     retry_of, started_ms) = values  # fmt: skip
    return {
        "id": ids.from_bytes(task),
        "number": number,
        "batch": ids.from_bytes(batch) if batch else 0,
        "spec_id": spec_id,
        "name": name,
        "owner": owner,
        "state": state,
        "code": code,
        "created_ms": created_ms,
        "started_ms": started_ms,
        "ended_ms": ended_ms,
        "attempt": attempt,
        "node": node,
        "retry_of": ids.from_bytes(retry_of) if retry_of else 0,
    }


class History:
    """Reads of the journal; ids are integers, as everywhere in the scheduler."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    # --- submissions -----------------------------------------------------------------------

    def find_submission(self, principal: str, submit_key: bytes) -> SubmissionRow | None:
        """Return the frame that was stored under a key, if one was."""
        row = self._db.execute(
            f"{_SUBMISSION} WHERE principal = ? AND submit_key = ?",
            (principal, submit_key),
        ).fetchone()
        return None if row is None else _submission(row)

    def find_batch(self, principal: str, batch_key: bytes) -> int | None:
        """Return the batch that a principal opened under a key."""
        row = self._db.execute(
            "SELECT batch FROM submissions WHERE principal = ? AND batch_key = ? LIMIT 1",
            (principal, batch_key),
        ).fetchone()
        return None if row is None else ids.from_bytes(row[0])

    def batch_rows(self, batch: int) -> list[SubmissionRow]:
        """Return all frames of a batch, by offset."""
        rows = self._db.execute(
            f"{_SUBMISSION} WHERE batch = ? ORDER BY offset", (ids.to_bytes(batch),)
        )
        return [_submission(row) for row in rows]

    def find_once(self, owner: str, key: str) -> int | None:
        """Return the task that an owner submitted under an idempotency key."""
        row = self._db.execute(
            "SELECT task FROM once_keys WHERE owner = ? AND key = ?", (owner, key)
        ).fetchone()
        return None if row is None else ids.from_bytes(row[0])

    # --- what dispatch needs -----------------------------------------------------------------

    def spec_bodies(self, spec_ids: Iterable[int]) -> dict[int, bytes]:
        """Return the encoded documents of specs."""
        return dict(
            _rows_in(self._db, "SELECT spec_id, body FROM specs WHERE spec_id IN", spec_ids)
        )

    def specs(self, spec_ids: Iterable[int]) -> dict[int, SpecRow]:
        """Return encoded documents of specs with the objects that they name."""
        rows = _rows_in(
            self._db, "SELECT spec_id, body, objects FROM specs WHERE spec_id IN", spec_ids
        )
        return {row[0]: SpecRow(*row) for row in rows}

    def payloads(self, task_ids: Iterable[int]) -> dict[int, Payload]:
        """Return the arguments of tasks with what they name and ask for."""
        rows = _rows_in(
            self._db,
            "SELECT id, args, objects, sized_bytes, size_class FROM tasks WHERE id IN",
            map(ids.to_bytes, task_ids),
        )
        return {ids.from_bytes(task): Payload(*payload) for task, *payload in rows}

    # --- single tasks ------------------------------------------------------------------------

    def briefs(self, task_ids: Iterable[int]) -> dict[int, TaskBrief]:
        """Return what is durable of tasks, in short; unknown ids are left out."""
        return {
            row["id"]: TaskBrief(*(row[name] for name in TaskBrief._fields))
            for row in self.task_rows(task_ids).values()
        }

    def task_rows(self, task_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Return the rows that listings show, by id."""
        rows = map(row_of, _rows_in(self._db, f"{ROW} WHERE t.id IN", map(ids.to_bytes, task_ids)))
        return {row["id"]: row for row in rows}

    def ended(self, task_ids: Iterable[int]) -> dict[int, TaskResult]:
        """Return the results of those tasks that have ended."""
        rows = _rows_in(
            self._db,
            "SELECT t.id, t.state, t.code, coalesce(r.value, x''), coalesce(r.details, x''),"
            " t.ended_ms FROM tasks t LEFT JOIN results r ON r.task = t.id"
            " WHERE t.ended_ms > 0 AND t.id IN",
            map(ids.to_bytes, task_ids),
        )
        return {(task := ids.from_bytes(row[0])): TaskResult(task, *row[1:]) for row in rows}

    def show_task(self, task_id: int) -> dict[str, Any] | None:
        """Return all that is durable of a task: row, spec, attempts, result."""
        row = self.task_rows([task_id]).get(task_id)
        if row is None:
            return None
        blob = ids.to_bytes(task_id)
        ((args, once, memory_bytes, vram_bytes, sized_bytes, size_class),) = self._db.execute(
            "SELECT t.args, coalesce((SELECT key FROM once_keys WHERE task = t.id"
            " AND owner = t.owner), ''), t.memory_bytes, t.vram_bytes, t.sized_bytes,"
            " t.size_class FROM tasks t WHERE t.id = ?",
            (blob,),
        )
        result = self.ended([task_id]).get(task_id)
        return {
            **row,
            "body": self.spec_bodies([row["spec_id"]])[row["spec_id"]],
            "args": args,
            "once": once,
            "raised": {"memory_bytes": memory_bytes, "vram_bytes": vram_bytes},
            "sized": {"vram_bytes": sized_bytes, "class": size_class},
            "attempts": self.attempts([task_id]).get(task_id, []),
            "result": {} if result is None else result._asdict(),
        }

    def attempts(self, task_ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
        """Return the attempts of tasks, the first one first; a task without any is left out."""
        found: dict[int, list[dict[str, Any]]] = {}
        for task, *values in _rows_in(self._db, _ATTEMPTS, map(ids.to_bytes, task_ids)):
            row = dict(zip(_ATTEMPT_NAMES, values, strict=True))
            row["gpus"] = row["gpus"].split()
            found.setdefault(ids.from_bytes(task), []).append(row)
        for rows in found.values():
            rows.sort(key=lambda row: int(row["number"]))
        return found

    def last_code(self, task_id: int) -> str:
        """Return the code of the newest attempt; empty when that did not fail."""
        row = self._db.execute(
            "SELECT code FROM attempts WHERE task = ? ORDER BY number DESC LIMIT 1",
            (ids.to_bytes(task_id),),
        ).fetchone()
        return "" if row is None else str(row[0])

    def task_ids(self, first_number: int, members: int) -> list[int]:
        """Return the ids of a run of numbers, in order."""
        rows = self._db.execute(
            "SELECT id FROM tasks WHERE number >= ? AND number < ? ORDER BY number",
            (first_number, first_number + members),
        )
        return [ids.from_bytes(task) for (task,) in rows]


def _rows_in(db: apsw.Connection, query: str, keys: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Ask for rows by key, in chunks that SQLite can bind."""
    wanted = list(keys)
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        marks = ",".join("?" * len(chunk))
        yield from db.execute(f"{query} ({marks})", chunk)


def _submission(row: Sequence[Any]) -> SubmissionRow:
    principal, key, batch, batch_key, offset, first, members, created_ms = row
    return SubmissionRow(
        principal, key, ids.from_bytes(batch) if batch else 0, batch_key or b"", offset, first,
        members, created_ms,
    )  # fmt: skip
