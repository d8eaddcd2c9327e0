"""A scheduler that stands still where the test says, as one that was stopped does.

Run as a script it is the real daemon, but for two pauses, and for a wall clock that a test sets.
A process that wakes may look at its sockets before the library's own thread has read what came
meanwhile: chance decides. Here it is so each time: the look after a pause shows nothing.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from remuda.scheduler.__main__ import main
from remuda.scheduler.journal import Journal
from remuda.scheduler.wire import Wire

PROGRAM = ("-P", __file__)
WALL_OFFSET = "wall-offset-s"
WAITING, COMMITTING = "stand-still-waiting", "stand-still-committing"


def stand_still(home: Path, where: str, seconds: float) -> None:
    """Let the scheduler of this home stand still, once."""
    _wish(home, where, seconds)


def set_wall_clock(home: Path, ahead_s: float) -> None:
    """Let the wall clock of this scheduler be so much ahead of ours from now on."""
    _wish(home, WALL_OFFSET, ahead_s)


def _wish(home: Path, what: str, seconds: float) -> None:
    new = home / f"{what}.new"
    new.write_text(str(seconds))
    new.replace(home / what)


def _pause(where: str) -> bool:
    wish = Path(os.environ["REMUDA_HOME"]) / where
    if not wish.exists():
        return False
    seconds = float(wish.read_text())
    wish.unlink()
    time.sleep(seconds)
    return True


def _halt() -> None:
    poll, commit, wall_ns = Wire.poll, Journal.commit, time.time_ns
    offset = Path(os.environ["REMUDA_HOME"]) / WALL_OFFSET
    looks_unseeing = 0

    def our_poll(wire: Wire, timeout_ms: int) -> dict[Any, int]:
        nonlocal looks_unseeing
        if looks_unseeing or _pause(WAITING):
            looks_unseeing = 0
            return {}
        return poll(wire, timeout_ms)

    def our_commit(journal: Journal, rows: Any) -> None:
        nonlocal looks_unseeing
        commit(journal, rows)
        looks_unseeing = int(_pause(COMMITTING))

    def our_time_ns() -> int:
        ahead_s = float(offset.read_text()) if offset.exists() else 0.0
        return wall_ns() + int(ahead_s * 1e9)

    time.time_ns = our_time_ns
    Wire.poll, Journal.commit = our_poll, our_commit  # type: ignore[method-assign]  # for the test


if __name__ == "__main__":
    _halt()
    sys.exit(main())
