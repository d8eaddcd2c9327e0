"""When does what happen: one queue of events in virtual time, clocks that differ, one trace."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

MS = 1_000_000
SECOND = 1_000 * MS
MILLION = 1_000_000


class Trace:
    """What happened, in order: as a hash always, as readable lines when somebody will read them.

    `tasks` of a line lets a story be told of some tasks alone; a line without any concerns all.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep
        self.lines: list[tuple[int, str, tuple[bytes, ...]]] = []
        self._hash = hashlib.blake2b(digest_size=16)

    def note(self, now_ns: int, text: str, tasks: tuple[bytes, ...] = ()) -> None:
        """Take in one event."""
        self._hash.update(f"{now_ns} {text}\n".encode())
        if self.keep:
            self.lines.append((now_ns, text, tasks))

    def bytes(self, now_ns: int, what: str, payload: bytes) -> None:
        """Take in a frame, for the hash alone."""
        self._hash.update(b"%d %s " % (now_ns, what.encode()))
        self._hash.update(payload)

    def digest(self) -> str:
        return self._hash.hexdigest()


@dataclass(slots=True)
class Agenda:
    """Events by time, then by the order in which they were put in; all chance of a run."""

    chance: Random
    trace: Trace
    now_ns: int = 0
    events: int = 0
    _heap: list[tuple[int, int, Callable[[], object]]] = field(default_factory=list)
    _order: int = 0

    def at(self, when_ns: int, act: Callable[[], object]) -> None:
        """Have something happen at a time, or now if that has passed."""
        self._order += 1
        heapq.heappush(self._heap, (max(when_ns, self.now_ns), self._order, act))

    def after(self, delay_ns: int, act: Callable[[], object]) -> None:
        self.at(self.now_ns + delay_ns, act)

    def run(self, until_ns: int, is_over: Callable[[], bool]) -> None:
        """Let things happen until a time, or until `is_over` says so (asked once a second)."""
        ask_ns = self.now_ns + SECOND
        while self._heap and self._heap[0][0] <= until_ns:
            when_ns, _, act = heapq.heappop(self._heap)
            if when_ns >= ask_ns:
                ask_ns = when_ns + SECOND
                if is_over():
                    return
            self.now_ns = when_ns
            self.events += 1
            act()
        self.now_ns = max(self.now_ns, until_ns)


@dataclass(slots=True)
class Clock:
    """The two clocks of one host: `mono` never goes back and may run fast or slow, `wall` jumps."""

    base_ns: int
    wall_base_ns: int
    rate_ppm: int = 0
    _since_ns: int = 0

    def mono_ns(self, now_ns: int) -> int:
        """Return what the host's monotonic clock shows."""
        passed = now_ns - self._since_ns
        return self.base_ns + passed + passed * self.rate_ppm // MILLION

    def wall_ns(self, now_ns: int) -> int:
        return self.wall_base_ns + now_ns

    def true_ns(self, mono_ns: int) -> int:
        """Return when the monotonic clock will show a reading."""
        left = mono_ns - self.base_ns
        return self._since_ns - (-left * MILLION // (MILLION + self.rate_ppm))

    def skew(self, now_ns: int, rate_ppm: int) -> None:
        """Run fast (or slow) from now on."""
        self.base_ns = self.mono_ns(now_ns)
        self._since_ns = now_ns
        self.rate_ppm = rate_ppm

    def jump(self, by_ns: int) -> None:
        """Move the wall clock."""
        self.wall_base_ns += by_ns
