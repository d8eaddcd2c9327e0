"""How many files does this process hold open, before there is no descriptor left?"""

from __future__ import annotations

import resource
from pathlib import Path

ALARM_PERCENT = 70


def counted() -> tuple[int, int]:
    """Return how many descriptors are open, and how many may be."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # not even one is left to count with
        used = limit
    return used, limit


def run_short(used: int, limit: int) -> bool:
    """Tell whether it is time to say so."""
    return used * 100 >= limit * ALARM_PERCENT
