"""What the journal forgets, and when: old tasks in small slices, the log when nobody waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from ..config import sqlite
from .audit import prune_audit
from .pruning import Doomed, remove
from .room import transact
from .task import State

DAY_MS = 24 * 3_600_000
SCANNED_ROWS = 1_000
NOWHERE = (0, b"")
LOOK_AGAIN_MS = DAY_MS
"""A clock that was set back lets tasks end before what was looked through: once a day all are."""
SLICE_TASKS = 100
SLICE_PAGES = 100
FREE_PAGES_KEPT = 256
CHECKPOINT_BYTES = 64 << 20
IDLE_CHECKPOINT_BYTES = 1 << 20
CHECKPOINT_AGAIN_BYTES = 16 << 20
"""When a reader was in the way: it is tried again once the log has grown by so much."""
IDLE_MS = 1_000
CHECK_EVERY_MS = 10_000


@dataclass(frozen=True, slots=True)
class Ages:
    """How long what has ended is kept, by state, and rows of the audit; `bytes_max` is the size of
    the journal at which the oldest tasks go before their time."""

    succeeded_ms: int = 7 * DAY_MS
    failed_ms: int = 7 * DAY_MS
    cancelled_ms: int = 7 * DAY_MS
    audit_ms: int = 400 * DAY_MS
    bytes_max: int = 10 << 30

    @property
    def keys_ms(self) -> int:
        """Return how long keys of submissions are kept whose tasks are gone."""
        return max(self.succeeded_ms, self.failed_ms, self.cancelled_ms)

    def by_state(self) -> dict[State, int]:
        return {
            State.SUCCEEDED: self.succeeded_ms,
            State.FAILED: self.failed_ms,
            State.CANCELLED: self.cancelled_ms,
        }


class Retention:
    """Prunes what ended long ago and checkpoints the log, a little at a time.

    Works on the writer's connection between turns: one slice is one short transaction.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        ages: Ages | None = None,
        on_removed: Callable[[Sequence[Doomed]], None] = lambda _: None,
    ) -> None:
        self._db = connection
        self.ages = ages or Ages()
        self._looked_to = dict.fromkeys(self.ages.by_state(), NOWHERE)
        self._looked_all_ms = 0
        self._on_removed = on_removed
        self._checked_ms = 0
        self._wal_bytes = 0
        self._wal_seen_bytes = 0
        self._wal_waits_bytes = 0
        self._quiet_since_ms = 0
        connection.set_wal_hook(self._on_wal)

    def _on_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_bytes = pages * 4096
        return 0

    @property
    def file(self) -> str:
        """Name the file of the journal."""
        return str(self._db.filename)

    @property
    def wal_is_full(self) -> bool:
        """Tell whether the log has outgrown what may wait for an idle moment."""
        return self._wal_bytes >= max(CHECKPOINT_BYTES, self._wal_waits_bytes)

    def work(self, budget_ns: int, now_ms: int) -> bool:
        """Do up to `budget_ns` of upkeep; return whether more is left.

        A second without a commit checkpoints a log of more than a megabyte; a shorter pause does
        not, since who submits one task after another would wait for it.
        """
        if self._wal_bytes != self._wal_seen_bytes:
            self._wal_seen_bytes, self._quiet_since_ms = self._wal_bytes, now_ms
        elif self._wal_bytes >= IDLE_CHECKPOINT_BYTES and now_ms - self._quiet_since_ms >= IDLE_MS:
            self.checkpoint()
            return True
        if now_ms - self._checked_ms < CHECK_EVERY_MS:
            return False
        until_ns = time.monotonic_ns() + budget_ns
        while self._prune_slice(now_ms) or self._give_back_slice():
            if time.monotonic_ns() >= until_ns:
                return True
        self._checked_ms = now_ms
        return False

    def checkpoint(self) -> None:
        """Move the log into the database; a reader or a full disk may leave it for later.

        Nobody is waited for: a backup reads for minutes, and each turn would wait in vain.
        """
        self._db.set_busy_timeout(0)
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.BusyError, apsw.FullError):
            self._wal_waits_bytes = self._wal_bytes + CHECKPOINT_AGAIN_BYTES
            return
        finally:
            self._db.set_busy_timeout(sqlite.BUSY_MS)
        self._wal_bytes = self._wal_waits_bytes = 0

    def _prune_slice(self, now_ms: int) -> bool:
        """Remove one slice of the oldest ended tasks; return whether any was removed."""
        if self._over_size():
            return transact(self._db, lambda: self._prune_oldest(now_ms))
        return transact(self._db, lambda: self._prune_aged(now_ms))

    def _prune_oldest(self, now_ms: int) -> bool:
        rows = self._db.execute(
            "SELECT id, spec_id, state FROM tasks WHERE ended_ms > 0 AND ended_ms < ?"
            " ORDER BY ended_ms LIMIT ?",
            (now_ms, SLICE_TASKS),
        )
        return self._remove([Doomed(*row) for row in rows]) or self._prune_rest(now_ms)

    def _prune_aged(self, now_ms: int) -> bool:
        """Remove what is over its state's age, of one state at a time.

        What was looked through is remembered: tasks of a state that is kept for longer are not
        looked at again and again.
        """
        if now_ms - self._looked_all_ms >= LOOK_AGAIN_MS:
            self._looked_to = dict.fromkeys(self._looked_to, NOWHERE)
            self._looked_all_ms = now_ms
        for state, age_ms in self.ages.by_state().items():
            before_ms, start = now_ms - age_ms, self._looked_to[state]
            rows: list[Any] = self._db.execute(
                "SELECT id, spec_id, state, ended_ms FROM tasks WHERE ended_ms > 0"
                " AND (ended_ms, id) > (?, ?) AND ended_ms < ? ORDER BY ended_ms, id LIMIT ?",
                (*start, before_ms, SCANNED_ROWS),
            ).fetchall()
            doomed = [Doomed(*row[:3]) for row in rows if row[2] == state][:SLICE_TASKS]
            if self._remove(doomed):
                return True
            if rows:
                self._looked_to[state] = rows[-1][3], rows[-1][0]
                return True
        return self._prune_rest(now_ms)

    def _remove(self, doomed: Sequence[Doomed]) -> bool:
        if not doomed:
            return False
        remove(self._db, doomed)
        self._on_removed(doomed)
        return True

    def _prune_rest(self, now_ms: int) -> bool:
        """Remove a slice of keys, then of the audit."""
        if self._prune_keys(now_ms - self.ages.keys_ms):
            return True
        return prune_audit(self._db, now_ms - self.ages.audit_ms, SLICE_TASKS) > 0

    def _give_back_slice(self) -> bool:
        """Return some free pages to the file system; what the next turns can use is kept."""
        if int(self._db.pragma("freelist_count")) <= FREE_PAGES_KEPT:
            return False
        # Each step of this statement frees one page: only taking all of them frees the slice.
        self._db.execute(f"PRAGMA incremental_vacuum({SLICE_PAGES})").fetchall()
        return True

    def _prune_keys(self, before_ms: int) -> bool:
        """Remove idempotency keys whose tasks are gone; the newest frame keeps the numbering."""
        self._db.execute(
            "DELETE FROM submissions WHERE (principal, submit_key) IN ("
            " SELECT principal, submit_key FROM submissions AS s WHERE created_ms < ?1"
            " AND first_number < (SELECT max(first_number) FROM submissions)"
            " AND NOT EXISTS (SELECT 1 FROM tasks WHERE number >= s.first_number"
            "  AND number < s.first_number + s.members) LIMIT ?2)",
            (before_ms, SLICE_TASKS),
        )
        removed = self._db.changes()
        self._db.execute(
            "DELETE FROM once_keys WHERE (owner, key) IN ("
            " SELECT owner, key FROM once_keys AS o WHERE created_ms < ?1"
            " AND NOT EXISTS (SELECT 1 FROM tasks WHERE id = o.task) LIMIT ?2)",
            (before_ms, SLICE_TASKS),
        )
        return bool(removed or self._db.changes())

    def _over_size(self) -> bool:
        pages, free, size = (
            int(self._db.pragma(name)) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size > self.ages.bytes_max
