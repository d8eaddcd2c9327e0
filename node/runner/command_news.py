"""What is said of a command while it runs: that it started, that it printed, how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...worker.frames import Message, OutputGrew, Progress, Run, Started
from .progress import LOOK_EVERY_S, ProgressFile
from .streams import Pipe

STARTED_AFTER_S = 0.1
HINT_EVERY_S = 0.1


class News:
    """Says what is new, each kind at its own pace; `heard` is told of every sign of life."""

    def __init__(
        self,
        order: Run,
        progress: Path,
        pipes: Sequence[Pipe],
        emit: Callable[[Message], None],
        heard: Callable[[float], None],
    ) -> None:
        self._order = order
        self._pipes = pipes
        self._emit = emit
        self._heard = heard
        self._pid = 0
        self._started_wall_ns = 0
        self._start_at = math.inf
        self._hint_at = math.inf
        self._progress = ProgressFile(progress)

    def begin(self, now: float, wall_ns: int) -> None:
        """Start to count."""
        self._started_wall_ns = wall_ns
        self._start_at = now + STARTED_AFTER_S
        self._progress.next_at = now + LOOK_EVERY_S

    def spawned(self, pid: int) -> None:
        """Take in which process it is."""
        self._pid = pid

    def on_output(self) -> None:
        """Take in that it printed."""
        now = time.monotonic()
        self._heard(now)
        if self._hint_at == math.inf:
            self._hint_at = now + HINT_EVERY_S

    def deadline(self) -> float:
        """Return the monotonic time of the next thing to say."""
        return min(self._start_at, self._hint_at, self._progress.next_at)

    def on_time(self, now: float) -> None:
        """Say what is due."""
        task, attempt = self._order.task, self._order.attempt
        if now >= self._start_at:
            self._start_at = math.inf
            self._emit(Started(task, attempt, self._pid, self._started_wall_ns))
        if now >= self._hint_at:
            self._hint_at = math.inf
            out, err = (pipe.stream for pipe in self._pipes)
            out.save_tail()
            err.save_tail()
            self._emit(OutputGrew(task, attempt, out.total, err.total))
        if now >= self._progress.next_at:
            self.look_at_progress(now)

    def look_at_progress(self, now: float) -> None:
        """Look at once, whatever the pace."""
        said = self._progress.look(now)
        if self._progress.was_written:
            self._heard(now)
        if said is not None:
            self._emit(Progress(self._order.task, self._order.attempt, *said))
