"""How much is kept, and how much was promised to uploads that are under way?"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from .admission import Usage
from .committer import Removed
from .index import Totals


class Ledger:
    """Counts bytes as they are promised, written, kept and removed."""

    def __init__(self, root: Path, totals: Totals) -> None:
        self._root = root
        self.objects = totals.objects
        self.stored_bytes = totals.bytes
        self.by_name = totals.by_name
        self.promised_bytes = 0
        self.unwritten_bytes = 0
        self._promised_by_name: Counter[str] = Counter()

    def usage(self, name: str, idle_bytes: int) -> Usage:
        """Say what counts against the limits for one owner."""
        return Usage(
            stored_bytes=self.stored_bytes,
            promised_bytes=self.promised_bytes + idle_bytes,
            user_bytes=self.by_name[name] + self._promised_by_name[name],
            unwritten_bytes=self.unwritten_bytes,
            free_bytes=self.free_bytes(),
        )

    def free_bytes(self) -> int:
        """Return the free space of the disk."""
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def promise(self, name: str, size: int) -> None:
        self.promised_bytes += size
        self.unwritten_bytes += size
        self._promised_by_name[name] += size

    def write(self, count: int) -> None:
        self.unwritten_bytes -= count

    def end_promise(self, name: str, size: int, written: int) -> None:
        """Forget a promise, of which so much had been written."""
        self.promised_bytes -= size
        self.unwritten_bytes -= size - written
        self._promised_by_name[name] -= size
        if not self._promised_by_name[name]:
            del self._promised_by_name[name]

    def add(self, name: str, size: int, *, is_new: bool, is_new_to_owner: bool) -> None:
        """Count an object that was put."""
        if is_new:
            self.objects += 1
            self.stored_bytes += size
        if is_new_to_owner:
            self.by_name[name] += size

    def remove(self, removed: Removed) -> None:
        """Count an object that has gone."""
        self.objects -= 1
        self.stored_bytes -= removed.row.size
        for name in removed.names:
            self.by_name[name] -= removed.row.size
            if not self.by_name[name]:
                del self.by_name[name]
