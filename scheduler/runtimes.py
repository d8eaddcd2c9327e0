"""How long work of a kind takes: a bounded table of moving averages, to size what is sent ahead and
to tell when a card will be free."""

from __future__ import annotations

from collections.abc import Sequence

KINDS_MAX = 4_096
RECOVERED_MAX = 8
_WEIGHT = 5
"""A run moves the mean by a fifth of what it was off by."""
_DEVIATION_WEIGHT = 4
_DEVIATIONS = 4
_MARGIN = 8
"""What is surely enough is at least an eighth above the mean."""


class Runtimes:
    """By kind the weighted mean of run times, and of how far they were off it, in nanoseconds.

    A run seldom takes longer than the mean and four such deviations: so TCP tells when an answer is
    overdue (V. Jacobson, "Congestion avoidance and control", 1988).
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def add(self, kind: str, run_ns: int) -> bool:
        """Take in one measured run, and tell whether it is the first of its kind.

        The oldest kind is dropped when the table is full.
        """
        known = self._known.get(kind)
        if known is None:
            if len(self._known) >= KINDS_MAX:
                del self._known[next(iter(self._known))]
            self._known[kind] = run_ns, run_ns // 2
            return True
        mean_ns, deviation_ns = known
        off_ns = run_ns - mean_ns
        deviation_ns += (abs(off_ns) - deviation_ns) // _DEVIATION_WEIGHT
        self._known[kind] = mean_ns + off_ns // _WEIGHT, deviation_ns
        return False

    def recover(self, kind: str, runs_ms: Sequence[int]) -> None:
        """Take in the latest runs of a kind that are on disk."""
        for run_ms in runs_ms[-RECOVERED_MAX:]:
            self.add(kind, run_ms * 1_000_000)

    def mean_ns(self, kind: str) -> int | None:
        """Return the mean run time of a kind, or None when none was measured yet."""
        known = self._known.get(kind)
        return known[0] if known is not None else None

    def enough_ns(self, kind: str) -> int | None:
        """Return the time in which a run of a kind is almost surely over, or None."""
        known = self._known.get(kind)
        if known is None:
            return None
        mean_ns, deviation_ns = known
        return mean_ns + max(_DEVIATIONS * deviation_ns, mean_ns // _MARGIN)
