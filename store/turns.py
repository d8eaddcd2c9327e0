"""Whose transfer is next? Waiting ones stand in a line per key, and keys take turns."""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

from ..protocol.errors import QueueFull

ACTIVE_MAX = 32
ACTIVE_PER_KEY_MAX = 24
WAITING_MAX = 16_384
WAITING_PER_KEY_MAX = 1_024
RETRY_S = 1.0

T = TypeVar("T")


class Turns(Generic[T]):
    """Bounded lines of waiting transfers, and how many of each key are active."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}
        self.active: Counter[str] = Counter()
        self.waiting = 0

    def wait(self, key: str, item: T) -> None:
        """Put a transfer into the line of its key; raises QueueFull."""
        line = self._lines.get(key)
        if self.waiting >= WAITING_MAX or (line and len(line) >= WAITING_PER_KEY_MAX):
            raise QueueFull(
                "the store has too many transfers waiting: begin fewer at a time",
                retry_after_s=RETRY_S,
            )
        self._lines.setdefault(key, deque()).append(item)
        self.waiting += 1

    def next(self) -> tuple[str, T] | None:
        """Return who begins now, from the key with the fewest active ones; None: nobody."""
        if self.active.total() >= ACTIVE_MAX or not self._lines:
            return None
        key = min(self._lines, key=lambda each: self.active[each])
        if self.active[key] >= ACTIVE_PER_KEY_MAX:
            return None
        line = self._lines.pop(key)
        item = line.popleft()
        if line:
            self._lines[key] = line  # behind the others
        self.waiting -= 1
        self.active[key] += 1
        return key, item

    def end(self, key: str) -> None:
        """Let an active one go."""
        self.active[key] -= 1
        if not self.active[key]:
            del self.active[key]

    def leave(self, key: str, item: T) -> None:
        """Take one out of its line."""
        line = self._lines[key]
        line.remove(item)
        self.waiting -= 1
        if not line:
            del self._lines[key]
