"""What a runner and its worker know of each other at once: one shared page, no messages.

Calls are numbered from 1 in the order in which the runner forwards them. The worker writes which
one runs, or from which to which they run as one batch, and since when; the runner marks which ones
are cancelled. Each field has one writer.
"""

from __future__ import annotations

import mmap

CALLS_WINDOW = 8192
"""Marks are kept per number modulo this; no more calls may be open at once. A power of two."""
_RUNNING = 0
_STARTED_NS = 1
_LAST = 2
_MARKS_AT = 64
PAGE_BYTES = _MARKS_AT + CALLS_WINDOW


class Page:
    """The shared page, mapped from a descriptor that both sides hold."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, PAGE_BYTES)
        view = memoryview(self._map)
        self._words = view[:_MARKS_AT].cast("Q")
        self.marks = view[_MARKS_AT:]

    def begin(self, number: int, now_ns: int, last: int = 0) -> None:
        """Say that call `number` starts, with those up to `last` if it is the first of a batch.

        The worker does so before it looks at the marks.
        """
        self._words[_STARTED_NS] = now_ns
        self._words[_LAST] = last or number
        self._words[_RUNNING] = number

    def running(self) -> tuple[int, int, int]:
        """Return first and last number of what was begun last, and the monotonic ns of its start.

        All are 0 before any.
        """
        while True:
            number = self._words[_RUNNING]
            last = self._words[_LAST]
            started_ns = self._words[_STARTED_NS]
            if self._words[_RUNNING] == number:
                return number, max(number, last), started_ns

    def mark(self, number: int, *, cancelled: bool) -> None:
        """Mark call `number` as cancelled, or clear the mark (the runner)."""
        self.marks[number % CALLS_WINDOW] = cancelled

    def is_cancelled(self, number: int) -> bool:
        """Say whether call `number` is marked."""
        return bool(self.marks[number % CALLS_WINDOW])
