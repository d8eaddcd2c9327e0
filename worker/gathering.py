"""Which of the calls that wait run together: so many, or those that came within a time."""

from __future__ import annotations

import select
import time
from collections import deque
from typing import Callable, Deque, List, NamedTuple, Tuple  # noqa: UP035 - evaluated on Python 3.9

from . import frames
from .batches import Call, unpack_calls
from .page import CALLS_WINDOW, Page

_WINDOW_MASK = CALLS_WINDOW - 1


class Numbered(NamedTuple):
    """A call that waits, by the number that the runner gave it, and since when it is here."""

    number: int
    call: Call
    since_s: float


Read = Callable[[], Tuple[int, bytes]]  # noqa: UP006 - as above


class Gathering:
    """The calls that wait in a worker. `read` returns the next frame, `has_more` that it has it.

    At most `size` run together: fewer while memory is short.
    """

    def __init__(
        self,
        page: Page,
        read: Read,
        has_more: Callable[[], bool],
        fd: int,
        size: int,
        wait_s: float,
    ) -> None:
        self._size_max = self._size = size
        self._page = page
        self._read = read
        self._has_more = has_more
        self._fd = fd
        self._wait_s = wait_s
        self._number = 0
        self._waiting: Deque[Numbered] = deque()  # noqa: UP006 - as above

    def next(self) -> List[Numbered]:  # noqa: UP006 - as above
        """Wait for a batch and return it: calls with numbers in a row, of which `size` are wanted.

        Those that were cancelled meanwhile are among them: they are to be answered, not to run.
        """
        while True:
            while not self._waiting or self._is_more(0.0):
                self._take()
            left_s = self._left_s()
            if left_s <= 0 or not self._is_more(left_s):
                break
        taken: List[Numbered] = []  # noqa: UP006 - as above
        wanted = 0
        while self._waiting and wanted < self._size:
            each = self._waiting.popleft()
            taken.append(each)
            wanted += self._is_wanted(each)
        return taken

    def learn(self, count: int, fitted: int) -> None:
        """Take in how many calls of a batch fit into memory; from there it grows again by one."""
        if fitted < count:
            self._size = max(1, fitted)
        elif count == self._size < self._size_max:
            self._size += 1

    def _left_s(self) -> float:
        """Return how long a batch may still wait for more calls."""
        wanted = [each for each in self._waiting if self._is_wanted(each)]
        if not wanted or len(wanted) >= self._size:
            return 0.0
        return wanted[0].since_s + self._wait_s - time.monotonic()

    def _is_wanted(self, each: Numbered) -> bool:
        return not self._page.marks[each.number & _WINDOW_MASK]

    def _is_more(self, within_s: float) -> bool:
        return self._has_more() or bool(select.select([self._fd], [], [], within_s)[0])

    def _take(self) -> None:
        kind, body = self._read()
        if kind != frames.CALLS:
            return
        now = time.monotonic()
        for call in unpack_calls(body).calls:
            self._number += 1
            self._waiting.append(Numbered(self._number, call, now))
