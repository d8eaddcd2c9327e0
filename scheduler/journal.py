"""What survives a crash: one SQLite file, one writer, one commit per turn."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw

from ..config import sqlite
from ..config.state_dir import claim
from ..protocol import ids
from ..protocol.errors import RemudaError
from .audit import AuditLog, write_audit
from .ballast import Ballast
from .batch_history import BatchHistory
from .catalogue import Catalogue
from .commit_probe import CommitProbe
from .config_versions import ConfigVersions, write_versions
from .events import Recovered, RecoveredAttempt, RecoveredTask
from .highest_epoch import HighestEpoch
from .history import History
from .object_refs import ObjectRefs, refer
from .pruning import Pruning
from .records import Commit, CordonRow, HandlerRow, LearnedRow, NodeRow
from .registry import Registry
from .restored import (
    next_epoch,
    read_doubts,
    read_floors,
    read_outcasts,
    read_recovery,
    write_recovery,
)
from .retention import Ages, Retention
from .room import Room
from .schema import JOURNAL_FILE, SCHEMA_VERSION, JournalError, migrate, version_of
from .stored_specs import StoredSpecs
from .task import State


class Journal:
    """The durable truth of the scheduler.

    `commit` returns once its rows are on disk (WAL, synchronous=FULL). Errors of SQLite
    propagate as `apsw.Error`; after an I/O error the outcome is unknown and the process must end.
    `history`, `catalogue` and `objects` read, `registry` keeps keys and ports, `pruning` removes,
    `probe` asks the disk. `highest` is what no restore takes back.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        reader: apsw.Connection,
        lock: int,
        room: Room,
        ages: Ages | None = None,
        highest: HighestEpoch | None = None,
    ) -> None:
        self._db = connection
        self._reader = reader
        self._lock = lock
        self.room = room
        self.highest = highest or HighestEpoch()
        self.history = History(reader)
        self.batches = BatchHistory(reader)
        self.catalogue = Catalogue(reader, self.history)
        self.registry = Registry(connection, room)
        self.objects = ObjectRefs(reader)
        self.audit = AuditLog(reader)
        self.pruning = Pruning(connection, room)
        self.probe = CommitProbe(connection, room)
        self.config = ConfigVersions(reader)
        self.retention = Retention(connection, ages=ages, on_removed=self.pruning.count)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        *,
        ballast_bytes: int = 0,
        disk_free_bytes_min: int = 0,
        ages: Ages | None = None,
        before_migration: Callable[[int], object] = lambda _version: None,
    ) -> Journal:
        """Claim the state directory and open the journal in it, migrating an older one.

        `before_migration` is called with the schema that it had, when it is to be changed.

        On a full disk the ballast goes first. Raises JournalError or StateDirError.
        """
        lock = claim(state_dir, "scheduler")
        room = Room(Ballast(state_dir, ballast_bytes), disk_free_bytes_min)
        room.make_way()
        path = state_dir / JOURNAL_FILE
        path.touch(mode=0o600)  # SQLite gives its log the mode of the database
        path.chmod(0o600)
        try:
            connection = connect(path)
            if 0 < (version := version_of(connection)) < SCHEMA_VERSION:
                before_migration(version)
            migrate(connection)
            reader = connect(path, read_only=True)
        except RemudaError:
            os.close(lock)
            raise
        except apsw.Error as error:
            os.close(lock)
            raise JournalError(
                f"cannot open {path}: {error}; if it is damaged, restore a backup"
            ) from error
        return cls(connection, reader, lock, room, ages, HighestEpoch(state_dir))

    def next_epoch(self) -> int:
        """Raise the epoch durably and return it; to be called before a socket is bound."""
        write = partial(next_epoch, self._db, self.highest.epoch)
        epoch = self.room.write(self._db, write)
        self.highest.see(epoch)
        return epoch

    def secret(self) -> bytes:
        """Return the secret behind the tokens of attempts; made once, kept for ever."""
        return self._meta_or_make("secret", lambda: secrets.token_bytes(32))

    def cluster_id(self) -> str:
        return self._meta_or_make("cluster_id", lambda: secrets.token_hex(8).encode()).decode()

    def _meta_or_make(self, key: str, make: object) -> bytes:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return bytes(row[0])
        assert callable(make)
        value = bytes(make())
        self._db.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (key, value))
        return value

    def commit(self, commit: Commit) -> None:
        """Write one turn's facts in one transaction and return when they are on disk."""
        self.room.write(self._db, lambda: self._write(commit))
        if self.retention.wal_is_full:
            self.retention.checkpoint()

    def _write(self, commit: Commit) -> None:
        many = self._db.executemany
        if commit.specs:
            many("INSERT INTO specs (spec_id, body, objects) VALUES (?, ?, ?)", commit.specs)
        refer(self._db, commit)
        if commit.submissions:
            self._write_submissions(commit)
        if commit.moved:
            many(
                "UPDATE tasks SET state = ?, charged = ?, due_ms = ?, grace_ms = ?, avoid = ?,"
                " stop = ?, spent = ?, memory_bytes = ?, vram_bytes = ? WHERE id = ?",
                [(*row[1:], ids.to_bytes(row.id)) for row in commit.moved.values()],
            )
        if commit.granted:
            many(
                "INSERT INTO attempts (task, number, node, epoch, gpus, granted_ms, asked)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (ids.to_bytes(row.task), row.number, row.node, row.epoch, " ".join(row.gpus),
                     row.granted_ms, row.asked)
                    for row in commit.granted
                ],
            )  # fmt: skip
        if commit.ended:
            self._write_ended(commit)
        if commit.results:
            self._write_results(commit)
        if commit.forgotten:  # before nodes are written: one may have come back in the same turn
            names = [(name,) for name in commit.forgotten]
            many("DELETE FROM nodes WHERE name = ?", names)
            many("DELETE FROM ports WHERE node = ?", names)
        if commit.nodes:
            many(
                "INSERT OR REPLACE INTO nodes (name, boot_id, capabilities, seen_ms, lost,"
                " drained_ms, drain_reason, drain_due_ms, protocol)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                commit.nodes.values(),
            )
        if commit.learned or commit.cordons:
            _write_gpus(self._db, commit)
        if commit.config:
            write_versions(self._db, commit.config)
        if commit.handlers:
            _write_handlers(self._db, commit)
        if commit.settled or commit.outcasts or commit.released:
            write_recovery(self._db, commit)
        if commit.audit:
            write_audit(self._db, commit.audit)

    def _write_submissions(self, commit: Commit) -> None:
        self._db.executemany(
            "INSERT INTO submissions (principal, submit_key, batch, batch_key, offset,"
            " first_number, members, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (row.principal, row.submit_key, _or_null(row.batch), row.batch_key or None,
                 row.offset, row.first_number, row.members, row.created_ms)
                for row in commit.submissions
            ],
        )  # fmt: skip
        self._db.executemany(
            "INSERT INTO tasks (id, number, batch, spec_id, owner, name, session, state, retry_of,"
            " created_ms, args, objects, sized_bytes, size_class)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
            [
                (ids.to_bytes(row.id), row.number, _or_null(row.batch), row.spec_id, row.owner,
                 row.name, row.session, _or_null(row.retry_of), row.created_ms, row.args,
                 row.objects, row.sized_bytes, row.size_class)
                for row in commit.tasks
            ],
        )  # fmt: skip
        once = [
            (row.owner, row.once, ids.to_bytes(row.id), row.created_ms)
            for row in commit.tasks
            if row.once
        ]
        if once:
            self._db.executemany(
                "INSERT INTO once_keys (owner, key, task, created_ms) VALUES (?, ?, ?, ?)", once
            )

    def _write_ended(self, commit: Commit) -> None:
        self._db.executemany(
            "UPDATE attempts SET outcome = ?, code = ?, message = ?, ended_ms = ?, run_us = ?,"
            " vram_peak_bytes = ? WHERE task = ? AND number = ? AND ended_ms = 0",
            [
                (row.outcome, row.code, row.message, row.ended_ms, row.run_us,
                 row.vram_peak_bytes, ids.to_bytes(row.task), row.number)
                for row in commit.ended
                if row.outcome != "superseded"
            ],
        )  # fmt: skip
        batched = [row for row in commit.ended if row.batch_calls]
        if batched:
            self._db.executemany(
                "INSERT OR REPLACE INTO batched (task, number, calls) VALUES (?, ?, ?)",
                [(ids.to_bytes(row.task), row.number, row.batch_calls) for row in batched],
            )
        late = [row for row in commit.ended if row.outcome == "superseded"]
        if late:
            self._db.executemany(
                "UPDATE attempts SET late_ms = ?"
                " WHERE task = ? AND number = ? AND node = ? AND ended_ms > 0 AND late_ms = 0"
                " AND outcome NOT IN ('succeeded', 'failed', 'killed')",
                [(row.ended_ms, ids.to_bytes(row.task), row.number, row.node) for row in late],
            )

    def _write_results(self, commit: Commit) -> None:
        self._db.executemany(
            "UPDATE tasks SET state = ?, code = ?, ended_ms = ? WHERE id = ? AND state < 5",
            [(row.state, row.code, row.ended_ms, ids.to_bytes(row.id)) for row in commit.results],
        )
        self._db.executemany(
            "INSERT INTO results (task, value, details, objects) VALUES (?, ?, ?, ?)",
            [
                (ids.to_bytes(row.id), row.value, row.details, row.objects)
                for row in commit.results
                if row.value or row.details
            ],
        )

    def recover(self) -> Recovered:
        """Read all that has not ended, for a core that starts; tasks stream and are read once."""
        many = self._reader.execute
        tasks = (
            RecoveredTask(
                ids.from_bytes(row[0]), row[1], ids.from_bytes(row[2]) if row[2] else 0, *row[3:]
            )
            for row in many(_OPEN_TASKS)
        )
        attempts = (
            RecoveredAttempt(ids.from_bytes(task), number, node, epoch, tuple(gpus.split()), asked)
            for task, number, node, epoch, gpus, asked in many(_OPEN_ATTEMPTS)
        )
        read = StoredSpecs().read
        specs = {spec_id: read(body) for spec_id, body in many(_OPEN_SPECS)}
        nodes = [
            NodeRow(name, boot, blob, seen_ms, bool(lost), drained_ms, reason, due_ms, protocol)
            for name, boot, blob, seen_ms, lost, drained_ms, reason, due_ms, protocol in many(
                "SELECT name, boot_id, capabilities, seen_ms, lost, drained_ms, drain_reason,"
                " drain_due_ms, protocol FROM nodes"
            )
        ]
        floors = read_floors(self._reader)
        return Recovered(
            specs,
            tasks,
            attempts,
            nodes,
            next_number=max(
                self._next("SELECT max(first_number + members) FROM submissions"),
                floors.task_number,
            ),
            next_spec_id=self._next("SELECT max(spec_id) + 1 FROM specs"),
            ended_of=self.batches.ended_of,
            learned=[LearnedRow(*row) for row in many(_LEARNED)],
            cordons=[CordonRow(*row) for row in many(_CORDONS)],
            handlers=[HandlerRow(*row) for row in many(_HANDLERS)],
            recovery=read_recovery(self._reader),
            doubts=read_doubts(self._reader),
            outcasts=read_outcasts(self._reader),
            floors=floors,
        )

    def _next(self, query: str) -> int:
        ((value,),) = self._reader.execute(query)
        return value or 1

    def idle_work(self, budget_ns: int, now_ms: int) -> bool:
        """Prune and checkpoint for about `budget_ns`; return whether more is to be done."""
        try:
            return self.retention.work(budget_ns, now_ms)
        except apsw.FullError:
            self.room.on_full()
            return False

    def close(self) -> None:
        """Checkpoint, close and let go of the state directory."""
        self._reader.close()
        self.retention.checkpoint()
        self._db.close()
        os.close(self._lock)


def _write_gpus(db: apsw.Connection, commit: Commit) -> None:
    """Write what was learned of VRAM, and which GPUs get no work."""
    db.executemany(
        "INSERT OR REPLACE INTO learned (key, body, changed_ms) VALUES (?, ?, ?)",
        commit.learned.values(),
    )
    over = [(row.uuid,) for row in commit.cordons.values() if not row.since_ms]
    db.executemany("DELETE FROM cordons WHERE uuid = ?", over)
    held = [row for row in commit.cordons.values() if row.since_ms]
    db.executemany(
        "INSERT OR REPLACE INTO cordons (uuid, node, reason, principal, since_ms, lifting)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        held,
    )


def _write_handlers(db: apsw.Connection, commit: Commit) -> None:
    """Write what operators asked of handlers, and forget what is over."""
    rows = commit.handlers.values()
    over = [(row.handler, row.node) for row in rows if not (row.since_ms or row.reload)]
    db.executemany("DELETE FROM handler_orders WHERE handler = ? AND node = ?", over)
    kept = [row for row in rows if row.since_ms or row.reload]
    db.executemany(
        "INSERT OR REPLACE INTO handler_orders (handler, node, reason, principal, since_ms, reload)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        kept,
    )


_OPEN_TASKS = """
SELECT id, number, batch, spec_id, owner, session, state, charged, due_ms, grace_ms, avoid,
       stop, spent, memory_bytes, vram_bytes, created_ms, sized_bytes, size_class,
       coalesce((SELECT max(a.number) FROM attempts a WHERE a.task = tasks.id), 0)
FROM tasks WHERE state < 5 ORDER BY number
"""
_OPEN_ATTEMPTS = """
SELECT a.task, a.number, a.node, a.epoch, a.gpus, a.asked
FROM tasks t JOIN attempts a ON a.task = t.id
WHERE t.state < 5 AND a.ended_ms = 0 ORDER BY t.number
"""
_HANDLERS = """
SELECT handler, node, reason, principal, since_ms, reload FROM handler_orders
ORDER BY handler, node
"""
_LEARNED = "SELECT key, body, changed_ms FROM learned ORDER BY changed_ms, key"
_CORDONS = "SELECT uuid, node, reason, principal, since_ms, lifting FROM cordons ORDER BY uuid"
_OPEN_SPECS = """
SELECT spec_id, body FROM specs
WHERE spec_id IN (SELECT spec_id FROM tasks WHERE state < 5)
"""


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """Open the journal's file; the log is checkpointed when nobody waits (see `retention.py`)."""
    return sqlite.connect(path, read_only=read_only, autocheckpoint=False)


def _or_null(task_id: int) -> bytes | None:
    return ids.to_bytes(task_id) if task_id else None


assert int(State.SUCCEEDED) == 5, "the schema's partial indexes name terminal states by number"
