"""Does the store that ran beside the scheduler still run?"""

from __future__ import annotations

from dataclasses import dataclass

from .store_tuning import StoreTuning

LOOK_EVERY_NS = 2_000_000_000
AWAY_AFTER_NS = 10_000_000_000
"""So long a store is started again before anybody is told that it is gone."""
GONE = (
    "the store has stopped: files and large values wait until it is back (`systemctl "
    "start remuda-store`; `remuda doctor` on its host looks at it)"
)


@dataclass(slots=True)
class StoreWatch:
    """Watches whether the store that ran beside the scheduler still does."""

    tuning: StoreTuning
    _due_ns: int = 0
    _since_ns: int = -1

    def problem(self, now_ns: int) -> str:
        """Say that it stopped a while ago; looked at every other second."""
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + LOOK_EVERY_NS
            if not self.tuning.is_away():
                self._since_ns = -1
            elif self._since_ns < 0:
                self._since_ns = now_ns
        is_long = 0 <= self._since_ns <= now_ns - AWAY_AFTER_NS
        return GONE if is_long else ""
