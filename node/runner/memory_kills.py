"""Did the kernel's out-of-memory killer end a process, here or at least on this host?"""

from __future__ import annotations

from pathlib import Path

HOST_COUNTS = Path("/proc/vmstat")
LOOK_EVERY_S = 2.0
"""The longer, the likelier it is that the count of the host grew by another's misfortune."""


class MemoryKills:
    """Compares the kernel's counts with those at the start of an occupant.

    The count of our own cgroup, where there is one with a memory controller, is of our processes
    alone. That of the host is of everybody's, so only what it grew by at last counts: since the
    look before the last one, because whoever is killed may take a while to go.
    """

    def __init__(self, own_cgroup: str, host_counts: Path = HOST_COUNTS) -> None:
        self._own = Path(own_cgroup) / "memory.events" if own_cgroup else None
        self._host = host_counts
        self._of_own = _count(self._own)
        self._of_host = self._of_host_before = _count(self._host)
        self._look_at = 0.0

    def deadline(self) -> float:
        """Return the monotonic time of the next look."""
        return self._look_at

    def on_time(self, now: float) -> None:
        """Take what the host's count was as known."""
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._of_host_before, self._of_host = self._of_host, _count(self._host)

    def evidence(self) -> str:
        """Return "cgroup" or "host" for where there was one, "" for none."""
        if _grew(self._of_own, _count(self._own)):
            return "cgroup"
        return "host" if _grew(self._of_host_before, _count(self._host)) else ""


def _grew(before: int | None, now: int | None) -> bool:
    return before is not None and now is not None and now > before


def _count(path: Path | None) -> int | None:
    """Read `oom_kill N`; None where the kernel does not say."""
    if path is None:
        return None
    try:
        lines = path.read_text().splitlines()
    except OSError:  # no such controller, or an older kernel
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
