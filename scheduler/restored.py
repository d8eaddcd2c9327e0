"""What is done to a journal that comes from a backup, before a scheduler may open it?

Nodes and clients saw what this journal has not: so the epoch, the numbers of tasks and those of
attempts jump far ahead, every task that was open is in doubt, and the scheduler that opens it
holds until an operator has decided (see `recovery.py`). All of it is one transaction.
"""

from __future__ import annotations

import apsw
import msgpack

from ..protocol import ids
from .audit import write_audit
from .records import AuditRow, Commit, Floors, OutcastRow, RecoveryRow
from .room import transact
from .schema import SCHEMA_VERSION, demand, undemand

EPOCH_STEP = 1 << 20
"""More than any cluster starts its scheduler between two backups."""
EPOCHS_PER_MINUTE = 64
"""More than a scheduler starts in a minute."""
_MINUTE_MS = 60_000
EPOCH_ZERO_MS = 1_577_836_800_000  # 2020
NUMBER_STEP = 1_000_000
ATTEMPT_STEP = 1_000
RECOVERY_KEY = "recovery"
FLOORS_KEY = "floors"


def jumped_epoch(epoch: int, now_ms: int) -> int:
    """Return an epoch above all that any node can have seen, other restores included.

    It is the time, so that who restores one backup twice, or one from before another restore, gets
    a higher one each time. Where the clock must be wrong `epoch` tells: the highest that the backup
    and the directory that it is restored into know of.
    """
    by_time = EPOCHS_PER_MINUTE * max(now_ms - EPOCH_ZERO_MS, 0) // _MINUTE_MS
    return by_time if by_time > epoch else epoch + EPOCH_STEP


def prepare(
    db: apsw.Connection, *, backup_ms: int, principal: str, now_ms: int, highest: int
) -> int:
    """Make a restored journal ready for recovery; return the epoch from which it goes on.

    `highest` is the highest epoch that is known where it is restored.
    """

    def write() -> int:
        epoch = int(_meta(db, "epoch", b"0"))
        floors = read_floors(db)
        ((newest,),) = db.execute(
            "SELECT coalesce(max(first_number + members), 1) FROM submissions"
        )
        number = (int(newest) // NUMBER_STEP + 1) * NUMBER_STEP
        jumped = jumped_epoch(max(epoch, highest), now_ms)
        # As no other restore of this backup has it: a number names an attempt on its node.
        attempt = jumped if jumped > floors.attempt else floors.attempt + ATTEMPT_STEP
        after = Floors(max(number, floors.task_number) + 1, attempt)
        row = RecoveryRow(now_ms, backup_ms, principal, epoch)
        for key, value in (
            ("epoch", str(jumped).encode()),
            (RECOVERY_KEY, msgpack.packb(tuple(row))),
            (FLOORS_KEY, msgpack.packb(tuple(after))),
        ):
            _write_meta(db, key, value)
        db.execute("DELETE FROM doubts")
        db.execute("DELETE FROM outcasts")
        db.execute("INSERT INTO doubts (task) SELECT id FROM tasks WHERE state < 5")
        write_audit(db, [AuditRow(now_ms, principal, "restore", f"a backup of epoch {epoch}")])
        return jumped

    jumped = transact(db, write)
    # A remuda of before would not hold.
    demand(db, SCHEMA_VERSION)
    return jumped


def next_epoch(db: apsw.Connection, highest: int) -> int:
    """Raise the epoch of a journal and return it; part of a transaction.

    One that is held goes on above `highest`: a node has shown that the clock of its restore was
    behind. Any other one stays below, and nodes do not obey it: it was put back by hand.
    """
    epoch = int(_meta(db, "epoch", b"0"))
    if highest > epoch and _meta(db, RECOVERY_KEY, b""):
        epoch = highest + EPOCH_STEP
        floors = read_floors(db)
        _write_meta(db, FLOORS_KEY, msgpack.packb(tuple(floors._replace(attempt=epoch))))
    _write_meta(db, "epoch", str(epoch + 1).encode())
    return epoch + 1


def read_recovery(db: apsw.Connection) -> RecoveryRow | None:
    """Return the restore that is not released yet."""
    blob = _meta(db, RECOVERY_KEY, b"")
    return RecoveryRow(*msgpack.unpackb(blob)) if blob else None


def read_floors(db: apsw.Connection) -> Floors:
    """Return where numbers go on; zeroes for a journal that was never restored."""
    blob = _meta(db, FLOORS_KEY, b"")
    return Floors(*msgpack.unpackb(blob)) if blob else Floors()


def read_doubts(db: apsw.Connection) -> list[int]:
    """Return the tasks of which is not known what became of them, and not decided."""
    rows = db.execute("SELECT task FROM doubts ORDER BY task")
    return [ids.from_bytes(task) for (task,) in rows]


def read_outcasts(db: apsw.Connection) -> list[OutcastRow]:
    """Return the attempts that were let go."""
    rows = db.execute("SELECT task, attempt, node, principal, at_ms FROM outcasts")
    return [OutcastRow(ids.from_bytes(task), *row) for task, *row in rows]


def write_recovery(db: apsw.Connection, commit: Commit) -> None:
    """Write what was decided; part of the transaction of a turn."""
    settled = [(ids.to_bytes(task),) for task in commit.settled]
    db.executemany("DELETE FROM doubts WHERE task = ?", settled)
    db.executemany(
        "INSERT OR REPLACE INTO outcasts (task, attempt, node, principal, at_ms)"
        " VALUES (?, ?, ?, ?, ?)",
        [(ids.to_bytes(row.task), *row[1:]) for row in commit.outcasts],
    )
    if commit.released:
        db.execute("DELETE FROM doubts")
        db.execute("DELETE FROM outcasts")
        db.execute("DELETE FROM meta WHERE key = ?", (RECOVERY_KEY,))
        undemand(db)


def _meta(db: apsw.Connection, key: str, default: bytes) -> bytes:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return default if row is None else bytes(row[0])


def _write_meta(db: apsw.Connection, key: str, value: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
