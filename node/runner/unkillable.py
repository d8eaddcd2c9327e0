"""What does not die although it was killed: stuck in the kernel, or somebody else's process.

The runner goes on killing and keeps its slot, its locks and its silence about an end: nothing is
free before ECHILD. What it can do besides is say who it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from ...worker import frames
from ...worker.asks import Stuck
from . import tree
from .limits import Limits
from .slot import Slot

ROWS_MAX = 16


class Unkillable:
    """Says, once per agent and then again and again, what outlived KILL for too long."""

    def __init__(self, slot: Slot, limits: Limits, say: Callable[[Stuck], None]) -> None:
        self._slot = slot
        self._limits = limits
        self._say = say
        self._again_at = -math.inf

    def forget(self) -> None:
        """Begin with an agent that has not heard of it."""
        self._again_at = -math.inf

    def deadline(self) -> float:
        """Return the monotonic time at which something may be to say."""
        after_s = self._limits.unkillable_after_s
        occupant = self._slot.occupant
        if after_s <= 0 or occupant is None or occupant.ending is None:
            return math.inf
        return max(self._again_at, occupant.ending.killing_since + after_s)

    def on_time(self, now: float) -> None:
        """Say what is due."""
        if now < self.deadline():
            return
        occupant = self._slot.occupant
        assert occupant is not None
        assert occupant.ending is not None
        self._again_at = now + self._limits.unkillable_after_s
        worker = self._slot.worker
        held = [key for key, has_begun in occupant.held() if has_begun]
        task, attempt = frames.split_key(held[0]) if held else (b"", 0)
        name = worker.order.worker if worker is not None else ""
        since_s = now - occupant.ending.killing_since
        self._say(Stuck(task, attempt, name, since_s, living(occupant.hands.root)))


def living(pid: int) -> list[list[object]]:
    """Return [pid, state, name] of those below `pid` that have not ended."""
    rows: list[list[object]] = []
    for each in tree.descendants(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_text(errors="replace")
        except OSError:  # it went away after all
            continue
        state = stat[stat.rindex(")") + 2]
        if state not in "ZX" and len(rows) < ROWS_MAX:
            rows.append([each, state, stat[stat.index("(") + 1 : stat.rindex(")")]])
    return rows
