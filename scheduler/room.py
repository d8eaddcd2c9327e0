"""Has the disk room: what follows when a commit finds none, and when does it go on again?"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import apsw

from ..protocol.resources import format_bytes
from .ballast import Ballast

if TYPE_CHECKING:
    from .core import Core

START_BYTES_MIN = 4 << 20
"""Below this a start frees the ballast first: the epoch, the log's index and the list of endpoints
must be written before anybody can be told anything."""

DISK_FULL = "the disk of its state directory is full"

_Written = TypeVar("_Written")


class Level(Enum):
    """How much room there is: LOW takes no task in, FULL grants nothing either."""

    ENOUGH = "enough"
    LOW = "low"
    FULL = "full"


class Room:
    """Owns the ballast; every write to the journal goes through `write`.

    With `floor_bytes` or more free, tasks are taken in. Below it they are refused, and from then
    on until there is a quarter more than that, so that the answer does not change with each task.
    """

    def __init__(self, ballast: Ballast, floor_bytes: int) -> None:
        self._ballast = ballast
        self._floor_bytes = floor_bytes
        self._free_bytes = 0
        self.level = Level.ENOUGH

    def problem(self, _now_ns: int = 0) -> str:
        """Look, then say what is wrong and what to do; nothing when there is enough room."""
        self.look()
        return self.describe()

    def describe(self) -> str:
        """Say what is wrong as of the last look or write."""
        if self.level is Level.ENOUGH:
            return ""
        stopped = "no task is taken in"
        if self.level is Level.FULL:
            stopped += " and none is started"
        wanted = max(self._wanted_bytes() - self._free_bytes, 1)
        return (
            f"the disk of the scheduler's state directory is {self.level.value}: {stopped}, "
            f"what runs goes on; free {format_bytes(wanted)} there"
        )

    def keep_free(self, floor_bytes: int) -> None:
        """Take another bound below which no task is taken in."""
        self._floor_bytes = floor_bytes

    def make_way(self) -> None:
        """Before the first write: give up the ballast where it is all the room there is."""
        self._free_bytes = self._ballast.free_bytes()
        if self._free_bytes < START_BYTES_MIN and self._ballast.release():
            self.level = Level.FULL

    def write(self, connection: apsw.Connection, write: Callable[[], _Written]) -> _Written:
        """Do one transaction; where the disk is full, give up the ballast and do it once more.

        Raises `apsw.Error` as it comes, so also when the second try finds no room.
        """
        try:
            return transact(connection, write)
        except apsw.FullError:
            self.level = Level.FULL
            if not self._ballast.release():
                raise
            return transact(connection, write)

    def on_full(self) -> None:
        """Take in that upkeep, which can wait, found no room."""
        self.level = Level.FULL

    def look(self) -> Level:
        """Look how much room there is now; make the ballast anew before anything goes on."""
        self._free_bytes = self._ballast.free_bytes()
        if self.level is Level.ENOUGH:
            if self._ballast.is_there or self._free_bytes >= self._wanted_bytes():
                self._ballast.make()
            if self._free_bytes < self._floor_bytes:
                self.level = Level.LOW
        elif self._free_bytes >= self._wanted_bytes() and self._ballast.make():
            self.level = Level.ENOUGH
        return self.level

    def _wanted_bytes(self) -> int:
        """Return how much must be free for things to go on, a ballast to be made included."""
        again = self._floor_bytes + self._floor_bytes // 4
        return again if self._ballast.is_there else again + self._ballast.size_bytes


class Restraint:
    """Holds the core to the room there is."""

    def __init__(self, core: Core, room: Room) -> None:
        self._core = core
        self._room = room
        self._heeded = Level.ENOUGH

    def heed(self) -> bool:
        """Take in and grant as the room allows; return whether that changed."""
        level = self._room.level
        if level is self._heeded:
            return False
        self._heeded = level
        self._core.close_intake(self._room.describe())
        if level is Level.FULL:
            self._core.hold(DISK_FULL)
        else:
            self._core.resume(DISK_FULL)
        return True


def transact(connection: apsw.Connection, write: Callable[[], _Written]) -> _Written:
    """Do one transaction: all of it, or nothing when anything raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        written = write()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled it back already
            connection.execute("ROLLBACK")
        raise
    return written
