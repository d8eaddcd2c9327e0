"""How is it shown that something goes on: one live line on stderr, where somebody looks?"""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from .writing import span

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress

    from .commands import Session

BAR_CELLS = 24
REFRESHES_PER_S = 10
SEEN_MAX, SEEN_EVERY_S = 64, 1.0


class Gauge:
    """A bar and a text, gone without a trace at the end; silent into a pipe and with --quiet."""

    def __init__(self, session: Session, total: float | None = None) -> None:
        self._total = total
        self._progress: Progress | None = None
        self._is_shown = sys.stderr.isatty() and not session.quiet

    def __enter__(self) -> Gauge:
        if self._is_shown:
            self._progress = _progress()
            self._progress.add_task("", total=self._total)
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, done: float, text: str, total: float | None = None) -> None:
        """Say how far it is, and of how much if that has become known."""
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=done, total=total, description=text)


class Pace:
    """Measures how many things are done in a second of late."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=SEEN_MAX)

    def rate(self, done: int) -> float | None:
        """Take in how many are done by now; None while that tells no pace."""
        now_s = time.monotonic()
        if now_s - self._seen[-1][0] >= SEEN_EVERY_S:
            self._seen.append((now_s, done))
        since_s, before = self._seen[0]
        return (done - before) / (now_s - since_s) if done > before and now_s > since_s else None


def pace(rate: float | None, left: float) -> str:
    """Write how fast it goes and how long it takes at that pace; empty while nobody knows."""
    if not rate:
        return ""
    per_s = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
    return f"{per_s}, {span(max(1, round(left / rate)))} left" if left else per_s


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        BarColumn(bar_width=BAR_CELLS),
        TextColumn("{task.description}", markup=False),
        console=Console(file=sys.stderr, highlight=False),
        refresh_per_second=REFRESHES_PER_S,
        transient=True,
    )
