"""Does the journal's disk still answer? Nobody knows while nothing is committed, so it is asked."""

from __future__ import annotations

import apsw

from .room import Room, transact


class CommitProbe:
    """Commits next to nothing: the same file, the same sync as a turn's facts."""

    def __init__(self, connection: apsw.Connection, room: Room) -> None:
        self._db = connection
        self._room = room

    def ask(self) -> None:
        """Return once the disk answered, be it that it is full; other errors propagate.

        A full disk is no reason to start again: it would be as full afterwards.
        """
        try:
            transact(
                self._db,
                lambda: self._db.execute(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES ('asked', x'00')"
                ),
            )
        except apsw.FullError:
            self._room.on_full()
