"""How many nodes may register in a second, and when is the next one to come again?

A node that is let in opens five connections, whose handshakes are dear. If a thousand came at
once, all would run out of time, try again, and none would ever be in.
"""

from __future__ import annotations

from dataclasses import dataclass

NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Admission:
    """A token bucket that tells those it sends away when their turn is, one after another."""

    step_ns: int = 12_500_000
    burst: int = 100
    _full_at: int = 0
    _told_at: int = 0

    def wait_ms(self, now_ns: int) -> int:
        """Let a node in (0), or say in how many milliseconds it should ask again."""
        if self._full_at - now_ns < self.burst * self.step_ns:
            self._full_at = max(self._full_at, now_ns) + self.step_ns
            return 0
        self._told_at = max(self._told_at, now_ns) + self.step_ns
        return max(-(-(self._told_at - now_ns) // NS_PER_MS), 1)
