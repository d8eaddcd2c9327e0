"""How long work of a kind takes: a bounded table of moving averages, to size what is sent ahead."""

from __future__ import annotations

KINDS_MAX = 4_096
_WEIGHT = 0.2


class Runtimes:
    """The exponentially weighted mean run time of each kind, in nanoseconds."""

    def __init__(self) -> None:
        self._mean_ns: dict[str, float] = {}

    def add(self, kind: str, run_ns: int) -> None:
        """Take in one measured run; the oldest kind is dropped when the table is full."""
        mean = self._mean_ns.get(kind)
        if mean is None:
            if len(self._mean_ns) >= KINDS_MAX:
                del self._mean_ns[next(iter(self._mean_ns))]
            self._mean_ns[kind] = float(run_ns)
        else:
            self._mean_ns[kind] = mean + _WEIGHT * (run_ns - mean)

    def mean_ns(self, kind: str) -> float | None:
        """Return the mean run time of a kind, or None when none was measured yet."""
        return self._mean_ns.get(kind)
