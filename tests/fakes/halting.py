"""A scheduler that stands still where the test says, as one that was stopped does.

Run as a script it is the real daemon, but for two pauses. A process that wakes may look at its
sockets before the library's own thread has read what came meanwhile: chance decides. Here it is so
each time: the look after a pause shows nothing.
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
WAITING, COMMITTING = "stand-still-waiting", "stand-still-committing"


def stand_still(home: Path, where: str, seconds: float) -> None:
    """Let the scheduler of this home stand still, once."""
    new = home / f"{where}.new"
    new.write_text(str(seconds))
    new.replace(home / where)


def _pause(where: str) -> bool:
    wish = Path(os.environ["REMUDA_HOME"]) / where
    if not wish.exists():
        return False
    seconds = float(wish.read_text())
    wish.unlink()
    time.sleep(seconds)
    return True


def _halt() -> None:
    poll, commit = Wire.poll, Journal.commit
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

    Wire.poll, Journal.commit = our_poll, our_commit  # type: ignore[method-assign]  # for the test


if __name__ == "__main__":
    _halt()
    sys.exit(main())
