"""When a task that must not outlive its scheduler's word is to end: its fence ran out.

Times are of CLOCK_BOOTTIME, which goes on while the host sleeps. The poller's clock does not, so a
fence is looked at every second instead of being waited for.
"""

from __future__ import annotations

import math
import time

LOOK_S = 1.0


def boot_ns() -> int:
    """Return the time since the start of the host, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Fence:
    """One fence; 0 stands for none."""

    def __init__(self, until_boot_ns: int) -> None:
        self.until_boot_ns = until_boot_ns

    def renew(self, until_boot_ns: int) -> None:
        """Put a fence off, never nearer."""
        if self.until_boot_ns:
            self.until_boot_ns = max(self.until_boot_ns, until_boot_ns)

    def is_over(self) -> bool:
        """Say whether it ran out."""
        return bool(self.until_boot_ns) and boot_ns() >= self.until_boot_ns

    def look_at(self, now: float) -> float:
        """Return the monotonic time of the next look."""
        if not self.until_boot_ns:
            return math.inf
        return now + min(LOOK_S, max(0.0, (self.until_boot_ns - boot_ns()) / 1e9))
