"""What is wrong with the scheduler itself: a line in `status`, and in the log as it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..config import open_files

if TYPE_CHECKING:
    from .loop import Log

LOOK_EVERY_NS = 1_000_000_000
FILES_EVERY_NS = 2_000_000_000
COMMIT_SLOW_NS = 1_000_000_000
COMMIT_REMEMBERED_NS = 60_000_000_000
GARBAGE_MIN = 100
GARBAGE_NAMED_MAX = 3
GARBAGE_WINDOW_NS = 60_000_000_000


class Health:
    """Asks each check what is wrong and keeps the answers in `problems`, by the check's name."""

    def __init__(
        self, log: Log, checks: Mapping[str, Callable[[int], str]], problems: dict[str, str]
    ) -> None:
        self._log = log
        self._checks = checks
        self._problems = problems
        self._due_ns = 0

    def look_if_due(self, now_ns: int) -> None:
        if now_ns >= self._due_ns:
            self.look(now_ns)

    def look(self, now_ns: int) -> None:
        """Ask all checks now; log what is new and what is over."""
        self._due_ns = now_ns + LOOK_EVERY_NS
        for name, check in self._checks.items():
            problem, before = check(now_ns), self._problems.pop(name, "")
            if problem:
                self._problems[name] = problem
            if problem and not before:
                self._log.warning("trouble", about=name, problem=problem)
            elif before and not problem:
                self._log.info("trouble is over", about=name)


class Files:
    """Watches how many descriptors are open; without any, no new connection is let in."""

    def __init__(self) -> None:
        self._due_ns = 0
        self._problem = ""

    def problem(self, now_ns: int) -> str:
        """Say that descriptors run short; counted every other second."""
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + FILES_EVERY_NS
            self._problem = self._count()
        return self._problem

    def _count(self) -> str:
        used, limit = open_files.counted()
        if not open_files.run_short(used, limit):
            return ""
        return (
            f"{used} of {limit} file descriptors are open: who connects now may not get in; "
            "raise LimitNOFILE, or find who opens connections"
        )


class Commits:
    """Watches how long commits take: everything waits for them."""

    def __init__(self) -> None:
        self._slow_ns = self._at_ns = 0

    def took(self, duration_ns: int, now_ns: int) -> None:
        """Take in one commit; a slow one is remembered for a minute."""
        if duration_ns >= COMMIT_SLOW_NS:
            self._slow_ns, self._at_ns = duration_ns, now_ns

    def problem(self, now_ns: int) -> str:
        if not self._slow_ns or now_ns - self._at_ns > COMMIT_REMEMBERED_NS:
            return ""
        return (
            f"slow commits: one took {self._slow_ns / 1e9:.1f} s within the last minute; "
            "look at the disk of the state directory"
        )


class Garbage:
    """Counts per node what it sent and nobody could use: its bugs, or somebody who has its key."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last: Counter[str] = Counter()
        self._due_ns = 0

    def came_from(self, node: str) -> None:
        """Count a frame of one node; names are those of keys, so their number is bounded."""
        self._counts[node] += 1

    def problem(self, now_ns: int) -> str:
        """Name the nodes that sent much of it in this minute or the one before."""
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + GARBAGE_WINDOW_NS
            self._last, self._counts = self._counts, Counter()
        both = self._last + self._counts
        named = [name for name, n in both.most_common(GARBAGE_NAMED_MAX) if n >= GARBAGE_MIN]
        if not named:
            return ""
        return (
            f"more than {GARBAGE_MIN} frames a minute from {', '.join(named)} make no sense: "
            "upgrade it, or revoke its key (`remuda key revoke`)"
        )
