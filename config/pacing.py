"""When does a process that moves bulk rest, because others want the CPUs?

Niceness says who runs where two want the same CPU. It says nothing where a CPU that looks idle is
the other half of a busy one, as on most virtual machines, or shares its caches: whoever runs there
slows the one beside it. So while processes that are not nice keep the CPUs busy, bulk takes a small
share of them, and never nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

STAT = Path("/proc/stat")
LOOK_EVERY_S = 0.25
BUSY_SHARE = 0.6
"""Of all CPU time, taken by processes that are not nice: above it they want the CPUs."""
CALM_S = 1.0
"""Who wanted the CPUs so lately still does: work that waits for a disk wants them again at once."""
BULK_SHARE = 0.02
"""Of all CPU time, what one process that moves bulk may take then."""
REST_S_MIN = 0.001
REST_S_MAX = 0.5
SAVED_S_MAX = 0.25
"""Who took nothing for long has saved the share of so long, no more."""
_COLUMNS = 8  # user nice system idle iowait irq softirq steal; guests are in user


class Cpus(NamedTuple):
    """What all CPUs did since the host started, in ticks."""

    wanted: int
    total: int


class Pace:
    """Says how long to rest; any thread may ask, and none has to obey at once."""

    def __init__(
        self,
        look: Callable[[], Cpus | None] | None = None,
        used_s: Callable[[], float] = time.process_time,
        now_s: Callable[[], float] = time.monotonic,
        cpus: int | None = None,
    ) -> None:
        self._look = look or read_cpus
        self._used_s = used_s
        self._now_s = now_s
        self._share = BULK_SHARE * (cpus or os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._seen = self._look()
        self._seen_s = now_s()
        self._wanted_s: float | None = None
        self._debt_s = 0.0
        self._used_at_s = used_s()
        self._paid_s = now_s()

    def rest_s(self) -> float:
        """Return how long to move nothing; 0 while nobody wants the CPUs."""
        with self._lock:
            now_s = self._now_s()
            if now_s - self._seen_s >= LOOK_EVERY_S:
                self._see(now_s)
            self._account(now_s)
            if self._wanted_s is None or now_s - self._wanted_s >= CALM_S:
                self._debt_s = 0.0
            rest_s = min(self._debt_s / self._share, REST_S_MAX)
            return rest_s if rest_s >= REST_S_MIN else 0.0

    def _see(self, now_s: float) -> None:
        last, self._seen, self._seen_s = self._seen, self._look(), now_s
        if last is not None and self._seen is not None and self._seen.total > last.total:
            wanted = (self._seen.wanted - last.wanted) / (self._seen.total - last.total)
            if wanted >= BUSY_SHARE:
                self._wanted_s = now_s

    def _account(self, now_s: float) -> None:
        """Add what was used, take off what the time since then allowed."""
        used_s = self._used_s()
        self._debt_s += used_s - self._used_at_s - self._share * (now_s - self._paid_s)
        self._debt_s = max(self._debt_s, -self._share * SAVED_S_MAX)
        self._used_at_s, self._paid_s = used_s, now_s


def read_cpus(path: Path = STAT) -> Cpus | None:
    """Read what the CPUs did; None where the kernel does not say."""
    try:
        with path.open("rb") as file:
            kind, *ticks = file.readline().split()
        counts = [int(each) for each in ticks[:_COLUMNS]]
    except (OSError, ValueError):
        return None
    return Cpus(counts[0], sum(counts)) if kind == b"cpu" and counts else None
