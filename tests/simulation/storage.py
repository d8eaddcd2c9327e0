"""The real journal on a database in memory: as fast as that, and as faulty as wanted."""

from __future__ import annotations

import functools
from enum import Enum
from pathlib import Path

import apsw

from remuda.scheduler.ballast import Ballast
from remuda.scheduler.journal import Journal, migrate
from remuda.scheduler.records import Commit
from remuda.scheduler.room import Room


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


class FaultyJournal(Journal):
    """The journal, with a disk that can be told to fail at the next commit."""

    fault: DiskFault | None = None

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


class Disk:
    """What is left of the scheduler when its process is gone."""

    def __init__(self) -> None:
        self.connection = apsw.Connection(":memory:")
        self.connection.deserialize("main", _empty_journal())

    def open(self) -> FaultyJournal:
        """Open the journal as a new process would; what was not committed is gone."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        room = Room(Ballast(Path("no such directory"), 0), floor_bytes=0)
        return FaultyJournal(self.connection, self.connection, -1, room)
