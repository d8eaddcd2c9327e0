"""Who holds which key now: the scheduler's file, read anew when it has changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ..config.store_home import read_store_keys
from ..protocol.errors import Invalid

PUTTERS = frozenset({"submit", "operator", "admin", "node"})
ADMITTED = PUTTERS | {"store"}


class Holder(NamedTuple):
    """Whoever holds a live key."""

    key: str
    name: str
    role: str

    @property
    def may_put(self) -> bool:
        return self.role in PUTTERS

    @property
    def is_user(self) -> bool:
        """Tell people from nodes, whose objects belong to tasks of many."""
        return self.role != "node"


class LiveKeys:
    """The keys that are admitted; `problem` says why the file could not be read, if so.

    `changes` grows with every new list.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._holders: dict[str, Holder] = {}
        self.problem = ""
        self.changes = 0

    def refresh(self) -> None:
        """Read the file if it has changed; a broken one is passed over."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - at every turn of the loop
        except FileNotFoundError:
            return  # no scheduler yet, or one that starts anew
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            found = read_store_keys(self._path)
        except Invalid as error:
            self.problem = str(error)
            return
        self.problem = ""
        self.changes += 1
        self._holders = {
            key: Holder(key, name, role) for key, (name, role) in found.items() if role in ADMITTED
        }

    def holder(self, key: str) -> Holder | None:
        return self._holders.get(key)

    def __len__(self) -> int:
        return len(self._holders)
