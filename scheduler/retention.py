"""What the journal forgets, and when: old tasks in small slices, the log when nobody waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import apsw

from .pruning import Doomed, remove
from .room import transact

RETENTION_MS = 7 * 24 * 3_600_000
JOURNAL_BYTES_MAX = 10 << 30
SLICE_TASKS = 100
SLICE_PAGES = 100
FREE_PAGES_KEPT = 256
CHECKPOINT_BYTES = 64 << 20
IDLE_CHECKPOINT_BYTES = 1 << 20
IDLE_MS = 1_000
CHECK_EVERY_MS = 10_000


class Retention:
    """Prunes what ended long ago and checkpoints the log, a little at a time.

    Works on the writer's connection between turns: one slice is one short transaction.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        retention_ms: int = RETENTION_MS,
        bytes_max: int = JOURNAL_BYTES_MAX,
        on_removed: Callable[[Sequence[Doomed]], None] = lambda _: None,
    ) -> None:
        self._db = connection
        self._retention_ms = retention_ms
        self._bytes_max = bytes_max
        self._on_removed = on_removed
        self._checked_ms = 0
        self._wal_bytes = 0
        self._wal_seen_bytes = 0
        self._quiet_since_ms = 0
        connection.set_wal_hook(self._on_wal)

    def _on_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_bytes = pages * 4096
        return 0

    @property
    def wal_is_full(self) -> bool:
        """Tell whether the log has outgrown what may wait for an idle moment."""
        return self._wal_bytes >= CHECKPOINT_BYTES

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
        """Move the log into the database; a reader or a full disk may leave it for later."""
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.BusyError, apsw.FullError):
            return
        self._wal_bytes = 0

    def _prune_slice(self, now_ms: int) -> bool:
        """Remove one slice of the oldest ended tasks; return whether any was removed."""
        before_ms = now_ms if self._over_size() else now_ms - self._retention_ms
        return transact(self._db, lambda: self._prune_before(before_ms, now_ms))

    def _prune_before(self, before_ms: int, now_ms: int) -> bool:
        rows = self._db.execute(
            "SELECT id, spec_id, state FROM tasks WHERE ended_ms > 0 AND ended_ms < ?"
            " ORDER BY ended_ms LIMIT ?",
            (before_ms, SLICE_TASKS),
        )
        doomed = [Doomed(*row) for row in rows]
        if not doomed:
            return self._prune_keys(now_ms - self._retention_ms)
        remove(self._db, doomed)
        self._on_removed(doomed)
        return True

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
        return (pages - free) * size > self._bytes_max
