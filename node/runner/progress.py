"""What a command says of its progress: the last line of a file, `0.4 step 8/20`."""

from __future__ import annotations

import math
from pathlib import Path

from ...worker.frames import PROGRESS_TEXT_MAX

LOOK_EVERY_S = 0.5
_READ_BYTES_MAX = 4096


class ProgressFile:
    """The file REMUDA_PROGRESS, looked at twice a second while its command runs.

    `was_written`: the last look found that something was, be it the same again or nonsense.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next_at = 0.0
        self.was_written = False
        self._seen: tuple[int, int] = (0, 0)
        self._said: tuple[float, str] | None = None

    def look(self, now: float) -> tuple[float, str] | None:
        """Return (fraction, text) when something new was written."""
        self.next_at = now + LOOK_EVERY_S
        self.was_written = False
        try:
            state = self.path.stat()
        except OSError:  # nothing was written, or the work directory was removed
            return None
        seen = (state.st_mtime_ns, state.st_size)
        if seen == self._seen:
            return None
        self._seen = seen
        self.was_written = True
        said = parse_progress(self._last_line(state.st_size))
        if said is None or said == self._said:
            return None
        self._said = said
        return said

    def _last_line(self, size: int) -> str:
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, size - _READ_BYTES_MAX))
                text = file.read(_READ_BYTES_MAX).decode(errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def parse_progress(line: str) -> tuple[float, str] | None:
    """Read `FRACTION TEXT`; None when it does not begin with a number."""
    head, _, text = line.strip().partition(" ")
    try:
        fraction = float(head)
    except ValueError:
        return None
    if not math.isfinite(fraction):
        return None
    return min(1.0, max(0.0, fraction)), text.strip()[:PROGRESS_TEXT_MAX]
