"""What runs short on this host before there is none of it: descriptors, room on the disk?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..config import open_files
from ..config.logs import get_logger
from ..protocol.resources import format_bytes

LOOK_EVERY_NS = 5_000_000_000
DISK_FREE_BYTES_MIN = 64 << 20


@dataclass(slots=True)
class Strain:
    """Look every few seconds; `problems` go with the heartbeats, and each once to the log."""

    state_dir: Path
    problems: tuple[str, ...] = ()
    _due_ns: int = 0

    def look_if_due(self, now: int) -> bool:
        """Look when it is time; return whether something changed."""
        if now < self._due_ns:
            return False
        self._due_ns = now + LOOK_EVERY_NS
        found = tuple(filter(None, (_files(), _disk(self.state_dir))))
        before, self.problems = self.problems, found
        for problem in found:
            if problem not in before:
                get_logger().warning("trouble", problem=problem)
        for problem in before:
            if problem not in found:
                get_logger().info("trouble is over", problem=problem)
        return found != before


def _files() -> str:
    used, limit = open_files.counted()
    if not open_files.run_short(used, limit):
        return ""
    return f"{open_files.ALARM_PERCENT} % of {limit} file descriptors are open: raise LimitNOFILE"


def _disk(folder: Path) -> str:
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize >= DISK_FREE_BYTES_MIN:
        return ""
    least = format_bytes(DISK_FREE_BYTES_MIN)
    return f"less than {least} are free in {folder}: tasks fail there with disk_full"
