"""The real journal on a database in memory: as fast as that, and as faulty as wanted."""

from __future__ import annotations

import functools
from enum import Enum
from pathlib import Path

import apsw

from remuda.scheduler.ballast import Ballast
from remuda.scheduler.highest_epoch import HighestEpoch
from remuda.scheduler.journal import Journal
from remuda.scheduler.records import Commit
from remuda.scheduler.room import Room
from remuda.scheduler.schema import migrate

RESERVE_BYTES, FLOOR_BYTES, ROOM_BYTES = 1 << 20, 2 << 20, 1 << 30


class DiskFault(Enum):
    """How a commit fails: in both cases the scheduler is told that it did."""

    ROLLED_BACK = "rolled back"
    DURABLE = "durable all the same"


@functools.cache
def _empty_journal() -> bytes:
    """Return the bytes of a new journal, made once; its secret is the same in every run."""
    connection = apsw.Connection(":memory:")
    migrate(connection)
    connection.execute("INSERT INTO meta VALUES ('secret', ?)", (b"simulated" * 4,))
    return connection.serialize("main")


class Reserve(Ballast):
    """The ballast of a simulated disk: as long as it is there, a full disk takes no commit."""

    def __init__(self) -> None:
        super().__init__(Path("no such directory"), RESERVE_BYTES)
        self.is_disk_full = False
        self._is_there = True

    @property
    def is_there(self) -> bool:
        return self._is_there

    def make(self) -> bool:
        self._is_there = self._is_there or not self.is_disk_full
        return self._is_there

    def release(self) -> bool:
        was_there, self._is_there = self._is_there, False
        return was_there

    def free_bytes(self) -> int:
        return 0 if self.is_disk_full else ROOM_BYTES


class FaultyJournal(Journal):
    """The journal, with a disk that is full, or fails at the next commit."""

    fault: DiskFault | None = None
    reserve: Reserve

    def commit(self, commit: Commit) -> None:
        fault, self.fault = self.fault, None
        if fault is DiskFault.ROLLED_BACK:
            self._db.set_commit_hook(lambda: True)  # SQLite rolls back instead of committing
        try:
            super().commit(commit)
        finally:
            self._db.set_commit_hook(None)
        if fault is DiskFault.DURABLE:
            raise apsw.IOError("the commit reported an error and is durable all the same")

    def _write(self, commit: Commit) -> None:
        super()._write(commit)
        if self.reserve.is_disk_full and self.reserve.is_there:
            raise apsw.FullError("the simulated disk is full")


class Disk:
    """What is left of the scheduler when its process is gone."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.connection.deserialize("main", _empty_journal())
        self.reserve = Reserve()
        self.highest = HighestEpoch()

    def open(self) -> FaultyJournal:
        """Open the journal as a new process would; what was not committed is gone."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        room = Room(self.reserve, FLOOR_BYTES)
        room.make_way()
        journal = FaultyJournal(self.connection, self.connection, -1, room, highest=self.highest)
        journal.reserve = self.reserve
        return journal
