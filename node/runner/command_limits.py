"""How long a command may run: its timeout, its silence, its fence."""

from __future__ import annotations

import math

from ...worker.frames import Run
from .fence import Fence


class CommandLimits:
    """Compares times with what the order allows; `over` names the limit that ended it."""

    def __init__(self, order: Run) -> None:
        self.fence = Fence(order.fence_boot_ns)
        self._timeout_s = order.timeout_s
        self._silence_s = order.silence_s
        self._began_at = math.inf
        self._heard_at = math.inf
        self._look_at = math.inf

    def begin(self, now: float) -> None:
        """Start to count."""
        self._began_at = self._heard_at = now
        self._look_at = self.fence.look_at(now)

    def heard(self, now: float) -> None:
        """Take in a sign of life: output, or progress."""
        self._heard_at = now

    def deadline(self) -> float:
        """Return the monotonic time at which `over` may have something to say."""
        return min(self._timeout_at, self._silent_at, self._look_at)

    def is_silent(self, now: float) -> bool:
        """Say whether nothing was heard for too long."""
        return now >= self._silent_at

    def over(self, now: float) -> str:
        """Return how the command is to end now, "" while it may run."""
        if now >= self._look_at:
            self._look_at = self.fence.look_at(now)
            if self.fence.is_over():
                return "fenced"
        if now >= self._timeout_at:
            return "timeout"
        return "silence" if self.is_silent(now) else ""

    @property
    def _timeout_at(self) -> float:
        return self._began_at + self._timeout_s if self._timeout_s > 0 else math.inf

    @property
    def _silent_at(self) -> float:
        return self._heard_at + self._silence_s if self._silence_s > 0 else math.inf
