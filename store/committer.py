"""What changes the index and the visible objects: one thread, in batches, one commit for each.

An object becomes visible in this order: its bytes are durable in the staging folder, its name is,
its row is. It goes the other way round: first the row, then the file. Because one thread does
both, nothing can be removed while it is being put anew.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import apsw

from .backend import Backend, Staged
from .index import SCHEMA_VERSION, owners_of
from .pool import Outcome, Returns, Then, outcome_of
from .rows import Row

BATCH_MAX = 256


@dataclass(frozen=True, slots=True)
class Add:
    """Keep an object that somebody has put; `members` are those of a tree."""

    staged: Staged
    name: str
    is_tree: bool
    keep_until_ms: int
    now_ms: int
    members: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """Write next to nothing, so that an idle disk shows that it still answers."""


class Added(NamedTuple):
    """Whether an object is new, whether it is new among those of its owner, how long it is kept."""

    is_new: bool
    is_new_to_owner: bool
    keep_until_ms: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep objects until a time at least, if they are still there; answered by those that are."""

    object_ids: Sequence[int]
    keep_until_ms: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove objects unless somebody was promised meanwhile that they stay."""

    rows: Sequence[Row]


class Removed(NamedTuple):
    """An object that has gone, and who had put it."""

    row: Row
    names: list[str]


Change = Add | Keep | Remove | Ask
_Job = tuple[Change, Callable[[Outcome[Any]], None]]


class Committer:
    """Owns the one connection that writes; `then(outcome)` is called in the loop.

    An outcome raises OSError where the disk is full; other errors of SQLite end the process.
    """

    def __init__(self, connection: apsw.Connection, backend: Backend, returns: Returns) -> None:
        self._db = connection
        self._backend = backend
        self._returns = returns
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._held: _Job | None = None
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def add(self, change: Add, then: Then[Added]) -> None:
        self._jobs.put((change, then))

    def keep(self, change: Keep, then: Then[set[int]]) -> None:
        self._jobs.put((change, then))

    def remove(self, change: Remove, then: Then[list[Removed]]) -> None:
        self._jobs.put((change, then))

    def ask(self, then: Then[None]) -> None:
        self._jobs.put((Ask(), then))

    def close(self) -> None:
        """Finish what was begun, end the thread and close the connection."""
        self._jobs.put(None)
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        while batch := self._next_batch():
            outcome = outcome_of(lambda batch=batch: self._commit([job[0] for job in batch]))  # type: ignore[misc]  # a default is a value
            for position, (_, then) in enumerate(batch):
                self._returns.put(_one_of(outcome, position, then))

    def _next_batch(self) -> list[_Job]:
        """Wait for jobs and return some; a removal stands alone. Empty at the end."""
        first = self._held or self._jobs.get()
        self._held = None
        if first is None:
            return []
        batch = [first]
        while len(batch) < BATCH_MAX and not isinstance(first[0], Remove):
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is None:
                self._jobs.put(None)  # the end comes after this batch
                break
            if isinstance(job[0], Remove):
                self._held = job
                break
            batch.append(job)
        return batch

    def _commit(self, changes: Sequence[Change]) -> list[Any]:
        fresh = self._fresh([change for change in changes if isinstance(change, Add)])
        try:
            self._backend.publish(list(fresh.values()))
            with self._db:
                results = [self._apply(change) for change in changes]
        except (apsw.Error, OSError) as error:
            self._backend.remove(list(fresh))  # what has no row
            for staged in fresh.values():
                self._backend.drop(staged)
            if isinstance(error, apsw.FullError):
                raise OSError(errno.ENOSPC, "the disk of the index is full") from error
            raise
        removed = [each.row.digest for each in results[0]] if _is_removal(changes) else []
        self._backend.remove(removed)
        return results

    def _fresh(self, changes: Sequence[Add]) -> dict[bytes, Staged]:
        """Return what is to be published; bytes that are kept already are dropped."""
        fresh: dict[bytes, Staged] = {}
        for change in changes:
            digest = change.staged.digest
            if digest in fresh or self._id_of(digest) is not None:
                self._backend.drop(change.staged)
            else:
                fresh[digest] = change.staged
        return fresh

    def _apply(self, change: Change) -> Any:
        if isinstance(change, Add):
            return self._add(change)
        if isinstance(change, Keep):
            return self._keep(change)
        if isinstance(change, Ask):
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")  # written though the same
            return None
        return self._remove(change)

    def _add(self, change: Add) -> Added:
        db, digest = self._db, change.staged.digest
        object_id = self._id_of(digest)
        is_new = object_id is None
        if object_id is None:
            db.execute(
                "INSERT INTO objects (digest, size, tree, keep_until_ms, stored_ms)"
                " VALUES (?, ?, ?, ?, ?)",
                (digest, change.staged.size, change.is_tree, change.keep_until_ms, change.now_ms),
            )
            object_id = db.last_insert_rowid()
        self._keep(Keep([object_id], change.keep_until_ms))
        db.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (object_id, change.name))
        is_new_to_owner = db.changes() == 1
        if change.is_tree:
            db.execute("UPDATE objects SET tree = 1 WHERE id = ? AND tree = 0", (object_id,))
            db.executemany(
                "INSERT OR IGNORE INTO members VALUES (?, ?)",
                [(object_id, member) for member in change.members],
            )
        ((keep_until_ms,),) = db.execute(
            "SELECT keep_until_ms FROM objects WHERE id = ?", (object_id,)
        )
        return Added(is_new, is_new_to_owner, keep_until_ms)

    def _keep(self, change: Keep) -> set[int]:
        kept = set()
        for object_id in change.object_ids:
            self._db.execute(
                "UPDATE objects SET keep_until_ms = max(keep_until_ms, ?) WHERE id = ?",
                (change.keep_until_ms, object_id),
            )
            if self._db.changes():
                kept.add(object_id)
        return kept

    def _remove(self, change: Remove) -> list[Removed]:
        names = owners_of(self._db, [row.id for row in change.rows])
        removed = []
        for row in change.rows:
            self._db.execute(
                "DELETE FROM objects WHERE id = ? AND keep_until_ms = ?"
                " AND NOT EXISTS (SELECT 1 FROM members WHERE member = objects.id)",
                (row.id, row.keep_until_ms),
            )
            if self._db.changes():
                self._db.execute("DELETE FROM owners WHERE object = ?", (row.id,))
                self._db.execute("DELETE FROM members WHERE tree = ?", (row.id,))
                removed.append(Removed(row, names[row.id]))
        return removed

    def _id_of(self, digest: bytes) -> int | None:
        row = self._db.execute("SELECT id FROM objects WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else int(row[0])


def _is_removal(changes: Sequence[Change]) -> bool:
    return isinstance(changes[0], Remove)


def _one_of(
    outcome: Outcome[list[Any]], position: int, then: Callable[[Outcome[Any]], None]
) -> Callable[[], None]:
    return lambda: then(lambda: outcome()[position])
